//! The edge thread: what talks to the outside and may be slow. Health checks and scripts; a hanging one delays nobody.

mod files;
mod mail;
mod probe;
mod processes;
mod readers;
mod scripts;
mod tell;

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::health::{Checker, Output, ProbeResult};
use evenkeel_core::ipc::NotifiedStatus;
use evenkeel_core::model::{
    Check, CheckKind, Config, Found, ScriptCommand, ServerKey, ServiceKey, TrackFile, TrackProcess, TrackedObject,
    VrrpScript,
};
use evenkeel_sys::clock;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::router;
pub use mail::Letter;
use mail::Post;
use tell::Tell;
pub use tell::{LOWER_PRIORITY, News};

/// Which check of which real server.
pub type CheckId = (ServiceKey, ServerKey, usize);

/// What the edge thread tells.
#[derive(Debug)]
pub enum Event {
    /// A probe has ended.
    Probed { id: CheckId, up: bool, changed: bool, result: ProbeResult },
    /// A script's run has ended.
    ScriptRan { name: String, good: Option<bool>, changed: bool, last: String },
    /// A tracked file or process was looked at, and something about it is new.
    Tracked { object: TrackedObject, found: Option<Found>, detail: String },
    /// A program that was told of something has ended.
    Notified(NotifiedStatus),
}

/// Servers that an earlier daemon had found dead.
pub type Dead = BTreeSet<(ServiceKey, ServerKey)>;

/// What the edge thread is asked.
enum Request {
    /// The checks and scripts that should run.
    Configure(Box<Config>, Dead),
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
    /// The checks and scripts that should run; what is unchanged goes on undisturbed. Checks of dead servers begin dead.
    pub fn configure(&self, config: &Config, dead: Dead) {
        let _ = self.requests.send(Request::Configure(Box::new(config.clone()), dead));
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
pub fn start(router: router::Handle, events: UnboundedSender<Event>) -> anyhow::Result<Handle> {
    let (requests, inbox) = unbounded_channel();
    std::thread::Builder::new().name("edge".into()).spawn(move || {
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
                    checks: BTreeMap::new(),
                    scripts: BTreeMap::new(),
                    files: BTreeMap::new(),
                    processes: None,
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
    checks: BTreeMap<CheckId, (Check, JoinHandle<()>)>,
    scripts: BTreeMap<String, (VrrpScript, JoinHandle<()>)>,
    files: BTreeMap<String, (TrackFile, JoinHandle<()>)>,
    processes: Option<(Vec<TrackProcess>, JoinHandle<()>)>,
    /// By what they are told, which says who they are.
    readers: BTreeMap<String, (ScriptCommand, JoinHandle<()>)>,
    tell: Tell,
    /// Opened with the first letter.
    post: Option<Post>,
}

impl Edge {
    async fn run(mut self, mut inbox: UnboundedReceiver<Request>) {
        let mut first = true;
        while let Some(request) = inbox.recv().await {
            match request {
                Request::Configure(config, dead) => {
                    self.tell.configure(config.global.notify_ordered, config.global.enable_script_security);
                    self.readers(&config);
                    self.checks(&config, &dead, first);
                    self.scripts(&config);
                    self.files(&config);
                    self.processes(&config);
                    first = false;
                }
                Request::Tell(news) => self.tell.tell(news),
                Request::Mail(letter) => self.post.get_or_insert_with(Post::open).send(*letter),
                Request::Flush(done) => {
                    self.tell.finish().await;
                    let _ = done.send(());
                }
            }
        }
    }

    fn checks(&mut self, config: &Config, dead: &Dead, first: bool) {
        let mut wanted = BTreeMap::new();
        for v in &config.virtual_servers {
            for r in &v.servers {
                let probed = |c: &&Check| !matches!(c.kind, CheckKind::Bfd(_));
                for (n, c) in r.checks.iter().enumerate().filter(|(_, c)| probed(c)) {
                    wanted.insert((v.key, r.key, n), (c.clone(), r));
                }
            }
        }
        self.checks.retain(|id, (check, task)| {
            let stays = wanted.get(id).is_some_and(|(c, _)| c == check);
            if !stays {
                task.abort();
            }
            stays
        });
        for (id, (check, server)) in wanted {
            if !self.checks.contains_key(&id) {
                let alpha = check.alpha.unwrap_or(server.alpha) || dead.contains(&(id.0, id.1));
                let task = tokio::spawn(check_task(id, check.clone(), alpha, !first, self.events.clone()));
                self.checks.insert(id, (check, task));
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

/// Where in its warm-up a check begins: spread by a hash of its name, so that probes neither burst nor wander.
fn spread(id: &CheckId) -> f64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut h = DefaultHasher::new();
    id.hash(&mut h);
    (h.finish() >> 11) as f64 / (1u64 << 53) as f64
}

/// One check, for as long as it is configured.
async fn check_task(id: CheckId, check: Check, alpha: bool, appeared: bool, events: UnboundedSender<Event>) {
    let mut checker = Checker::new(&check, clock::now(), spread(&id), alpha, appeared);
    while let Some(due) = checker.next_deadline() {
        tokio::time::sleep(due.since(clock::now())).await;
        let Some(Output::Probe(url)) = checker.handle_deadline(clock::now()) else {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            continue;
        };
        let result = probe::run(&check, id.1, url).await;
        let changed = checker.handle_result(clock::now(), result.failed.is_none()).is_some();
        let up = checker.up();
        if events.send(Event::Probed { id, up, changed, result }).is_err() {
            return;
        }
    }
}
