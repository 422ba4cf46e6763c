//! Health checks as configured.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ForwardingMethod, ScriptCommand, ServerKey};

/// When a check probes. The fields have keepalived's names and meanings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckTiming {
    /// The interval of probes of a healthy server.
    pub delay_loop: Duration,
    /// The timeout of a probe.
    pub connect_timeout: Duration,
    /// How often a failed probe of a healthy server is repeated before the server counts as down.
    pub retry: u32,
    /// The interval of these repeated probes.
    pub delay_before_retry: Duration,
    /// The first probe is delayed by a random time up to this, so that probes are spread.
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

/// A pattern that the body of a page must match, or must not match: `regex` and its options.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Pattern {
    /// The regular expression in the syntax of PCRE2 (pcre2pattern(3)).
    pub source: String,
    /// `regex_options`, by the names of keepalived.conf(5).
    pub options: Vec<String>,
    /// `regex_no_match`: the body must not match.
    pub inverted: bool,
    /// A match must start at this offset of the body or later, in bytes.
    pub min_offset: usize,
    /// A match must start at this offset of the body or before, in bytes.
    pub max_offset: Option<usize>,
    /// `regex_stack`: the maximum stack memory of a match, in bytes.
    pub stack: Option<usize>,
}

/// One `url` block of HTTP_GET or SSL_GET.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct HttpUrl {
    /// The request target.
    pub path: String,
    /// The accepted status codes; 200 to 299 if none is configured.
    pub status: Vec<StatusRange>,
    /// The Host header, from the block or else from the check; the server's address if `None`.
    pub virtualhost: Option<String>,
    /// The MD5 digest of the body, as printed by `genhash`.
    pub digest: Option<[u8; 16]>,
    /// The pattern for the body.
    pub pattern: Option<Pattern>,
}

impl HttpUrl {
    /// Whether a status code is accepted.
    pub fn accepts_status(&self, code: u16) -> bool {
        self.status.iter().any(|r| (r.from..=r.to).contains(&code))
    }

    /// Whether the body is checked too.
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
    /// HTTP/1.0 with `Connection: close`
    V10Close,
    /// HTTP/1.1 with `Connection: close`
    V11,
    /// HTTP/2 (RFC 9113), by ALPN of TLS, or with prior knowledge (an extension of evenkeel)
    V2,
}

/// The TLS settings of SSL_GET and GRPC_CHECK.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Tls {
    /// The server name that is sent (SNI, RFC 6066, 3), if any.
    pub sni: Option<String>,
    /// If set, the server's certificate is verified: with the CA certificates of this file (PEM), or with those of the
    /// system if no file is named.
    pub verify: Option<Option<String>>,
    /// The name that a verified certificate must have; any name if `None`.
    pub name: Option<String>,
    /// The client certificate and its key (PEM files).
    pub identity: Option<(String, String)>,
    /// HTTP/2 is negotiated by ALPN (RFC 7301).
    pub http2: bool,
}

/// The record type of a DNS_CHECK.
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

/// The reply that a UDP_CHECK requires.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct UdpReply {
    /// Each byte and the mask of the bits that are compared; empty: any bytes.
    pub pattern: Vec<(u8, u8)>,
    /// The minimum length in bytes.
    pub min_len: u16,
    /// The maximum length in bytes.
    pub max_len: u16,
}

/// A database whose readiness for clients is checked (an extension of evenkeel).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Database {
    /// Redis and servers with the same protocol.
    Redis,
    /// PostgreSQL.
    Postgres {
        /// The user name in the handshake. The check does not log in.
        user: String,
    },
    /// MySQL and MariaDB.
    Mysql {
        /// The user name in the handshake. The check does not log in.
        user: String,
    },
}

/// A protocol exchange with a real server: one request, and the reply that makes the check pass. Configuration and probes
/// ([`crate::health::ProbeKind`]) share it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Exchange {
    /// GRPC_CHECK: the server reports SERVING by the gRPC health checking protocol (an extension of evenkeel).
    Grpc {
        /// The name of the gRPC service; empty: the server as a whole.
        service: String,
        /// TLS, if any.
        tls: Option<Tls>,
    },
    /// SMTP_CHECK: the server greets and accepts HELO and QUIT (RFC 5321).
    Smtp {
        /// The argument of HELO; the host name if `None`.
        helo: Option<String>,
    },
    /// REDIS_CHECK, PGSQL_CHECK, MYSQL_CHECK: the database accepts clients.
    Database(Database),
    /// DNS_CHECK: the server answers a query.
    Dns {
        /// The name of the query.
        name: String,
        /// The record type of the query.
        kind: DnsType,
    },
    /// UDP_CHECK: the server does not reject a datagram, or replies to it.
    Udp {
        /// The payload; random bytes if `None`.
        payload: Option<Vec<u8>>,
        /// If set, the reply that is required.
        reply: Option<UdpReply>,
    },
    /// PING_CHECK: the server answers echo requests (RFC 792, RFC 4443).
    Ping,
}

