//! Active health checks: the probe scheduler decides which probe is due, tokio tasks execute the probes, and changed
//! verdicts become events.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::health::{
    CheckConfig, CheckId, CheckReport, Input, Output, ProbeId, ProbeResult, ProbeScheduler, SchedulerLoad, Verdict,
};
use evenkeel_core::ipc::CheckLoad;
use evenkeel_core::model::ServiceKey;
use evenkeel_core::time::Instant;
use evenkeel_probe::Prober;
use evenkeel_sys::{clock, limits};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Event;
use super::messages::EdgeSettings;

/// Default of `checker_concurrency`: the maximum number of probes at a time.
const DEFAULT_CONCURRENCY: usize = 1000;
/// Descriptors that are reserved for everything but probes.
const SPARE_FDS: u64 = 256;
/// Probes that start later than this after their time mean overload.
const OVERLOAD_LAG: Duration = Duration::from_secs(1);
/// Minimum interval of log lines about overload.
const OVERLOAD_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The state of a check, for `status`.
#[derive(Serialize, Deserialize)]
pub struct CheckProgress {
    /// Failed attempts in a row that have not changed the verdict yet (`retry`).
    pub retries_used: u32,
    /// The result of its last probe.
    pub last_probe: Option<ProbeResult>,
    /// Number of checks that share its probe, itself included.
    pub shared_by: usize,
}

/// The state of all checks at one moment.
#[derive(Default, Serialize, Deserialize)]
pub struct CheckSnapshot {
    /// By check.
    pub checks: std::collections::HashMap<CheckId, CheckProgress>,
    /// The load that they make.
    pub load: CheckLoad,
}

/// The checks, and the probes under way.
pub struct Checks {
    scheduler: ProbeScheduler,
    prober: Arc<Prober>,
    done: UnboundedSender<(ProbeId, ProbeResult)>,
    results: UnboundedReceiver<(ProbeId, ProbeResult)>,
    is_first_config: bool,
    overload_logged: Option<Instant>,
}

impl Checks {
    /// No check is configured.
    pub fn new() -> Checks {
        let (done, results) = unbounded_channel();
        let scheduler = ProbeScheduler::new(DEFAULT_CONCURRENCY);
        Checks { scheduler, prober: Arc::default(), done, results, is_first_config: true, overload_logged: None }
    }

    /// Applies settings to probes that start from now on.
    pub fn apply_settings(&mut self, settings: &EdgeSettings) {
        let wanted = settings.concurrency.map_or(DEFAULT_CONCURRENCY, |n| n as usize);
        let descriptors = limits::raise_fd_limit(wanted as u64 + SPARE_FDS);
        let possible = wanted.min(descriptors.saturating_sub(SPARE_FDS).max(16) as usize);
        if possible < wanted {
            tracing::warn!(
                "health checks: {possible} probes at a time instead of {wanted}: the limit of open files is \
                 {descriptors} (raise LimitNOFILE or RLIMIT_NOFILE)"
            );
        }
        self.scheduler.set_max_running(possible);
        // A new prober reads certificates again, whose files may have changed.
        self.prober = Arc::new(Prober::new(settings.secure));
    }

    /// Another process made these checks before: retries apply from the first probe, as they do after a reload.
    pub fn resume(&mut self) {
        self.is_first_config = false;
    }

    /// Runs these checks from now on; returns the verdicts of all checks.
    pub fn configure(&mut self, wanted: Vec<CheckConfig>) -> Vec<(CheckId, Verdict)> {
        self.scheduler.reconfigure(clock::now(), wanted, !std::mem::take(&mut self.is_first_config));
        self.scheduler.reports().map(|r| (r.id, r.verdict)).collect()
    }

    /// `ha_suspend`: suspends (true) and resumes (false) the checks of services.
    pub fn set_suspended(&mut self, services: Vec<(ServiceKey, bool)>) {
        for (service, suspended) in services {
            self.scheduler.handle(clock::now(), Input::Suspend { service, suspended });
        }
    }

    /// Waits for the next deadline or result, and handles it. Cancel-safe.
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
                "health checks are {late:.1} s late: too many checks for this machine or for `checker_concurrency`"
            );
        }
    }

    /// The state of every check, and the load.
    pub fn snapshot(&self) -> CheckSnapshot {
        let state = |r: CheckReport<'_>| {
            let last_probe = r.last_result.cloned();
            (r.id, CheckProgress { retries_used: r.retries_used, last_probe, shared_by: r.shared_by })
        };
        let SchedulerLoad { checks, probes, running, started } = self.scheduler.load();
        let queue_delay_ms = self.scheduler.queue_delay(clock::now()).as_millis() as u64;
        let load = CheckLoad { checks, probes, running, started, queue_delay_ms };
        CheckSnapshot { checks: self.scheduler.reports().map(state).collect(), load }
    }
}
