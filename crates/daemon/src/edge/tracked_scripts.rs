//! Tracked scripts (`vrrp_script`): each runs at its interval, as its user, and is killed at its timeout.

use evenkeel_core::model::{TrackResult, TrackedObject, VrrpScript};
use evenkeel_core::vrrp::track::ScriptState;
use evenkeel_probe::program;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Event;

/// Runs a script until the task is stopped. `previous`: its result in an edge process before this one.
pub async fn run(script: VrrpScript, previous: Option<bool>, secure: bool, events: UnboundedSender<Event>) {
    let mut state = previous.map_or_else(|| ScriptState::new(&script), ScriptState::restored);
    if let Some(good) = state.good() {
        let _ = events.send(track_event(&script, good));
    }
    let mut ticks = interval_at(Instant::now(), script.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay); // runs do not overlap
    let mut last_error = String::new();
    loop {
        ticks.tick().await;
        let (ok, detail) = match program::run_program(&script.command, script.timeout, secure).await {
            Ok(status) => (status.success(), status.to_string()),
            Err(reason) => (false, reason),
        };
        // An exit status is a result of the script; everything else is worth a warning: it could not run, or was
        // killed.
        if !ok && detail != last_error && !detail.starts_with("exit status") {
            tracing::warn!(script = %script.name, "script {} did not run to its end: {detail}", script.name);
        }
        last_error = if ok { String::new() } else { detail.clone() };
        let changed = state.record_result(ok, script.rise, script.fall);
        if let Some(good) = changed {
            let _ = events.send(track_event(&script, good));
        }
        let event =
            Event::ScriptRan { name: script.name.clone(), good: state.good(), changed: changed.is_some(), detail };
        if events.send(event).is_err() {
            return;
        }
    }
}

fn track_event(script: &VrrpScript, good: bool) -> Event {
    Event::TrackChanged { object: TrackedObject::Script(script.name.clone()), result: TrackResult::Good(good) }
}
