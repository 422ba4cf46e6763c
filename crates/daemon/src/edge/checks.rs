//! Health checks: the pool says which probe is to be made, tasks make them, and what is new is told.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::health::{CheckConfig, CheckId, ProbeResult, ProbeScheduler, Verdict};
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
    pool: ProbeScheduler,
    prober: Arc<Prober>,
    done: UnboundedSender<(usize, ProbeResult)>,
    results: UnboundedReceiver<(usize, ProbeResult)>,
    is_first_config: bool,
    overload_logged: Option<Instant>,
}

impl Checks {
    /// Nothing is checked.
    pub fn new() -> Checks {
        let (done, results) = unbounded_channel();
        let pool = ProbeScheduler::new(DEFAULT_CONCURRENCY);
        Checks { pool, prober: Arc::default(), done, results, is_first_config: true, overload_logged: None }
    }

    /// How probes are made from now on.
    pub fn apply_settings(&mut self, settings: &EdgeSettings) {
        let wanted = settings.concurrency.map_or(DEFAULT_CONCURRENCY, |n| n as usize);
        let descriptors = sched::raise_fd_limit(wanted as u64 + SPARE_FDS);
        let most = wanted.min(descriptors.saturating_sub(SPARE_FDS).max(16) as usize);
        if most < wanted {
            tracing::warn!("{most} probes at a time instead of {wanted}: a process may have {descriptors} files open");
        }
        self.pool.set_max_running(most);
        // Files that expressions and certificates came from may have changed.
        self.prober = Arc::new(Prober::new(settings.secure));
    }

    /// They were made by another process before: a failure is forgiven from the first probe.
    pub fn resume(&mut self) {
        self.is_first_config = false;
    }

    /// These checks from now on; returns where those stand that were there already.
    pub fn configure(&mut self, wanted: Vec<CheckConfig>) -> Vec<(CheckId, Verdict)> {
        self.pool.configure(clock::now(), wanted, !std::mem::take(&mut self.is_first_config));
        self.pool.check_statuses().map(|(id, verdict, ..)| (id, verdict)).collect()
    }

    /// `ha_suspend`
    pub fn set_suspended(&mut self, services: Vec<(ServiceKey, bool)>) {
        for (service, rests) in services {
            self.pool.suspend(clock::now(), service, rests);
        }
    }

    /// Waits for the next turn or result, and does what follows.
    pub async fn serve(&mut self, events: &UnboundedSender<Event>) {
        self.start_probes();
        let until = self.pool.next_deadline().map(|at| at.duration_since(clock::now()));
        let turn = async {
            match until {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let mut result = tokio::select! {
            result = self.results.recv() => result,
            () = turn => None,
        };
        while let Some((number, outcome)) = result {
            self.finish_probe(number, outcome, events);
            result = self.results.try_recv().ok();
        }
        self.start_probes();
    }

    fn start_probes(&mut self) {
        let now = clock::now();
        self.pool.handle_deadline(now);
        while let Some(task) = self.pool.poll_probe() {
            let (prober, done) = (self.prober.clone(), self.done.clone());
            tokio::spawn(async move {
                let result = prober.run(&task.probe).await;
                let _ = done.send((task.id, result));
            });
        }
        self.log_overload(now);
    }

    fn finish_probe(&mut self, number: usize, result: ProbeResult, events: &UnboundedSender<Event>) {
        for d in self.pool.handle_result(clock::now(), number, result) {
            let (service, server, _) = d.id;
            if d.log_failure && !d.result.passed() {
                tracing::info!(%service, %server, "{server} of {service}: a probe failed: {}", d.result.detail);
            }
            if let Some(verdict) = d.verdict {
                let _ = events.send(Event::Verdict { id: d.id, verdict, result: (*d.result).clone() });
            }
        }
    }

    fn log_overload(&mut self, now: Instant) {
        let lag = self.pool.queue_lag(now);
        if lag > OVERLOAD_LAG && self.overload_logged.is_none_or(|t| now.duration_since(t) > OVERLOAD_LOG_INTERVAL) {
            self.overload_logged = Some(now);
            let late = lag.as_secs_f64();
            tracing::warn!(
                "health checks are {late:.1} s behind: too many for this machine, or for `checker_concurrency`"
            );
        }
    }

    /// Everything that is known of checks.
    pub fn snapshot(&self) -> CheckSnapshot {
        let seen = |(id, _, forgiven, last, shared): (_, Verdict, _, Option<&ProbeResult>, _)| {
            (id, CheckState { forgiven, last: last.cloned(), shared })
        };
        let (checks, probes, running, begun) = self.pool.load();
        let behind_ms = self.pool.queue_lag(clock::now()).as_millis() as u64;
        let load = CheckLoad { checks, probes, running, started: begun, queue_delay_ms: behind_ms };
        CheckSnapshot { checks: self.pool.check_statuses().map(seen).collect(), load }
    }
}
