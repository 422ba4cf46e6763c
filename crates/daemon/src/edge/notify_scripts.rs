//! Programs that are told of something: each at once, as keepalived does it; or, with `notify_ordered`, for each instance
//! one after another, and of what happened meanwhile only the last.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use evenkeel_core::ipc::NotificationStatus;
use evenkeel_core::model::ScriptCommand;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Event;
use evenkeel_probe::program;

/// What a master is told of that hears a lower priority; no state.
pub const LOWER_PRIORITY: &str = "MASTER_RX_LOWER_PRI";

/// Of what programs are told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Notification {
    /// `INSTANCE V`, `GROUP G`, `RS …`
    pub subject: String,
    /// Its new state.
    pub state: String,
    /// Who is told, in this order.
    pub scripts: Vec<ScriptCommand>,
}

impl Notification {
    /// What takes the place of what: states of one another, but not of other events.
    fn queue_key(&self) -> String {
        let event = self.state == LOWER_PRIORITY;
        if event { format!("{} {}", self.subject, self.state) } else { self.subject.clone() }
    }
}

/// How programs are told, and those who wait to be.
pub struct NotifyScripts {
    events: UnboundedSender<Event>,
    /// By what the news are of. A queue holds one: whatever is newer takes its place.
    queues: BTreeMap<String, (watch::Sender<Option<Notification>>, JoinHandle<()>)>,
    /// In order, and each for so long at most.
    ordered_timeout: Option<Duration>,
    /// `enable_script_security`
    secure: bool,
}

impl NotifyScripts {
    /// Nobody has been told anything.
    pub fn new(events: UnboundedSender<Event>) -> Self {
        NotifyScripts { events, queues: BTreeMap::new(), ordered_timeout: None, secure: false }
    }

    /// Tells programs of something, and waits for none of them.
    pub fn notify(&mut self, news: Notification) {
        let (events, secure) = (self.events.clone(), self.secure);
        let Some(limit) = self.ordered_timeout else {
            let Notification { subject: of, state, scripts: programs } = news;
            for program in programs {
                // Started here, so that their order is that of the news.
                let begun = Instant::now();
                let child = program::program_command(&program, secure)
                    .and_then(|mut c| c.spawn().map_err(|e| format!("cannot run it: {e}")));
                let (of, state, events) = (of.clone(), state.clone(), events.clone());
                tokio::spawn(async move {
                    let ended = match child {
                        Ok(mut child) => child.wait().await.map_err(|e| e.to_string()),
                        Err(why) => Err(why),
                    };
                    report_result(&events, (of, state), &program, begun, ended);
                });
            }
            return;
        };
        self.queues.retain(|_, (_, task)| !task.is_finished());
        let (queue, _) = self.queues.entry(news.queue_key()).or_insert_with(|| {
            let (tx, rx) = watch::channel(None);
            (tx, tokio::spawn(run_queue(rx, limit, secure, events)))
        });
        queue.send_replace(Some(news));
    }

    /// Other ways from now on; what waits is told as it was to be.
    pub fn configure(&mut self, ordered: Option<Duration>, secure: bool) {
        if (ordered, secure) != (self.ordered_timeout, self.secure) {
            self.queues.clear();
            (self.ordered_timeout, self.secure) = (ordered, secure);
        }
    }

    /// Ends when everybody has been told who was to be until now.
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

/// One queue, as long as anybody can put something into it.
async fn run_queue(
    mut queue: watch::Receiver<Option<Notification>>,
    limit: Duration,
    secure: bool,
    events: UnboundedSender<Event>,
) {
    while queue.changed().await.is_ok() {
        let Some(Notification { subject: of, state, scripts: programs }) = queue.borrow_and_update().clone() else {
            continue;
        };
        for program in programs {
            let begun = Instant::now();
            let ended = program::run_program(&program, limit, secure).await;
            report_result(&events, (of.clone(), state.clone()), &program, begun, ended);
        }
    }
}

fn report_result(
    events: &UnboundedSender<Event>,
    (of, state): (String, String),
    program: &ScriptCommand,
    begun: Instant,
    ended: Result<std::process::ExitStatus, String>,
) {
    let (ok, result) = match ended {
        Ok(status) => (status.success(), status.to_string()),
        Err(why) => (false, why),
    };
    let program = program.argv.first().cloned().unwrap_or_default();
    if !ok {
        tracing::warn!(script = %program, "{program}, told of {of} {state}: {result}");
    }
    let took_ms = begun.elapsed().as_millis() as u64;
    let _ = events.send(Event::NotifyDone(NotificationStatus {
        object: of,
        state,
        program,
        result,
        ok,
        duration_ms: took_ms,
    }));
}
