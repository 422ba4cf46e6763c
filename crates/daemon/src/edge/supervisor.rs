//! The working process's side: it starts the edge process when there is something for it to do, passes on what is said,
//! and starts it anew if it dies.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use evenkeel_core::model::{TrackResult, TrackedObject};
use evenkeel_sys::clock;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::messages::{self, EdgeSettings, Report, Request};
use super::{CheckSnapshot, Event, SupervisorRequest};
use crate::backoff::Backoff;
use crate::router;

/// It is asked this often whether it is there,
const HEARTBEAT: Duration = Duration::from_secs(5);
/// and hangs if it has left so many questions without an answer.
const MAX_UNANSWERED: u32 = 3;
/// A message that is not taken for so long has found nobody either.
const WRITE_TIMEOUT: Duration = HEARTBEAT.saturating_mul(MAX_UNANSWERED);
/// So many programs to tell and letters to send are kept for the next process.
const MAX_QUEUED: usize = 1000;
/// A process that is told to end has so long.
const EXIT_TIMEOUT: Duration = Duration::from_secs(3);

/// Keeps an edge process, for as long as anybody can ask it.
pub struct EdgeSupervisor {
    pub requests: UnboundedReceiver<SupervisorRequest>,
    pub router: router::Handle,
    pub events: UnboundedSender<Event>,
    pub settings: Box<EdgeSettings>,
    /// What was found of tracked objects, for the next process.
    pub last_results: BTreeMap<TrackedObject, TrackResult>,
    /// A process has died.
    pub has_died: bool,
    /// Who is to be told of something once there is a process again.
    pub queued: Vec<Request>,
}

/// Why a process is not spoken with any more.
enum ProcessEnd {
    /// Nobody needs it.
    NotNeeded,
    /// It has gone by itself.
    Died(String),
}

impl EdgeSupervisor {
    pub async fn run(mut self) {
        let mut pauses = Backoff::default();
        while let Some(first) = self.wait_until_needed().await {
            let born = clock::now();
            let end = match ProcessLink::start() {
                Ok(process) => process.serve(first, &mut self).await,
                Err(e) => ProcessEnd::Died(format!("cannot be started: {e}")),
            };
            let ProcessEnd::Died(how) = end else { return };
            self.has_died = true;
            let pause = pauses.next_delay(clock::now().duration_since(born));
            tracing::error!("the process for health checks and scripts {how}; they begin anew in {pause:?}");
            if !self.wait_backoff(pause).await {
                return;
            }
            if self.events.send(Event::Restarted).is_err() {
                return;
            }
        }
    }

    /// Waits before the next start, and lets nobody else wait meanwhile. False if nobody asks any more.
    async fn wait_backoff(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            let ask = tokio::select! {
                () = sleep_until(until) => return true,
                ask = self.requests.recv() => ask,
            };
            match ask {
                None => return false,
                Some(SupervisorRequest::Forward(Request::Configure(settings))) => self.remember_settings(&settings),
                Some(SupervisorRequest::Forward(request @ (Request::Notify(_) | Request::Mail(_)))) => {
                    if self.queued.len() < MAX_QUEUED {
                        self.queued.push(request);
                    }
                }
                Some(SupervisorRequest::Forward(_)) => {} // it is said again when there is a new process
                Some(SupervisorRequest::Checks(to)) => drop(to.send(CheckSnapshot::default())),
                Some(SupervisorRequest::Flush(done) | SupervisorRequest::Stop(done)) => drop(done.send(())),
            }
        }
    }

    /// Waits for the first thing that needs a process; what needs none is answered here.
    async fn wait_until_needed(&mut self) -> Option<Request> {
        loop {
            match self.requests.recv().await? {
                SupervisorRequest::Forward(Request::Configure(settings)) => {
                    self.remember_settings(&settings);
                    if !settings.is_idle() {
                        return Some(Request::Configure(settings));
                    }
                }
                SupervisorRequest::Forward(Request::ConfigureChecks(checks)) if checks.is_empty() => {}
                SupervisorRequest::Forward(Request::SetSuspended(_)) => {}
                SupervisorRequest::Forward(request) => return Some(request),
                SupervisorRequest::Checks(to) => drop(to.send(CheckSnapshot::default())),
                SupervisorRequest::Flush(done) | SupervisorRequest::Stop(done) => drop(done.send(())),
            }
        }
    }

    fn handle_event(&mut self, event: Event) {
        let Event::TrackChanged { object, result: found } = event else {
            let _ = self.events.send(event);
            return;
        };
        self.last_results.insert(object.clone(), found);
        self.router.send(router::Command::TrackChanged { object, result: found });
    }

    /// What is not configured any more is not known any more.
    fn remember_settings(&mut self, settings: &EdgeSettings) {
        *self.settings = settings.clone();
        let wanted = |object: &TrackedObject| match object {
            TrackedObject::Script(name) => settings.scripts.iter().any(|s| s.name == *name),
            TrackedObject::File(name) => settings.files.iter().any(|f| f.name == *name),
            TrackedObject::Process(name) => settings.processes.iter().any(|p| p.name == *name),
            _ => false,
        };
        self.last_results.retain(|object, _| wanted(object));
    }
}

/// What is wrong with a process.
enum ProcessFailure {
    /// It does not speak with us any more.
    Disconnected,
    /// It is there, and does nothing.
    NotResponding,
}

