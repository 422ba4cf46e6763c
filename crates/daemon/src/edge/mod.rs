//! The edge: everything that talks to the outside and may be slow: health checks, scripts, name lookups, mail.
//!
//! It runs in a process of its own ([`process`]), which a thread of the worker supervises ([`supervisor`]). If the edge
//! process hangs, crashes or is killed, VRRP and forwarding go on, and the next one continues with the last results.

mod checks;
mod discovery;
mod fifo_readers;
mod mail;
mod messages;
mod notify_scripts;
mod process;
mod process_link;
mod supervisor;
mod tasks;
mod tracked_files;
mod tracked_processes;
mod tracked_scripts;

use std::sync::mpsc;
use std::time::Duration;

use evenkeel_core::discovery::{NameQuery, ResolvedServer};
use evenkeel_core::health::{CheckConfig, CheckId, ProbeResult, Verdict};
use evenkeel_core::ipc::NotificationStatus;
use evenkeel_core::model::{Config, ServiceKey, TrackResult, TrackedObject};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::router;
pub use checks::CheckSnapshot;
pub use mail::MailMessage;
use messages::{EdgeSettings, Request};
pub use notify_scripts::{LOWER_PRIORITY, Notification};
pub use process::run as run_process;
use supervisor::EdgeSupervisor;

/// Maximum time that a caller waits for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// An event of the edge process, or of its supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// A check has a new verdict.
    Verdict { id: CheckId, verdict: Verdict, result: ProbeResult },
    /// The verdicts of all checks that a new configuration left unchanged.
    CheckStates(Vec<(CheckId, Verdict)>),
    /// A run of a tracked script has ended. `good`: the result by `rise` and `fall`; `changed`: this run changed it.
    ScriptRan { name: String, good: Option<bool>, changed: bool, detail: String },
    /// The result of a tracked object changed. The supervisor sends it to the router thread.
    TrackChanged { object: TrackedObject, result: TrackResult },
    /// The result or the description of a tracked file or process changed.
    TrackReport { object: TrackedObject, result: Option<TrackResult>, detail: String },
    /// A name lookup has ended.
    Resolved { query: NameQuery, result: Result<Vec<ResolvedServer>, String> },
    /// A notify script has ended.
    NotifyDone(NotificationStatus),
    /// The process was started again and needs its configuration. Sent by the supervisor.
    Restarted,
}

/// A request to the supervisor.
enum SupervisorRequest {
    /// Forward this to the process.
    Forward(Request),
    /// Return the state of all checks.
    Checks(mpsc::Sender<CheckSnapshot>),
    /// Report when everything requested before is done.
    Flush(oneshot::Sender<()>),
    /// Stop the process and report when it has ended.
    Stop(oneshot::Sender<()>),
}

/// Sends requests to the edge.
pub struct Handle {
    requests: UnboundedSender<SupervisorRequest>,
}

impl Handle {
    fn forward(&self, request: Request) {
        let _ = self.requests.send(SupervisorRequest::Forward(request));
    }

    /// Configures the edge: scripts, files, names and these checks. What is unchanged continues undisturbed.
    pub fn configure(&self, config: &Config, checks: Vec<CheckConfig>) {
        self.forward(Request::Configure(Box::new(EdgeSettings::from_config(config))));
        self.forward(Request::ConfigureChecks(checks));
    }

    /// Suspends (true) and resumes (false) the checks of services.
    pub fn set_suspended(&self, services: Vec<(ServiceKey, bool)>) {
        self.forward(Request::SetSuspended(services));
    }

    /// The state of all checks; `None` if the edge does not answer in time.
    pub fn checks_snapshot(&self) -> Option<CheckSnapshot> {
        let (tx, rx) = mpsc::channel();
        let _ = self.requests.send(SupervisorRequest::Checks(tx));
        rx.recv_timeout(REPLY_TIMEOUT).ok()
    }

    /// Runs notify scripts, in the order of these calls.
    pub fn notify(&self, notification: Notification) {
        self.forward(Request::Notify(notification));
    }

    /// Sends mail.
    pub fn send_mail(&self, mail: MailMessage) {
        self.forward(Request::Mail(Box::new(mail)));
    }

    /// Waits until every notify script has been started and all mail is sent, [`REPLY_TIMEOUT`] at most.
    pub async fn flush(&self) {
        self.wait_for(SupervisorRequest::Flush).await;
    }

    /// Stops the edge process with the scripts that it runs, except notify scripts.
    pub async fn stop(&self) {
        self.wait_for(SupervisorRequest::Stop).await;
    }

    async fn wait_for(&self, request: impl Fn(oneshot::Sender<()>) -> SupervisorRequest) {
        let (done, wait) = oneshot::channel();
        if self.requests.send(request(done)).is_ok() {
            let _ = tokio::time::timeout(REPLY_TIMEOUT, wait).await;
        }
    }
}

/// Starts the edge supervisor's thread.
pub fn start(router: router::Handle, events: UnboundedSender<Event>) -> anyhow::Result<Handle> {
    let (requests, inbox) = unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let supervisor = EdgeSupervisor::new(inbox, router, events);
    std::thread::Builder::new().name("edge".into()).spawn(move || runtime.block_on(supervisor.run()))?;
    Ok(Handle { requests })
}
