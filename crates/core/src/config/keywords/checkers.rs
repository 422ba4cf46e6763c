//! The health checkers of a `real_server`.

use super::spec::*;

/// `virtual_server/real_server/TCP_CHECK`
pub(crate) static TCP_CHECK: Block =
    Block { path: "virtual_server/real_server/TCP_CHECK", keywords: TCP_CHECK_KEYWORDS };

#[rustfmt::skip]
const TCP_CHECK_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "the real server's address", "v1.2.13",
       "The address that is probed."),
    kw("connect_port", Args::Uint(1, 65535), "the real server's port", "v1.0.3",
       "The port that is probed."),
    kw("bindto", Args::Address, "none", "v1.1.2",
       "Source address of probes."),
    kw("bind_if", Args::InterfaceUnchecked, "none", "v1.3.7",
       "The interface that probes leave by."),
    kw("bind_port", Args::Uint(1, 65535), "any", "v1.2.13",
       "Source port of probes."),
    kw("connect_timeout", Args::Seconds(1, TIMER_MAX_US), "the real server\'s, else 5", "v1.0.3",
       "Seconds after which a probe has failed."),
    kw("fwmark", Args::Uint(0, U32_MAX), "0", "v1.2.13",
       "Firewall mark of probes."),
    kw("retry", Args::Uint(0, U32_MAX), "the real server\'s, else 1", "v1.2.20",
       "Failed probes that a healthy server is forgiven."),
    kw("delay_before_retry", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else 1 s", "v1.2.20",
       "Seconds between such repeated probes."),
    kw("warmup", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else delay_loop", "v1.2.13",
       "The first probe starts up to this many seconds later, so that probes spread; 0: at once."),
    kw("delay_loop", Args::Seconds(1, UNBOUNDED_US), "the real server\'s, else 60", "v1.3.7",
       "Seconds between probes."),
    kw("alpha", Args::Bool, "the real server's", "v1.3.7",
       "The check counts as failed until it has succeeded."),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.0.11",
       "Log every failed probe, not only a change."),
    kw("through_service", Args::Flag, "off", "evenkeel",
       "Try a connection to the virtual server's address as well, in the way that forwarded packets take: it tells whether \
        the real server holds that address."),
];

/// `virtual_server/real_server/HTTP_GET`
pub(crate) static HTTP_GET: Block = Block { path: "virtual_server/real_server/HTTP_GET", keywords: HTTP_GET_KEYWORDS };

#[rustfmt::skip]
const HTTP_GET_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "the real server's address", "v1.2.13",
       "The address that is probed."),
    kw("connect_port", Args::Uint(1, 65535), "the real server's port", "v1.0.3",
       "The port that is probed."),
    kw("bindto", Args::Address, "none", "v1.1.2",
       "Source address of probes."),
    kw("bind_if", Args::InterfaceUnchecked, "none", "v1.3.7",
       "The interface that probes leave by."),
    kw("bind_port", Args::Uint(1, 65535), "any", "v1.2.13",
       "Source port of probes."),
    kw("connect_timeout", Args::Seconds(1, TIMER_MAX_US), "the real server\'s, else 5", "v1.0.3",
       "Seconds after which a probe has failed."),
    kw("fwmark", Args::Uint(0, U32_MAX), "0", "v1.2.13",
       "Firewall mark of probes."),
    kw("retry", Args::Uint(0, U32_MAX), "the real server\'s, else 1", "v1.3.7",
       "Failed probes that a healthy server is forgiven."),
    kw("delay_before_retry", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else 3 s", "v1.0.3",
       "Seconds between such repeated probes."),
    kw("warmup", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else delay_loop", "v1.2.13",
       "The first probe starts up to this many seconds later, so that probes spread; 0: at once."),
    kw("delay_loop", Args::Seconds(1, UNBOUNDED_US), "the real server\'s, else 60", "v1.3.7",
       "Seconds between probes."),
    kw("alpha", Args::Bool, "the real server's", "v1.3.7",
       "The check counts as failed until it has succeeded."),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.0.11",
       "Log every failed probe, not only a change."),
    kw("nb_get_retry", Args::Uint(0, U32_MAX), "", "v1.0.3",
       "Retries.").deprecated("retry", true),
    kw("virtualhost", Args::Text, "the real server's, else the virtual server's", "v1.3.6",
       "The Host header."),
    kw("http_protocol", Args::ChoiceAnyCase(&["1.0", "1.0C", "1.1", "h2"]), "1.0", "v2.0.17",
       "The version of the request; 1.0C and 1.1 ask to close the connection. h2, HTTP/2, is an addition.").missing_argument(MissingArgument::Reports),
    kw("enable_sni", Args::Bool, "off", "v1.4.3",
       "Say in the TLS handshake which host is meant."),
    kw("sni_name", Args::Text, "virtualhost", "unreleased",
       "The host that is meant there, if it is not the virtual host.").missing_argument(MissingArgument::Accepts),
    kw("fast_recovery", Args::Bool, "off", "v2.0.17",
       "Ask for all urls at once when a server comes back, not one each `delay_loop`."),
    kw("response_timeout", Args::Seconds(1, TIMER_MAX_US), "ten times connect_timeout", "evenkeel",
       "Seconds within which the whole answer to a request must be there."),
    kw("url", Args::Block(&HTTP_GET_URL, BlockName::None), "required", "v1.0.3",
       "What is asked for, and what must be answered; all urls must pass."),
];

