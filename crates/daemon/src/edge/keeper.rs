//! The working process's side: it starts the edge process when there is something for it to do, passes on what is said,
//! and starts it anew if it dies.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use evenkeel_core::model::{Found, TrackedObject};
use evenkeel_sys::clock;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::messages::{self, Report, Request, Settings};
use super::{Ask, Event, Snapshot};
use crate::pauses::Pauses;
use crate::router;

/// It is asked this often whether it is there,
const HEARTBEAT: Duration = Duration::from_secs(5);
/// and hangs if it has left so many questions without an answer.
const UNANSWERED: u32 = 3;
/// A message that is not taken for so long has found nobody either.
const DEAF: Duration = HEARTBEAT.saturating_mul(UNANSWERED);
/// So many programs to tell and letters to send are kept for the next process.
const HELD: usize = 1000;
/// A process that is told to end has so long.
const PATIENCE: Duration = Duration::from_secs(3);

/// Keeps an edge process, for as long as anybody can ask it.
pub struct Keeper {
    pub asks: UnboundedReceiver<Ask>,
    pub router: router::Handle,
    pub events: UnboundedSender<Event>,
    pub settings: Box<Settings>,
    /// What was found of tracked objects, for the next process.
    pub known: BTreeMap<TrackedObject, Found>,
    /// A process has died.
    pub has_died: bool,
    /// Who is to be told of something once there is a process again.
    pub held: Vec<Request>,
}

/// Why a process is not spoken with any more.
enum End {
    /// Nobody needs it.
    Done,
    /// It has gone by itself.
    Died(String),
}

impl Keeper {
    pub async fn run(mut self) {
        let mut pauses = Pauses::default();
        while let Some(first) = self.needed().await {
            let born = clock::now();
            let end = match Process::start() {
                Ok(process) => process.serve(first, &mut self).await,
                Err(e) => End::Died(format!("cannot be started: {e}")),
            };
            let End::Died(how) = end else { return };
            self.has_died = true;
            let pause = pauses.after(clock::now().since(born));
            tracing::error!("the process for health checks and scripts {how}; they begin anew in {pause:?}");
            if !self.rest(pause).await {
                return;
            }
            if self.events.send(Event::Reborn).is_err() {
                return;
            }
        }
    }

    /// Waits before the next start, and lets nobody else wait meanwhile. False if nobody asks any more.
    async fn rest(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            let ask = tokio::select! {
                () = sleep_until(until) => return true,
                ask = self.asks.recv() => ask,
            };
            match ask {
                None => return false,
                Some(Ask::Say(Request::Configure(settings))) => self.configured(&settings),
                Some(Ask::Say(request @ (Request::Tell(_) | Request::Mail(_)))) => {
                    if self.held.len() < HELD {
                        self.held.push(request);
                    }
                }
                Some(Ask::Say(_)) => {} // it is said again when there is a new process
                Some(Ask::Checks(to)) => drop(to.send(Snapshot::default())),
                Some(Ask::Flush(done) | Ask::End(done)) => drop(done.send(())),
            }
        }
    }

    /// Waits for the first thing that needs a process; what needs none is answered here.
    async fn needed(&mut self) -> Option<Request> {
        loop {
            match self.asks.recv().await? {
                Ask::Say(Request::Configure(settings)) => {
                    self.configured(&settings);
                    if !settings.is_idle() {
                        return Some(Request::Configure(settings));
                    }
                }
                Ask::Say(Request::Check(checks)) if checks.is_empty() => {}
                Ask::Say(Request::Suspend(_)) => {}
                Ask::Say(request) => return Some(request),
                Ask::Checks(to) => drop(to.send(Snapshot::default())),
                Ask::Flush(done) | Ask::End(done) => drop(done.send(())),
            }
        }
    }

    fn heard(&mut self, event: Event) {
        let Event::Found { object, found } = event else {
            let _ = self.events.send(event);
            return;
        };
        self.known.insert(object.clone(), found);
        self.router.send(router::Command::Tracked { object, found });
    }

    /// What is not configured any more is not known any more.
    fn configured(&mut self, settings: &Settings) {
        *self.settings = settings.clone();
        let wanted = |object: &TrackedObject| match object {
            TrackedObject::Script(name) => settings.scripts.iter().any(|s| s.name == *name),
            TrackedObject::File(name) => settings.files.iter().any(|f| f.name == *name),
            TrackedObject::Process(name) => settings.processes.iter().any(|p| p.name == *name),
            _ => false,
        };
        self.known.retain(|object, _| wanted(object));
    }
}

/// What is wrong with a process.
enum Trouble {
    /// It does not speak with us any more.
    Gone,
    /// It is there, and does nothing.
    Hangs,
}

