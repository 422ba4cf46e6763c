//! Processes and signals.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, Pid, fork, getppid, setsid};

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

/// keepalived's signal for its JSON: SIGRTMIN+2, as the C library counts.
pub fn sig_json() -> i32 {
    libc::SIGRTMIN() + 2
}

/// keepalived's signal for statistics that are counted anew: SIGRTMAX-1.
pub fn sig_stats_clear() -> i32 {
    libc::SIGRTMAX() - 1
}

/// nix knows no real-time signals.
fn signal_set(numbers: impl Iterator<Item = i32>) -> SigSet {
    let mut set = SigSet::empty();
    // SAFETY: the set is valid, and stays so: sigaddset refuses what is no signal.
    unsafe {
        let mut raw: libc::sigset_t = *set.as_ref();
        for n in numbers {
            libc::sigaddset(&raw mut raw, n);
        }
        set = SigSet::from_sigset_t_unchecked(raw);
    }
    set
}

/// Sends a signal by its number.
pub fn forward_signal(to: Pid, number: i32) {
    // SAFETY: no pointers are involved.
    unsafe { libc::kill(to.as_raw(), number) };
}

/// Signals that come in as things to be read, and do nothing else; SIGCHLD is always among them.
pub struct SignalReceiver {
    fd: SignalFd,
    set: SigSet,
}

impl SignalReceiver {
    /// Blocks them in this thread, which must be the only one.
    pub fn new(signals: &[i32]) -> Result<Self> {
        let set = signal_set(signals.iter().copied().chain([libc::SIGCHLD]));
        let open = || {
            sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
            SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        };
        let fd = open().map_err(io::Error::from).context(|| "wait for signals".into())?;
        Ok(SignalReceiver { fd, set })
    }

    /// The number of one that has come.
    pub fn read(&mut self) -> Option<i32> {
        Some(self.fd.read_signal().ok()??.ssi_signo as i32)
    }
}

impl AsFd for SignalReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A child, in which this returns `None`: signals do there what they usually do, and it is killed when its parent dies.
/// Only while there is one thread.
pub fn fork_worker(inbox: &SignalReceiver) -> Result<Option<Pid>> {
    let parent = nix::unistd::getpid();
    // SAFETY: the process has one thread, so the child may do anything.
    match unsafe { fork() }.context(|| "start the working process".into())? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => {
            let begin = || {
                set_pdeathsig(Signal::SIGKILL)?;
                sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&inbox.set), None)
            };
            begin().map_err(io::Error::from).context(|| "begin the working process".into())?;
            if getppid() != parent {
                std::process::exit(1); // it died meanwhile
            }
            Ok(None)
        }
    }
}

/// Sends a signal to every process of a group.
pub fn send_signal_to_group(group: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(-(group as i32)), signal);
}

/// Sends a signal to one process.
pub fn send_signal(pid: u32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid as i32), signal).map_err(io::Error::from).context(|| format!("signal process {pid}"))
}

/// A counter that wakes a poll loop.
pub use nix::sys::eventfd::EventFd;