/// `virtual_server/real_server/HTTP_GET/url`
pub(crate) static HTTP_GET_URL: Block =
    Block { path: "virtual_server/real_server/HTTP_GET/url", keywords: HTTP_GET_URL_KEYWORDS };

#[rustfmt::skip]
const HTTP_GET_URL_KEYWORDS: &[Keyword] = &[
    kw("path", Args::Text, "required", "v1.0.3",
       "What is asked for."),
    kw("digest", Args::Digest, "none", "v1.0.3",
       "MD5 of the page, as `genhash` prints it."),
    kw("status_code", Args::StatusCodes, "200-299", "v1.0.3",
       "Status codes that are good."),
    kw("virtualhost", Args::Text, "the checker's", "v1.3.6",
       "The Host header.").missing_argument(MissingArgument::Reports),
    kw("regex", Args::Regex, "none", "v2.0.7",
       "An expression that the page must match (PCRE2)."),
    kw("regex_no_match", Args::Flag, "off", "v2.0.7",
       "The page must not match."),
    kw("regex_options", Args::Words(0, 64), "none", "v2.0.7",
       "Options of the expression."),
    kw("regex_min_offset", Args::Offset, "0", "v2.0.7",
       "Where in the page the match may begin at the earliest."),
    kw("regex_max_offset", Args::Offset, "none", "v2.0.7",
       "Where in the page the match may begin at the latest."),
    kw("regex_stack", Args::Words(0, 2), "default", "v2.0.7",
       "Memory for the expression's compiler."),
];

/// `virtual_server/real_server/SSL_GET`
pub(crate) static SSL_GET: Block = Block { path: "virtual_server/real_server/SSL_GET", keywords: SSL_GET_KEYWORDS };

