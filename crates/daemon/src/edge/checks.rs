//! Health checks: the probe scheduler decides which probe is due, tokio tasks execute the probes, and changed verdicts become
//! events.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::health::{
    CheckConfig, CheckId, CheckReport, Input, Output, ProbeId, ProbeResult, ProbeScheduler, SchedulerLoad, Verdict,
};
use evenkeel_core::ipc::CheckLoad;
use evenkeel_core::model::ServiceKey;
use evenkeel_core::time::Instant;
use evenkeel_probe::Prober;
use evenkeel_sys::{clock, sched};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Event;
use super::messages::EdgeSettings;

/// Probes at a time, unless the configuration says otherwise.
const DEFAULT_CONCURRENCY: usize = 1000;
/// Descriptors that everything else may need.
const SPARE_FDS: u64 = 256;
/// Checks that are later than this are overload.
const OVERLOAD_LAG: Duration = Duration::from_secs(1);
/// Overload is told this often.
const OVERLOAD_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// One check, as it is known here.
#[derive(Serialize, Deserialize)]
pub struct CheckState {
    /// Failures that it is being forgiven.
    pub forgiven: u32,
    /// Its last probe.
    pub last: Option<ProbeResult>,
    /// How many checks share its probe.
    pub shared: usize,
}

/// All checks at one moment.
#[derive(Default, Serialize, Deserialize)]
pub struct CheckSnapshot {
    /// Each of them.
    pub checks: std::collections::HashMap<CheckId, CheckState>,
    /// What they cost.
    pub load: CheckLoad,
}

/// Checks, and the probes under way.
pub struct Checks {
    scheduler: ProbeScheduler,
    prober: Arc<Prober>,
    done: UnboundedSender<(ProbeId, ProbeResult)>,
    results: UnboundedReceiver<(ProbeId, ProbeResult)>,
    is_first_config: bool,
    overload_logged: Option<Instant>,
}

impl Checks {
    /// Nothing is checked.
    pub fn new() -> Checks {
        let (done, results) = unbounded_channel();
        let scheduler = ProbeScheduler::new(DEFAULT_CONCURRENCY);
        Checks { scheduler, prober: Arc::default(), done, results, is_first_config: true, overload_logged: None }
    }

    /// How probes are made from now on.
    pub fn apply_settings(&mut self, settings: &EdgeSettings) {
        let wanted = settings.concurrency.map_or(DEFAULT_CONCURRENCY, |n| n as usize);
        let descriptors = sched::raise_fd_limit(wanted as u64 + SPARE_FDS);
        let most = wanted.min(descriptors.saturating_sub(SPARE_FDS).max(16) as usize);
        if most < wanted {
            tracing::warn!("{most} probes at a time instead of {wanted}: a process may have {descriptors} files open");
        }
        self.scheduler.set_max_running(most);
        // Files that expressions and certificates came from may have changed.
        self.prober = Arc::new(Prober::new(settings.secure));
    }

    /// They were made by another process before: a failure is forgiven from the first probe.
    pub fn resume(&mut self) {
        self.is_first_config = false;
    }

    /// These checks from now on; returns where those stand that were there already.
    pub fn configure(&mut self, wanted: Vec<CheckConfig>) -> Vec<(CheckId, Verdict)> {
        self.scheduler.reconfigure(clock::now(), wanted, !std::mem::take(&mut self.is_first_config));
        self.scheduler.reports().map(|r| (r.id, r.verdict)).collect()
    }

    /// `ha_suspend`
    pub fn set_suspended(&mut self, services: Vec<(ServiceKey, bool)>) {
        for (service, suspended) in services {
            self.scheduler.handle(clock::now(), Input::Suspend { service, suspended });
        }
    }

    /// Waits for the next deadline or result, and handles it.
    pub async fn serve(&mut self, events: &UnboundedSender<Event>) {
        self.run_scheduler(events);
        let until = self.scheduler.next_deadline().map(|at| at.duration_since(clock::now()));
        let deadline = async {
            match until {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let mut finished = tokio::select! {
            finished = self.results.recv() => finished,
            () = deadline => None,
        };
        while let Some((id, result)) = finished {
            self.scheduler.handle(clock::now(), Input::ProbeFinished { id, result });
            finished = self.results.try_recv().ok();
        }
        self.run_scheduler(events);
    }

    /// Handles what is due: reports results, and starts probes.
    fn run_scheduler(&mut self, events: &UnboundedSender<Event>) {
        let now = clock::now();
        self.scheduler.handle_deadline(now);
        while let Some(output) = self.scheduler.poll_output() {
            match output {
                Output::StartProbe { id, probe } => {
                    let (prober, done) = (self.prober.clone(), self.done.clone());
                    tokio::spawn(async move {
                        let result = prober.run(&probe).await;
                        let _ = done.send((id, result));
                    });
                }
                Output::CheckResult { id, verdict, result, log_failure } => {
                    let (service, server, _) = id;
                    if log_failure && !result.passed() {
                        tracing::info!(%service, %server, "{server} of {service}: a probe failed: {}", result.detail);
                    }
                    if let Some(verdict) = verdict {
                        let _ = events.send(Event::Verdict { id, verdict, result: (*result).clone() });
                    }
                }
            }
        }
        self.log_overload(now);
    }

    fn log_overload(&mut self, now: Instant) {
        let lag = self.scheduler.queue_delay(now);
        if lag > OVERLOAD_LAG && self.overload_logged.is_none_or(|t| now.duration_since(t) > OVERLOAD_LOG_INTERVAL) {
            self.overload_logged = Some(now);
            let late = lag.as_secs_f64();
            tracing::warn!(
                "health checks are {late:.1} s behind: too many for this machine, or for `checker_concurrency`"
            );
        }
    }

    /// The state of every check, and the load.
    pub fn snapshot(&self) -> CheckSnapshot {
        let state = |r: CheckReport<'_>| {
            (r.id, CheckState { forgiven: r.retries_used, last: r.last_result.cloned(), shared: r.shared_by })
        };
        let SchedulerLoad { checks, probes, running, started } = self.scheduler.load();
        let queue_delay_ms = self.scheduler.queue_delay(clock::now()).as_millis() as u64;
        let load = CheckLoad { checks, probes, running, started, queue_delay_ms };
        CheckSnapshot { checks: self.scheduler.reports().map(state).collect(), load }
    }
}
