//! Health probes: one probe of one server, with the duration of each phase and the phase in which it failed.
//!
//! [`Prober::run`] makes a [`Probe`]. core/health decides when to probe and what a result means. Everything runs within
//! a tokio runtime with I/O and time, and every future may be dropped at any point. Each kind of probe has a file.

mod connect;
mod database;
mod dns;
mod driver;
mod grpc;
mod http;
pub mod lookup;
mod misc;
mod ping;
pub mod program;
mod smtp;
mod through_nat;
mod through_service;
mod tls;
mod udp;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use evenkeel_core::health::{Phase, Probe, ProbeKind, ProbeResult};
use evenkeel_core::model::{ConnectOptions, Exchange};
use tokio::time::timeout;

/// The phase in which a probe failed, and the reason.
pub type ProbeFailure = (Phase, String);

/// The result of a probe that passed: what was found, and the weight that it sets, if any.
struct ProbeSuccess {
    detail: String,
    weight: Option<u32>,
}

impl From<String> for ProbeSuccess {
    fn from(detail: String) -> ProbeSuccess {
        ProbeSuccess { detail, weight: None }
    }
}

/// Makes probes. It holds what they share: compiled regular expressions, TLS configurations, script security.
#[derive(Default)]
pub struct Prober {
    patterns: http::RegexCache,
    tls: tls::TlsConfigs,
    script_security: bool,
}

impl Prober {
    /// `script_security`: `enable_script_security` of the configuration.
    pub fn new(script_security: bool) -> Prober {
        Prober { script_security, ..Prober::default() }
    }

    /// Makes a probe. None of its phases lasts longer than the probe's timeout.
    pub async fn run(&self, probe: &Probe) -> ProbeResult {
        let mut timer = PhaseTimer::new(probe.timeout);
        let outcome = self.run_phases(probe, &mut timer).await;
        let took_us = timer.started.elapsed().as_micros() as u64;
        let (failed, ProbeSuccess { detail, weight }) = match outcome {
            Ok(success) => (None, success),
            Err((phase, why)) => (Some(phase), why.into()),
        };
        ProbeResult { failed, detail, took_us, phases: timer.phases, weight }
    }

    /// Gets a page with the request of an HTTP_GET. Returns the status code, the length in bytes and the MD5 digest.
    pub async fn digest(&self, probe: &Probe) -> Result<(u16, u64, [u8; 16]), ProbeFailure> {
        let mut timer = PhaseTimer::new(probe.timeout);
        let to = probe.target.ok_or_else(|| (Phase::Prepare, "the probe has no target address".to_owned()))?;
        let (code, page) = http::fetch(self, probe, to, &mut timer).await?;
        Ok((code, page.length(), page.digest()))
    }

    async fn run_phases(&self, probe: &Probe, timer: &mut PhaseTimer) -> Result<ProbeSuccess, ProbeFailure> {
        match (&probe.kind, probe.target) {
            (ProbeKind::Tcp { through }, Some(to)) => {
                let stream = connect::tcp_connect(to, &probe.path, timer).await?;
                let Some(path) = through else { return Ok("connected".to_owned().into()) };
                let from = stream.local_addr().map_err(|e| (Phase::Prepare, e.to_string()))?;
                Ok(through_service::run(from.ip(), path, timer).await?.into())
            }
            (ProbeKind::Http { .. }, Some(to)) => http::run(self, probe, to, timer).await,
            (ProbeKind::Exchange(exchange), Some(to)) => self.run_exchange(exchange, to, &probe.path, timer).await,
            (ProbeKind::Misc { command, dynamic }, _) => {
                misc::run(command, *dynamic, self.script_security, timer).await
            }
            (_, None) => Err((Phase::Prepare, "the probe has no target address".to_owned())),
        }
    }

    /// One protocol exchange. A new one is a file beside this one, and a line here.
    async fn run_exchange(
        &self,
        exchange: &Exchange,
        to: (IpAddr, u16),
        path: &ConnectOptions,
        timer: &mut PhaseTimer,
    ) -> Result<ProbeSuccess, ProbeFailure> {
        match exchange {
            Exchange::Grpc { service, tls } => grpc::run(self, to, path, (service, tls.as_ref()), timer).await,
            Exchange::Smtp { helo } => smtp::run(to, path, helo.as_deref(), timer).await,
            Exchange::Dns { name, kind } => dns::run(to, path, (name, *kind), timer).await,
            Exchange::Udp { payload, reply } => udp::run(to, path, (payload.as_deref(), reply.as_ref()), timer).await,
            Exchange::Database(database) => database::run(to, path, database, timer).await,
            Exchange::Ping => ping::run(to.0, path, timer).await,
        }
    }
}

/// Measures and limits the phases of a probe.
struct PhaseTimer {
    started: Instant,
    phase_started: Instant,
    phase_timeout: Duration,
    phases: Vec<(Phase, u64)>,
}

impl PhaseTimer {
    fn new(phase_timeout: Duration) -> PhaseTimer {
        let now = Instant::now();
        PhaseTimer { started: now, phase_started: now, phase_timeout, phases: Vec::new() }
    }

    /// Records the end of a phase.
    fn end_phase(&mut self, phase: Phase) {
        let now = Instant::now();
        self.phases.push((phase, (now - self.phase_started).as_micros() as u64));
        self.phase_started = now;
    }

    /// Runs a phase, for no longer than the timeout.
    async fn run_phase<T>(
        &mut self,
        phase: Phase,
        what: impl Future<Output = io::Result<T>>,
    ) -> Result<T, ProbeFailure> {
        let done = match timeout(self.phase_timeout, what).await {
            Ok(done) => done.map_err(|e| (phase, e.to_string())),
            Err(_) => Err((phase, format!("no answer for {} s", self.phase_timeout.as_secs_f64()))),
        };
        self.end_phase(phase);
        done
    }
}

/// Random bytes for identifiers of messages. They are not suited for secrets.
fn random_bytes() -> [u8; 8] {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0).to_ne_bytes()
}
