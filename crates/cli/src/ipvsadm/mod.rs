//! ipvsadm, with its commands, messages and columns, on the kernel's IPVS or on evenkeel's packet path. It needs no
//! daemon.
//!
//! `parse` makes an [`Action`] of the arguments; this file runs it; `print` formats what it prints. The output is that
//! of ipvsadm 1.31 byte for byte (tests/ipvs has recordings).

mod action;
mod errors;
mod options;
mod parse;
mod popt;
mod print;
mod restore;
mod sort;

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use evenkeel_core::ipc::Request;
use evenkeel_core::ipvs::{Connection, DestEntry, ServiceEntry};
use evenkeel_sys::bpf::XdpBackend;
use evenkeel_sys::ipvs::Ipvs;
use evenkeel_sys::ipvs_backend::IpvsBackend;
use evenkeel_sys::{Error, paths};
use serde::Serialize;

use self::action::{Action, Columns, CommandError, DataPlaneChoice, EXIT_FAILED, ListOptions, ListTarget};
use crate::output;

/// Exit status if the table cannot be listed.
const EXIT_CANNOT_LIST: u8 = 1;
/// Exit status if there is no table.
const EXIT_NO_TABLE: u8 = 2;

const VERSION: &str =
    concat!("ipvsadm v1.31 (evenkeel ", env!("CARGO_PKG_VERSION"), ", on the kernel's IPVS or its own packet path)\n");

/// Runs ipvsadm with these arguments. Exit status: 0 success, 1 the table cannot be listed, 2 wrong usage or no table,
/// 255 rejected.
pub fn run(instance: &str, args: &[String]) -> ExitCode {
    ExitCode::from(run_command(&mut Session::new(instance), args, false))
}

/// `ipvsadm-save [-n]`
pub fn save_script(instance: &str, args: &[String]) -> ExitCode {
    match args {
        [] => run(instance, &["-S".to_owned()]),
        [n] if n == "-n" => run(instance, &["-S".to_owned(), "-n".to_owned()]),
        _ => {
            eprintln!(
                "ipvsadm-save: Script to save the IPVS table to stdout.\n   \
                 With the -n option, prints out the table in numeric format."
            );
            ExitCode::from(1)
        }
    }
}

/// `ipvsadm-restore`: has the effect of the script of this name, without its moment in which there are no services.
pub fn restore_script(instance: &str, args: &[String]) -> ExitCode {
    if !args.is_empty() {
        eprintln!("ipvsadm-restore: Script to restore the IPVS table from stdin.");
        return ExitCode::from(1);
    }
    let mut session = Session::new(instance);
    match session.read_stdin() {
        Ok(text) => ExitCode::from(restore::restore_replacing(&mut session, &text)),
        Err(code) => ExitCode::from(code),
    }
}

/// Opens the table: the packet path's if it is loaded, else the kernel's, or the one that EVENKEEL_DATAPLANE names.
pub fn open_table(instance: &str, change: bool) -> Result<Box<dyn IpvsBackend>, Error> {
    Session::new(instance).open(change)
}

/// A run of ipvsadm: the table is opened once.
struct Session {
    instance: String,
    plane: DataPlaneChoice,
    table: Option<Box<dyn IpvsBackend>>,
    /// The table may have been changed.
    may_have_changed: bool,
}

impl Drop for Session {
    /// Has the daemon observe the changes now, and not only at its next periodic observation.
    fn drop(&mut self) {
        let has_daemon =
            paths::control_socket(&self.instance).exists() && XdpBackend::is_loaded(&paths::bpf_dir(&self.instance));
        if self.may_have_changed && has_daemon {
            let _ = crate::control::call_daemon(&self.instance, &Request::Observe);
        }
    }
}

impl Session {
    fn new(instance: &str) -> Session {
        let plane = match std::env::var("EVENKEEL_DATAPLANE").as_deref() {
            Ok("xdp") => DataPlaneChoice::Xdp,
            Ok("ipvs") => DataPlaneChoice::Ipvs,
            _ => DataPlaneChoice::Auto,
        };
        Session { instance: instance.to_owned(), plane, table: None, may_have_changed: false }
    }

    /// The table. If there is none, prints the reason and returns the exit status.
    fn table(&mut self, change: bool) -> Result<&mut dyn IpvsBackend, u8> {
        self.may_have_changed |= change;
        if self.table.is_none() {
            self.table = Some(self.open(change).map_err(|e| {
                eprintln!("Can't initialize ipvs: {}", errors::general_error(&e));
                match e.errno() {
                    Some(92) => eprintln!("Are you sure that IP Virtual Server is built in the kernel or as module?"),
                    _ => {
                        if let Some(hint) = e.hint {
                            eprintln!("{hint}");
                        }
                    }
                }
                EXIT_NO_TABLE
            })?);
        }
        match &mut self.table {
            Some(t) => Ok(&mut **t),
            None => Err(EXIT_NO_TABLE),
        }
    }

    fn open(&self, change: bool) -> Result<Box<dyn IpvsBackend>, Error> {
        let dir = paths::bpf_dir(&self.instance);
        let is_loaded = XdpBackend::is_loaded(&dir);
        if self.plane == DataPlaneChoice::Xdp || self.plane == DataPlaneChoice::Auto && is_loaded {
            return Ok(Box::new(XdpBackend::open(&dir, &paths::run_dir(&self.instance), change)?));
        }
        Ok(Box::new(Ipvs::open()?))
    }

