//! The edge thread: what talks to the outside and may be slow. Health checks and scripts; a hanging one delays nobody.

mod checks;
mod files;
mod mail;
mod names;
mod processes;
mod readers;
mod scripts;
mod tell;

use std::collections::BTreeMap;
use std::time::Duration;

use std::sync::mpsc;

use evenkeel_core::health::{CheckId, Checking, ProbeResult, Verdict};
use evenkeel_core::ipc::NotifiedStatus;
use evenkeel_core::model::{
    Config, Found as Seen, ScriptCommand, ServiceKey, TrackFile, TrackProcess, TrackedObject, VrrpScript,
};
use evenkeel_core::names::{Asked, Found, asked};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::router;
use checks::Checks;
pub use checks::Snapshot;
pub use mail::Letter;
use mail::Post;
use tell::Tell;
pub use tell::{LOWER_PRIORITY, News};

/// Names of real servers are looked up so often if nothing is written, seconds.
const NAME_REFRESH_S: u64 = 10;

/// What the edge thread tells.
#[derive(Debug)]
pub enum Event {
    /// A check has come to another verdict.
    Judged { id: CheckId, verdict: Verdict, result: ProbeResult },
    /// Where all checks stand that a new configuration has left as they were.
    Standing(Vec<(CheckId, Verdict)>),
    /// A script's run has ended.
    ScriptRan { name: String, good: Option<bool>, changed: bool, last: String },
    /// A tracked file or process was looked at, and something about it is new.
    Tracked { object: TrackedObject, found: Option<Seen>, detail: String },
    /// A name was looked up.
    Named { asked: Asked, result: Result<Vec<Found>, String> },
    /// A program that was told of something has ended.
    Notified(NotifiedStatus),
}

/// What the edge thread is asked.
enum Request {
    /// The scripts that should run, and so on.
    Configure(Box<Config>),
    /// The checks that should be made.
    Check(Vec<Checking>),
    /// Services whose checks rest, and others whose checks do not.
    Suspend(Vec<(ServiceKey, bool)>),
    /// What is known of checks.
    Checks(mpsc::Sender<Snapshot>),
    /// Tell programs of something, and wait for nothing.
    Tell(News),
    /// Send this.
    Mail(Box<Letter>),
    /// Say when everything asked before is under way.
    Flush(oneshot::Sender<()>),
}

/// A way to speak to the edge thread.
pub struct Handle {
    requests: UnboundedSender<Request>,
}

impl Handle {
    /// The checks and scripts that should run; what is unchanged goes on undisturbed.
    pub fn configure(&self, config: &Config, checks: Vec<Checking>) {
        let _ = self.requests.send(Request::Configure(Box::new(config.clone())));
        let _ = self.requests.send(Request::Check(checks));
    }

    /// Services whose checks rest, and others whose checks do not.
    pub fn suspend(&self, services: Vec<(ServiceKey, bool)>) {
        let _ = self.requests.send(Request::Suspend(services));
    }

    /// What is known of checks.
    pub fn checks(&self) -> Option<Snapshot> {
        let (tx, rx) = mpsc::channel();
        let _ = self.requests.send(Request::Checks(tx));
        rx.recv_timeout(std::time::Duration::from_secs(2)).ok()
    }

    /// Tells programs of something, in the order of these calls.
    pub fn tell(&self, news: News) {
        let _ = self.requests.send(Request::Tell(news));
    }

    /// Sends a mail.
    pub fn mail(&self, letter: Letter) {
        let _ = self.requests.send(Request::Mail(Box::new(letter)));
    }

    /// Waits until every program that was to be started has been.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.requests.send(Request::Flush(done)).is_ok() {
            let _ = tokio::time::timeout(std::time::Duration::from_secs(2), wait).await;
        }
    }
}

/// Starts the thread.
pub fn start(router: router::Handle, cpus: Vec<u16>, events: UnboundedSender<Event>) -> anyhow::Result<Handle> {
    let (requests, inbox) = unbounded_channel();
    std::thread::Builder::new().name("edge".into()).spawn(move || {
        if let Err(e) = evenkeel_sys::rt::run_on(&cpus) {
            tracing::warn!("health is checked on every processor: {e}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(rt) => {
                let tell = Tell::new(events.clone());
                let edge = Edge {
                    router,
                    events,
                    tell,
                    post: None,
                    readers: BTreeMap::new(),
                    checks: Checks::new(),
                    scripts: BTreeMap::new(),
                    files: BTreeMap::new(),
                    processes: None,
                    names: BTreeMap::new(),
                    refresh: Duration::ZERO,
                };
                rt.block_on(edge.run(inbox))
            }
            Err(e) => tracing::error!("no health checks: {e}"),
        }
    })?;
    Ok(Handle { requests })
}

