//! `evenkeel status`: what the daemon does, since when, and why.
//!
//! Blocks are separated by an empty line: the daemon, instances, BFD sessions, tracked objects, overrides, services,
//! the data plane, findings. `-o json` prints the structure [`Status`] itself.

mod format;
mod instances;
mod services;

use std::process::ExitCode;

use evenkeel_core::ipc::{Reply, Request, Severity, Status};
use evenkeel_core::vrrp::State;

use crate::control::{call_daemon, unexpected_reply};
use crate::output;

/// Exit status 0: all is well; 1: there is a warning; 2: a service, a device or a virtual router does not work.
pub fn run(instance: &str, json: bool) -> anyhow::Result<ExitCode> {
    let Reply::Status(status) = call_daemon(instance, &Request::Status)? else { return Err(unexpected_reply()) };
    if json {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&status)?));
    } else {
        output::print(&format::format_status(&status, &Palette { enabled: output::is_colour_enabled() }));
    }
    Ok(match severity(&status) {
        None => ExitCode::SUCCESS,
        Some(Severity::Warning) => ExitCode::from(1),
        Some(Severity::Critical) => ExitCode::from(2),
    })
}

/// How severe the worst is that the status shows; `None` if all is well.
fn severity(status: &Status) -> Option<Severity> {
    let fault = status.instances.iter().any(|i| i.state == State::Fault);
    let down = status.services.iter().any(|s| !s.up || !s.servers.iter().any(|r| r.up));
    let worst = status.findings.iter().map(|f| f.severity).max();
    let rejected = status.config_error.as_ref().or(status.skipped_at_start.as_ref()).map(|_| Severity::Warning);
    worst.max(rejected).max((fault || down).then_some(Severity::Critical))
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
