//! `-R` and `ipvsadm-restore`: run commands from a file, one per line.

use std::collections::BTreeSet;

use evenkeel_core::ipvs::{Change, TableModel};
use evenkeel_sys::Error;

use super::action::{Action, CommandError, EXIT_FAILED};
use super::parse;
use super::{Session, errors, run_command};

/// The words of a line, without a leading `ipvsadm`.
fn split_words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if words.first().is_some_and(|w| w == "ipvsadm") {
        words.remove(0);
    }
    words
}

/// Runs the lines of `-R`. After a change that the data plane rejects the next line is run; a line that cannot be
/// parsed ends the run. Returns the exit status of the last line.
pub fn run(session: &mut Session, text: &str, atomic: bool) -> u8 {
    if atomic {
        return restore_by_diff(session, text.lines().filter(|l| !l.trim_start().starts_with('#')), true);
    }
    let mut status = 0;
    for line in text.lines() {
        let words = split_words(line);
        if words.is_empty() {
            continue;
        }
        status = run_command(session, &words, true);
        if parse::parse(&words, true).is_err() {
            return status;
        }
    }
    status
}

/// Does what the script `ipvsadm-restore` does: skips comments, clears the table and runs the lines. Only the
/// difference is applied, so that services which stay are not interrupted.
pub fn restore_replacing(session: &mut Session, text: &str) -> u8 {
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    restore_by_diff(session, std::iter::once("-C").chain(lines), false)
}

/// Parses all lines, then applies the difference between the table and their result. `strict`: an error in any line
/// changes nothing. Otherwise the lines have ipvsadm's effect: it stops at a line that it cannot parse, and goes on
/// after a change that IPVS rejects.
fn restore_by_diff<'a>(session: &mut Session, lines: impl Iterator<Item = &'a str>, strict: bool) -> u8 {
    let mut status = 0;
    let mut target = match Target::from_table(session) {
        Ok(target) => target,
        Err(code) => return code,
    };
    for line in lines {
        let words = split_words(line);
        if words.is_empty() {
            continue;
        }
        let parsed = parse::parse(&words, true);
        let is_parsed = parsed.is_ok();
        let error = match parsed {
            Ok((Action::Change(c), _)) => match target.apply_change(&c) {
                Ok(()) => {
                    status = 0;
                    continue;
                }
                Err(text) => CommandError(text, EXIT_FAILED),
            },
            Ok(_) => CommandError("only changes can be restored together".to_owned(), EXIT_FAILED),
            Err(error) => error,
        };
        let CommandError(text, code) = error;
        eprintln!("{text}");
        status = code;
        if strict {
            eprintln!("nothing was changed, because of `{}'", words.join(" "));
            return code;
        }
        if !is_parsed {
            break;
        }
    }
    match target.commit(session) {
        0 => status,
        code => code,
    }
}

/// The table that the lines lead to.
struct Target {
    before: TableModel,
    after: TableModel,
    /// Changes that do not concern services.
    other_changes: Vec<Change>,
}

impl Target {
    fn from_table(session: &mut Session) -> Result<Target, u8> {
        let table = session.table(true)?;
        let entries = table.services_with_dests().map_err(|e| super::print_error(&e))?;
        let before =
            TableModel::from_services(entries.iter().map(|(s, dests)| (&s.service, dests.iter().map(|d| &d.dest))));
        Ok(Target { after: before.clone(), before, other_changes: Vec::new() })
    }

    /// Adds a change, or returns the message of its rejection.
    fn apply_change(&mut self, change: &Change) -> Result<(), String> {
        if matches!(change, Change::SetTimeouts(_) | Change::StartDaemon(_) | Change::StopDaemon(_) | Change::Zero(_)) {
            self.other_changes.push(change.clone());
            return Ok(());
        }
        self.after.apply_change(change).map_err(|errno| {
            let source = std::io::Error::from_raw_os_error(errno);
            errors::change_error(change, &Error::from_io(change.to_string(), source))
        })
    }

    /// Applies the difference; returns the exit status.
    fn commit(self, session: &mut Session) -> u8 {
        let table = match session.table(true) {
            Ok(table) => table,
            Err(code) => return code,
        };
        // A synchronisation daemon that runs with the same settings is left alone.
        let running: BTreeSet<String> =
            table.sync_daemons().unwrap_or_default().iter().map(super::print::daemon).collect();
        let is_running = |c: &Change| matches!(c, Change::StartDaemon(d) if running.contains(&super::print::daemon(d)));
        let mut status = 0;
        let other = self.other_changes.into_iter().filter(|c| !is_running(c));
        for change in self.before.changes_to(&self.after).into_iter().chain(other) {
            if let Err(e) = table.apply_change(&change) {
                eprintln!("{}", errors::change_error(&change, &e));
                status = EXIT_FAILED;
            }
        }
        status
    }
}
