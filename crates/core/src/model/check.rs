//! Health checks, as configured.

use std::net::Ipv4Addr;
use std::time::Duration;

/// When and how often a check probes; keepalived's names and rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckTiming {
    /// Between two probes of a healthy server.
    pub delay_loop: Duration,
    /// A probe that takes longer has failed.
    pub connect_timeout: Duration,
    /// Failed probes that a healthy server is forgiven before it counts as dead.
    pub retry: u32,
    /// Between such repeated probes.
    pub delay_before_retry: Duration,
    /// The first probe starts up to this much later, so that probes spread.
    pub warmup: Duration,
}

/// A range of HTTP status codes, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatusRange {
    /// First code accepted.
    pub from: u16,
    /// Last code accepted.
    pub to: u16,
}

/// One `url` block of HTTP_GET.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpUrl {
    /// Request target.
    pub path: String,
    /// Accepted codes; 200 to 299 if none is configured.
    pub status: Vec<StatusRange>,
    /// The Host header, if it is not the server's address.
    pub virtualhost: Option<String>,
}

impl HttpUrl {
    /// Is this status code what the configuration asks for?
    pub fn accepts(&self, code: u16) -> bool {
        self.status.iter().any(|r| (r.from..=r.to).contains(&code))
    }
}

/// What a check does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CheckKind {
    /// TCP_CHECK: the connection comes about.
    Tcp,
    /// HTTP_GET: every url answers with an accepted status.
    Http {
        /// All must pass, one after the other.
        urls: Vec<HttpUrl>,
        /// Host header for urls without their own.
        virtualhost: Option<String>,
    },
    /// BFD_CHECK: this session is up. Nothing is probed.
    Bfd(String),
}

impl CheckKind {
    /// Its keyword in keepalived.conf.
    pub const fn name(&self) -> &'static str {
        match self {
            CheckKind::Tcp => "TCP_CHECK",
            CheckKind::Http { .. } => "HTTP_GET",
            CheckKind::Bfd(_) => "BFD_CHECK",
        }
    }
}

/// One check of one real server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What it does.
    pub kind: CheckKind,
    /// When.
    pub timing: CheckTiming,
    /// Probed address, if it is not the server's.
    pub connect_ip: Option<Ipv4Addr>,
    /// Probed port, if it is not the server's.
    pub connect_port: Option<u16>,
    /// Source address of probes.
    pub bindto: Option<Ipv4Addr>,
    /// The check's own `alpha`, if it sets one.
    pub alpha: Option<bool>,
}

impl Check {
    /// One that follows a BFD session.
    pub fn bfd(session: String) -> Check {
        let timing = CheckTiming {
            delay_loop: Duration::ZERO,
            connect_timeout: Duration::ZERO,
            retry: 0,
            delay_before_retry: Duration::ZERO,
            warmup: Duration::ZERO,
        };
        let kind = CheckKind::Bfd(session);
        Check { kind, timing, connect_ip: None, connect_port: None, bindto: None, alpha: None }
    }
}
