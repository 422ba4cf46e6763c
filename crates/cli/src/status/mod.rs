//! `evenkeel status`: what the daemon does, since when, and why.
//!
//! Blocks are separated by an empty line: the daemon, instances, BFD sessions, tracked objects, overrides, services,
//! the data plane, warnings. `-o json` prints the structure [`Status`] itself.

mod format;
mod instances;
mod services;

use std::process::ExitCode;

use evenkeel_core::ipc::{Reply, Request, Status};
use evenkeel_core::vrrp::State;

use crate::control::{call_daemon, unexpected_reply};
use crate::output;

/// Exit status 0: all is well; 1: something is not.
pub fn run(instance: &str, json: bool) -> anyhow::Result<ExitCode> {
    let Reply::Status(status) = call_daemon(instance, &Request::Status)? else { return Err(unexpected_reply()) };
    if json {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&status)?));
    } else {
        output::print(&format::format_status(&status, &Palette { enabled: output::is_colour_enabled() }));
    }
    Ok(if is_well(&status) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_well(status: &Status) -> bool {
    status.config_error.is_none()
        && status.warnings.is_empty()
        && status.instances.iter().all(|i| i.state != State::Fault)
        && status.services.iter().all(|s| s.up && s.servers.iter().any(|r| r.up))
}

/// Colours of the output (ECMA-48 SGR).
struct Palette {
    enabled: bool,
}

impl Palette {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.enabled { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    fn ok(&self, text: &str) -> String {
        self.paint("32", text)
    }
    fn error(&self, text: &str) -> String {
        self.paint("31", text)
    }
    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }
}