struct Edge {
    router: router::Handle,
    events: UnboundedSender<Event>,
    checks: Checks,
    scripts: BTreeMap<String, (VrrpScript, JoinHandle<()>)>,
    files: BTreeMap<String, (TrackFile, JoinHandle<()>)>,
    processes: Option<(Vec<TrackProcess>, JoinHandle<()>)>,
    names: BTreeMap<Asked, JoinHandle<()>>,
    /// How often they are looked up.
    refresh: Duration,
    /// By what they are told, which says who they are.
    readers: BTreeMap<String, (ScriptCommand, JoinHandle<()>)>,
    tell: Tell,
    /// Opened with the first letter.
    post: Option<Post>,
}

impl Edge {
    async fn run(mut self, mut inbox: UnboundedReceiver<Request>) {
        loop {
            let request = tokio::select! {
                biased;
                request = inbox.recv() => request,
                () = self.checks.serve(&self.events) => continue,
            };
            match request {
                Some(Request::Configure(config)) => {
                    self.tell.configure(config.global.notify_ordered, config.global.enable_script_security);
                    self.checks.settings(&config.global);
                    self.readers(&config);
                    self.scripts(&config);
                    self.files(&config);
                    self.processes(&config);
                    self.names(&config);
                }
                Some(Request::Check(wanted)) => {
                    let standing = self.checks.configure(wanted);
                    let _ = self.events.send(Event::Standing(standing));
                }
                Some(Request::Suspend(services)) => self.checks.suspend(services),
                Some(Request::Checks(to)) => drop(to.send(self.checks.snapshot())),
                Some(Request::Tell(news)) => self.tell.tell(news),
                Some(Request::Mail(letter)) => self.post.get_or_insert_with(Post::open).send(*letter),
                Some(Request::Flush(done)) => {
                    self.tell.finish().await;
                    let _ = done.send(());
                }
                None => return,
            }
        }
    }

    fn scripts(&mut self, config: &Config) {
        keep(&mut self.scripts, |name| config.scripts.iter().find(|s| s.name == name).cloned());
        for s in &config.scripts {
            if !self.scripts.contains_key(&s.name) {
                let secure = config.global.enable_script_security;
                let task = scripts::run(s.clone(), secure, self.router.clone(), self.events.clone());
                self.scripts.insert(s.name.clone(), (s.clone(), tokio::spawn(task)));
            }
        }
    }

    fn readers(&mut self, config: &Config) {
        let all: Vec<&ScriptCommand> = config.global.fifos.iter().flat_map(|f| &f.readers).collect();
        let name = |r: &ScriptCommand| r.argv.join(" ");
        keep(&mut self.readers, |n| all.iter().find(|r| name(r) == n).map(|r| (*r).clone()));
        for r in all {
            self.readers.entry(name(r)).or_insert_with(|| {
                let task = readers::run(r.clone(), config.global.enable_script_security);
                (r.clone(), tokio::spawn(task))
            });
        }
    }

    fn names(&mut self, config: &Config) {
        let every = Duration::from_secs(config.global.name_refresh.map_or(NAME_REFRESH_S, u64::from));
        let wanted = asked(config);
        let changed = std::mem::replace(&mut self.refresh, every) != every;
        self.names.retain(|name, task| {
            let stays = !changed && wanted.contains(name);
            if !stays {
                task.abort();
            }
            stays
        });
        for name in wanted {
            self.names
                .entry(name.clone())
                .or_insert_with(|| tokio::spawn(names::run(name, every, self.events.clone())));
        }
    }

    fn files(&mut self, config: &Config) {
        keep(&mut self.files, |name| config.track_files.iter().find(|f| f.name == name).cloned());
        for f in &config.track_files {
            if !self.files.contains_key(&f.name) {
                let task = files::run(f.clone(), self.router.clone(), self.events.clone());
                self.files.insert(f.name.clone(), (f.clone(), tokio::spawn(task)));
            }
        }
    }

    /// One look through /proc serves all of them.
    fn processes(&mut self, config: &Config) {
        let wanted = &config.track_processes;
        if self.processes.as_ref().map_or(&[][..], |(p, _)| p) == wanted.as_slice() {
            return;
        }
        if let Some((_, task)) = self.processes.take() {
            task.abort();
        }
        if !wanted.is_empty() {
            let task = processes::run(wanted.clone(), self.router.clone(), self.events.clone());
            self.processes = Some((wanted.clone(), tokio::spawn(task)));
        }
    }
}

/// Ends what is not wanted any more, as it was.
fn keep<T: PartialEq>(running: &mut BTreeMap<String, (T, JoinHandle<()>)>, wanted: impl Fn(&str) -> Option<T>) {
    running.retain(|name, (was, task)| {
        let stays = wanted(name).is_some_and(|w| w == *was);
        if !stays {
            task.abort();
        }
        stays
    });
}
