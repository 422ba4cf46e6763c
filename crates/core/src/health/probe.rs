//! One question to one server, and how it ended.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    Check, CheckKind, ConnectOptions, Database, DnsType, ForwardingMethod, HttpUrl, HttpVersion, ScriptCommand,
    ServerKey, ServiceKey, Tls, UdpReply,
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
    pub fn reported(good: bool, detail: String) -> ProbeResult {
        ProbeResult { failed: (!good).then_some(Phase::Expect), detail, took_us: 0, phases: Vec::new(), weight: None }
    }

    /// Did it pass?
    pub fn passed(&self) -> bool {
        self.failed.is_none()
    }
}

/// The way of a forwarded packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ForwardingPath {
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
pub enum ProbeKind {
    /// A connection, and nothing more.
    Tcp {
        /// And one that goes as forwarded packets do.
        through: Option<ForwardingPath>,
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
    Database(Database),
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
        reply: Option<UdpReply>,
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
    pub kind: ProbeKind,
    /// Whom; for a program nobody.
    pub target: Option<(IpAddr, u16)>,
    /// From where.
    pub path: ConnectOptions,
    /// Patience for each of its phases; for a program for all of it.
    pub timeout: Duration,
}

impl Probe {
    /// The probes of a check, in the order in which they take turns; none if it is told and does not probe.
    pub fn for_check(check: &Check, service: ServiceKey, server: ServerKey) -> Vec<Probe> {
        let path = ConnectOptions { connect_ip: None, connect_port: None, ..check.connect.clone() };
        let target = Some(check.connect.target(server));
        let timeout = check.timing.connect_timeout;
        let one = |kind| vec![Probe { kind, target, path: path.clone(), timeout }];
        match &check.kind {
            CheckKind::Tcp { through_service: through } => one(ProbeKind::Tcp {
                through: through.map(|method| ForwardingPath {
                    addr: service.addr,
                    port: service.port,
                    server: server.addr,
                    method,
                }),
            }),
            CheckKind::Http { urls, version, tls, total_timeout: limit, fast_recovery: _ } => urls
                .iter()
                .flat_map(|u| {
                    one(ProbeKind::Http {
                        url: Box::new(u.clone()),
                        version: *version,
                        tls: tls.clone(),
                        limit: *limit,
                    })
                })
                .collect(),
            CheckKind::Grpc { service, tls } => one(ProbeKind::Grpc { service: service.clone(), tls: tls.clone() }),
            CheckKind::Smtp { helo } => one(ProbeKind::Smtp { helo: helo.clone() }),
            CheckKind::Dns { name, kind } => one(ProbeKind::Dns { name: name.clone(), kind: *kind }),
            CheckKind::Udp { payload, reply } => one(ProbeKind::Udp { payload: payload.clone(), reply: reply.clone() }),
            CheckKind::Database(database) => one(ProbeKind::Database(database.clone())),
            CheckKind::Ping => one(ProbeKind::Ping),
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
