//! Tracked processes (`track_process`): /proc is scanned regularly for new processes; the exit of a process that counts
//! is reported by its pidfd at once.

use std::os::fd::OwnedFd;
use std::time::Duration;

use evenkeel_core::model::{TrackProcess, TrackResult, TrackedObject};
use evenkeel_core::vrrp::track::{ProcessQuorum, process_matches};
use evenkeel_sys::async_fd::register_readable;
use evenkeel_sys::{clock, process};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use super::Event;

/// The interval of scans: a new process is noticed within this time.
const SCAN_INTERVAL: Duration = Duration::from_millis(500);

/// Tracks processes until the task is stopped.
pub async fn run(tracked: Vec<TrackProcess>, events: UnboundedSender<Event>) {
    let mut all: Vec<(TrackProcess, ProcessQuorum, Option<u32>)> =
        tracked.into_iter().map(|p| (p, ProcessQuorum::default(), None)).collect();
    let mut exits: JoinSet<u32> = JoinSet::new();
    let mut watched: Vec<u32> = Vec::new();
    loop {
        let patterns: Vec<TrackProcess> = all.iter().map(|(p, ..)| p.clone()).collect();
        let Ok(matching) = tokio::task::spawn_blocking(move || scan(&patterns)).await else { return };
        for ((p, quorum, running), pids) in all.iter_mut().zip(matching) {
            for pid in pids.iter().filter(|pid| !watched.contains(pid)).copied().collect::<Vec<_>>() {
                if let Some(fd) = process::open_pidfd(pid).and_then(|fd| register_readable(fd).ok()) {
                    watched.push(pid);
                    exits.spawn(wait_for_exit(fd, pid));
                }
            }
            let n = pids.len() as u32;
            let changed = quorum.update_count(clock::now(), n, p);
            let object = TrackedObject::Process(p.name.clone());
            if let Some(good) = changed {
                let _ = events.send(Event::TrackChanged { object: object.clone(), result: TrackResult::Good(good) });
            }
            if changed.is_some() || *running != Some(n) {
                *running = Some(n);
                let (result, detail) = (quorum.good().map(TrackResult::Good), format!("{n} running"));
                if events.send(Event::TrackReport { object, result, detail }).is_err() {
                    return;
                }
            }
        }
        let now = clock::now();
        let due = all.iter().filter_map(|(_, q, _)| q.next_deadline()).map(|d| d.duration_since(now)).min();
        let pause = tokio::time::sleep(due.map_or(SCAN_INTERVAL, |d| d.min(SCAN_INTERVAL)));
        tokio::select! {
            () = pause => {}
            Some(exited) = exits.join_next() => {
                watched.retain(|pid| exited.as_ref().ok() != Some(pid));
            }
        }
    }
}

async fn wait_for_exit(fd: AsyncFd<OwnedFd>, pid: u32) -> u32 {
    let _ = fd.readable().await;
    pid
}

/// Scans /proc; returns the ids of the processes that match each entry.
fn scan(tracked: &[TrackProcess]) -> Vec<Vec<u32>> {
    let mut out = vec![Vec::new(); tracked.len()];
    process::for_each_process(|pid, short, command| {
        for (p, pids) in tracked.iter().zip(&mut out) {
            if process_matches(p, short, command) {
                pids.push(pid);
            }
        }
    });
    out
}
