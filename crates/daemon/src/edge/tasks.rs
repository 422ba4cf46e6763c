//! The tasks of the edge process: it handles the worker's requests, and runs one task for each tracked script, tracked
//! file, FIFO reader and name, and one for all tracked processes.
//!
//! A new configuration stops the tasks that are gone or changed, and starts the missing ones; the others continue.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_core::discovery::NameQuery;
use evenkeel_core::model::{
    ProcessScheduling, ScriptCommand, TrackFile, TrackProcess, TrackResult, TrackedObject, VrrpScript,
};
use evenkeel_sys::{limits, sched};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use super::checks::Checks;
use super::mail::Mailer;
use super::messages::{EdgeSettings, Report, Request};
use super::notify_scripts::NotifyScripts;
use super::{Event, discovery, fifo_readers, tracked_files, tracked_processes, tracked_scripts};

/// Everything that the edge process runs.
pub struct EdgeTasks {
    events: UnboundedSender<Event>,
    replies: UnboundedSender<Report>,
    /// Results of a process before this one.
    previous_results: BTreeMap<TrackedObject, TrackResult>,
    cpus: Vec<u16>,
    scheduling: ProcessScheduling,
    checks: Checks,
    scripts: BTreeMap<String, (VrrpScript, JoinHandle<()>)>,
    files: BTreeMap<String, (TrackFile, JoinHandle<()>)>,
    processes: Option<(Vec<TrackProcess>, JoinHandle<()>)>,
    resolvers: BTreeMap<NameQuery, JoinHandle<()>>,
    /// The interval of name lookups.
    resolve_interval: Duration,
    /// By command line.
    fifo_readers: BTreeMap<String, (ScriptCommand, JoinHandle<()>)>,
    notify_scripts: NotifyScripts,
    /// Started with the first mail.
    mailer: Option<Mailer>,
}

impl EdgeTasks {
    /// No task runs.
    pub fn new(events: UnboundedSender<Event>, replies: UnboundedSender<Report>) -> EdgeTasks {
        EdgeTasks {
            notify_scripts: NotifyScripts::new(events.clone()),
            events,
            replies,
            previous_results: BTreeMap::new(),
            cpus: Vec::new(),
            scheduling: ProcessScheduling::default(),
            checks: Checks::new(),
            scripts: BTreeMap::new(),
            files: BTreeMap::new(),
            processes: None,
            resolvers: BTreeMap::new(),
            resolve_interval: Duration::ZERO,
            fifo_readers: BTreeMap::new(),
            mailer: None,
        }
    }

    /// Handles requests until the worker closes the socket.
    pub async fn run(mut self, mut requests: UnboundedReceiver<Request>) {
        loop {
            let request = tokio::select! {
                biased;
                request = requests.recv() => request,
                () = self.checks.serve(&self.events) => continue,
            };
            match request {
                Some(request) => self.handle_request(request),
                None => return,
            }
        }
    }

    fn handle_request(&mut self, request: Request) {
        match request {
            Request::PreviousResults(results) => {
                self.previous_results = results.into_iter().collect();
                self.checks.resume();
            }
            Request::Configure(settings) => self.configure(&settings),
            Request::ConfigureChecks(checks) => {
                let states = self.checks.configure(checks);
                let _ = self.events.send(Event::CheckStates(states));
                limits::trim_heap();
            }
            Request::SetSuspended(services) => self.checks.set_suspended(services),
            Request::GetChecks(id) => {
                let _ = self.replies.send(Report::Checks(id, self.checks.snapshot()));
            }
            Request::Notify(notification) => self.notify_scripts.notify(notification),
            Request::Mail(mail) => self.mailer.get_or_insert_with(Mailer::start).send(mail),
            Request::Ping => {
                let _ = self.replies.send(Report::Pong);
            }
            Request::Flush(id) => self.flush(id),
        }
    }

    /// Reports, under this number, when notify scripts have been started and mail is sent. Meanwhile requests are
    /// handled.
    fn flush(&mut self, id: u64) {
        let (scripts, mails) = (self.notify_scripts.flush(), self.mailer.as_ref().map(Mailer::flush));
        let replies = self.replies.clone();
        tokio::spawn(async move {
            scripts.await;
            if let Some(mails) = mails {
                mails.await;
            }
            let _ = replies.send(Report::Flushed(id));
        });
    }

    fn configure(&mut self, settings: &EdgeSettings) {
        if settings.cpus != self.cpus {
            self.cpus.clone_from(&settings.cpus);
            if let Err(e) = sched::set_cpu_affinity(&self.cpus) {
                tracing::warn!("checker_cpu_affinity has no effect: {e}");
            }
        }
        if settings.scheduling != self.scheduling {
            self.scheduling = settings.scheduling;
            if let Err(e) = sched::set_scheduling(&self.scheduling) {
                tracing::warn!("the priority or memory locking of health checks is not set: {e}");
            }
        }
        self.notify_scripts.configure(settings.notify_timeout, settings.secure);
        self.checks.apply_settings(settings);
        self.configure_fifo_readers(settings);
        self.configure_scripts(settings);
        self.configure_files(settings);
        self.configure_processes(settings);
        self.configure_resolvers(settings);
        // Objects of later configurations are new: no earlier process knew them.
        self.previous_results.clear();
    }

    fn configure_scripts(&mut self, settings: &EdgeSettings) {
        stop_unwanted(&mut self.scripts, |name| settings.scripts.iter().find(|s| s.name == name).cloned());
        for s in &settings.scripts {
            if !self.scripts.contains_key(&s.name) {
                let previous = match self.previous_results.get(&TrackedObject::Script(s.name.clone())) {
                    Some(TrackResult::Good(good)) => Some(*good),
                    _ => None,
                };
                let task = tracked_scripts::run(s.clone(), previous, settings.secure, self.events.clone());
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
        let (queries, interval) = (&settings.name_queries, settings.resolve_interval);
        let changed = std::mem::replace(&mut self.resolve_interval, interval) != interval;
        self.resolvers.retain(|query, task| {
            let stays = !changed && queries.contains(query);
            if !stays {
                task.abort();
            }
            stays
        });
        for query in queries {
            self.resolvers
                .entry(query.clone())
                .or_insert_with(|| tokio::spawn(discovery::run(query.clone(), interval, self.events.clone())));
        }
    }

    fn configure_files(&mut self, settings: &EdgeSettings) {
        stop_unwanted(&mut self.files, |name| settings.files.iter().find(|f| f.name == name).cloned());
        for f in &settings.files {
            if !self.files.contains_key(&f.name) {
                let was_tracked = self.previous_results.contains_key(&TrackedObject::File(f.name.clone()));
                let task = tracked_files::run(f.clone(), was_tracked, self.events.clone());
                self.files.insert(f.name.clone(), (f.clone(), tokio::spawn(task)));
            }
        }
    }

    /// One scan of /proc serves all tracked processes, so they have one task.
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

/// Stops the tasks whose configuration is gone or changed.
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
