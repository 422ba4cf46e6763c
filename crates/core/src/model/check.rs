//! Health checks, as configured.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ForwardingMethod, ScriptCommand, ServerKey};

/// When and how often a check probes; keepalived's names and rules.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct StatusRange {
    /// First code accepted.
    pub from: u16,
    /// Last code accepted.
    pub to: u16,
}

/// What a page must, or must not, match: `regex` and what belongs to it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Pattern {
    /// The expression, as PCRE2 has it (pcre2pattern(3)).
    pub source: String,
    /// `regex_options`: keepalived.conf(5)'s names.
    pub options: Vec<String>,
    /// `regex_no_match`: the page must not match.
    pub inverted: bool,
    /// Bytes of the page before which no match begins.
    pub min_offset: usize,
    /// Bytes of the page behind which no match begins.
    pub max_offset: Option<usize>,
    /// `regex_stack`: the most memory that matching may take on its stack, in bytes.
    pub stack: Option<usize>,
}

/// One `url` block of HTTP_GET or SSL_GET.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct HttpUrl {
    /// Request target.
    pub path: String,
    /// Accepted codes; 200 to 299 if none is configured.
    pub status: Vec<StatusRange>,
    /// The Host header, if it is not the server's address; the block's, or else the check's.
    pub virtualhost: Option<String>,
    /// MD5 of the page, as `genhash` prints it.
    pub digest: Option<[u8; 16]>,
    /// What the page must match.
    pub pattern: Option<Pattern>,
}

impl HttpUrl {
    /// Is this status code what the configuration asks for?
    pub fn accepts_status(&self, code: u16) -> bool {
        self.status.iter().any(|r| (r.from..=r.to).contains(&code))
    }

    /// Is more judged than the status?
    pub fn checks_body(&self) -> bool {
        self.digest.is_some() || self.pattern.is_some()
    }
}

/// The form of an HTTP request (`http_protocol`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.0
    #[default]
    V10,
    /// HTTP/1.0 that asks to close the connection
    V10Close,
    /// HTTP/1.1 that asks to close the connection
    V11,
    /// HTTP/2 (RFC 9113), by TLS's ALPN, or with prior knowledge (an addition of ours)
    V2,
}

/// TLS of SSL_GET.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Tls {
    /// The name that is sent (SNI, RFC 6066, 3), if one is.
    pub sni: Option<String>,
    /// The server's certificate is verified: by these certificates (PEM), or by the system's if no file is named.
    pub verify: Option<Option<String>>,
    /// The name that the certificate must be for, if it is verified; any name if none.
    pub name: Option<String>,
    /// The certificate that is shown to the server, and its key (PEM files).
    pub identity: Option<(String, String)>,
    /// HTTP/2 is spoken within (ALPN, RFC 7301).
    pub http2: bool,
}

/// What is asked of a name server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // RFC 1035, 3596 and 4034 explain them
pub enum DnsType {
    A,
    Ns,
    Cname,
    Soa,
    Mx,
    Txt,
    Aaaa,
    Rrsig,
    Dnskey,
}

/// What a UDP_CHECK expects.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct UdpReply {
    /// Each byte and the bits of it that count; nothing: any bytes.
    pub pattern: Vec<(u8, u8)>,
    /// Its least length.
    pub min_len: u16,
    /// Its greatest length.
    pub max_len: u16,
}

/// A database that is asked whether it takes clients (additions of ours).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Database {
    /// Redis and what speaks its protocol.
    Redis,
    /// PostgreSQL.
    Postgres {
        /// Who we say that we are; nobody logs in.
        user: String,
    },
    /// MySQL and MariaDB.
    Mysql {
        /// Who we say that we are; nobody logs in.
        user: String,
    },
}

