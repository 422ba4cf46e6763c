//! Checkers: the `…_CHECK` and `…_GET` blocks of a `real_server` to [`Check`].

use std::time::Duration;

use super::inherit::{DEFAULT_DELAY_LOOP, InheritedTiming};
use crate::config::Diagnostic;
use crate::config::derived::regex_pattern;
use crate::config::lower::LoweringContext;
use crate::config::lower::vrrp::DefaultWeights;
use crate::config::value::{Section, Value};
use crate::model::{
    Check, CheckKind, CheckTiming, ConnectOptions, Database, DnsType, Exchange, ForwardingMethod, HttpUrl, HttpVersion,
    ScriptCommand, ServiceKey, StatusRange, Tls, TrackedObject, UdpReply,
};

/// The server that a check tests, and how the service forwards packets to it.
pub(super) struct CheckedServer {
    pub(super) service: ServiceKey,
    pub(super) method: ForwardingMethod,
    /// The port that the `real_server` block gives.
    pub(super) port: Option<u16>,
}

impl LoweringContext<'_> {
    /// The checks of one block inside a real server: none if the block is no checker, several for an SMTP_CHECK with
    /// several `host` blocks. `blocks` are the virtual server, the real server and the checker.
    pub(super) fn lower_checks(
        &mut self,
        blocks: [&Section; 3],
        outer: &InheritedTiming,
        target: &CheckedServer,
        weights: &DefaultWeights,
    ) -> Vec<Check> {
        let (k, port) = (blocks[2], target.port);
        let kind = match k.block.name() {
            "TCP_CHECK" => Some(CheckKind::Tcp { through_service: self.through_service(k, target) }),
            "HTTP_GET" | "SSL_GET" => self.http_check(blocks),
            "GRPC_CHECK" => Some(self.grpc_check(k)),
            "SMTP_CHECK" => Some(CheckKind::Exchange(Exchange::Smtp { helo: self.helo_name(k) })),
            "REDIS_CHECK" => Some(CheckKind::Exchange(Exchange::Database(Database::Redis))),
            "PGSQL_CHECK" | "MYSQL_CHECK" => {
                let user = k.text("user").unwrap_or("evenkeel").to_owned();
                let postgres = k.block.name() == "PGSQL_CHECK";
                let kind = if postgres { Database::Postgres { user } } else { Database::Mysql { user } };
                Some(CheckKind::Exchange(Exchange::Database(kind)))
            }
            "DNS_CHECK" => Some(dns_check(k)),
            "UDP_CHECK" => Some(udp_check(k)),
            "PING_CHECK" => Some(CheckKind::Exchange(Exchange::Ping)),
            "MISC_CHECK" => self.misc_check(k, outer),
            "FILE_CHECK" => return file_check(k, weights).into_iter().collect(),
            "BFD_CHECK" => {
                let session = k.text("name").map(str::to_owned);
                let check = |s| Check { alpha: k.flag("alpha"), ..Check::without_probe(CheckKind::Bfd(s)) };
                return session.map(check).into_iter().collect();
            }
            _ => None,
        };
        let Some(kind) = kind else { return Vec::new() };
        let hosts: Vec<&Section> = if matches!(kind, CheckKind::Exchange(Exchange::Smtp { .. })) {
            k.sections("host").collect()
        } else {
            Vec::new()
        };
        if hosts.is_empty() {
            return vec![self.lower_check(kind, k, k, outer, port)];
        }
        let timing = InheritedTiming::inherit(k, *outer);
        hosts.into_iter().map(|host| self.lower_check(kind.clone(), host, k, &timing, port)).collect()
    }

    /// `through_service`: the forwarding method by which a probe can reach the server as the packets of clients do.
    /// Reports why and returns `None` where it cannot.
    fn through_service(&mut self, k: &Section, target: &CheckedServer) -> Option<ForwardingMethod> {
        if !k.has("through_service") {
            return None;
        }
        let message = match target.method {
            _ if target.service.fwmark != 0 => "`through_service` needs a virtual server with an address",
            ForwardingMethod::Nat if self.global_setting(|g| g.flag("nat_icmp_send")) == Some(true) => {
                "`through_service` with NAT excludes `nat_icmp_send`, which rejects the answers to its probes"
            }
            _ if target.service.port == 0 => "`through_service` needs a virtual server with a port",
            method => return Some(method),
        };
        let d = Diagnostic::lint("not-in-force", k.args_span("through_service"), message);
        self.diagnostics.push(d.label("ignored: the check connects to the address of the real server"));
        None
    }

    /// One check. `block` says where the probe connects: the checker `k` itself, or one of its `host` blocks.
    fn lower_check(
        &self,
        kind: CheckKind,
        block: &Section,
        k: &Section,
        outer: &InheritedTiming,
        port: Option<u16>,
    ) -> Check {
        let timing = InheritedTiming::inherit(block, *outer);
        let delay_loop = timing.delay_loop.unwrap_or(DEFAULT_DELAY_LOOP);
        // keepalived's defaults depend on the checker.
        let (retry, delay) = match kind {
            CheckKind::Http { .. } => (1, Duration::from_secs(3)),
            CheckKind::Exchange(Exchange::Dns { .. }) => (3, delay_loop),
            CheckKind::Misc { .. } => (0, Duration::from_secs(1)),
            _ => (1, Duration::from_secs(1)),
        };
        let connect = if matches!(kind, CheckKind::Misc { .. }) {
            ConnectOptions::default()
        } else {
            connect_options(block, port)
        };
        let log = k.flag("log_all_failures").or_else(|| self.global_setting(|g| g.flag("checker_log_all_failures")));
        Check {
            kind,
            timing: CheckTiming {
                delay_loop,
                connect_timeout: timing.connect_timeout.unwrap_or(Duration::from_secs(5)),
                retry: timing.retry.unwrap_or(retry),
                delay_before_retry: timing.delay_before_retry.unwrap_or(delay),
                warmup: timing.warmup.unwrap_or(delay_loop),
            },
            connect,
            alpha: block.flag("alpha").or(k.flag("alpha")),
            log_all_failures: log.unwrap_or(false),
        }
    }

    /// HTTP_GET or SSL_GET; `None` without a `url` block, which `check` has reported.
    fn http_check(&self, [s, r, k]: [&Section; 3]) -> Option<CheckKind> {
        let host = k.text("virtualhost").or(r.text("virtualhost")).or(s.text("virtualhost"));
        let secure = k.block.name() == "SSL_GET";
        let urls: Vec<HttpUrl> = k.sections("url").filter_map(|u| http_url(u, host)).collect();
        let first = urls.first()?;
        let version = match k.text("http_protocol").map(str::to_ascii_uppercase).as_deref() {
            Some("1.0C") => HttpVersion::V10Close,
            Some("1.1") => HttpVersion::V11,
            Some("H2") => HttpVersion::V2,
            _ => HttpVersion::V10,
        };
        let tls = secure.then(|| self.tls_config(k, first.virtualhost.as_deref(), version == HttpVersion::V2));
        let (fast_recovery, total_timeout) = (k.flag("fast_recovery").unwrap_or(false), k.time("response_timeout"));
        Some(CheckKind::Http { urls, version, tls, fast_recovery, total_timeout })
    }

    /// The TLS settings of the `SSL` block and of the check. As in keepalived, no certificate is verified unless `ca`
    /// names the trusted ones.
    fn tls_config(&self, k: &Section, host: Option<&str>, http2: bool) -> Tls {
        let ssl = |keyword: &'static str| self.ssl.iter().find_map(|s| s.text(keyword)).map(str::to_owned);
        let name = k.text("sni_name").or(host).map(str::to_owned);
        let ca = ssl("ca");
        let verify = k.flag("tls_verify").unwrap_or(ca.is_some());
        let sni = k.flag("enable_sni").unwrap_or(k.has("sni_name"));
        Tls {
            sni: name.clone().filter(|_| sni),
            verify: verify.then_some(ca),
            name: name.filter(|_| verify),
            identity: ssl("certificate").map(|c| (c.clone(), ssl("key").unwrap_or(c))),
            http2,
        }
    }

    /// The gRPC health check, in plain text unless `tls` is on.
    fn grpc_check(&self, k: &Section) -> CheckKind {
        let tls = k.flag("tls").unwrap_or(false).then(|| self.tls_config(k, None, true));
        CheckKind::Exchange(Exchange::Grpc { service: k.text("service").unwrap_or("").to_owned(), tls })
    }

    /// The name in the HELO command: of the check, or the global one.
    fn helo_name(&self, k: &Section) -> Option<String> {
        k.text("helo_name").or_else(|| self.global_setting(|g| g.text("smtp_helo_name"))).map(str::to_owned)
    }

    /// MISC_CHECK: a script. Its timeout is the check interval if `misc_timeout` is not given or 0.
    fn misc_check(&self, k: &Section, outer: &InheritedTiming) -> Option<CheckKind> {
        let command = self.script_command(k, "misc_path")?;
        let own = match k.get("user").map(|e| &e.value) {
            Some(Value::User(u)) => Some((**u).clone()),
            _ => None,
        };
        let user = own.or(command.user);
        let delay_loop = InheritedTiming::inherit(k, *outer).delay_loop.unwrap_or(DEFAULT_DELAY_LOOP);
        let timeout = k.seconds("misc_timeout").filter(|t| !t.is_zero()).unwrap_or(delay_loop);
        Some(CheckKind::Misc { command: ScriptCommand { user, ..command }, timeout, dynamic: k.has("misc_dynamic") })
    }
}

