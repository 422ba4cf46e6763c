//! `ipvsadm`, command for command and column for column, on the kernel's IPVS or on our own packet path. No daemon is
//! needed.

mod errors;
mod options;
mod parse;
mod print;
mod restore;
mod sort;
mod words;

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use evenkeel_core::ipc::Request;
use evenkeel_core::ipvs::{Connection, DestEntry, ServiceEntry};
use evenkeel_sys::bpf::XdpTable;
use evenkeel_sys::ipvs::Ipvs;
use evenkeel_sys::table::Table;
use evenkeel_sys::{Error, paths};
use serde::Serialize;

use self::parse::{Columns, FAILED, List, Plane, Refused, Wanted, What};
use crate::out;

/// A listing that fails.
const CANNOT_LIST: u8 = 1;
/// No table at all.
const NO_TABLE: u8 = 2;

const VERSION: &str =
    concat!("ipvsadm v1.31 (evenkeel ", env!("CARGO_PKG_VERSION"), ", on the kernel's IPVS or its own packet path)\n");

/// Runs with ipvsadm's arguments and exit statuses: 0; 1, cannot list; 2, not understood; 255, refused.
pub fn run(instance: &str, args: &[String]) -> ExitCode {
    ExitCode::from(command(&mut Session::new(instance), args, false))
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

/// `ipvsadm-restore`: what the script of this name does, but for the moment without services in between.
pub fn restore_script(instance: &str, args: &[String]) -> ExitCode {
    if !args.is_empty() {
        eprintln!("ipvsadm-restore: Script to restore the IPVS table from stdin.");
        return ExitCode::from(1);
    }
    let mut session = Session::new(instance);
    match session.lines() {
        Ok(text) => ExitCode::from(restore::from_script(&mut session, &text)),
        Err(code) => ExitCode::from(code),
    }
}

/// The table that is worked on: ours if it is loaded, else the kernel's; or the one that the environment names.
pub fn open(instance: &str, change: bool) -> Result<Box<dyn Table>, Error> {
    Session::new(instance).open(change)
}

/// The table, opened once.
struct Session {
    instance: String,
    plane: Plane,
    table: Option<Box<dyn Table>>,
    /// Something may have been changed.
    changing: bool,
}

impl Drop for Session {
    /// A daemon sees what was changed, and gets it going, at its next look: let this be now.
    fn drop(&mut self) {
        let here =
            paths::control_socket(&self.instance).exists() && XdpTable::is_loaded(&paths::bpf_dir(&self.instance));
        if self.changing && here {
            let _ = crate::status::call(&self.instance, &Request::Look);
        }
    }
}

impl Session {
    fn new(instance: &str) -> Session {
        let plane = match std::env::var("EVENKEEL_DATAPLANE").as_deref() {
            Ok("xdp") => Plane::Xdp,
            Ok("ipvs") => Plane::Ipvs,
            _ => Plane::Auto,
        };
        Session { instance: instance.to_owned(), plane, table: None, changing: false }
    }

    /// The table. Where none can be had this is told, and the exit status returned.
    fn table(&mut self, change: bool) -> Result<&mut dyn Table, u8> {
        self.changing |= change;
        if self.table.is_none() {
            self.table = Some(self.open(change).map_err(|e| {
                eprintln!("Can't initialize ipvs: {}", errors::general(&e));
                match e.errno() {
                    Some(92) => eprintln!("Are you sure that IP Virtual Server is built in the kernel or as module?"),
                    _ => {
                        if let Some(hint) = e.hint {
                            eprintln!("{hint}");
                        }
                    }
                }
                NO_TABLE
            })?);
        }
        match &mut self.table {
            Some(t) => Ok(&mut **t),
            None => Err(NO_TABLE),
        }
    }

    fn open(&self, change: bool) -> Result<Box<dyn Table>, Error> {
        let dir = paths::bpf_dir(&self.instance);
        let ours = XdpTable::is_loaded(&dir);
        if self.plane == Plane::Xdp || self.plane == Plane::Auto && ours {
            return Ok(Box::new(XdpTable::open(&dir, &paths::run_dir(&self.instance), change)?));
        }
        Ok(Box::new(Ipvs::open()?))
    }

    /// What is to be restored.
    fn lines(&mut self) -> Result<String, u8> {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text).map_err(|e| {
            eprintln!("cannot read what is to be restored: {e}");
            FAILED
        })?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Runs one command; returns its exit status.
fn command(session: &mut Session, args: &[String], nested: bool) -> u8 {
    let wanted = match parse::parse(args, nested) {
        Ok((wanted, plane)) => {
            if !nested && plane != Plane::Auto {
                session.plane = plane;
            }
            wanted
        }
        Err(Refused(text, code)) => {
            eprintln!("{text}");
            return code;
        }
    };
    let done = match wanted {
        Wanted::Help => {
            out::print(include_str!("help.txt"));
            Ok(())
        }
        Wanted::Version => {
            out::print(VERSION);
            Ok(())
        }
        Wanted::List(list) => listing(session, &list),
        Wanted::Save { numeric, complete } => save(session, numeric, complete),
        Wanted::Restore { atomic } => session.lines().and_then(|text| match restore::run(session, &text, atomic) {
            0 => Ok(()),
            code => Err(code),
        }),
        Wanted::Change(change) => session.table(true).and_then(|table| {
            table.change(&change).map_err(|e| {
                eprintln!("{}", errors::of_change(&change, &e));
                if let Some(hint) = e.hint {
                    eprintln!("{hint}");
                }
                FAILED
            })
        }),
    };
    done.err().unwrap_or(0)
}

fn told(e: &Error) -> u8 {
    eprintln!("{}", errors::general(e));
    CANNOT_LIST
}

fn listing(session: &mut Session, list: &List) -> Result<(), u8> {
    loop {
        let text = text_of(session, list)?;
        let Some(seconds) = list.watch_s else {
            out::print(&text);
            return Ok(());
        };
        // The cursor to the top, each line's rest and what is below cleared: without flicker.
        let text = text.replace('\n', "\x1b[K\n");
        let mut stdout = std::io::stdout();
        if stdout.write_all(format!("\x1b[H{text}\x1b[J").as_bytes()).and_then(|()| stdout.flush()).is_err() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(seconds.into()));
    }
}

/// A service in JSON.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    service: &'a ServiceEntry,
    servers: &'a [DestEntry],
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn text_of(session: &mut Session, list: &List) -> Result<String, u8> {
    let table = session.table(list.end)?;
    Ok(match list.what {
        What::Timeouts => {
            let t = table.timeouts().map_err(|e| told(&e))?;
            if list.json { json(&t) } else { print::timeouts(t) }
        }
        What::Daemons => {
            let all = table.daemons().map_err(|e| told(&e))?;
            if list.json { json(&all) } else { all.iter().map(print::daemon).collect() }
        }
        What::Connections => {
            let wanted = |c: &Connection| {
                list.client.is_none_or(|a| c.client.0 == a) && list.state.as_ref().is_none_or(|s| c.state == *s)
            };
            if list.end {
                let ended = table.end_connections(&wanted).map_err(|e| told(&e))?;
                return Ok(format!("{ended} connections ended\n"));
            }
            let mut all = table.connections().map_err(|e| told(&e))?;
            all.retain(wanted);
            if list.json { json(&all) } else { print::connections(&all, list) }
        }
        What::Services | What::Service(_) => {
            if list.columns == Columns::Rate {
                table.measure_rates().map_err(|e| told(&e))?;
            }
            let all = services(table, list)?;
            if list.json {
                json(&all.iter().map(|(service, servers)| Shown { service, servers }).collect::<Vec<_>>())
            } else {
                let title = match list.what {
                    What::Services => {
                        let info = table.info().map_err(|e| told(&e))?;
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

/// The services that are asked for, sorted.
fn services(table: &mut dyn Table, list: &List) -> Result<Vec<(ServiceEntry, Vec<DestEntry>)>, u8> {
    let mut services = match list.what {
        What::Service(id) => vec![table.service(id).map_err(|e| told(&e))?],
        _ => table.services().map_err(|e| told(&e))?,
    };
    sort::services(&mut services, list.sorting);
    let mut all = Vec::with_capacity(services.len());
    for s in services {
        let mut dests = table.dests(s.service.id).map_err(|e| told(&e))?;
        sort::dests(&mut dests, list.sorting);
        all.push((s, dests));
    }
    Ok(all)
}

fn save(session: &mut Session, numeric: bool, complete: bool) -> Result<(), u8> {
    let table = session.table(false)?;
    // Restored in this order, every server stands where it stood: the last that is added is the first in the table.
    let list = List { columns: Columns::Usual, ..List::default() };
    let all = services(table, &list)?;
    let mut text: String = all.iter().map(|(s, dests)| print::save(&s.service, dests, numeric, complete)).collect();
    if complete {
        let timeouts = table.timeouts().map_err(|e| told(&e))?;
        text += &print::save_rest(timeouts, &table.daemons().map_err(|e| told(&e))?);
    }
    out::print(&text);
    Ok(())
}
