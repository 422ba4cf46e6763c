//! Probes: one request to one real server, and how it ended.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    Check, CheckKind, ConnectOptions, Exchange, ForwardingMethod, HttpUrl, HttpVersion, ScriptCommand, ServerKey,
    ServiceKey, Tls,
};

/// The phase in which a probe failed, or which took some time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The probe could not be started: no file descriptor, no such user, no such device.
    Prepare,
    /// The connection was not established.
    Connect,
    /// The TLS handshake failed, or the certificate is not trusted.
    Tls,
    /// The request could not be sent.
    Send,
    /// No response began.
    FirstByte,
    /// A response began, but did not end.
    Body,
    /// The response is not the expected one.
    Expect,
}

impl Phase {
    /// The name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Prepare => "prepare",
            Phase::Connect => "connect",
            Phase::Tls => "TLS",
            Phase::Send => "send",
            Phase::FirstByte => "first byte",
            Phase::Body => "body",
            Phase::Expect => "expectation",
        }
    }
}

/// How a probe ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProbeResult {
    /// The phase in which the probe failed; `None`: it passed.
    pub failed: Option<Phase>,
    /// What was observed, for log and `status`.
    pub detail: String,
    /// The duration of the probe, µs.
    pub took_us: u64,
    /// The duration of each completed phase, µs, in order.
    #[serde(default)]
    pub phases: Vec<(Phase, u64)>,
    /// The weight that the probe sets (MISC_CHECK with `misc_dynamic`); `None`: the configured one.
    #[serde(default)]
    pub weight: Option<u32>,
}

impl ProbeResult {
    /// The result of a passive check (FILE_CHECK, BFD_CHECK), which sends no probe.
    pub fn reported(good: bool, detail: String) -> ProbeResult {
        ProbeResult { failed: (!good).then_some(Phase::Expect), detail, took_us: 0, phases: Vec::new(), weight: None }
    }

    /// Whether the probe passed.
    pub fn passed(&self) -> bool {
        self.failed.is_none()
    }
}

/// The path of packets that are forwarded to a real server (`through_service`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ForwardingPath {
    /// The virtual server's address.
    pub addr: IpAddr,
    /// The virtual server's port.
    pub port: u16,
    /// The real server's address, even if `connect_ip` sends the probe elsewhere.
    pub server: IpAddr,
    /// The real server's port, which NAT translates to.
    pub server_port: u16,
    /// The forwarding method.
    pub method: ForwardingMethod,
}

/// What a probe does. The variants with requests and replies are those of the configuration ([`Exchange`]).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ProbeKind {
    /// Establish a connection.
    Tcp {
        /// And another one by the path of forwarded packets.
        through: Option<ForwardingPath>,
    },
    /// Get one URL.
    Http {
        /// The request target, and what the response must be.
        url: Box<HttpUrl>,
        /// The form of the request.
        version: HttpVersion,
        /// TLS, if any.
        tls: Option<Tls>,
        /// The time limit for the whole response.
        limit: Option<Duration>,
    },
    /// A request and a reply.
    Exchange(Exchange),
    /// Run a program; its exit status is the result.
    Misc {
        /// The program.
        command: ScriptCommand,
        /// The exit status is a weight.
        dynamic: bool,
    },
}

/// One request to one real server. Equal probes of several checks are executed once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Probe {
    /// What it does.
    pub kind: ProbeKind,
    /// The address and port that it connects to; `None` for a program.
    pub target: Option<(IpAddr, u16)>,
    /// The source address, port, device and mark. `connect_ip` and `connect_port` are in `target`.
    pub path: ConnectOptions,
    /// The time limit of each phase; of a program, of the whole run.
    pub timeout: Duration,
}

impl Probe {
    /// The probes of a check, which the checker uses in turn: one for each URL, none for a passive check, one for all
    /// others.
    pub fn for_check(check: &Check, service: ServiceKey, server: ServerKey) -> Vec<Probe> {
        let path = ConnectOptions { connect_ip: None, connect_port: None, ..check.connect.clone() };
        let target = Some(check.connect.target(server));
        let timeout = check.timing.connect_timeout;
        let probe = |kind| Probe { kind, target, path: path.clone(), timeout };
        match &check.kind {
            CheckKind::Tcp { through_service } => {
                let (addr, port) = (service.addr, service.port);
                let path = |method| {
                    let server_port = if server.port == 0 { port } else { server.port };
                    ForwardingPath { addr, port, server: server.addr, server_port, method }
                };
                vec![probe(ProbeKind::Tcp { through: through_service.map(path) })]
            }
            CheckKind::Http { urls, version, tls, total_timeout, fast_recovery: _ } => {
                let http = |url: &HttpUrl| ProbeKind::Http {
                    url: Box::new(url.clone()),
                    version: *version,
                    tls: tls.clone(),
                    limit: *total_timeout,
                };
                urls.iter().map(http).map(probe).collect()
            }
            CheckKind::Exchange(exchange) => vec![probe(ProbeKind::Exchange(exchange.clone()))],
            CheckKind::Misc { command, timeout, dynamic } => vec![Probe {
                kind: ProbeKind::Misc { command: command.clone(), dynamic: *dynamic },
                target: None,
                path: ConnectOptions::default(),
                timeout: *timeout,
            }],
            CheckKind::File { .. } | CheckKind::Bfd(_) => Vec::new(),
        }
    }
}
