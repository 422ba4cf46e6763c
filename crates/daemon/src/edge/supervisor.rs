//! The edge supervisor: a thread of the worker that starts the edge process when there is work for it, forwards
//! messages both ways, and starts the process again when it dies or hangs.
//!
//! A dead edge process changes no state: virtual routers keep the last results of tracked objects, real servers keep
//! the verdicts of their checks. The next process gets these results and continues.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_core::model::{TrackResult, TrackedObject};
use evenkeel_sys::clock;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until};

use super::messages::{EdgeSettings, Request};
use super::process_link::{LinkInput, PendingReply, ProcessFailure, ProcessLink};
use super::{CheckSnapshot, Event, SupervisorRequest};
use crate::backoff::Backoff;
use crate::router;

/// Maximum number of notifications and mails kept for the next process.
const MAX_QUEUED: usize = 1000;

/// The supervisor's state.
pub struct EdgeSupervisor {
    requests: UnboundedReceiver<SupervisorRequest>,
    router: router::Handle,
    events: UnboundedSender<Event>,
    settings: Box<EdgeSettings>,
    /// Results of tracked objects, for the next process.
    last_results: BTreeMap<TrackedObject, TrackResult>,
    /// An edge process has died.
    has_died: bool,
    /// Notifications and mails for the next process.
    queued: Vec<Request>,
}

/// Why the supervisor has no process any more.
enum ProcessEnd {
    /// The daemon stops.
    NotNeeded,
    /// The process died; a description.
    Died(String),
}

impl EdgeSupervisor {
    /// A supervisor without a process. Results of tracked objects go to `router`, everything else to `events`.
    pub fn new(
        requests: UnboundedReceiver<SupervisorRequest>,
        router: router::Handle,
        events: UnboundedSender<Event>,
    ) -> EdgeSupervisor {
        let (settings, last_results) = (Box::default(), BTreeMap::new());
        EdgeSupervisor { requests, router, events, settings, last_results, has_died: false, queued: Vec::new() }
    }

    /// Runs until the daemon stops.
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        while let Some(first) = self.wait_until_needed().await {
            let born = clock::now();
            let end = match ProcessLink::start() {
                Ok(process) => self.serve(process, first).await,
                Err(e) => ProcessEnd::Died(format!("cannot be started: {e}")),
            };
            let ProcessEnd::Died(how) = end else { return };
            self.has_died = true;
            let delay = backoff.next_delay(clock::now().duration_since(born));
            tracing::error!("the edge process (health checks, scripts) {how}; starting it again in {delay:?}");
            if !self.wait_backoff(delay).await {
                return;
            }
            if self.events.send(Event::Restarted).is_err() {
                return;
            }
        }
    }

    /// Waits before the next start, and meanwhile releases everybody who waits for a reply. False if the daemon stops.
    async fn wait_backoff(&mut self, delay: Duration) -> bool {
        let until = Instant::now() + delay;
        loop {
            let request = tokio::select! {
                () = sleep_until(until) => return true,
                request = self.requests.recv() => request,
            };
            match request {
                None => return false,
                Some(SupervisorRequest::Forward(Request::Configure(settings))) => self.remember_settings(&settings),
                Some(SupervisorRequest::Forward(request @ (Request::Notify(_) | Request::Mail(_)))) => {
                    if self.queued.len() < MAX_QUEUED {
                        self.queued.push(request);
                    }
                }
                Some(SupervisorRequest::Forward(_)) => {} // `Event::Restarted` makes the control thread send it again
                Some(SupervisorRequest::Checks(to)) => drop(to.send(CheckSnapshot::default())),
                Some(SupervisorRequest::Flush(done) | SupervisorRequest::Stop(done)) => drop(done.send(())),
            }
        }
    }

    /// Waits for the first request that needs a process, and handles those that need none. `None` if the daemon stops.
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

    /// Forwards messages until the process dies or the daemon stops.
    async fn serve(&mut self, mut process: ProcessLink, first: Request) -> ProcessEnd {
        for request in self.initial_requests(first) {
            if let Err(failure) = process.send(&request).await {
                return ProcessEnd::Died(process.reap(failure).await);
            }
        }
        loop {
            // Only the wait is cancelled by select!; what is written to the process is written whole.
            let step = tokio::select! {
                request = self.requests.recv() => match request {
                    None => {
                        process.stop().await;
                        return ProcessEnd::NotNeeded;
                    }
                    Some(SupervisorRequest::Stop(done)) => {
                        process.stop().await;
                        let _ = done.send(());
                        return ProcessEnd::NotNeeded;
                    }
                    Some(request) => self.forward(&mut process, request).await,
                },
                input = process.next_input() => self.handle_input(&mut process, input).await,
            };
            if let Err(failure) = step {
                return ProcessEnd::Died(process.reap(failure).await);
            }
        }
    }

    /// What a new process is sent first: the results of its predecessor, its settings, the request that needed it, and
    /// what was queued.
    fn initial_requests(&mut self, first: Request) -> Vec<Request> {
        let mut out = Vec::new();
        if self.has_died {
            let results = self.last_results.iter().map(|(object, result)| (object.clone(), *result)).collect();
            out.push(Request::PreviousResults(results));
        }
        if !matches!(first, Request::Configure(_)) {
            out.push(Request::Configure(self.settings.clone()));
        }
        out.push(first);
        out.append(&mut self.queued);
        out
    }

    async fn forward(&mut self, process: &mut ProcessLink, request: SupervisorRequest) -> Result<(), ProcessFailure> {
        let request = match request {
            SupervisorRequest::Forward(request) => request,
            SupervisorRequest::Checks(to) => process.register_reply(PendingReply::Checks(to), Request::GetChecks),
            SupervisorRequest::Flush(done) | SupervisorRequest::Stop(done) => {
                process.register_reply(PendingReply::Flush(done), Request::Flush)
            }
        };
        if let Request::Configure(settings) = &request {
            self.remember_settings(settings);
        }
        process.send(&request).await
    }

    async fn handle_input(&mut self, process: &mut ProcessLink, input: LinkInput) -> Result<(), ProcessFailure> {
        match input {
            LinkInput::Disconnected => Err(ProcessFailure::Disconnected),
            LinkInput::Heartbeat => process.ping().await,
            LinkInput::Report(report) => {
                if let Some(event) = process.handle_report(report) {
                    self.handle_event(event);
                }
                Ok(())
            }
        }
    }

    /// Sends an event of the process to the router thread or the control thread.
    fn handle_event(&mut self, event: Event) {
        let Event::TrackChanged { object, result } = event else {
            let _ = self.events.send(event);
            return;
        };
        self.last_results.insert(object.clone(), result);
        self.router.send(router::Command::TrackChanged { object, result });
    }

    /// Keeps the settings for the next process, and forgets the results of objects that are not configured any more.
    fn remember_settings(&mut self, settings: &EdgeSettings) {
        *self.settings = settings.clone();
        let is_configured = |object: &TrackedObject| match object {
            TrackedObject::Script(name) => settings.scripts.iter().any(|s| s.name == *name),
            TrackedObject::File(name) => settings.files.iter().any(|f| f.name == *name),
            TrackedObject::Process(name) => settings.processes.iter().any(|p| p.name == *name),
            _ => false,
        };
        self.last_results.retain(|object, _| is_configured(object));
    }
}
