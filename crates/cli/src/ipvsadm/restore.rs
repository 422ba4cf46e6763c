//! `-R`: commands from a file, one a line; and what `ipvsadm-restore` makes of it.

use std::collections::BTreeSet;

use evenkeel_core::ipvs::{Change, TableModel};
use evenkeel_sys::Error;

use super::parse::{self, Action, CommandError, EXIT_FAILED};
use super::{Session, errors, run_command};

/// The words of a line, without an `ipvsadm` in front.
fn split_words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if words.first().is_some_and(|w| w == "ipvsadm") {
        words.remove(0);
    }
    words
}

/// Runs the lines. What the kernel refuses is told and the rest done all the same; what is not understood ends it. The
/// exit status is that of the last line.
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

/// What the script `ipvsadm-restore` does: without lines that are comments, after emptying the table; but by comparison,
/// so that what is there and stays is not interrupted.
pub fn restore_replacing(session: &mut Session, text: &str) -> u8 {
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    restore_by_diff(session, std::iter::once("-C").chain(lines), false)
}

/// Reads all lines, then changes what differs in the end. `strict`: if one of them makes no sense nothing is changed; else
/// they have ipvsadm's effect, which ends at what it does not understand and passes over what IPVS refuses.
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
        let is_command = parsed.is_ok();
        let refused = match parsed {
            Ok((Action::Change(c), _)) => match target.apply_change(&c) {
                Ok(()) => {
                    status = 0;
                    continue;
                }
                Err(text) => CommandError(text, EXIT_FAILED),
            },
            Ok(_) => CommandError("only changes can be restored as a whole".to_owned(), EXIT_FAILED),
            Err(refused) => refused,
        };
        let CommandError(text, code) = refused;
        eprintln!("{text}");
        status = code;
        if strict {
            eprintln!("nothing was changed, because of `{}'", words.join(" "));
            return code;
        }
        if !is_command {
            break;
        }
    }
    match target.commit(session) {
        0 => status,
        code => code,
    }
}

/// What the lines lead to.
struct Target {
    before: TableModel,
    after: TableModel,
    /// What is not of services.
    other_changes: Vec<Change>,
}

impl Target {
    fn from_table(session: &mut Session) -> Result<Target, u8> {
        let table = session.table(true)?;
        let now = table.services_with_dests().map_err(|e| super::print_error(&e))?;
        let before =
            TableModel::from_services(now.iter().map(|(s, dests)| (&s.service, dests.iter().map(|d| &d.dest))));
        Ok(Target { after: before.clone(), before, other_changes: Vec::new() })
    }

    /// Takes a change, or says why it cannot be.
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

    /// Makes the changes; returns the exit status.
    fn commit(self, session: &mut Session) -> u8 {
        let table = match session.table(true) {
            Ok(table) => table,
            Err(code) => return code,
        };
        // A daemon that runs as it is wanted is left alone.
        let running: BTreeSet<String> =
            table.sync_daemons().unwrap_or_default().iter().map(super::print::daemon).collect();
        let runs = |c: &Change| matches!(c, Change::StartDaemon(d) if running.contains(&super::print::daemon(d)));
        let mut status = 0;
        let rest = self.other_changes.into_iter().filter(|c| !runs(c));
        for change in self.before.changes_to(&self.after).into_iter().chain(rest) {
            if let Err(e) = table.apply_change(&change) {
                eprintln!("{}", errors::change_error(&change, &e));
                status = EXIT_FAILED;
            }
        }
        status
    }
}