impl Exchange {
    /// The keyword in keepalived.conf.
    pub const fn keyword(&self) -> &'static str {
        match self {
            Exchange::Grpc { .. } => "GRPC_CHECK",
            Exchange::Smtp { .. } => "SMTP_CHECK",
            Exchange::Database(Database::Redis) => "REDIS_CHECK",
            Exchange::Database(Database::Postgres { .. }) => "PGSQL_CHECK",
            Exchange::Database(Database::Mysql { .. }) => "MYSQL_CHECK",
            Exchange::Dns { .. } => "DNS_CHECK",
            Exchange::Udp { .. } => "UDP_CHECK",
            Exchange::Ping => "PING_CHECK",
        }
    }
}

/// The kind of a check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CheckKind {
    /// TCP_CHECK: a connection can be established.
    Tcp {
        /// `through_service`: a connection to the virtual server's address can be established too, with packets that reach
        /// the server by this forwarding method; by NAT, the server's answers return through this host (an extension of
        /// evenkeel).
        through_service: Option<ForwardingMethod>,
    },
    /// HTTP_GET and SSL_GET: every URL replies as expected.
    Http {
        /// The URLs, which are requested one after the other. All must pass.
        urls: Vec<HttpUrl>,
        /// The HTTP version of the request.
        version: HttpVersion,
        /// TLS, for SSL_GET.
        tls: Option<Tls>,
        /// `fast_recovery`: when a server recovers, its URLs are requested without delay between them.
        fast_recovery: bool,
        /// The whole reply must arrive within this time (an extension of evenkeel).
        total_timeout: Option<Duration>,
    },
    /// A request and the reply that is expected: all other network checks.
    Exchange(Exchange),
    /// MISC_CHECK: a program decides.
    Misc {
        /// The program.
        command: ScriptCommand,
        /// The program is killed after this time.
        timeout: Duration,
        /// `misc_dynamic`: the exit status sets the weight.
        dynamic: bool,
    },
    /// FILE_CHECK: the number in a `track_file` changes the weight. This check is passive.
    File {
        /// The name of the `track_file`.
        name: String,
        /// The number is multiplied by this weight; 0: the server is down while the number is not 0.
        weight: i64,
        /// The product is subtracted instead of added.
        reverse: bool,
    },
    /// BFD_CHECK: this BFD session is up. This check is passive.
    Bfd(String),
}

impl CheckKind {
    /// The keyword in keepalived.conf.
    pub const fn keyword(&self) -> &'static str {
        match self {
            CheckKind::Tcp { .. } => "TCP_CHECK",
            CheckKind::Http { tls: None, .. } => "HTTP_GET",
            CheckKind::Http { tls: Some(_), .. } => "SSL_GET",
            CheckKind::Exchange(exchange) => exchange.keyword(),
            CheckKind::Misc { .. } => "MISC_CHECK",
            CheckKind::File { .. } => "FILE_CHECK",
            CheckKind::Bfd(_) => "BFD_CHECK",
        }
    }

    /// Whether the check sends probes. A passive check gets its result from a file or a BFD session.
    pub const fn sends_probes(&self) -> bool {
        !matches!(self, CheckKind::File { .. } | CheckKind::Bfd(_))
    }
}

/// The addresses and socket options of probes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct ConnectOptions {
    /// The probed address, if it is not the server's.
    pub connect_ip: Option<IpAddr>,
    /// The probed port, if it is not the server's.
    pub connect_port: Option<u16>,
    /// The source address.
    pub bindto: Option<IpAddr>,
    /// The source port.
    pub bind_port: Option<u16>,
    /// The device that probes are sent on.
    pub bind_if: Option<String>,
    /// The firewall mark of probes (SO_MARK).
    pub fwmark: u32,
}

impl ConnectOptions {
    /// The address and port to probe for a server.
    pub fn target(&self, server: ServerKey) -> (IpAddr, u16) {
        (self.connect_ip.unwrap_or(server.addr), self.connect_port.unwrap_or(server.port))
    }
}

/// One check of one real server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// The kind of the check.
    pub kind: CheckKind,
    /// When the check probes.
    pub timing: CheckTiming,
    /// Which address the check probes, and how.
    pub connect: ConnectOptions,
    /// The check's own `alpha`, if it has one.
    pub alpha: Option<bool>,
    /// Every failed probe is logged, and not only changes of the result.
    pub log_all_failures: bool,
}

impl Check {
    /// A passive check, which has neither timing nor addresses.
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
