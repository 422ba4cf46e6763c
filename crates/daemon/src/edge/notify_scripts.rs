//! Notify scripts. As keepalived, all are started at once and none is waited for. With `notify_ordered`, the scripts of
//! one object run one after another; if its state changes several times meanwhile, only the last state is notified.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use evenkeel_core::ipc::NotificationStatus;
use evenkeel_core::model::ScriptCommand;
use evenkeel_probe::program;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Event;

/// The event of a master that receives an advert of a lower priority (`notify_master_rx_lower_pri`). It is not a state.
pub const LOWER_PRIORITY: &str = "MASTER_RX_LOWER_PRI";

/// A change, and the scripts to run for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Notification {
    /// The object: `INSTANCE V`, `GROUP G`, `RS …`, `VS …`.
    pub subject: String,
    /// Its new state.
    pub state: String,
    /// The scripts, in this order.
    pub scripts: Vec<ScriptCommand>,
}

impl Notification {
    /// The queue: a newer state replaces an older one of the same object, but not an event that is no state.
    fn queue_key(&self) -> String {
        let is_event = self.state == LOWER_PRIORITY;
        if is_event { format!("{} {}", self.subject, self.state) } else { self.subject.clone() }
    }
}

/// Runs notify scripts.
pub struct NotifyScripts {
    events: UnboundedSender<Event>,
    /// `notify_ordered`: one queue for each [`Notification::queue_key`]. A queue holds one notification, which a newer
    /// one replaces.
    queues: BTreeMap<String, (watch::Sender<Option<Notification>>, JoinHandle<()>)>,
    /// `notify_ordered`: the time limit of each script; `None`: scripts run at once.
    ordered_timeout: Option<Duration>,
    /// `enable_script_security`
    secure: bool,
}

impl NotifyScripts {
    /// No script runs.
    pub fn new(events: UnboundedSender<Event>) -> Self {
        NotifyScripts { events, queues: BTreeMap::new(), ordered_timeout: None, secure: false }
    }

    /// Runs the scripts of a notification, and does not wait for their end.
    pub fn notify(&mut self, notification: Notification) {
        let (events, secure) = (self.events.clone(), self.secure);
        let Some(limit) = self.ordered_timeout else {
            let Notification { subject, state, scripts } = notification;
            for script in scripts {
                // Started here and not in the task: scripts start in the order of the notifications.
                let started = Instant::now();
                let child = program::program_command(&script, secure)
                    .and_then(|mut c| c.spawn().map_err(|e| format!("cannot run it: {e}")));
                let (subject, state, events) = (subject.clone(), state.clone(), events.clone());
                tokio::spawn(async move {
                    let result = match child {
                        Ok(mut child) => child.wait().await.map_err(|e| e.to_string()),
                        Err(reason) => Err(reason),
                    };
                    report_result(&events, (subject, state), &script, started, result);
                });
            }
            return;
        };
        self.queues.retain(|_, (_, task)| !task.is_finished());
        let (queue, _) = self.queues.entry(notification.queue_key()).or_insert_with(|| {
            let (tx, rx) = watch::channel(None);
            (tx, tokio::spawn(run_queue(rx, limit, secure, events)))
        });
        queue.send_replace(Some(notification));
    }

    /// Applies settings to later notifications; those that are queued run with the old ones.
    pub fn configure(&mut self, ordered_timeout: Option<Duration>, secure: bool) {
        if (ordered_timeout, secure) != (self.ordered_timeout, self.secure) {
            self.queues.clear();
            (self.ordered_timeout, self.secure) = (ordered_timeout, secure);
        }
    }

    /// Waits until every queued script has ended. Scripts that run at once are not waited for.
    pub fn flush(&mut self) -> impl Future<Output = ()> + use<> {
        let queues = std::mem::take(&mut self.queues);
        async move {
            for (queue, task) in queues.into_values() {
                drop(queue);
                let _ = task.await;
            }
        }
    }
}

/// Runs the scripts of one queue until the queue is dropped.
async fn run_queue(
    mut queue: watch::Receiver<Option<Notification>>,
    limit: Duration,
    secure: bool,
    events: UnboundedSender<Event>,
) {
    while queue.changed().await.is_ok() {
        let Some(notification) = queue.borrow_and_update().clone() else { continue };
        let Notification { subject, state, scripts } = notification;
        for script in scripts {
            let started = Instant::now();
            let result = program::run_program(&script, limit, secure).await;
            report_result(&events, (subject.clone(), state.clone()), &script, started, result);
        }
    }
}

fn report_result(
    events: &UnboundedSender<Event>,
    (object, state): (String, String),
    script: &ScriptCommand,
    started: Instant,
    result: Result<std::process::ExitStatus, String>,
) {
    let (ok, result) = match result {
        Ok(status) => (status.success(), status.to_string()),
        Err(reason) => (false, reason),
    };
    let program = script.argv.first().cloned().unwrap_or_default();
    if !ok {
        tracing::warn!(script = %program, "notify script {program} for {object} {state} failed: {result}");
    }
    let duration_ms = started.elapsed().as_millis() as u64;
    let _ = events.send(Event::NotifyDone(NotificationStatus { object, state, program, result, ok, duration_ms }));
}
