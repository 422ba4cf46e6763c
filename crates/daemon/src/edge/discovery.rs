//! Name lookups for real servers that are configured by name: one task for each name, at an interval.

use std::time::Duration;

use evenkeel_core::discovery::NameQuery;
use evenkeel_probe::lookup;
use tokio::sync::mpsc::UnboundedSender;

use super::Event;

/// Maximum delay after a failed lookup.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// Looks one name up until the task is stopped.
pub async fn run(query: NameQuery, interval: Duration, events: UnboundedSender<Event>) {
    loop {
        let result = lookup::lookup(&query).await;
        let failed = result.is_err();
        if events.send(Event::Resolved { query: query.clone(), result }).is_err() {
            return;
        }
        tokio::time::sleep(if failed { interval.min(RETRY_DELAY) } else { interval }).await;
    }
}