/// What a check does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CheckKind {
    /// TCP_CHECK: the connection comes about.
    Tcp {
        /// `through_service`: and so does one to the virtual server's address, as packets forwarded in this way go (an addition
        /// of ours). Never NAT.
        through_service: Option<ForwardingMethod>,
    },
    /// HTTP_GET and SSL_GET: every url answers as expected.
    Http {
        /// All must pass, one after the other.
        urls: Vec<HttpUrl>,
        /// The form of the request.
        version: HttpVersion,
        /// SSL_GET.
        tls: Option<Tls>,
        /// `fast_recovery`: one after the other at once, when a server comes back.
        fast_recovery: bool,
        /// The whole answer must be there within this (an addition of ours).
        total_timeout: Option<Duration>,
    },
    /// GRPC_CHECK: it says that it serves, by gRPC's health checking protocol (an addition of ours).
    Grpc {
        /// The service that is asked about; the server as a whole if empty.
        service: String,
        /// TLS, if any.
        tls: Option<Tls>,
    },
    /// SMTP_CHECK: it greets, and knows HELO and QUIT (RFC 5321).
    Smtp {
        /// What we call ourselves; the host name if nothing.
        helo: Option<String>,
    },
    /// REDIS_CHECK, PGSQL_CHECK, MYSQL_CHECK: it takes clients.
    Database(Database),
    /// DNS_CHECK: it answers a question.
    Dns {
        /// The name that is asked for.
        name: String,
        /// What about it.
        kind: DnsType,
    },
    /// UDP_CHECK: a datagram to it is not refused, or is answered.
    Udp {
        /// What is sent; random bytes if nothing.
        payload: Option<Vec<u8>>,
        /// An answer must come.
        reply: Option<UdpReply>,
    },
    /// PING_CHECK: it answers echo requests (RFC 792, RFC 4443).
    Ping,
    /// MISC_CHECK: a program says so.
    Misc {
        /// The program.
        command: ScriptCommand,
        /// It is killed if it runs longer.
        timeout: Duration,
        /// Its exit status sets the weight.
        dynamic: bool,
    },
    /// FILE_CHECK: the number in this `track_file` changes the weight. Nothing is probed.
    File {
        /// Its name.
        name: String,
        /// What the number is multiplied by; 0: dead while it is not 0.
        weight: i64,
        /// What is added is subtracted instead.
        reverse: bool,
    },
    /// BFD_CHECK: this session is up. Nothing is probed.
    Bfd(String),
}

impl CheckKind {
    /// Its keyword in keepalived.conf.
    pub const fn keyword(&self) -> &'static str {
        match self {
            CheckKind::Tcp { .. } => "TCP_CHECK",
            CheckKind::Http { tls: None, .. } => "HTTP_GET",
            CheckKind::Http { tls: Some(_), .. } => "SSL_GET",
            CheckKind::Grpc { .. } => "GRPC_CHECK",
            CheckKind::Smtp { .. } => "SMTP_CHECK",
            CheckKind::Database(Database::Redis) => "REDIS_CHECK",
            CheckKind::Database(Database::Postgres { .. }) => "PGSQL_CHECK",
            CheckKind::Database(Database::Mysql { .. }) => "MYSQL_CHECK",
            CheckKind::Dns { .. } => "DNS_CHECK",
            CheckKind::Udp { .. } => "UDP_CHECK",
            CheckKind::Ping => "PING_CHECK",
            CheckKind::Misc { .. } => "MISC_CHECK",
            CheckKind::File { .. } => "FILE_CHECK",
            CheckKind::Bfd(_) => "BFD_CHECK",
        }
    }

    /// Does it probe, or is it told?
    pub const fn sends_probes(&self) -> bool {
        !matches!(self, CheckKind::File { .. } | CheckKind::Bfd(_))
    }
}

/// Where probes go, and from where.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct ConnectOptions {
    /// Probed address, if it is not the server's.
    pub connect_ip: Option<IpAddr>,
    /// Probed port, if it is not the server's.
    pub connect_port: Option<u16>,
    /// Source address.
    pub bindto: Option<IpAddr>,
    /// Source port.
    pub bind_port: Option<u16>,
    /// The device that probes leave by.
    pub bind_if: Option<String>,
    /// Firewall mark of probes (SO_MARK).
    pub fwmark: u32,
}

impl ConnectOptions {
    /// The address and the port of a server that are probed.
    pub fn target(&self, server: ServerKey) -> (IpAddr, u16) {
        (self.connect_ip.unwrap_or(server.addr), self.connect_port.unwrap_or(server.port))
    }
}

/// One check of one real server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What it does.
    pub kind: CheckKind,
    /// When.
    pub timing: CheckTiming,
    /// Where.
    pub connect: ConnectOptions,
    /// The check's own `alpha`, if it sets one.
    pub alpha: Option<bool>,
    /// Every failed probe is logged, not only a change.
    pub log_all_failures: bool,
}

impl Check {
    /// One that is told, and probes nothing.
    pub fn without_probe(kind: CheckKind) -> Check {
        let timing = CheckTiming {
            delay_loop: Duration::ZERO,
            connect_timeout: Duration::ZERO,
            retry: 0,
            delay_before_retry: Duration::ZERO,
            warmup: Duration::ZERO,
        };
        Check { kind, timing, connect: ConnectOptions::default(), alpha: None, log_all_failures: false }
    }
}