/// An edge process, and those who wait for its answers.
struct ProcessLink {
    child: Child,
    writer: OwnedWriteHalf,
    reports: UnboundedReceiver<Report>,
    last_id: u64,
    pending: HashMap<u64, PendingReply>,
}

enum PendingReply {
    Checks(mpsc::Sender<CheckSnapshot>),
    Flush(oneshot::Sender<()>),
}

impl ProcessLink {
    /// This program once more, as it is in memory: the file may be a newer one by now.
    fn start() -> std::io::Result<ProcessLink> {
        let (ours, theirs) = StdStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("--edge").args(std::env::args_os().skip(1)).stdin(Stdio::from(OwnedFd::from(theirs)));
        command.as_std_mut().arg0("evenkeeld");
        let child = command.spawn()?;
        ours.set_nonblocking(true)?;
        let (mut from, to) = UnixStream::from_std(ours)?.into_split();
        let (tx, reports) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(report)) = messages::read_message(&mut from).await {
                if tx.send(report).is_err() {
                    return;
                }
            }
        });
        Ok(ProcessLink { child, writer: to, reports, last_id: 0, pending: HashMap::new() })
    }

    /// Passes everything on, until it has gone or nobody needs it.
    async fn serve(mut self, first: Request, keeper: &mut EdgeSupervisor) -> ProcessEnd {
        let mut begin = Vec::new();
        if keeper.has_died {
            let known = keeper.last_results.iter().map(|(object, found)| (object.clone(), *found)).collect();
            begin.push(Request::PreviousResults(known));
        }
        if !matches!(first, Request::Configure(_)) {
            begin.push(Request::Configure(keeper.settings.clone()));
        }
        begin.push(first);
        begin.append(&mut keeper.queued);
        for request in begin {
            if let Some(end) = self.send(&request).await {
                return self.reap(end).await;
            }
        }
        // Behind a pause of the machine come no more questions than usual, so that it is not what counts as silence.
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unanswered = 0;
        loop {
            let request = tokio::select! {
                _ = heartbeat.tick() => {
                    if unanswered == MAX_UNANSWERED {
                        return self.reap(ProcessFailure::NotResponding).await;
                    }
                    unanswered += 1;
                    Request::Ping
                }
                ask = keeper.requests.recv() => match ask {
                    None => {
                        self.stop().await;
                        return ProcessEnd::NotNeeded;
                    }
                    Some(SupervisorRequest::Forward(request)) => request,
                    Some(SupervisorRequest::Checks(to)) => self.register_reply(PendingReply::Checks(to), Request::GetChecks),
                    Some(SupervisorRequest::Flush(done)) => self.register_reply(PendingReply::Flush(done), Request::Flush),
                    Some(SupervisorRequest::Stop(done)) => {
                        self.stop().await;
                        let _ = done.send(());
                        return ProcessEnd::NotNeeded;
                    }
                },
                report = self.reports.recv() => {
                    match report {
                        None => return self.reap(ProcessFailure::Disconnected).await,
                        Some(Report::Pong) => unanswered = 0,
                        Some(Report::Event(event)) => keeper.handle_event(event),
                        Some(Report::Checks(number, snapshot)) => {
                            if let Some(PendingReply::Checks(to)) = self.pending.remove(&number) {
                                let _ = to.send(snapshot);
                            }
                        }
                        Some(Report::Flushed(number)) => {
                            if let Some(PendingReply::Flush(done)) = self.pending.remove(&number) {
                                let _ = done.send(());
                            }
                        }
                    }
                    continue;
                }
            };
            if let Request::Configure(settings) = &request {
                keeper.remember_settings(settings);
            }
            if let Some(end) = self.send(&request).await {
                return self.reap(end).await;
            }
        }
    }

    /// Says something to it. What is wrong with it if that cannot be done.
    async fn send(&mut self, request: &Request) -> Option<ProcessFailure> {
        match timeout(WRITE_TIMEOUT, messages::write_message(&mut self.writer, request)).await {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some(ProcessFailure::Disconnected),
            Err(_) => Some(ProcessFailure::NotResponding),
        }
    }

    fn register_reply(&mut self, who: PendingReply, ask: impl Fn(u64) -> Request) -> Request {
        self.last_id += 1;
        self.pending.insert(self.last_id, who);
        ask(self.last_id)
    }

    async fn reap(mut self, trouble: ProcessFailure) -> ProcessEnd {
        // Those who wait need not wait any longer.
        self.pending.clear();
        if let ProcessFailure::NotResponding = trouble {
            let _ = self.child.kill().await;
            return ProcessEnd::Died(format!("hangs: it has not answered for {WRITE_TIMEOUT:?}"));
        }
        ProcessEnd::Died(match timeout(EXIT_TIMEOUT, self.child.wait()).await {
            Ok(Ok(status)) => format!("has ended: {status}"),
            Ok(Err(e)) => format!("has ended: {e}"),
            Err(_) => {
                let _ = self.child.kill().await;
                "has fallen silent".to_owned()
            }
        })
    }

    /// It ends by itself when nobody speaks with it any more.
    async fn stop(mut self) {
        drop(self.writer);
        self.reports.close();
        if timeout(EXIT_TIMEOUT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