#[rustfmt::skip]
const SSL_GET_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "the real server's address", "v1.2.13",
       "The address that is probed."),
    kw("connect_port", Args::Uint(1, 65535), "the real server's port", "v1.0.3",
       "The port that is probed."),
    kw("bindto", Args::Address, "none", "v1.1.2",
       "Source address of probes."),
    kw("bind_if", Args::InterfaceUnchecked, "none", "v1.3.7",
       "The interface that probes leave by."),
    kw("bind_port", Args::Uint(1, 65535), "any", "v1.2.13",
       "Source port of probes."),
    kw("connect_timeout", Args::Seconds(1, TIMER_MAX_US), "the real server\'s, else 5", "v1.0.3",
       "Seconds after which a probe has failed."),
    kw("fwmark", Args::Uint(0, U32_MAX), "0", "v1.2.13",
       "Firewall mark of probes."),
    kw("retry", Args::Uint(0, U32_MAX), "the real server\'s, else 1", "v1.3.7",
       "Failed probes that a healthy server is forgiven."),
    kw("delay_before_retry", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else 3 s", "v1.0.3",
       "Seconds between such repeated probes."),
    kw("warmup", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else delay_loop", "v1.2.13",
       "The first probe starts up to this many seconds later, so that probes spread; 0: at once."),
    kw("delay_loop", Args::Seconds(1, UNBOUNDED_US), "the real server\'s, else 60", "v1.3.7",
       "Seconds between probes."),
    kw("alpha", Args::Bool, "the real server's", "v1.3.7",
       "The check counts as failed until it has succeeded."),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.0.11",
       "Log every failed probe, not only a change."),
    kw("nb_get_retry", Args::Uint(0, U32_MAX), "", "v1.0.3",
       "Retries.").deprecated("retry", true),
    kw("virtualhost", Args::Text, "the real server's, else the virtual server's", "v1.3.6",
       "The Host header."),
    kw("http_protocol", Args::ChoiceAnyCase(&["1.0", "1.0C", "1.1", "h2"]), "1.0", "v2.0.17",
       "The version of the request; 1.0C and 1.1 ask to close the connection. h2, HTTP/2, is an addition.").missing_argument(MissingArgument::Reports),
    kw("enable_sni", Args::Bool, "off", "v1.4.3",
       "Say in the TLS handshake which host is meant."),
    kw("sni_name", Args::Text, "virtualhost", "unreleased",
       "The host that is meant there, if it is not the virtual host.").missing_argument(MissingArgument::Accepts),
    kw("fast_recovery", Args::Bool, "off", "v2.0.17",
       "Ask for all urls at once when a server comes back, not one each `delay_loop`."),
    kw("tls_verify", Args::Bool, "on if `SSL` names a `ca`", "evenkeel",
       "Verify the server's certificate, by that `ca` or by the system's; its name as well where `sni_name` or `virtualhost` says one."),
    kw("response_timeout", Args::Seconds(1, TIMER_MAX_US), "ten times connect_timeout", "evenkeel",
       "Seconds within which the whole answer to a request must be there."),
    kw("tls_compliant", Args::Bool, "off", "v2.2.8",
       "End the TLS connection as the RFC has it.").differs("always so"),
    kw("url", Args::Block(&SSL_GET_URL, BlockName::None), "required", "v1.0.3",
       "What is asked for, and what must be answered; all urls must pass."),
];

/// `virtual_server/real_server/SSL_GET/url`
pub(crate) static SSL_GET_URL: Block =
    Block { path: "virtual_server/real_server/SSL_GET/url", keywords: SSL_GET_URL_KEYWORDS };

#[rustfmt::skip]
const SSL_GET_URL_KEYWORDS: &[Keyword] = &[
    kw("path", Args::Text, "required", "v1.0.3",
       "What is asked for."),
    kw("digest", Args::Digest, "none", "v1.0.3",
       "MD5 of the page, as `genhash` prints it."),
    kw("status_code", Args::StatusCodes, "200-299", "v1.0.3",
       "Status codes that are good."),
    kw("virtualhost", Args::Text, "the checker's", "v1.3.6",
       "The Host header.").missing_argument(MissingArgument::Reports),
    kw("regex", Args::Regex, "none", "v2.0.7",
       "An expression that the page must match (PCRE2)."),
    kw("regex_no_match", Args::Flag, "off", "v2.0.7",
       "The page must not match."),
    kw("regex_options", Args::Words(0, 64), "none", "v2.0.7",
       "Options of the expression."),
    kw("regex_min_offset", Args::Offset, "0", "v2.0.7",
       "Where in the page the match may begin at the earliest."),
    kw("regex_max_offset", Args::Offset, "none", "v2.0.7",
       "Where in the page the match may begin at the latest."),
    kw("regex_stack", Args::Words(0, 2), "default", "v2.0.7",
       "Memory for the expression's compiler."),
    kw("tls_compliant", Args::Bool, "the checker's", "v2.2.8",
       "End the TLS connection as the RFC has it.").differs("always so"),
];

/// `virtual_server/real_server/SMTP_CHECK`
pub(crate) static SMTP_CHECK: Block =
    Block { path: "virtual_server/real_server/SMTP_CHECK", keywords: SMTP_CHECK_KEYWORDS };

