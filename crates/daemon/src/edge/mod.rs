//! What talks to the outside and may be slow: health checks, scripts, mail, names. It is a process of its own ([`role`]),
//! which a thread of the working process keeps ([`keeper`]): if it hangs, is killed or crashes, nothing happens to VRRP and
//! forwarding, and it begins anew with what was known.

mod checks;
mod discovery;
mod fifo_readers;
mod mail;
mod messages;
mod notify_scripts;
mod process;
mod supervisor;
mod tracked_files;
mod tracked_processes;
mod tracked_scripts;

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use evenkeel_core::discovery::{NameQuery, ResolvedServer};
use evenkeel_core::health::{CheckConfig, CheckId, ProbeResult, Verdict};
use evenkeel_core::ipc::NotificationStatus;
use evenkeel_core::model::{Config, ServiceKey, TrackResult as Seen, TrackedObject};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::router;
pub use checks::CheckSnapshot;
pub use mail::MailMessage;
use messages::{EdgeSettings, Request};
pub use notify_scripts::{LOWER_PRIORITY, Notification};
pub use process::run as run_role;
use supervisor::EdgeSupervisor;

/// Whoever asks waits no longer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// What the edge tells.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// A check has come to another verdict.
    Verdict { id: CheckId, verdict: Verdict, result: ProbeResult },
    /// Where all checks stand that a new configuration has left as they were.
    CheckStates(Vec<(CheckId, Verdict)>),
    /// A script's run has ended.
    ScriptRan { name: String, good: Option<bool>, changed: bool, detail: String },
    /// A tracked object was found to be otherwise; the keeper passes it to the router at once.
    TrackChanged { object: TrackedObject, result: Seen },
    /// A tracked file or process was looked at, and something about it is new.
    TrackReport { object: TrackedObject, result: Option<Seen>, detail: String },
    /// A name was looked up.
    Resolved { query: NameQuery, result: Result<Vec<ResolvedServer>, String> },
    /// A program that was told of something has ended.
    NotifyDone(NotificationStatus),
    /// The process had to be started anew, and knows nothing.
    Restarted,
}

/// What the keeper is asked.
enum SupervisorRequest {
    /// Say this to the process.
    Forward(Request),
    /// What is known of checks.
    Checks(mpsc::Sender<CheckSnapshot>),
    /// Say when everything asked before is under way.
    Flush(oneshot::Sender<()>),
    /// End it, and say so.
    Stop(oneshot::Sender<()>),
}

/// A way to speak to the edge.
pub struct Handle {
    requests: UnboundedSender<SupervisorRequest>,
}

impl Handle {
    fn forward(&self, request: Request) {
        let _ = self.requests.send(SupervisorRequest::Forward(request));
    }

    /// The checks and scripts that should run; what is unchanged goes on undisturbed.
    pub fn configure(&self, config: &Config, checks: Vec<CheckConfig>) {
        self.forward(Request::Configure(Box::new(EdgeSettings::from_config(config))));
        self.forward(Request::ConfigureChecks(checks));
    }

    /// Services whose checks rest, and others whose checks do not.
    pub fn set_suspended(&self, services: Vec<(ServiceKey, bool)>) {
        self.forward(Request::SetSuspended(services));
    }

    /// What is known of checks.
    pub fn checks_snapshot(&self) -> Option<CheckSnapshot> {
        let (tx, rx) = mpsc::channel();
        let _ = self.requests.send(SupervisorRequest::Checks(tx));
        rx.recv_timeout(REPLY_TIMEOUT).ok()
    }

    /// Tells programs of something, in the order of these calls.
    pub fn notify(&self, news: Notification) {
        self.forward(Request::Notify(news));
    }

    /// Sends a mail.
    pub fn send_mail(&self, letter: MailMessage) {
        self.forward(Request::Mail(Box::new(letter)));
    }

    /// Waits until every program that was to be started has been, and every letter is sent, or it takes too long.
    pub async fn flush(&self) {
        self.wait_for(SupervisorRequest::Flush).await;
    }

    /// Ends it, and every program that it runs and does not let out of sight.
    pub async fn stop(&self) {
        self.wait_for(SupervisorRequest::Stop).await;
    }

    async fn wait_for(&self, ask: impl Fn(oneshot::Sender<()>) -> SupervisorRequest) {
        let (done, wait) = oneshot::channel();
        if self.requests.send(ask(done)).is_ok() {
            let _ = tokio::time::timeout(REPLY_TIMEOUT, wait).await;
        }
    }
}

/// Starts the thread that keeps the edge process.
pub fn start(router: router::Handle, events: UnboundedSender<Event>) -> anyhow::Result<Handle> {
    let (asks, inbox) = unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let settings = Box::default();
    let keeper = EdgeSupervisor {
        requests: inbox,
        router,
        events,
        settings,
        last_results: BTreeMap::new(),
        has_died: false,
        queued: Vec::new(),
    };
    std::thread::Builder::new().name("edge".into()).spawn(move || runtime.block_on(keeper.run()))?;
    Ok(Handle { requests: asks })
}
