//! One question to one server, and how it ended.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    Check, CheckKind, Database, DnsType, ForwardingMethod, HttpUrl, HttpVersion, Path, Reply, ScriptCommand, ServerKey,
    ServiceKey, Tls,
};

/// In which phase a probe failed, so that "why is it down" has an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The probe could not be made: no descriptor, no such user, no such device.
    Prepare,
    /// The connection did not come about.
    Connect,
    /// TLS was not agreed on, or the certificate is not trusted.
    Tls,
    /// The request could not be sent.
    Send,
    /// No answer began.
    FirstByte,
    /// An answer began, and did not end.
    Body,
    /// An answer came, but not the one expected.
    Expect,
}

impl Phase {
    /// As it stands in messages.
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
    /// `None`: it passed.
    pub failed: Option<Phase>,
    /// What was seen, in words.
    pub detail: String,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// How long each phase took that ended, microseconds, in their order.
    #[serde(default)]
    pub phases: Vec<(Phase, u64)>,
    /// The weight that the server is to have from now on (MISC_CHECK with `misc_dynamic`); none: its configured one.
    #[serde(default)]
    pub weight: Option<u32>,
}

impl ProbeResult {
    /// What is told, and not probed.
    pub fn told(good: bool, detail: String) -> ProbeResult {
        ProbeResult { failed: (!good).then_some(Phase::Expect), detail, took_us: 0, phases: Vec::new(), weight: None }
    }

    /// Did it pass?
    pub fn passed(&self) -> bool {
        self.failed.is_none()
    }
}

/// The way of a forwarded packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Through {
    /// The virtual server's address.
    pub addr: IpAddr,
    /// Its port.
    pub port: u16,
    /// The real server, wherever else the probe itself goes.
    pub server: IpAddr,
    /// Direct routing or a tunnel.
    pub method: ForwardingMethod,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Ask {
    /// A connection, and nothing more.
    Tcp {
        /// And one that goes as forwarded packets do.
        through: Option<Through>,
    },
    /// A page.
    Http {
        /// Which, and what it must be like.
        url: Box<HttpUrl>,
        /// The form of the request.
        version: HttpVersion,
        /// TLS, if any.
        tls: Option<Tls>,
        /// All of it must be there within this.
        limit: Option<Duration>,
    },
    /// Whether a gRPC service serves.
    Grpc {
        /// Which; the server as a whole if empty.
        service: String,
        /// TLS, if any.
        tls: Option<Tls>,
    },
    /// A greeting, as of a mail server.
    Smtp {
        /// What we call ourselves.
        helo: Option<String>,
    },
    /// Whether a database takes clients.
    Greet(Database),
    /// A question to a name server.
    Dns {
        /// The name.
        name: String,
        /// What about it.
        kind: DnsType,
    },
    /// A datagram.
    Udp {
        /// What it holds; random bytes if nothing.
        payload: Option<Vec<u8>>,
        /// What must come back.
        reply: Option<Reply>,
    },
    /// An echo request.
    Ping,
    /// A program's opinion.
    Misc {
        /// The program.
        command: ScriptCommand,
        /// Its exit status is a weight.
        dynamic: bool,
    },
}

/// One question to one server. Two that are equal are asked once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Probe {
    /// What.
    pub ask: Ask,
    /// Whom; for a program nobody.
    pub to: Option<(IpAddr, u16)>,
    /// From where.
    pub path: Path,
    /// Patience for each of its phases; for a program for all of it.
    pub timeout: Duration,
}

impl Probe {
    /// The probes of a check, in the order in which they take turns; none if it is told and does not probe.
    pub fn of(check: &Check, service: ServiceKey, server: ServerKey) -> Vec<Probe> {
        let path = Path { connect_ip: None, connect_port: None, ..check.path.clone() };
        let to = Some(check.path.to(server));
        let timeout = check.timing.connect_timeout;
        let one = |ask| vec![Probe { ask, to, path: path.clone(), timeout }];
        match &check.kind {
            CheckKind::Tcp { through } => one(Ask::Tcp {
                through: through.map(|method| Through {
                    addr: service.addr,
                    port: service.port,
                    server: server.addr,
                    method,
                }),
            }),
            CheckKind::Http { urls, version, tls, limit, fast_recovery: _ } => urls
                .iter()
                .flat_map(|u| {
                    one(Ask::Http { url: Box::new(u.clone()), version: *version, tls: tls.clone(), limit: *limit })
                })
                .collect(),
            CheckKind::Grpc { service, tls } => one(Ask::Grpc { service: service.clone(), tls: tls.clone() }),
            CheckKind::Smtp { helo } => one(Ask::Smtp { helo: helo.clone() }),
            CheckKind::Dns { name, kind } => one(Ask::Dns { name: name.clone(), kind: *kind }),
            CheckKind::Udp { payload, reply } => one(Ask::Udp { payload: payload.clone(), reply: reply.clone() }),
            CheckKind::Greet(database) => one(Ask::Greet(database.clone())),
            CheckKind::Ping => one(Ask::Ping),
            CheckKind::Misc { command, timeout, dynamic } => vec![Probe {
                ask: Ask::Misc { command: command.clone(), dynamic: *dynamic },
                to: None,
                path: Path::default(),
                timeout: *timeout,
            }],
            CheckKind::File { .. } | CheckKind::Bfd(_) => Vec::new(),
        }
    }
}
