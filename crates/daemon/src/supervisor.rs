//! The parent that watches the process that does the work.
//!
//! It holds nothing but memory that the other keeps its last words in ([`evenkeel_sys::last_words`]): if that process dies,
//! or its VRRP thread hangs, the parent says priority 0 for every master that it was and takes the addresses away, so that
//! peers take over at once and not after the master-down interval; and then it starts the process anew. A clean stop and a
//! hand-over are left alone, and so is everything if the parent itself is killed: the other goes with it, and whoever
//! starts next finds the state of before.

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

/// A little above the thread that it watches.
const RT_PRIORITY: u8 = 60;
/// How often it looks whether the VRRP thread is late.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Behind what it said it is late: a busy thread is always a little behind.
const LATE_AFTER: Duration = Duration::from_secs(1);
/// So many looks in a row it has to be late: a machine that slept is not late, it only looks like it once.
const LATE_POLLS: u32 = 8;

/// Signals that are the other's business.
fn forwarded_signals() -> Vec<i32> {
    let ordinary = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];
    let ordinary = ordinary.into_iter().filter(|s| *s != Signal::SIGINT || !sched::is_sigint_ignored());
    ordinary.map(|s| s as i32).chain([signals::sig_json(), signals::sig_stats_clear()]).collect()
}

/// It asks for an end.
fn stop_signal(signal: i32) -> Option<Signal> {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT].into_iter().find(|s| *s as i32 == signal)
}

/// How the process ended.
enum WorkerExit {
    Exit(u8),
    Killed(Signal),
}

/// What the working process gets from its parent.
pub struct WorkerContext {
    /// Where it leaves its last words.
    pub will_store: Arc<WillStore>,
    /// The virtual routers that a process before it was master of, and gave up so short a time ago.
    pub resigned: Vec<(u64, Instant)>,
}

/// Runs `work` in a child, again and again until it ends as it should. The first child gets `first`. Called before there
/// is any thread.
pub fn run<T>(
    respawn: bool,
    memo: &Path,
    first: T,
    work: impl Fn(WorkerContext, Option<T>) -> ExitCode,
) -> anyhow::Result<ExitCode> {
    let mut first = Some(first);
    let testament = Arc::new(WillStore::new()?);
    let mut inbox = signals::SignalReceiver::new(&forwarded_signals())?;
    let mut gave_up = Vec::new();
    let mut pauses = Backoff::default();
    loop {
        let Some(child) = signals::fork_worker(&inbox)? else {
            return Ok(work(WorkerContext { will_store: testament, resigned: gave_up }, first));
        };
        first = None;
        let born = clock::now();
        if let Err(e) = sched::set_realtime_priority(RT_PRIORITY) {
            tracing::debug!("{e}");
        }
        let (end, asked) = watch_worker(child, &testament, &mut inbox);
        let started = testament.is_ready();
        let words = testament.take_wills();
        match end {
            WorkerExit::Exit(code) if code == 0 || !started => return Ok(ExitCode::from(code)),
            _ if asked == Some(Signal::SIGQUIT) => return Ok(ExitCode::FAILURE), // it was to leave everything
            _ => {}
        }
        gave_up = execute_wills(&words, memo);
        let how = match end {
            WorkerExit::Exit(code) => format!("ended with status {code}"),
            WorkerExit::Killed(signal) => format!("was ended by {signal}"),
        };
        tracing::error!(
            masters = words.len(),
            "the working process {how}: said priority 0 and took the addresses away for {} virtual routers",
            words.len()
        );
        if asked.is_some() || !respawn {
            return Ok(ExitCode::FAILURE);
        }
        if !wait_before_restart(pauses.next_delay(clock::now().duration_since(born)), &mut inbox) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Waits until the child has ended, passes signals on to it, and ends it if its VRRP thread hangs. Also says which signal
/// asked it to stop, if one did.
fn watch_worker(
    child: Pid,
    testament: &WillStore,
    inbox: &mut signals::SignalReceiver,
) -> (WorkerExit, Option<Signal>) {
    let (mut asked, mut late, mut since) = (None, 0, None);
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => return (WorkerExit::Exit(code as u8), asked),
            Ok(WaitStatus::Signaled(_, signal, _)) => return (WorkerExit::Killed(signal), asked),
            Err(nix::errno::Errno::ECHILD) => return (WorkerExit::Exit(1), asked),
            _ => {}
        }
        let pause = PollTimeout::try_from(POLL_INTERVAL).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut [PollFd::new(inbox.as_fd(), PollFlags::POLLIN)], pause);
        while let Some(signal) = inbox.read() {
            if forwarded_signals().contains(&signal) {
                signals::forward_signal(child, signal);
            }
            asked = stop_signal(signal).or(asked);
        }
        // `child_wait_time`
        if asked.is_some() {
            let since = *since.get_or_insert_with(clock::now);
            if testament.stop_timeout().is_some_and(|p| clock::now().duration_since(since) > p) {
                tracing::error!("it does not end in the time that it is given: ended");
                let _ = nix::sys::signal::kill(child, Signal::SIGKILL);
            }
        }
        let is_late = testament.wake_deadline().is_some_and(|by| by + LATE_AFTER < clock::now());
        late = if is_late { late + 1 } else { 0 };
        if late == LATE_POLLS {
            tracing::error!("the VRRP thread hangs: ending the process");
            let _ = nix::sys::signal::kill(child, Signal::SIGKILL);
        }
    }
}

/// Waits before the next start; false if it is not wanted any more.
fn wait_before_restart(delay: Duration, inbox: &mut signals::SignalReceiver) -> bool {
    let until = clock::now() + delay;
    loop {
        while let Some(signal) = inbox.read() {
            if stop_signal(signal).is_some() {
                return false;
            }
        }
        let rest = until.duration_since(clock::now());
        if rest.is_zero() {
            return true;
        }
        let pause = PollTimeout::try_from(rest).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut [PollFd::new(inbox.as_fd(), PollFlags::POLLIN)], pause);
    }
}

/// Says the last words: every farewell first, for peers wait for those. Returns who gave up, and when.
fn execute_wills(words: &[LastWill], memo: &Path) -> Vec<(u64, Instant)> {
    let mut sockets = BTreeMap::new();
    for f in words.iter().flat_map(|w| &w.resignations) {
        let socket = sockets.entry((f.ifindex, f.transport)).or_insert_with(|| {
            let name = resolver::interface_name(f.ifindex)?;
            VrrpSocket::new(f.transport, &name, f.ifindex, &[]).ok()
        });
        if let Some(Err(e)) = socket.as_ref().map(|s| s.send(f.from, f.to, f.hop_limit, &f.packet)) {
            tracing::warn!("say priority 0 to {}: {e}", f.to);
        }
    }
    let now = clock::now();
    if let Ok(mut netlink) = Netlink::new() {
        for (ifindex, addr, prefix) in words.iter().flat_map(|w| &w.addresses) {
            let dev = resolver::interface_name(*ifindex).unwrap_or_default();
            let vip = VipSpec::new(*addr, *prefix, dev);
            let removed = match netlink.remove_address(*ifindex, &vip) {
                Ok(false) => netlink.remove_address_any_peer(*ifindex, &vip),
                other => other,
            };
            removed.map_or_else(|e| tracing::warn!("{e}"), drop);
        }
    }
    // Who gave up is not master any more, whoever starts next.
    if let Ok(memo) = MastershipRecord::open(memo) {
        words.iter().for_each(|w| memo.set_last_advert(w.key, None));
    }
    words.iter().map(|w| (w.key, now)).collect()
}
