//! What talks to the outside and may be slow: health checks, scripts, mail, names. It is a process of its own ([`role`]),
//! which a thread of the working process keeps ([`keeper`]): if it hangs, is killed or crashes, nothing happens to VRRP and
//! forwarding, and it begins anew with what was known.

mod checks;
mod files;
mod keeper;
mod mail;
mod messages;
mod names;
mod processes;
mod readers;
mod role;
mod scripts;
mod tell;

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use evenkeel_core::health::{CheckId, Checking, ProbeResult, Verdict};
use evenkeel_core::ipc::NotifiedStatus;
use evenkeel_core::model::{Config, Found as Seen, ServiceKey, TrackedObject};
use evenkeel_core::names::{Asked, Found};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::router;
pub use checks::Snapshot;
use keeper::Keeper;
pub use mail::Letter;
use messages::{Request, Settings};
pub use role::run as run_role;
pub use tell::{LOWER_PRIORITY, News};

/// Whoever asks waits no longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the edge tells.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// A check has come to another verdict.
    Judged { id: CheckId, verdict: Verdict, result: ProbeResult },
    /// Where all checks stand that a new configuration has left as they were.
    Standing(Vec<(CheckId, Verdict)>),
    /// A script's run has ended.
    ScriptRan { name: String, good: Option<bool>, changed: bool, last: String },
    /// A tracked object was found to be otherwise; the keeper passes it to the router at once.
    Found { object: TrackedObject, found: Seen },
    /// A tracked file or process was looked at, and something about it is new.
    Tracked { object: TrackedObject, found: Option<Seen>, detail: String },
    /// A name was looked up.
    Named { asked: Asked, result: Result<Vec<Found>, String> },
    /// A program that was told of something has ended.
    Notified(NotifiedStatus),
    /// The process had to be started anew, and knows nothing.
    Reborn,
}

/// What the keeper is asked.
enum Ask {
    /// Say this to the process.
    Say(Request),
    /// What is known of checks.
    Checks(mpsc::Sender<Snapshot>),
    /// Say when everything asked before is under way.
    Flush(oneshot::Sender<()>),
    /// End it, and say so.
    End(oneshot::Sender<()>),
}

/// A way to speak to the edge.
pub struct Handle {
    asks: UnboundedSender<Ask>,
}

impl Handle {
    fn say(&self, request: Request) {
        let _ = self.asks.send(Ask::Say(request));
    }

    /// The checks and scripts that should run; what is unchanged goes on undisturbed.
    pub fn configure(&self, config: &Config, checks: Vec<Checking>) {
        self.say(Request::Configure(Box::new(Settings::of(config))));
        self.say(Request::Check(checks));
    }

    /// Services whose checks rest, and others whose checks do not.
    pub fn suspend(&self, services: Vec<(ServiceKey, bool)>) {
        self.say(Request::Suspend(services));
    }

    /// What is known of checks.
    pub fn checks(&self) -> Option<Snapshot> {
        let (tx, rx) = mpsc::channel();
        let _ = self.asks.send(Ask::Checks(tx));
        rx.recv_timeout(PATIENCE).ok()
    }

    /// Tells programs of something, in the order of these calls.
    pub fn tell(&self, news: News) {
        self.say(Request::Tell(news));
    }

    /// Sends a mail.
    pub fn mail(&self, letter: Letter) {
        self.say(Request::Mail(Box::new(letter)));
    }

    /// Waits until every program that was to be started has been, and every letter is sent, or it takes too long.
    pub async fn flush(&self) {
        self.wait(Ask::Flush).await;
    }

    /// Ends it, and every program that it runs and does not let out of sight.
    pub async fn end(&self) {
        self.wait(Ask::End).await;
    }

    async fn wait(&self, ask: impl Fn(oneshot::Sender<()>) -> Ask) {
        let (done, wait) = oneshot::channel();
        if self.asks.send(ask(done)).is_ok() {
            let _ = tokio::time::timeout(PATIENCE, wait).await;
        }
    }
}

/// Starts the thread that keeps the edge process.
pub fn start(router: router::Handle, events: UnboundedSender<Event>) -> anyhow::Result<Handle> {
    let (asks, inbox) = unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let settings = Box::default();
    let keeper =
        Keeper { asks: inbox, router, events, settings, known: BTreeMap::new(), has_died: false, held: Vec::new() };
    std::thread::Builder::new().name("edge".into()).spawn(move || runtime.block_on(keeper.run()))?;
    Ok(Handle { asks })
}
