//! Tracked scripts: run at their interval, as their user, never for longer than their timeout.

use evenkeel_core::model::{Found, TrackedObject, VrrpScript};
use evenkeel_core::vrrp::track::Standing;
use evenkeel_probe::program;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Event;
use crate::router;

/// Runs a script for as long as it is configured.
pub async fn run(script: VrrpScript, secure: bool, router: router::Handle, events: UnboundedSender<Event>) {
    let mut standing = Standing::new(&script);
    if let Some(good) = standing.good() {
        router.send(tracked(&script, good));
    }
    let mut ticks = interval_at(Instant::now(), script.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay); // a run that takes longer is not run twice at once
    let mut trouble = String::new();
    loop {
        ticks.tick().await;
        let (ok, last) = match program::once(&script.command, script.timeout, secure).await {
            Ok(status) => (status.success(), status.to_string()),
            Err(why) => (false, why),
        };
        if !ok && last != trouble && !last.starts_with("exit status") {
            tracing::warn!(script = %script.name, "script {}: {last}", script.name);
        }
        trouble = if ok { String::new() } else { last.clone() };
        let changed = standing.result(ok, script.rise, script.fall);
        if let Some(good) = changed {
            router.send(tracked(&script, good));
        }
        let event =
            Event::ScriptRan { name: script.name.clone(), good: standing.good(), changed: changed.is_some(), last };
        if events.send(event).is_err() {
            return;
        }
    }
}

fn tracked(script: &VrrpScript, good: bool) -> router::Command {
    router::Command::Tracked { object: TrackedObject::Script(script.name.clone()), found: Found::Good(good) }
}
