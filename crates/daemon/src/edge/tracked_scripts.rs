//! Tracked scripts: run at their interval, as their user, never for longer than their timeout.

use evenkeel_core::model::{TrackResult, TrackedObject, VrrpScript};
use evenkeel_core::vrrp::track::ScriptState;
use evenkeel_probe::program;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Event;

/// Runs a script for as long as it is configured.
/// `known`: how it stood when a process before this one ran it.
pub async fn run(script: VrrpScript, known: Option<bool>, secure: bool, events: UnboundedSender<Event>) {
    let mut standing = known.map_or_else(|| ScriptState::new(&script), ScriptState::restored);
    if let Some(good) = standing.good() {
        let _ = events.send(track_event(&script, good));
    }
    let mut ticks = interval_at(Instant::now(), script.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay); // a run that takes longer is not run twice at once
    let mut trouble = String::new();
    loop {
        ticks.tick().await;
        let (ok, last) = match program::run_program(&script.command, script.timeout, secure).await {
            Ok(status) => (status.success(), status.to_string()),
            Err(why) => (false, why),
        };
        if !ok && last != trouble && !last.starts_with("exit status") {
            tracing::warn!(script = %script.name, "script {}: {last}", script.name);
        }
        trouble = if ok { String::new() } else { last.clone() };
        let changed = standing.record_result(ok, script.rise, script.fall);
        if let Some(good) = changed {
            let _ = events.send(track_event(&script, good));
        }
        let event = Event::ScriptRan {
            name: script.name.clone(),
            good: standing.good(),
            changed: changed.is_some(),
            detail: last,
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

fn track_event(script: &VrrpScript, good: bool) -> Event {
    Event::TrackChanged { object: TrackedObject::Script(script.name.clone()), result: TrackResult::Good(good) }
}