#[rustfmt::skip]
const SMTP_CHECK_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "the real server's address", "v1.2.17",
       "The address that is probed."),
    kw("connect_port", Args::Uint(1, 65535), "the real server's port", "v1.2.17",
       "The port that is probed."),
    kw("bindto", Args::Address, "none", "v1.2.17",
       "Source address of probes."),
    kw("bind_if", Args::InterfaceUnchecked, "none", "v1.3.7",
       "The interface that probes leave by."),
    kw("bind_port", Args::Uint(1, 65535), "any", "v1.2.17",
       "Source port of probes."),
    kw("connect_timeout", Args::Seconds(1, TIMER_MAX_US), "the real server\'s, else 5", "v1.1.8",
       "Seconds after which a probe has failed."),
    kw("fwmark", Args::Uint(0, U32_MAX), "0", "v1.2.17",
       "Firewall mark of probes."),
    kw("retry", Args::Uint(0, U32_MAX), "the real server\'s, else 1", "v1.1.8",
       "Failed probes that a healthy server is forgiven."),
    kw("delay_before_retry", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else 1 s", "v1.1.8",
       "Seconds between such repeated probes."),
    kw("warmup", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else delay_loop", "v1.2.13",
       "The first probe starts up to this many seconds later, so that probes spread; 0: at once."),
    kw("delay_loop", Args::Seconds(1, UNBOUNDED_US), "the real server\'s, else 60", "v1.3.7",
       "Seconds between probes."),
    kw("alpha", Args::Bool, "the real server's", "v1.3.7",
       "The check counts as failed until it has succeeded."),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.0.11",
       "Log every failed probe, not only a change."),
    kw("helo_name", Args::Text, "smtp_helo_name/hostname", "v1.1.8",
       "What the check says of itself in HELO.").missing_argument(MissingArgument::Reports),
    kw("host", Args::Block(&SMTP_HOST, BlockName::None), "", "v1.1.8",
       "An old block for several hosts.").deprecated("", false),
];

/// `virtual_server/real_server/SMTP_CHECK/host`
pub(crate) static SMTP_HOST: Block =
    Block { path: "virtual_server/real_server/SMTP_CHECK/host", keywords: SMTP_HOST_KEYWORDS };

#[rustfmt::skip]
const SMTP_HOST_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "the real server's address", "v1.1.8",
       "The address that is probed."),
    kw("connect_port", Args::Uint(1, 65535), "the real server's port", "v1.1.8",
       "The port that is probed."),
    kw("bindto", Args::Address, "none", "v1.1.8",
       "Source address of probes."),
    kw("bind_if", Args::InterfaceUnchecked, "none", "v1.3.7",
       "The interface that probes leave by."),
    kw("bind_port", Args::Uint(1, 65535), "any", "v1.2.13",
       "Source port of probes."),
    kw("connect_timeout", Args::Seconds(1, TIMER_MAX_US), "the real server\'s, else 5", "v1.2.13",
       "Seconds after which a probe has failed."),
    kw("fwmark", Args::Uint(0, U32_MAX), "0", "v1.2.13",
       "Firewall mark of probes."),
    kw("retry", Args::Uint(0, U32_MAX), "the real server\'s, else 1", "v1.3.7",
       "Failed probes that a healthy server is forgiven."),
    kw("delay_before_retry", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else 1 s", "v1.3.7",
       "Seconds between such repeated probes."),
    kw("warmup", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else delay_loop", "v1.3.7",
       "The first probe starts up to this many seconds later, so that probes spread; 0: at once."),
    kw("delay_loop", Args::Seconds(1, UNBOUNDED_US), "the real server\'s, else 60", "v1.3.7",
       "Seconds between probes."),
    kw("alpha", Args::Bool, "the real server's", "v1.3.7",
       "The check counts as failed until it has succeeded."),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.0.11",
       "Log every failed probe, not only a change."),
];

/// `virtual_server/real_server/DNS_CHECK`
pub(crate) static DNS_CHECK: Block =
    Block { path: "virtual_server/real_server/DNS_CHECK", keywords: DNS_CHECK_KEYWORDS };

