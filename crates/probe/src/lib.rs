//! Health probes: ask, listen, judge, with the time that each phase took and the one in which it failed.
//!
//! [`Prober::run`] makes a [`Probe`] of the core's; when, and what follows from it, is decided there. Everything runs within
//! a tokio runtime with I/O and time, and may be dropped at any point.

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
mod through_service;
mod tls;
mod udp;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use evenkeel_core::health::{Phase, Probe, ProbeKind, ProbeResult};
use evenkeel_core::model::{ConnectOptions, Exchange};
use tokio::time::timeout;

/// Why a probe failed: where, and in words.
pub type ProbeFailure = (Phase, String);

/// What a good probe found: in words, and the weight that it asks for.
struct ProbeSuccess {
    detail: String,
    weight: Option<u32>,
}

impl From<String> for ProbeSuccess {
    fn from(detail: String) -> ProbeSuccess {
        ProbeSuccess { detail, weight: None }
    }
}

/// What probes share: compiled expressions, TLS settings, who runs programs.
#[derive(Default)]
pub struct Prober {
    patterns: http::RegexCache,
    tls: tls::TlsConfigs,
    script_security: bool,
}

impl Prober {
    /// `secure`: `enable_script_security`.
    pub fn new(script_security: bool) -> Prober {
        Prober { script_security, ..Prober::default() }
    }

    /// Runs a probe. It never takes longer than the probe's patience allows each of its phases.
    pub async fn run(&self, probe: &Probe) -> ProbeResult {
        let mut watch = PhaseTimer::new(probe.timeout);
        let ended = self.run_phases(probe, &mut watch).await;
        let took_us = watch.started.elapsed().as_micros() as u64;
        let (failed, ProbeSuccess { detail, weight }) = match ended {
            Ok(found) => (None, found),
            Err((phase, why)) => (Some(phase), why.into()),
        };
        ProbeResult { failed, detail, took_us, phases: watch.phases, weight }
    }

    /// Gets a page for its digest, as an HTTP_GET with this url and nothing to judge would: its status, its length in bytes
    /// and its MD5. An error says where and why it failed.
    pub async fn digest(&self, probe: &Probe) -> Result<(u16, u64, [u8; 16]), ProbeFailure> {
        let mut watch = PhaseTimer::new(probe.timeout);
        let to = probe.target.ok_or_else(|| (Phase::Prepare, "nobody to ask".to_owned()))?;
        let (code, page) = http::fetch(self, probe, to, &mut watch).await?;
        Ok((code, page.length(), page.digest()))
    }

    async fn run_phases(&self, probe: &Probe, watch: &mut PhaseTimer) -> Result<ProbeSuccess, ProbeFailure> {
        match (&probe.kind, probe.target) {
            (ProbeKind::Tcp { through }, Some(to)) => {
                let stream = connect::tcp_connect(to, &probe.path, watch).await?;
                let Some(way) = through else { return Ok("connected".to_owned().into()) };
                let from = stream.local_addr().map_err(|e| (Phase::Prepare, e.to_string()))?;
                through_service::run(from.ip(), way, watch).await?;
                Ok(format!("connected, and at {} as well", SocketAddr::new(way.addr, way.port)).into())
            }
            (ProbeKind::Http { .. }, Some(to)) => http::run(self, probe, to, watch).await,
            (ProbeKind::Exchange(exchange), Some(to)) => self.run_exchange(exchange, to, &probe.path, watch).await,
            (ProbeKind::Misc { command, dynamic }, _) => {
                misc::run(command, *dynamic, self.script_security, watch).await
            }
            (_, None) => Err((Phase::Prepare, "nobody to ask".to_owned())),
        }
    }

    /// One protocol exchange. A new one is a file beside this one, and a line here.
    async fn run_exchange(
        &self,
        exchange: &Exchange,
        to: (IpAddr, u16),
        path: &ConnectOptions,
        watch: &mut PhaseTimer,
    ) -> Result<ProbeSuccess, ProbeFailure> {
        match exchange {
            Exchange::Grpc { service, tls } => grpc::run(self, to, path, (service, tls.as_ref()), watch).await,
            Exchange::Smtp { helo } => smtp::run(to, path, helo.as_deref(), watch).await,
            Exchange::Dns { name, kind } => dns::run(to, path, (name, *kind), watch).await,
            Exchange::Udp { payload, reply } => udp::run(to, path, (payload.as_deref(), reply.as_ref()), watch).await,
            Exchange::Database(database) => database::run(to, path, database, watch).await,
            Exchange::Ping => ping::run(to.0, path, watch).await,
        }
    }
}

/// Patience, and the time that each phase takes.
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

    /// A phase has ended.
    fn end_phase(&mut self, phase: Phase) {
        let now = Instant::now();
        self.phases.push((phase, (now - self.phase_started).as_micros() as u64));
        self.phase_started = now;
    }

    /// Waits for a phase no longer than patience lasts.
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

/// A few bytes that nobody can foresee; chance for messages, not for secrets.
fn random_bytes() -> [u8; 8] {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0).to_ne_bytes()
}
