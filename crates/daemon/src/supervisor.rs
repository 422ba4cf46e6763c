//! The supervisor: the parent process of the worker. It restarts a worker that dies, and kills one whose VRRP thread
//! hangs.
//!
//! Supervisor and worker share memory in which every master keeps its last will ([`evenkeel_sys::last_will`]): the
//! packets that resign mastership (priority 0) and the addresses to remove. When a worker dies, the supervisor executes
//! the wills, so that peers take over at once and not after the master-down interval, and then starts a new worker. A
//! clean stop and a hand-over leave no will. If the supervisor itself is killed, the kernel kills the worker, nothing
//! is executed, and the next daemon finds addresses and data plane as they were.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::model::VipSpec;
use evenkeel_core::time::Instant;
use evenkeel_sys::last_will::{LastWill, WillStore};
use evenkeel_sys::mastership_record::MastershipRecord;
use evenkeel_sys::netlink::Netlink;
use evenkeel_sys::wire::VrrpSocket;
use evenkeel_sys::{clock, resolver, sched, signals};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::backoff::Backoff;

/// Real-time priority, a little above that of the VRRP thread.
const RT_PRIORITY: u8 = 60;
/// How often the supervisor checks whether the VRRP thread is late.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The VRRP thread counts as late when it wakes later than this after its deadline. A busy thread is always a little
/// late.
const LATE_AFTER: Duration = Duration::from_secs(1);
/// The VRRP thread counts as hung when it is late this many times in a row. After a machine was suspended it is late
/// once.
const LATE_POLLS: u32 = 8;

/// Signals that are forwarded to the worker.
fn forwarded_signals() -> Vec<i32> {
    let standard = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];
    let standard = standard.into_iter().filter(|s| *s != Signal::SIGINT || !signals::is_sigint_ignored());
    standard.map(|s| s as i32).chain([signals::sig_json(), signals::sig_stats_clear()]).collect()
}

/// The signal, if it asks the daemon to stop.
fn stop_signal(signal: i32) -> Option<Signal> {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT].into_iter().find(|s| *s as i32 == signal)
}

/// How the worker ended.
enum WorkerExit {
    Exit(u8),
    Killed(Signal),
}

/// What the worker gets from the supervisor.
pub struct WorkerContext {
    /// Where the worker keeps the last wills of its masters.
    pub will_store: Arc<WillStore>,
    /// The virtual routers that the supervisor resigned for the previous worker, with the time, by their key in the
    /// mastership record.
    pub resigned: Vec<(u64, Instant)>,
}