#[rustfmt::skip]
const DNS_CHECK_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "the real server's address", "v1.3.0",
       "The address that is probed."),
    kw("connect_port", Args::Uint(1, 65535), "the real server's port", "v1.3.0",
       "The port that is probed."),
    kw("bindto", Args::Address, "none", "v1.3.0",
       "Source address of probes."),
    kw("bind_if", Args::InterfaceUnchecked, "none", "v1.3.7",
       "The interface that probes leave by."),
    kw("bind_port", Args::Uint(1, 65535), "any", "v1.3.0",
       "Source port of probes."),
    kw("connect_timeout", Args::Seconds(1, TIMER_MAX_US), "the real server\'s, else 5", "v1.3.0",
       "Seconds after which a probe has failed."),
    kw("fwmark", Args::Uint(0, U32_MAX), "0", "v1.3.0",
       "Firewall mark of probes."),
    kw("retry", Args::Uint(0, U32_MAX), "the real server\'s, else 3", "v1.3.0",
       "Failed probes that a healthy server is forgiven."),
    kw("delay_before_retry", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else delay_loop", "v1.3.7",
       "Seconds between such repeated probes."),
    kw("warmup", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else delay_loop", "v1.3.7",
       "The first probe starts up to this many seconds later, so that probes spread; 0: at once."),
    kw("delay_loop", Args::Seconds(1, UNBOUNDED_US), "the real server\'s, else 60", "v1.3.7",
       "Seconds between probes."),
    kw("alpha", Args::Bool, "the real server's", "v1.3.7",
       "The check counts as failed until it has succeeded."),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.0.11",
       "Log every failed probe, not only a change."),
    kw("type", Args::Choice(&["A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA", "RRSIG", "DNSKEY"]), "SOA", "v1.3.0",
       "What kind of record is asked for."),
    kw("name", Args::DnsName, ".", "v1.3.0",
       "The name that is asked for."),
];

/// `virtual_server/real_server/MISC_CHECK`
pub(crate) static MISC_CHECK: Block =
    Block { path: "virtual_server/real_server/MISC_CHECK", keywords: MISC_CHECK_KEYWORDS };

#[rustfmt::skip]
const MISC_CHECK_KEYWORDS: &[Keyword] = &[
    kw("retry", Args::Uint(0, U32_MAX), "the real server\'s, else 0", "v1.3.7",
       "Failed probes that a healthy server is forgiven."),
    kw("delay_before_retry", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else 1 s", "v1.3.7",
       "Seconds between such repeated probes."),
    kw("warmup", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else delay_loop", "v1.2.13",
       "The first probe starts up to this many seconds later, so that probes spread; 0: at once."),
    kw("delay_loop", Args::Seconds(1, UNBOUNDED_US), "the real server\'s, else 60", "v1.3.7",
       "Seconds between probes."),
    kw("alpha", Args::Bool, "the real server's", "v1.3.7",
       "The check counts as failed until it has succeeded."),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.0.11",
       "Log every failed probe, not only a change."),
    kw("misc_path", Args::Script, "required", "v1.0.3",
       "The program: 0 means healthy, 1 dead; with `misc_dynamic` 2 to 255 set the weight to that less 2.").missing_argument(MissingArgument::Reports),
    kw("misc_timeout", Args::Uint(0, 4294), "delay_loop", "v1.1.0",
       "Seconds after which the program is killed, and has failed."),
    kw("misc_dynamic", Args::Flag, "off", "v1.1.8",
       "The program's exit status sets the weight."),
    kw("user", Args::User, "script_user", "v1.3.0",
       "Who runs it.").missing_argument(MissingArgument::Reports),
];

/// `virtual_server/real_server/PING_CHECK`
pub(crate) static PING_CHECK: Block =
    Block { path: "virtual_server/real_server/PING_CHECK", keywords: PING_CHECK_KEYWORDS };

#[rustfmt::skip]
const PING_CHECK_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "the real server's address", "v2.1.0",
       "The address that is probed."),
    kw("connect_port", Args::Uint(1, 65535), "the real server's port", "v2.1.0",
       "The port that is probed."),
    kw("bindto", Args::Address, "none", "v2.1.0",
       "Source address of probes."),
    kw("bind_if", Args::InterfaceUnchecked, "none", "v2.1.0",
       "The interface that probes leave by."),
    kw("bind_port", Args::Uint(1, 65535), "any", "v2.1.0",
       "Source port of probes."),
    kw("connect_timeout", Args::Seconds(1, TIMER_MAX_US), "the real server\'s, else 5", "v2.1.0",
       "Seconds after which a probe has failed."),
    kw("fwmark", Args::Uint(0, U32_MAX), "0", "v2.1.0",
       "Firewall mark of probes."),
    kw("retry", Args::Uint(0, U32_MAX), "the real server\'s, else 1", "v2.1.0",
       "Failed probes that a healthy server is forgiven."),
    kw("delay_before_retry", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else 1 s", "v2.1.0",
       "Seconds between such repeated probes."),
    kw("warmup", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else delay_loop", "v2.1.0",
       "The first probe starts up to this many seconds later, so that probes spread; 0: at once."),
    kw("delay_loop", Args::Seconds(1, UNBOUNDED_US), "the real server\'s, else 60", "v2.1.0",
       "Seconds between probes."),
    kw("alpha", Args::Bool, "the real server's", "v2.1.0",
       "The check counts as failed until it has succeeded."),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.1.0",
       "Log every failed probe, not only a change."),
];