/// Where and how a probe connects. `port` is the port of the real server.
fn connect_options(k: &Section, port: Option<u16>) -> ConnectOptions {
    ConnectOptions {
        connect_ip: k.address("connect_ip"),
        connect_port: k.uint("connect_port").map(|n| n as u16).or(port),
        bindto: k.address("bindto"),
        bind_port: k.uint("bind_port").map(|n| n as u16),
        bind_if: k.text("bind_if").map(str::to_owned),
        fwmark: k.uint("fwmark").unwrap_or(0) as u32,
    }
}

/// A `url` block; `host` is the `virtualhost` of an outer block. `None` without `path`.
fn http_url(u: &Section, host: Option<&str>) -> Option<HttpUrl> {
    let status = match u.get("status_code").map(|e| &e.value) {
        Some(Value::Ranges(r)) => r.iter().map(|(from, to)| StatusRange { from: *from, to: *to }).collect(),
        _ => vec![StatusRange { from: 200, to: 299 }],
    };
    let digest = u.text("digest").and_then(|d| {
        let byte = |n: usize| u8::from_str_radix(d.get(2 * n..2 * n + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..16).map(byte).collect();
        bytes?.try_into().ok()
    });
    Some(HttpUrl {
        path: u.text("path")?.to_owned(),
        status,
        virtualhost: u.text("virtualhost").or(host).map(str::to_owned),
        digest,
        pattern: regex_pattern(u),
    })
}

/// DNS_CHECK; a query for the SOA record of the root by default.
fn dns_check(k: &Section) -> CheckKind {
    let kind = match k.text("type") {
        Some("A") => DnsType::A,
        Some("NS") => DnsType::Ns,
        Some("CNAME") => DnsType::Cname,
        Some("MX") => DnsType::Mx,
        Some("TXT") => DnsType::Txt,
        Some("AAAA") => DnsType::Aaaa,
        Some("RRSIG") => DnsType::Rrsig,
        Some("DNSKEY") => DnsType::Dnskey,
        _ => DnsType::Soa,
    };
    CheckKind::Exchange(Exchange::Dns { name: k.text("name").unwrap_or(".").to_owned(), kind })
}

/// UDP_CHECK: the payload, and which reply is required.
fn udp_check(k: &Section) -> CheckKind {
    let payload = match k.get("payload").map(|e| &e.value) {
        Some(Value::Bytes(b)) => Some(b.clone()),
        _ => None,
    };
    let reply = k.get("require_reply").map(|_| UdpReply {
        pattern: masked_bytes(k.text("require_reply").unwrap_or("")),
        min_len: k.uint("min_reply_length").unwrap_or(0) as u16,
        max_len: k.uint("max_reply_length").unwrap_or(255) as u16,
    });
    CheckKind::Exchange(Exchange::Udp { payload, reply })
}

/// Hexadecimal digits to pairs of a byte and the mask of its bits that must match; `X` matches any digit.
fn masked_bytes(digits: &str) -> Vec<(u8, u8)> {
    let nibble = |c: u8| (c as char).to_digit(16).map_or((0, 0), |d| (d as u8, 0xf));
    let pair = |p: &[u8]| {
        let ((hi, hi_mask), (lo, lo_mask)) = (nibble(p[0]), p.get(1).map_or((0, 0), |c| nibble(*c)));
        (hi << 4 | lo, hi_mask << 4 | lo_mask)
    };
    digits.as_bytes().chunks(2).map(pair).collect()
}

/// FILE_CHECK: a `track_file` whose value counts as weight. Its own `weight` comes before that of the `track_file`
/// block.
fn file_check(k: &Section, weights: &DefaultWeights) -> Option<Check> {
    let name = k.text("track_file")?.to_owned();
    let own = weights.get(&TrackedObject::File(name.clone())).map(|(w, r)| (i64::from(*w), *r));
    let (weight, reverse) = match k.get("weight").map(|e| &e.value) {
        Some(Value::Weight(n, r)) => (*n, *r),
        _ => own.unwrap_or((1, false)),
    };
    Some(Check::without_probe(CheckKind::File { name, weight, reverse }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_mask_tells_which_digits_must_match() {
        assert_eq!(super::masked_bytes("01fX"), [(0x01, 0xff), (0xf0, 0xf0)]);
        assert_eq!(super::masked_bytes("XX"), [(0, 0)]);
    }
}
