//! Names of real servers, looked up again and again.

use std::time::Duration;

use evenkeel_core::discovery::NameQuery;
use evenkeel_probe::lookup;
use tokio::sync::mpsc::UnboundedSender;

use super::Event;

/// Looks one name up for ever, so far apart; after a failure a little sooner.
pub async fn run(asked: NameQuery, every: Duration, events: UnboundedSender<Event>) {
    loop {
        let result = lookup::lookup(&asked).await;
        let failed = result.is_err();
        if events.send(Event::Resolved { query: asked.clone(), result }).is_err() {
            return;
        }
        tokio::time::sleep(if failed { every.min(Duration::from_secs(5)) } else { every }).await;
    }
}