/// `virtual_server/real_server/UDP_CHECK`
pub(crate) static UDP_CHECK: Block =
    Block { path: "virtual_server/real_server/UDP_CHECK", keywords: UDP_CHECK_KEYWORDS };

#[rustfmt::skip]
const UDP_CHECK_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "the real server's address", "v2.1.0",
       "The address that is probed."),
    kw("connect_port", Args::Uint(1, 65535), "the real server's port", "v2.1.0",
       "The port that is probed."),
    kw("bindto", Args::Address, "none", "v2.1.0",
       "Source address of probes."),
    kw("bind_if", Args::InterfaceUnchecked, "none", "v2.1.0",
       "The interface that probes leave by."),
    kw("bind_port", Args::Uint(1, 65535), "any", "v2.1.0",
       "Source port of probes."),
    kw("connect_timeout", Args::Seconds(1, TIMER_MAX_US), "the real server\'s, else 5", "v2.1.0",
       "Seconds after which a probe has failed."),
    kw("fwmark", Args::Uint(0, U32_MAX), "0", "v2.1.0",
       "Firewall mark of probes."),
    kw("retry", Args::Uint(0, U32_MAX), "the real server\'s, else 1", "v2.1.0",
       "Failed probes that a healthy server is forgiven."),
    kw("delay_before_retry", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else 1 s", "v2.1.0",
       "Seconds between such repeated probes."),
    kw("warmup", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else delay_loop", "v2.1.0",
       "The first probe starts up to this many seconds later, so that probes spread; 0: at once."),
    kw("delay_loop", Args::Seconds(1, UNBOUNDED_US), "the real server\'s, else 60", "v2.1.0",
       "Seconds between probes."),
    kw("alpha", Args::Bool, "the real server's", "v2.1.0",
       "The check counts as failed until it has succeeded."),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.1.0",
       "Log every failed probe, not only a change."),
    kw("payload", Args::Hex, "random bytes", "v2.2.0",
       "What the datagram holds.").missing_argument(MissingArgument::Reports),
    kw("require_reply", Args::HexMask, "off", "v2.1.0",
       "It must be answered, and with these bytes, if some are given."),
    kw("min_reply_length", Args::Uint(0, 65535), "0", "v2.2.0",
       "The answer's least length, in bytes."),
    kw("max_reply_length", Args::Uint(0, 65535), "255", "v2.2.0",
       "The answer's greatest length, in bytes."),
];

/// `virtual_server/real_server/FILE_CHECK`
pub(crate) static FILE_CHECK: Block =
    Block { path: "virtual_server/real_server/FILE_CHECK", keywords: FILE_CHECK_KEYWORDS };

#[rustfmt::skip]
const FILE_CHECK_KEYWORDS: &[Keyword] = &[
    kw("track_file", Args::Text, "required", "v2.1.0",
       "The name of the tracked file."),
    kw("weight", Args::Weight(-2_147_483_647, 2_147_483_647), "the tracked file's", "v2.1.0",
       "What the file's number is multiplied by before it is added to the server's weight."),
];

/// `virtual_server/real_server/BFD_CHECK`
pub(crate) static BFD_CHECK: Block =
    Block { path: "virtual_server/real_server/BFD_CHECK", keywords: BFD_CHECK_KEYWORDS };

#[rustfmt::skip]
const BFD_CHECK_KEYWORDS: &[Keyword] = &[
    kw("name", Args::Text, "required", "v2.0.0",
       "The name of the BFD session."),
    kw("alpha", Args::Bool, "off", "v2.0.0",
       "The check counts as failed until it has succeeded."),
];

