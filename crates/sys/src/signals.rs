//! Signals: sent, received as data, and inherited by child processes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, Pid, fork, getppid, setsid};

use crate::{Context, Result};

/// Becomes a daemon: returns in a child process with a session of its own, while the parent exits with status 0. Must
/// be called before any thread is started.
pub fn daemonize() -> Result<()> {
    // SAFETY: The process has one thread, so the child may call any function.
    match unsafe { fork() }.context(|| "fork into the background".into())? {
        ForkResult::Parent { .. } => std::process::exit(0),
        ForkResult::Child => setsid().map(|_| ()).context(|| "create a session".into()),
    }
}

/// keepalived's signal SIGJSON, which makes it write JSON: SIGRTMIN+2 of the C library.
pub fn sig_json() -> i32 {
    libc::SIGRTMIN() + 2
}

/// keepalived's signal SIGSTATS_CLEAR, which makes it write and clear its statistics: SIGRTMAX-1.
pub fn sig_stats_clear() -> i32 {
    libc::SIGRTMAX() - 1
}

/// A signal set of signal numbers. nix does not support real-time signals.
fn signal_set(numbers: impl Iterator<Item = i32>) -> SigSet {
    let mut set = SigSet::empty();
    // SAFETY: The set is valid and stays valid: sigaddset rejects invalid numbers.
    unsafe {
        let mut raw: libc::sigset_t = *set.as_ref();
        for n in numbers {
            libc::sigaddset(&raw mut raw, n);
        }
        set = SigSet::from_sigset_t_unchecked(raw);
    }
    set
}

/// Sends a signal with any number, for example a real-time signal.
pub fn forward_signal(to: Pid, number: i32) {
    // SAFETY: kill takes no pointers.
    unsafe { libc::kill(to.as_raw(), number) };
}

/// Ignores SIGINT. Must be called before any thread is started.
pub fn ignore_sigint() {
    // SAFETY: SIG_IGN is no handler function.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGINT, SigHandler::SigIgn) };
}

/// True if this process ignores SIGINT.
pub fn is_sigint_ignored() -> bool {
    // SAFETY: All zeros is a valid sigaction, and the kernel only writes to it.
    unsafe {
        let mut current: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGINT, std::ptr::null(), &raw mut current) == 0 && current.sa_sigaction == libc::SIG_IGN
    }
}

/// Receives signals as data (signalfd(2)), instead of their default action. SIGCHLD is always received.
pub struct SignalReceiver {
    fd: SignalFd,
    set: SigSet,
}

impl SignalReceiver {
    /// Blocks the signals in this thread, which must be the only one of the process.
    pub fn new(signals: &[i32]) -> Result<Self> {
        let set = signal_set(signals.iter().copied().chain([libc::SIGCHLD]));
        let open = || {
            sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
            SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        };
        let fd = open().map_err(io::Error::from).context(|| "open a signalfd".into())?;
        Ok(SignalReceiver { fd, set })
    }

    /// The number of the next received signal, if there is one.
    pub fn read(&mut self) -> Option<i32> {
        Some(self.fd.read_signal().ok()??.ssi_signo as i32)
    }
}

impl AsFd for SignalReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Forks the worker process; returns `None` in it. The worker has no blocked signals, and gets SIGKILL when its parent
/// dies. Must be called while the process has one thread.
pub fn fork_worker(receiver: &SignalReceiver) -> Result<Option<Pid>> {
    let parent = nix::unistd::getpid();
    // SAFETY: The process has one thread, so the child may call any function.
    match unsafe { fork() }.context(|| "fork the worker process".into())? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => {
            let initialise = || {
                set_pdeathsig(Signal::SIGKILL)?;
                sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&receiver.set), None)
            };
            initialise().map_err(io::Error::from).context(|| "initialise the worker process".into())?;
            if getppid() != parent {
                std::process::exit(1); // the parent died before the death signal was set
            }
            Ok(None)
        }
    }
}

/// Sends a signal to all processes of a process group.
pub fn send_signal_to_group(group: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(-(group as i32)), signal);
}

/// Sends a signal to a process.
pub fn send_signal(pid: u32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid as i32), signal)
        .map_err(io::Error::from)
        .context(|| format!("send {signal} to process {pid}"))
}

/// An event counter that wakes a poll loop (eventfd(2)).
pub use nix::sys::eventfd::EventFd;
