//! Health checks: the pool says which probe is to be made, tasks make them, and what is new is told.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::health::{CheckId, Checking, Pool, ProbeResult, Verdict};
use evenkeel_core::ipc::CheckLoad;
use evenkeel_core::model::ServiceKey;
use evenkeel_core::time::Instant;
use evenkeel_probe::Prober;
use evenkeel_sys::{clock, rt};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Event;
use super::messages::Settings;

/// Probes at a time, unless the configuration says otherwise.
const AT_A_TIME: usize = 1000;
/// Descriptors that everything else may need.
const SPARE: u64 = 256;
/// Checks that are later than this are overload.
const LATE: Duration = Duration::from_secs(1);
/// Overload is told this often.
const AGAIN: Duration = Duration::from_secs(60);

/// One check, as it is known here.
#[derive(Serialize, Deserialize)]
pub struct Seen {
    /// Failures that it is being forgiven.
    pub forgiven: u32,
    /// Its last probe.
    pub last: Option<ProbeResult>,
    /// How many checks share its probe.
    pub shared: usize,
}

/// All checks at one moment.
#[derive(Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Each of them.
    pub checks: std::collections::HashMap<CheckId, Seen>,
    /// What they cost.
    pub load: CheckLoad,
}

/// Checks, and the probes under way.
pub struct Checks {
    pool: Pool,
    prober: Arc<Prober>,
    done: UnboundedSender<(usize, ProbeResult)>,
    results: UnboundedReceiver<(usize, ProbeResult)>,
    first: bool,
    told_late: Option<Instant>,
}

impl Checks {
    /// Nothing is checked.
    pub fn new() -> Checks {
        let (done, results) = unbounded_channel();
        let pool = Pool::new(AT_A_TIME);
        Checks { pool, prober: Arc::default(), done, results, first: true, told_late: None }
    }

    /// How probes are made from now on.
    pub fn settings(&mut self, settings: &Settings) {
        let wanted = settings.at_a_time.map_or(AT_A_TIME, |n| n as usize);
        let descriptors = rt::raise_descriptors(wanted as u64 + SPARE);
        let most = wanted.min(descriptors.saturating_sub(SPARE).max(16) as usize);
        if most < wanted {
            tracing::warn!("{most} probes at a time instead of {wanted}: a process may have {descriptors} files open");
        }
        self.pool.set_most(most);
        // Files that expressions and certificates came from may have changed.
        self.prober = Arc::new(Prober::new(settings.secure));
    }

    /// They were made by another process before: a failure is forgiven from the first probe.
    pub fn go_on(&mut self) {
        self.first = false;
    }

    /// These checks from now on; returns where those stand that were there already.
    pub fn configure(&mut self, wanted: Vec<Checking>) -> Vec<(CheckId, Verdict)> {
        self.pool.configure(clock::now(), wanted, !std::mem::take(&mut self.first));
        self.pool.standings().map(|(id, verdict, ..)| (id, verdict)).collect()
    }

    /// `ha_suspend`
    pub fn suspend(&mut self, services: Vec<(ServiceKey, bool)>) {
        for (service, rests) in services {
            self.pool.suspend(clock::now(), service, rests);
        }
    }

    /// Waits for the next turn or result, and does what follows.
    pub async fn serve(&mut self, events: &UnboundedSender<Event>) {
        self.start();
        let until = self.pool.next_deadline().map(|at| at.since(clock::now()));
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
            self.finish(number, outcome, events);
            result = self.results.try_recv().ok();
        }
        self.start();
    }

    fn start(&mut self) {
        let now = clock::now();
        self.pool.handle_deadline(now);
        while let Some(task) = self.pool.start() {
            let (prober, done) = (self.prober.clone(), self.done.clone());
            tokio::spawn(async move {
                let result = prober.run(&task.probe).await;
                let _ = done.send((task.number, result));
            });
        }
        self.overload(now);
    }

    fn finish(&mut self, number: usize, result: ProbeResult, events: &UnboundedSender<Event>) {
        for d in self.pool.finish(clock::now(), number, result) {
            let (service, server, _) = d.id;
            if d.log && !d.result.passed() {
                tracing::info!(%service, %server, "{server} of {service}: a probe failed: {}", d.result.detail);
            }
            if let Some(verdict) = d.verdict {
                let _ = events.send(Event::Judged { id: d.id, verdict, result: (*d.result).clone() });
            }
        }
    }

    fn overload(&mut self, now: Instant) {
        let lag = self.pool.lag(now);
        if lag > LATE && self.told_late.is_none_or(|t| now.since(t) > AGAIN) {
            self.told_late = Some(now);
            let late = lag.as_secs_f64();
            tracing::warn!(
                "health checks are {late:.1} s behind: too many for this machine, or for `checker_concurrency`"
            );
        }
    }

    /// Everything that is known of checks.
    pub fn snapshot(&self) -> Snapshot {
        let seen = |(id, _, forgiven, last, shared): (_, Verdict, _, Option<&ProbeResult>, _)| {
            (id, Seen { forgiven, last: last.cloned(), shared })
        };
        let (checks, probes, running, begun) = self.pool.load();
        let behind_ms = self.pool.lag(clock::now()).as_millis() as u64;
        let load = CheckLoad { checks, probes, running, begun, behind_ms };
        Snapshot { checks: self.pool.standings().map(seen).collect(), load }
    }
}