/// An edge process, and those who wait for its answers.
struct Process {
    child: Child,
    to: OwnedWriteHalf,
    reports: UnboundedReceiver<Report>,
    number: u64,
    waiting: HashMap<u64, Waiting>,
}

enum Waiting {
    Checks(mpsc::Sender<Snapshot>),
    Flush(oneshot::Sender<()>),
}

impl Process {
    /// This program once more, as it is in memory: the file may be a newer one by now.
    fn start() -> std::io::Result<Process> {
        let (ours, theirs) = StdStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("--edge").args(std::env::args_os().skip(1)).stdin(Stdio::from(OwnedFd::from(theirs)));
        command.as_std_mut().arg0("evenkeeld");
        let child = command.spawn()?;
        ours.set_nonblocking(true)?;
        let (mut from, to) = UnixStream::from_std(ours)?.into_split();
        let (tx, reports) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(report)) = messages::read(&mut from).await {
                if tx.send(report).is_err() {
                    return;
                }
            }
        });
        Ok(Process { child, to, reports, number: 0, waiting: HashMap::new() })
    }

    /// Passes everything on, until it has gone or nobody needs it.
    async fn serve(mut self, first: Request, keeper: &mut Keeper) -> End {
        let mut begin = Vec::new();
        if keeper.has_died {
            let known = keeper.known.iter().map(|(object, found)| (object.clone(), *found)).collect();
            begin.push(Request::Known(known));
        }
        if !matches!(first, Request::Configure(_)) {
            begin.push(Request::Configure(keeper.settings.clone()));
        }
        begin.push(first);
        begin.append(&mut keeper.held);
        for request in begin {
            if let Some(end) = self.say(&request).await {
                return self.died(end).await;
            }
        }
        // Behind a pause of the machine come no more questions than usual, so that it is not what counts as silence.
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unanswered = 0;
        loop {
            let request = tokio::select! {
                _ = heartbeat.tick() => {
                    if unanswered == UNANSWERED {
                        return self.died(Trouble::Hangs).await;
                    }
                    unanswered += 1;
                    Request::Ping
                }
                ask = keeper.asks.recv() => match ask {
                    None => {
                        self.end().await;
                        return End::Done;
                    }
                    Some(Ask::Say(request)) => request,
                    Some(Ask::Checks(to)) => self.wait(Waiting::Checks(to), Request::Checks),
                    Some(Ask::Flush(done)) => self.wait(Waiting::Flush(done), Request::Flush),
                    Some(Ask::End(done)) => {
                        self.end().await;
                        let _ = done.send(());
                        return End::Done;
                    }
                },
                report = self.reports.recv() => {
                    match report {
                        None => return self.died(Trouble::Gone).await,
                        Some(Report::Here) => unanswered = 0,
                        Some(Report::Event(event)) => keeper.heard(event),
                        Some(Report::Checks(number, snapshot)) => {
                            if let Some(Waiting::Checks(to)) = self.waiting.remove(&number) {
                                let _ = to.send(snapshot);
                            }
                        }
                        Some(Report::Flushed(number)) => {
                            if let Some(Waiting::Flush(done)) = self.waiting.remove(&number) {
                                let _ = done.send(());
                            }
                        }
                    }
                    continue;
                }
            };
            if let Request::Configure(settings) = &request {
                keeper.configured(settings);
            }
            if let Some(end) = self.say(&request).await {
                return self.died(end).await;
            }
        }
    }

    /// Says something to it. What is wrong with it if that cannot be done.
    async fn say(&mut self, request: &Request) -> Option<Trouble> {
        match timeout(DEAF, messages::write(&mut self.to, request)).await {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some(Trouble::Gone),
            Err(_) => Some(Trouble::Hangs),
        }
    }

    fn wait(&mut self, who: Waiting, ask: impl Fn(u64) -> Request) -> Request {
        self.number += 1;
        self.waiting.insert(self.number, who);
        ask(self.number)
    }

    async fn died(mut self, trouble: Trouble) -> End {
        // Those who wait need not wait any longer.
        self.waiting.clear();
        if let Trouble::Hangs = trouble {
            let _ = self.child.kill().await;
            return End::Died(format!("hangs: it has not answered for {DEAF:?}"));
        }
        End::Died(match timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) => format!("has ended: {status}"),
            Ok(Err(e)) => format!("has ended: {e}"),
            Err(_) => {
                let _ = self.child.kill().await;
                "has fallen silent".to_owned()
            }
        })
    }

    /// It ends by itself when nobody speaks with it any more.
    async fn end(mut self) {
        drop(self.to);
        self.reports.close();
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
