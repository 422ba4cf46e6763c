//! The observer: a thread that lists devices and addresses after every change, and reports deletions of routes and
//! rules, for the router thread.
//!
//! Listing takes the kernel's network lock, which others may hold for seconds; the router thread must not wait for it.
//! An observation may be old by the time it is used: the kernel then rejects the change that is based on it, and the
//! event of the other change brings a newer observation.

use std::time::{Duration, Instant};

use evenkeel_sys::netlink::{DeletionSubscription, Monitor, Netlink};

use super::messages::{Command, Handle};
use super::observation::Observation;

/// The pause after an observation, as a multiple of the time that it took, and its maximum: where thousands of devices
/// come and go, several events share an observation.
const PAUSE_FACTOR: u32 = 3;
const MAX_PAUSE: Duration = Duration::from_millis(200);

/// Starts the thread. Returns the first observation, and the subscription that enables reports of deleted routes and
/// rules; those that `own_socket` deletes are not reported.
pub fn start(router: Handle, own_socket: &Netlink) -> anyhow::Result<(Observation, DeletionSubscription)> {
    // The monitor listens before the first observation, so that no change between the two is lost.
    let mut monitor = Monitor::new(false)?;
    monitor.ignore_changes_of(own_socket);
    let subscription = DeletionSubscription::new(&monitor)?;
    let mut netlink = Netlink::new()?;
    let first = Observation::read(&mut netlink)?;
    std::thread::Builder::new().name("observer".into()).spawn(move || {
        while monitor.wait().is_ok() {
            let changes = monitor.read_events();
            let deletions = monitor.take_deletions();
            if !deletions.is_empty() {
                router.send(Command::RoutesRemoved(deletions));
            }
            if !changes.links && !changes.addresses {
                continue;
            }
            let start = Instant::now();
            match Observation::read(&mut netlink) {
                Ok(observation) => router.send(Command::Observed(observation)),
                Err(e) => tracing::error!("cannot list devices and addresses: {e}"),
            }
            std::thread::sleep(MAX_PAUSE.min(start.elapsed() * PAUSE_FACTOR));
        }
    })?;
    Ok((first, subscription))
}