/// Runs `work` in a child process until it ends as it should; starts it again when it dies, if `respawn`. The first
/// child gets `first`. Must be called before the process has a second thread.
pub fn run<T>(
    respawn: bool,
    mastership_file: &Path,
    first: T,
    work: impl Fn(WorkerContext, Option<T>) -> ExitCode,
) -> anyhow::Result<ExitCode> {
    let mut first = Some(first);
    let will_store = Arc::new(WillStore::new()?);
    let mut received = signals::SignalReceiver::new(&forwarded_signals())?;
    let mut resigned = Vec::new();
    let mut backoff = Backoff::default();
    loop {
        let Some(worker) = signals::fork_worker(&received)? else {
            return Ok(work(WorkerContext { will_store, resigned }, first));
        };
        first = None;
        let born = clock::now();
        if let Err(e) = sched::set_realtime_priority(RT_PRIORITY) {
            tracing::debug!("the supervisor runs without real-time priority: {e}");
        }
        let (exit, stop_requested) = watch_worker(worker, &will_store, &mut received);
        let was_ready = will_store.is_ready();
        let wills = will_store.take_wills();
        match exit {
            WorkerExit::Exit(code) if code == 0 || !was_ready => return Ok(ExitCode::from(code)),
            // A hand-over leaves everything in place, even if it failed.
            _ if stop_requested == Some(Signal::SIGQUIT) => return Ok(ExitCode::FAILURE),
            _ => {}
        }
        resigned = execute_wills(&wills, mastership_file);
        log_worker_death(exit, wills.len());
        if stop_requested.is_some() || !respawn {
            return Ok(ExitCode::FAILURE);
        }
        if !wait_before_restart(backoff.next_delay(clock::now().duration_since(born)), &mut received) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn log_worker_death(exit: WorkerExit, masters: usize) {
    let how = match exit {
        WorkerExit::Exit(code) => format!("exited with status {code}"),
        WorkerExit::Killed(signal) => format!("was killed by {signal}"),
    };
    tracing::error!(
        masters,
        "the worker {how}: resigned mastership of {masters} virtual routers and removed their addresses"
    );
}

/// Waits until the worker has ended; meanwhile forwards signals to it, and kills it if its VRRP thread hangs or if it
/// does not stop in time. Also returns the signal that asked it to stop.
fn watch_worker(
    worker: Pid,
    will_store: &WillStore,
    received: &mut signals::SignalReceiver,
) -> (WorkerExit, Option<Signal>) {
    let (mut stop_requested, mut requested_at, mut late_polls) = (None, None, 0);
    loop {
        match waitpid(worker, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => return (WorkerExit::Exit(code as u8), stop_requested),
            Ok(WaitStatus::Signaled(_, signal, _)) => return (WorkerExit::Killed(signal), stop_requested),
            Err(nix::errno::Errno::ECHILD) => return (WorkerExit::Exit(1), stop_requested),
            _ => {}
        }
        wait_for_signal(received, POLL_INTERVAL);
        while let Some(signal) = received.read() {
            if forwarded_signals().contains(&signal) {
                signals::forward_signal(worker, signal);
            }
            stop_requested = stop_signal(signal).or(stop_requested);
        }
        if stop_requested.is_some() {
            let since = *requested_at.get_or_insert_with(clock::now);
            if will_store.stop_timeout().is_some_and(|limit| clock::now().duration_since(since) > limit) {
                tracing::error!(%worker, "the worker did not stop within child_wait_time: killing it");
                let _ = nix::sys::signal::kill(worker, Signal::SIGKILL);
            }
        }
        let is_late = will_store.wake_deadline().is_some_and(|deadline| deadline + LATE_AFTER < clock::now());
        late_polls = if is_late { late_polls + 1 } else { 0 };
        if late_polls == LATE_POLLS {
            tracing::error!(%worker, "the VRRP thread hangs: killing the worker");
            let _ = nix::sys::signal::kill(worker, Signal::SIGKILL);
        }
    }
}

/// Waits before the next start; false if a signal asks the daemon to stop meanwhile.
fn wait_before_restart(delay: Duration, received: &mut signals::SignalReceiver) -> bool {
    let until = clock::now() + delay;
    loop {
        while let Some(signal) = received.read() {
            if stop_signal(signal).is_some() {
                return false;
            }
        }
        let rest = until.duration_since(clock::now());
        if rest.is_zero() {
            return true;
        }
        wait_for_signal(received, rest);
    }
}

fn wait_for_signal(received: &signals::SignalReceiver, limit: Duration) {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
    let _ = poll(&mut [PollFd::new(received.as_fd(), PollFlags::POLLIN)], timeout);
}

/// Sends the resignation packets of all wills, for which peers wait, and then removes their addresses. Returns the keys
/// of the virtual routers that resigned, with the time.
fn execute_wills(wills: &[LastWill], mastership_file: &Path) -> Vec<(u64, Instant)> {
    let mut sockets = BTreeMap::new();
    for p in wills.iter().flat_map(|w| &w.resignations) {
        let socket = sockets.entry((p.ifindex, p.transport)).or_insert_with(|| {
            let name = resolver::interface_name(p.ifindex)?;
            VrrpSocket::new(p.transport, &name, p.ifindex, &[]).ok()
        });
        if let Some(Err(e)) = socket.as_ref().map(|s| s.send(p.from, p.to, p.hop_limit, &p.packet)) {
            tracing::warn!(peer = %p.to, "cannot send a resignation (priority 0) to {}: {e}", p.to);
        }
    }
    let now = clock::now();
    if let Ok(mut netlink) = Netlink::new() {
        for (ifindex, addr, prefix) in wills.iter().flat_map(|w| &w.addresses) {
            let dev = resolver::interface_name(*ifindex).unwrap_or_default();
            let vip = VipSpec::new(*addr, *prefix, dev);
            let removed = match netlink.remove_address(*ifindex, &vip) {
                Ok(false) => netlink.remove_address_any_peer(*ifindex, &vip),
                other => other,
            };
            if let Err(e) = removed {
                tracing::warn!(vip = %addr, "{e}");
            }
        }
    }
    // The next daemon must not continue as master of a virtual router that resigned.
    if let Ok(record) = MastershipRecord::open(mastership_file) {
        wills.iter().for_each(|w| record.set_last_advert(w.key, None));
    }
    wills.iter().map(|w| (w.key, now)).collect()
}
