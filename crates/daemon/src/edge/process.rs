//! The edge process: the same program, started by the working process with one socket, and without the capabilities that
//! change networks or load programs into the kernel. It ends when the other does.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::process::ExitCode;
use std::time::Duration;

use evenkeel_core::discovery::NameQuery;
use evenkeel_core::model::{
    ProcessScheduling, ScriptCommand, TrackFile, TrackProcess, TrackResult, TrackedObject, VrrpScript,
};
use evenkeel_sys::{sched, user};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::checks::Checks;
use super::mail::Mailer;
use super::messages::{self, EdgeSettings, Report, Request};
use super::notify_scripts::NotifyScripts;
use super::{Event, discovery, fifo_readers, tracked_files, tracked_processes, tracked_scripts};

/// What is kept, by the numbers of capability.h: files of others are read and scripts run as other users and ended,
/// probes leave from low ports, with marks and as raw packets, and there are many of them; and its own priority and memory are
/// what the configuration says. A script that runs as root has all
/// that root has.
const KEPT_CAPS: &[u32] = &[
    1,  // CAP_DAC_OVERRIDE
    2,  // CAP_DAC_READ_SEARCH
    5,  // CAP_KILL
    6,  // CAP_SETGID
    7,  // CAP_SETUID
    10, // CAP_NET_BIND_SERVICE
    13, // CAP_NET_RAW
    14, // CAP_IPC_LOCK
    23, // CAP_SYS_NICE
    24, // CAP_SYS_RESOURCE
];