    /// Reads standard input.
    fn read_stdin(&mut self) -> Result<String, u8> {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text).map_err(|e| {
            eprintln!("cannot read standard input: {e}");
            EXIT_FAILED
        })?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Runs one command and returns its exit status. `nested`: it is a line of `-R`.
fn run_command(session: &mut Session, args: &[String], nested: bool) -> u8 {
    let action = match parse::parse(args, nested) {
        Ok((action, plane)) => {
            if !nested && plane != DataPlaneChoice::Auto {
                session.plane = plane;
            }
            action
        }
        Err(CommandError(text, code)) => {
            eprintln!("{text}");
            return code;
        }
    };
    let done = match action {
        Action::Help => {
            output::print(include_str!("help.txt"));
            Ok(())
        }
        Action::Version => {
            output::print(VERSION);
            Ok(())
        }
        Action::List(list) => print_listing(session, &list),
        Action::Save { numeric, complete } => print_save(session, numeric, complete),
        Action::Restore { atomic } => {
            session.read_stdin().and_then(|text| match restore::run(session, &text, atomic) {
                0 => Ok(()),
                code => Err(code),
            })
        }
        Action::Change(change) => session.table(true).and_then(|table| {
            table.apply_change(&change).map_err(|e| {
                eprintln!("{}", errors::change_error(&change, &e));
                if let Some(hint) = e.hint {
                    eprintln!("{hint}");
                }
                EXIT_FAILED
            })
        }),
    };
    done.err().unwrap_or(0)
}

fn print_error(e: &Error) -> u8 {
    eprintln!("{}", errors::general_error(e));
    EXIT_CANNOT_LIST
}

fn print_listing(session: &mut Session, list: &ListOptions) -> Result<(), u8> {
    loop {
        let text = format_listing(session, list)?;
        let Some(seconds) = list.watch_s else {
            output::print(&text);
            return Ok(());
        };
        // ECMA-48: cursor to the top left, erase the rest of each line and of the screen. It avoids flicker.
        let text = text.replace('\n', "\x1b[K\n");
        let mut stdout = std::io::stdout();
        if stdout.write_all(format!("\x1b[H{text}\x1b[J").as_bytes()).and_then(|()| stdout.flush()).is_err() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(seconds.into()));
    }
}

/// A service with its servers in JSON.
#[derive(Serialize)]
struct ServiceJson<'a> {
    #[serde(flatten)]
    service: &'a ServiceEntry,
    servers: &'a [DestEntry],
}

fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn format_listing(session: &mut Session, list: &ListOptions) -> Result<String, u8> {
    let table = session.table(list.end)?;
    Ok(match list.target {
        ListTarget::Timeouts => {
            let t = table.timeouts().map_err(|e| print_error(&e))?;
            if list.json { to_json(&t) } else { print::timeouts(t) }
        }
        ListTarget::Daemons => {
            let all = table.sync_daemons().map_err(|e| print_error(&e))?;
            if list.json { to_json(&all) } else { all.iter().map(print::daemon).collect() }
        }
        ListTarget::Connections => {
            let matches = |c: &Connection| {
                list.client.is_none_or(|a| c.client.0 == a) && list.state.as_ref().is_none_or(|s| c.state == *s)
            };
            if list.end {
                let ended = table.end_connections(&matches).map_err(|e| print_error(&e))?;
                return Ok(format!("{ended} connections ended\n"));
            }
            let mut all = table.connections().map_err(|e| print_error(&e))?;
            all.retain(matches);
            if list.json { to_json(&all) } else { print::connections(&all, list) }
        }
        ListTarget::Services | ListTarget::Service(_) => {
            if list.columns == Columns::Rate {
                table.measure_rates().map_err(|e| print_error(&e))?;
            }
            let all = read_services(table, list)?;
            if list.json {
                to_json(&all.iter().map(|(service, servers)| ServiceJson { service, servers }).collect::<Vec<_>>())
            } else {
                let title = match list.target {
                    ListTarget::Services => {
                        let info = table.info().map_err(|e| print_error(&e))?;
                        print::title(info.version, info.conn_tab_size)
                    }
                    _ => String::new(),
                };
                let lines = all.iter().map(|(s, dests)| print::service(s, dests, list));
                title + &print::heading(list.columns) + &lines.collect::<String>()
            }
        }
    })
}

/// The services to list with their servers, sorted.
fn read_services(table: &mut dyn IpvsBackend, list: &ListOptions) -> Result<Vec<(ServiceEntry, Vec<DestEntry>)>, u8> {
    let mut services = match list.target {
        ListTarget::Service(id) => vec![table.service(id).map_err(|e| print_error(&e))?],
        _ => table.services().map_err(|e| print_error(&e))?,
    };
    sort::sort_services(&mut services, list.sort_order);
    let mut all = Vec::with_capacity(services.len());
    for s in services {
        let mut dests = table.dests(s.service.id).map_err(|e| print_error(&e))?;
        sort::sort_dests(&mut dests, list.sort_order);
        all.push((s, dests));
    }
    Ok(all)
}

fn print_save(session: &mut Session, numeric: bool, complete: bool) -> Result<(), u8> {
    let table = session.table(false)?;
    // In this order a restored table has the same order: the server that is added last is the first in the table.
    let list = ListOptions { columns: Columns::Default, ..ListOptions::default() };
    let all = read_services(table, &list)?;
    let mut text: String =
        all.iter().map(|(s, dests)| print::save_commands(&s.service, dests, numeric, complete)).collect();
    if complete {
        let timeouts = table.timeouts().map_err(|e| print_error(&e))?;
        text += &print::save_settings(timeouts, &table.sync_daemons().map_err(|e| print_error(&e))?);
    }
    output::print(&text);
    Ok(())
}
