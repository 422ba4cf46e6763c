//! Processes and signals.

use std::io;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork, setsid};

use crate::{Context, Result};

/// Goes into the background: the caller returns in a child of its own session; the parent exits 0. Only before any
/// thread is started.
pub fn daemonize() -> Result<()> {
    // SAFETY: the process has one thread, so the child may do anything.
    match unsafe { fork() }.context(|| "go into the background".into())? {
        ForkResult::Parent { .. } => std::process::exit(0),
        ForkResult::Child => setsid().map(|_| ()).context(|| "start a session".into()),
    }
}

/// Sends a signal to every process of a group.
pub fn signal_group(group: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(-(group as i32)), signal);
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid as i32), signal).map_err(io::Error::from).context(|| format!("signal process {pid}"))
}

/// A counter that wakes a poll loop.
pub use nix::sys::eventfd::EventFd;