/// Runs it. Its standard input is the socket.
pub fn run() -> ExitCode {
    let _ = nix::sys::prctl::set_name(c"evenkeel-edge");
    if let Err(e) = user::drop_capabilities_except(KEPT_CAPS) {
        tracing::warn!("{e}");
    }
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map(StdStream::from);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match (socket, runtime) {
        (Ok(socket), Ok(runtime)) => {
            let done = runtime.block_on(serve(socket));
            evenkeel_probe::program::kill_all();
            match done {
                Ok(()) => ExitCode::SUCCESS,
                Err(e) => {
                    tracing::error!("the process for health checks and scripts: {e}");
                    ExitCode::FAILURE
                }
            }
        }
        (Err(e), _) | (_, Err(e)) => {
            tracing::error!("no health checks: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Signals that are meant for the whole daemon: its parent knows what to do, and this process goes when it is not needed
/// any more. Their handlers are for this process alone; a script that it starts ends as scripts do.
fn ignore_signals() -> io::Result<Vec<Signal>> {
    let kinds = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::hangup(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    kinds.into_iter().map(signal).collect()
}

async fn serve(socket: StdStream) -> io::Result<()> {
    let _deaf = ignore_signals()?;
    socket.set_nonblocking(true)?;
    let (from, to) = UnixStream::from_std(socket)?.into_split();
    let (requests, inbox) = unbounded_channel();
    tokio::spawn(read_requests(from, requests));
    let (events, said) = unbounded_channel();
    let (replies, asked_for) = unbounded_channel();
    tokio::spawn(write_reports(to, said, asked_for));
    let edge = EdgeProcess {
        notify_scripts: NotifyScripts::new(events.clone()),
        events,
        replies,
        previous_results: BTreeMap::new(),
        cpus: Vec::new(),
        schedule: ProcessScheduling::default(),
        mailer: None,
        fifo_readers: BTreeMap::new(),
        checks: Checks::new(),
        scripts: BTreeMap::new(),
        files: BTreeMap::new(),
        processes: None,
        resolvers: BTreeMap::new(),
        resolve_interval: Duration::ZERO,
    };
    edge.run(inbox).await;
    Ok(())
}

async fn read_requests(mut from: OwnedReadHalf, requests: UnboundedSender<Request>) {
    loop {
        match messages::read_message(&mut from).await {
            Ok(Some(request)) => {
                if requests.send(request).is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(e) => return tracing::error!("what the process for health checks is asked: {e}"),
        }
    }
}

async fn write_reports(
    mut to: OwnedWriteHalf,
    mut events: UnboundedReceiver<Event>,
    mut replies: UnboundedReceiver<Report>,
) {
    loop {
        let report = tokio::select! {
            Some(event) = events.recv() => Report::Event(event),
            Some(reply) = replies.recv() => reply,
            else => return,
        };
        if messages::write_message(&mut to, &report).await.is_err() {
            return;
        }
    }
}

struct EdgeProcess {
    events: UnboundedSender<Event>,
    replies: UnboundedSender<Report>,
    /// What a process before this one had found.
    previous_results: BTreeMap<TrackedObject, TrackResult>,
    cpus: Vec<u16>,
    schedule: ProcessScheduling,
    checks: Checks,
    scripts: BTreeMap<String, (VrrpScript, JoinHandle<()>)>,
    files: BTreeMap<String, (TrackFile, JoinHandle<()>)>,
    processes: Option<(Vec<TrackProcess>, JoinHandle<()>)>,
    resolvers: BTreeMap<NameQuery, JoinHandle<()>>,
    /// How often they are looked up.
    resolve_interval: Duration,
    /// By what they are told, which says who they are.
    fifo_readers: BTreeMap<String, (ScriptCommand, JoinHandle<()>)>,
    notify_scripts: NotifyScripts,
    /// Opened with the first letter.
    mailer: Option<Mailer>,
}

impl EdgeProcess {
    async fn run(mut self, mut inbox: UnboundedReceiver<Request>) {
        loop {
            let request = tokio::select! {
                biased;
                request = inbox.recv() => request,
                () = self.checks.serve(&self.events) => continue,
            };
            match request {
                Some(Request::PreviousResults(known)) => {
                    self.previous_results = known.into_iter().collect();
                    self.checks.resume();
                }
                Some(Request::Configure(settings)) => self.configure(&settings),
                Some(Request::ConfigureChecks(wanted)) => {
                    let standing = self.checks.configure(wanted);
                    let _ = self.events.send(Event::CheckStates(standing));
                    sched::trim_heap();
                }
                Some(Request::SetSuspended(services)) => self.checks.set_suspended(services),
                Some(Request::GetChecks(number)) => {
                    let _ = self.replies.send(Report::Checks(number, self.checks.snapshot()));
                }
                Some(Request::Notify(news)) => self.notify_scripts.notify(news),
                Some(Request::Mail(letter)) => self.mailer.get_or_insert_with(Mailer::start).send(letter),
                Some(Request::Ping) => {
                    let _ = self.replies.send(Report::Pong);
                }
                Some(Request::Flush(number)) => {
                    let (told, post, replies) =
                        (self.notify_scripts.flush(), self.mailer.as_ref().map(Mailer::flush), self.replies.clone());
                    tokio::spawn(async move {
                        told.await;
                        if let Some(posted) = post {
                            posted.await;
                        }
                        let _ = replies.send(Report::Flushed(number));
                    });
                }
                None => return,
            }
        }
    }

    fn configure(&mut self, settings: &EdgeSettings) {
        if settings.cpus != self.cpus {
            self.cpus.clone_from(&settings.cpus);
            if let Err(e) = sched::set_cpu_affinity(&self.cpus) {
                tracing::warn!("health is checked on every processor: {e}");
            }
        }
        if settings.schedule != self.schedule {
            self.schedule = settings.schedule;
            if let Err(e) = sched::set_scheduling(&self.schedule) {
                tracing::warn!("{e}");
            }
        }
        self.notify_scripts.configure(settings.notify_timeout, settings.secure);
        self.checks.apply_settings(settings);
        self.configure_fifo_readers(settings);
        self.configure_scripts(settings);
        self.configure_files(settings);
        self.configure_processes(settings);
        self.configure_resolvers(settings);
        // Whoever comes later begins as anything does that is new.
        self.previous_results.clear();
    }

    fn configure_scripts(&mut self, settings: &EdgeSettings) {
        stop_unwanted(&mut self.scripts, |name| settings.scripts.iter().find(|s| s.name == name).cloned());
        for s in &settings.scripts {
            if !self.scripts.contains_key(&s.name) {
                let known = match self.previous_results.get(&TrackedObject::Script(s.name.clone())) {
                    Some(TrackResult::Good(good)) => Some(*good),
                    _ => None,
                };
                let task = tracked_scripts::run(s.clone(), known, settings.secure, self.events.clone());
                self.scripts.insert(s.name.clone(), (s.clone(), tokio::spawn(task)));
            }
        }
    }

    fn configure_fifo_readers(&mut self, settings: &EdgeSettings) {
        let all = &settings.fifo_readers;
        let name = |r: &ScriptCommand| r.argv.join(" ");
        stop_unwanted(&mut self.fifo_readers, |n| all.iter().find(|r| name(r) == n).cloned());
        for r in all {
            self.fifo_readers.entry(name(r)).or_insert_with(|| {
                let task = fifo_readers::run(r.clone(), settings.secure);
                (r.clone(), tokio::spawn(task))
            });
        }
    }

    fn configure_resolvers(&mut self, settings: &EdgeSettings) {
        let (wanted, every) = &settings.resolve;
        let changed = std::mem::replace(&mut self.resolve_interval, *every) != *every;
        self.resolvers.retain(|name, task| {
            let stays = !changed && wanted.contains(name);
            if !stays {
                task.abort();
            }
            stays
        });
        for name in wanted {
            self.resolvers
                .entry(name.clone())
                .or_insert_with(|| tokio::spawn(discovery::run(name.clone(), *every, self.events.clone())));
        }
    }

    fn configure_files(&mut self, settings: &EdgeSettings) {
        stop_unwanted(&mut self.files, |name| settings.files.iter().find(|f| f.name == name).cloned());
        for f in &settings.files {
            if !self.files.contains_key(&f.name) {
                let known = self.previous_results.contains_key(&TrackedObject::File(f.name.clone()));
                let task = tracked_files::run(f.clone(), known, self.events.clone());
                self.files.insert(f.name.clone(), (f.clone(), tokio::spawn(task)));
            }
        }
    }

    /// One look through /proc serves all of them.
    fn configure_processes(&mut self, settings: &EdgeSettings) {
        let wanted = &settings.processes;
        if self.processes.as_ref().map_or(&[][..], |(p, _)| p) == wanted.as_slice() {
            return;
        }
        if let Some((_, task)) = self.processes.take() {
            task.abort();
        }
        if !wanted.is_empty() {
            let task = tracked_processes::run(wanted.clone(), self.events.clone());
            self.processes = Some((wanted.clone(), tokio::spawn(task)));
        }
    }
}

/// Ends what is not wanted any more, as it was.
fn stop_unwanted<T: PartialEq>(
    running: &mut BTreeMap<String, (T, JoinHandle<()>)>,
    wanted: impl Fn(&str) -> Option<T>,
) {
    running.retain(|name, (was, task)| {
        let stays = wanted(name).is_some_and(|w| w == *was);
        if !stays {
            task.abort();
        }
        stays
    });
}
