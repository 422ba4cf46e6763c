//! Tracked processes: all of /proc is looked through now and then, and the end of a process that counts is noticed at once.

use std::os::fd::OwnedFd;
use std::time::Duration;

use evenkeel_core::model::{Found, TrackProcess, TrackedObject};
use evenkeel_core::vrrp::track::{Quorum, is_tracked};
use evenkeel_sys::readable::readable;
use evenkeel_sys::{clock, process};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use super::Event;

/// A process that begins is noticed within this.
const LOOK: Duration = Duration::from_millis(500);

/// Watches processes for as long as they are configured.
pub async fn run(tracked: Vec<TrackProcess>, events: UnboundedSender<Event>) {
    let mut all: Vec<(TrackProcess, Quorum, Option<u32>)> =
        tracked.into_iter().map(|p| (p, Quorum::default(), None)).collect();
    let mut ends: JoinSet<u32> = JoinSet::new();
    let mut watched: Vec<u32> = Vec::new();
    loop {
        let patterns: Vec<TrackProcess> = all.iter().map(|(p, ..)| p.clone()).collect();
        let Ok(found) = tokio::task::spawn_blocking(move || look(&patterns)).await else { return };
        for ((p, quorum, running), pids) in all.iter_mut().zip(found) {
            for pid in pids.iter().filter(|pid| !watched.contains(pid)).copied().collect::<Vec<_>>() {
                if let Some(fd) = process::end_of(pid).and_then(|fd| readable(fd).ok()) {
                    watched.push(pid);
                    ends.spawn(end(fd, pid));
                }
            }
            let n = pids.len() as u32;
            let changed = quorum.count(clock::now(), n, p);
            let object = TrackedObject::Process(p.name.clone());
            if let Some(good) = changed {
                let _ = events.send(Event::Found { object: object.clone(), found: Found::Good(good) });
            }
            if changed.is_some() || *running != Some(n) {
                *running = Some(n);
                let (found, detail) = (quorum.good().map(Found::Good), format!("{n} running"));
                if events.send(Event::Tracked { object, found, detail }).is_err() {
                    return;
                }
            }
        }
        let now = clock::now();
        let due = all.iter().filter_map(|(_, q, _)| q.next_deadline()).map(|d| d.since(now)).min();
        let pause = tokio::time::sleep(due.map_or(LOOK, |d| d.min(LOOK)));
        tokio::select! {
            () = pause => {}
            Some(ended) = ends.join_next() => {
                watched.retain(|pid| ended.as_ref().ok() != Some(pid));
            }
        }
    }
}

async fn end(fd: AsyncFd<OwnedFd>, pid: u32) -> u32 {
    let _ = fd.readable().await;
    pid
}

/// The processes of each.
fn look(tracked: &[TrackProcess]) -> Vec<Vec<u32>> {
    let mut out = vec![Vec::new(); tracked.len()];
    process::each(|pid, short, command| {
        for (p, pids) in tracked.iter().zip(&mut out) {
            if is_tracked(p, short, command) {
                pids.push(pid);
            }
        }
    });
    out
}
