//! Health probes: ask, listen, judge, with the time that each phase took and the one in which it failed.
//!
//! [`Prober::run`] makes a [`Probe`] of the core's; when, and what follows from it, is decided there. Everything runs within
//! a tokio runtime with I/O and time, and may be dropped at any point.

mod connect;
mod dns;
mod greet;
mod grpc;
mod http;
pub mod lookup;
mod misc;
mod ping;
pub mod program;
mod smtp;
mod talk;
mod through;
mod tls;
mod udp;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use evenkeel_core::health::{Ask, Phase, Probe, ProbeResult};
use tokio::time::timeout;

/// Why a probe failed: where, and in words.
pub type Failure = (Phase, String);

/// What a good probe found: in words, and the weight that it asks for.
struct Found {
    detail: String,
    weight: Option<u32>,
}

impl From<String> for Found {
    fn from(detail: String) -> Found {
        Found { detail, weight: None }
    }
}

/// What probes share: compiled expressions, TLS settings, who runs programs.
#[derive(Default)]
pub struct Prober {
    patterns: http::Patterns,
    tls: tls::Configs,
    secure: bool,
}

impl Prober {
    /// `secure`: `enable_script_security`.
    pub fn new(secure: bool) -> Prober {
        Prober { secure, ..Prober::default() }
    }

    /// Runs a probe. It never takes longer than the probe's patience allows each of its phases.
    pub async fn run(&self, probe: &Probe) -> ProbeResult {
        let mut watch = Watch::new(probe.timeout);
        let ended = self.ask(probe, &mut watch).await;
        let took_us = watch.started.elapsed().as_micros() as u64;
        let (failed, Found { detail, weight }) = match ended {
            Ok(found) => (None, found),
            Err((phase, why)) => (Some(phase), why.into()),
        };
        ProbeResult { failed, detail, took_us, phases: watch.phases, weight }
    }

    /// Gets a page for its digest, as an HTTP_GET with this url and nothing to judge would: its status, its length in bytes
    /// and its MD5. An error says where and why it failed.
    pub async fn digest(&self, probe: &Probe) -> Result<(u16, u64, [u8; 16]), Failure> {
        let mut watch = Watch::new(probe.timeout);
        let to = probe.to.ok_or_else(|| (Phase::Prepare, "nobody to ask".to_owned()))?;
        let (code, page) = http::fetch(self, probe, to, &mut watch).await?;
        Ok((code, page.length(), page.digest()))
    }

    async fn ask(&self, probe: &Probe, watch: &mut Watch) -> Result<Found, Failure> {
        match (&probe.ask, probe.to) {
            (Ask::Tcp { through }, Some(to)) => {
                let stream = connect::tcp(to, &probe.path, watch).await?;
                let Some(way) = through else { return Ok("connected".to_owned().into()) };
                let from = stream.local_addr().map_err(|e| (Phase::Prepare, e.to_string()))?;
                through::run(from.ip(), way, watch).await?;
                Ok(format!("connected, and at {} as well", SocketAddr::new(way.addr, way.port)).into())
            }
            (Ask::Http { .. }, Some(to)) => http::run(self, probe, to, watch).await,
            (Ask::Grpc { service, tls }, Some(to)) => {
                grpc::run(self, to, &probe.path, (service, tls.as_ref()), watch).await
            }
            (Ask::Smtp { helo }, Some(to)) => smtp::run(to, &probe.path, helo.as_deref(), watch).await,
            (Ask::Dns { name, kind }, Some(to)) => dns::run(to, &probe.path, (name, *kind), watch).await,
            (Ask::Udp { payload, reply }, Some(to)) => {
                udp::run(to, &probe.path, (payload.as_deref(), reply.as_ref()), watch).await
            }
            (Ask::Greet(database), Some(to)) => greet::run(to, &probe.path, database, watch).await,
            (Ask::Ping, Some((to, _))) => ping::run(to, &probe.path, watch).await,
            (Ask::Misc { command, dynamic }, _) => misc::run(command, *dynamic, self.secure, watch).await,
            (_, None) => Err((Phase::Prepare, "nobody to ask".to_owned())),
        }
    }
}

/// Patience, and the time that each phase takes.
struct Watch {
    started: Instant,
    last: Instant,
    patience: Duration,
    phases: Vec<(Phase, u64)>,
}

impl Watch {
    fn new(patience: Duration) -> Watch {
        let now = Instant::now();
        Watch { started: now, last: now, patience, phases: Vec::new() }
    }

    /// A phase has ended.
    fn done(&mut self, phase: Phase) {
        let now = Instant::now();
        self.phases.push((phase, (now - self.last).as_micros() as u64));
        self.last = now;
    }

    /// Waits for a phase no longer than patience lasts.
    async fn phase<T>(&mut self, phase: Phase, what: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
        let done = match timeout(self.patience, what).await {
            Ok(done) => done.map_err(|e| (phase, e.to_string())),
            Err(_) => Err((phase, format!("no answer for {} s", self.patience.as_secs_f64()))),
        };
        self.done(phase);
        done
    }
}

/// A few bytes that nobody can foresee; chance for messages, not for secrets.
fn random() -> [u8; 8] {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0).to_ne_bytes()
}