/// Checkers of our own that connect: what all of them take, and what one does besides.
#[rustfmt::skip]
macro_rules! connects {
    ($($more:expr),* $(,)?) => { &[
        kw("connect_ip", Args::Address, "the real server's address", "evenkeel",
           "The address that is probed."),
        kw("connect_port", Args::Uint(1, 65535), "the real server's port", "evenkeel",
           "The port that is probed."),
        kw("bindto", Args::Address, "none", "evenkeel",
           "Source address of probes."),
        kw("bind_if", Args::InterfaceUnchecked, "none", "evenkeel",
           "The interface that probes leave by."),
        kw("bind_port", Args::Uint(1, 65535), "any", "evenkeel",
           "Source port of probes."),
        kw("connect_timeout", Args::Seconds(1, TIMER_MAX_US), "the real server\'s, else 5", "evenkeel",
           "Seconds after which a probe has failed."),
        kw("fwmark", Args::Uint(0, U32_MAX), "0", "evenkeel",
           "Firewall mark of probes."),
        kw("retry", Args::Uint(0, U32_MAX), "the real server\'s, else 1", "evenkeel",
           "Failed probes that a healthy server is forgiven."),
        kw("delay_before_retry", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else 1 s", "evenkeel",
           "Seconds between such repeated probes."),
        kw("warmup", Args::Seconds(0, UNBOUNDED_US), "the real server\'s, else delay_loop", "evenkeel",
           "The first probe starts up to this many seconds later, so that probes spread; 0: at once."),
        kw("delay_loop", Args::Seconds(1, UNBOUNDED_US), "the real server\'s, else 60", "evenkeel",
           "Seconds between probes."),
        kw("alpha", Args::Bool, "the real server's", "evenkeel",
           "The check counts as failed until it has succeeded."),
        kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "evenkeel",
           "Log every failed probe, not only a change."),
        $($more),*
    ] };
}

/// `virtual_server/real_server/REDIS_CHECK`
pub(crate) static REDIS_CHECK: Block =
    Block { path: "virtual_server/real_server/REDIS_CHECK", keywords: REDIS_CHECK_KEYWORDS };

#[rustfmt::skip]
const REDIS_CHECK_KEYWORDS: &[Keyword] = connects![];

/// `virtual_server/real_server/PGSQL_CHECK`
pub(crate) static PGSQL_CHECK: Block =
    Block { path: "virtual_server/real_server/PGSQL_CHECK", keywords: PGSQL_CHECK_KEYWORDS };

#[rustfmt::skip]
const PGSQL_CHECK_KEYWORDS: &[Keyword] = connects![
    kw("user", Args::Text, "evenkeel", "evenkeel",
       "Who the check says that it is; it does not log in."),
];

/// `virtual_server/real_server/GRPC_CHECK`
pub(crate) static GRPC_CHECK: Block =
    Block { path: "virtual_server/real_server/GRPC_CHECK", keywords: GRPC_CHECK_KEYWORDS };

#[rustfmt::skip]
const GRPC_CHECK_KEYWORDS: &[Keyword] = connects![
    kw("service", Args::Text, "the server as a whole", "evenkeel",
       "The service that is asked about, as gRPC names it."),
    kw("tls", Args::Bool, "off", "evenkeel",
       "Ask by TLS, as `SSL` says."),
    kw("tls_verify", Args::Bool, "on if `SSL` names a `ca`", "evenkeel",
       "Verify the server's certificate, by that `ca` or by the system's; its name as well where `sni_name` says one."),
    kw("enable_sni", Args::Bool, "on with `sni_name`", "evenkeel",
       "Say in the TLS handshake which host is meant."),
    kw("sni_name", Args::Text, "none", "evenkeel",
       "The host that is meant there."),
];

/// `virtual_server/real_server/MYSQL_CHECK`
pub(crate) static MYSQL_CHECK: Block =
    Block { path: "virtual_server/real_server/MYSQL_CHECK", keywords: MYSQL_CHECK_KEYWORDS };

#[rustfmt::skip]
const MYSQL_CHECK_KEYWORDS: &[Keyword] = connects![
    kw("user", Args::Text, "evenkeel", "evenkeel",
       "Who the check says that it is; it does not log in."),
];
