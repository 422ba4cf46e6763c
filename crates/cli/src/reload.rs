//! `evenkeel reload`: has the daemon read its configuration file again.

use std::process::ExitCode;

use anyhow::bail;
use evenkeel_core::ipc::{Reply, Request};

use crate::control::{call_daemon, unexpected_reply};
use crate::output;

/// Prints what changed. A file that is rejected is an error.
pub fn run(instance: &str) -> anyhow::Result<ExitCode> {
    match call_daemon(instance, &Request::Reload)? {
        Reply::Reloaded { steps } if steps.is_empty() => output::print("reloaded; nothing changed\n"),
        Reply::Reloaded { steps } => output::print(&format!("reloaded:\n  {}\n", steps.join("\n  "))),
        Reply::Rejected { error } => bail!("the reload was rejected; the old configuration stays in force:\n{error}"),
        _ => return Err(unexpected_reply()),
    }
    Ok(ExitCode::SUCCESS)
}
