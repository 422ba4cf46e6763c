//! The health checkers of a `real_server`.

use super::spec::*;

/// `virtual_server/real_server/TCP_CHECK`
pub(crate) static TCP_CHECK: Block =
    Block { path: "virtual_server/real_server/TCP_CHECK", keywords: TCP_CHECK_KEYWORDS };

#[rustfmt::skip]
const TCP_CHECK_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "RS address", "v1.2.13",
       "Address probed."),
    kw("connect_port", Args::Uint(1, 65535), "RS port", "v1.0.3",
       "Port probed."),
    kw("bindto", Args::Address, "none", "v1.1.2",
       "Source address."),
    kw("bind_if", Args::Device, "none", "v1.3.7",
       "Bind to device.").later(),
    kw("bind_port", Args::Uint(1, 65535), "any", "v1.2.13",
       "Source port.").later(),
    kw("connect_timeout", Args::Seconds(1, MAX_TIMER), "RS's (5)", "v1.0.3",
       "Connect timeout."),
    kw("fwmark", Args::Uint(0, U32), "0", "v1.2.13",
       "SO_MARK of probe packets.").later(),
    kw("retry", Args::Uint(0, U32), "RS's (1)", "v1.2.20",
       "Failed probes tolerated while the RS is up."),
    kw("delay_before_retry", Args::Seconds(0, FOREVER), "RS's (1 s)", "v1.2.20",
       "Delay between retries."),
    kw("warmup", Args::Seconds(0, FOREVER), "RS's (delay_loop)", "v1.2.13",
       "Max random delay of first probe; 0 = none."),
    kw("delay_loop", Args::Seconds(1, FOREVER), "RS's (60)", "v1.3.7",
       "Probe interval."),
    kw("alpha", Args::Bool, "RS's", "v1.3.7",
       "Start failed."),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.0.11",
       "Log each failed probe.").later(),
];

/// `virtual_server/real_server/HTTP_GET`
pub(crate) static HTTP_GET: Block = Block { path: "virtual_server/real_server/HTTP_GET", keywords: HTTP_GET_KEYWORDS };

#[rustfmt::skip]
const HTTP_GET_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "RS address", "v1.2.13",
       "Address probed."),
    kw("connect_port", Args::Uint(1, 65535), "RS port", "v1.0.3",
       "Port probed."),
    kw("bindto", Args::Address, "none", "v1.1.2",
       "Source address."),
    kw("bind_if", Args::Device, "none", "v1.3.7",
       "Bind to device.").later(),
    kw("bind_port", Args::Uint(1, 65535), "any", "v1.2.13",
       "Source port.").later(),
    kw("connect_timeout", Args::Seconds(1, MAX_TIMER), "RS's (5)", "v1.0.3",
       "Connect timeout."),
    kw("fwmark", Args::Uint(0, U32), "0", "v1.2.13",
       "SO_MARK of probe packets.").later(),
    kw("retry", Args::Uint(0, U32), "RS's (1)", "v1.3.7",
       "Failed probes tolerated while the RS is up."),
    kw("delay_before_retry", Args::Seconds(0, FOREVER), "RS's (3 s)", "v1.0.3",
       "Delay between retries."),
    kw("warmup", Args::Seconds(0, FOREVER), "RS's (delay_loop)", "v1.2.13",
       "Max random delay of first probe; 0 = none."),
    kw("delay_loop", Args::Seconds(1, FOREVER), "RS's (60)", "v1.3.7",
       "Probe interval."),
    kw("alpha", Args::Bool, "RS's", "v1.3.7",
       "Start failed."),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.0.11",
       "Log each failed probe.").later(),
    kw("nb_get_retry", Args::Uint(0, U32), "", "v1.0.3",
       "Retries.").old("retry", true),
    kw("virtualhost", Args::Text, "RS's, VS's", "v1.3.6",
       "Host: header."),
    kw("http_protocol", Args::ChoiceAnyCase(&["1.0", "1.0C", "1.1"]), "1.0", "v2.0.17",
       "Request version; 1.0C adds Connection: close.").absent(Absent::Reported).later(),
    kw("enable_sni", Args::Bool, "off", "v1.4.3",
       "Send SNI (the virtualhost).").later(),
    kw("sni_name", Args::Text, "virtualhost", "unreleased",
       "SNI to send.").absent(Absent::Fine).later(),
    kw("fast_recovery", Args::Bool, "off", "v2.0.17",
       "No delay_loop between URLs when coming up.").later(),
    kw("url", Args::Block(&HTTP_GET_URL, Name::None), "required", "v1.0.3",
       "One URL to test; all must pass."),
];

/// `virtual_server/real_server/HTTP_GET/url`
pub(crate) static HTTP_GET_URL: Block =
    Block { path: "virtual_server/real_server/HTTP_GET/url", keywords: HTTP_GET_URL_KEYWORDS };

#[rustfmt::skip]
const HTTP_GET_URL_KEYWORDS: &[Keyword] = &[
    kw("path", Args::Text, "required", "v1.0.3",
       "Request path."),
    kw("digest", Args::Digest, "none", "v1.0.3",
       "Body digest.").later(),
    kw("status_code", Args::StatusCodes, "200-299", "v1.0.3",
       "Accepted status codes."),
    kw("virtualhost", Args::Text, "checker's", "v1.3.6",
       "Host: header.").absent(Absent::Reported),
    kw("regex", Args::Regex, "none", "v2.0.7",
       "Body must match.").later(),
    kw("regex_no_match", Args::Flag, "off", "v2.0.7",
       "Invert regex.").later(),
    kw("regex_options", Args::Words(0, 64), "none", "v2.0.7",
       "PCRE2 options.").later(),
    kw("regex_min_offset", Args::Offset, "0", "v2.0.7",
       "Search start.").later(),
    kw("regex_max_offset", Args::Offset, "none", "v2.0.7",
       "Search end.").later(),
    kw("regex_stack", Args::Words(0, 2), "default", "v2.0.7",
       "JIT stack.").later(),
];

/// `virtual_server/real_server/SSL_GET`
pub(crate) static SSL_GET: Block = Block { path: "virtual_server/real_server/SSL_GET", keywords: SSL_GET_KEYWORDS };

#[rustfmt::skip]
const SSL_GET_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "RS address", "v1.2.13",
       "Address probed.").later(),
    kw("connect_port", Args::Uint(1, 65535), "RS port", "v1.0.3",
       "Port probed.").later(),
    kw("bindto", Args::Address, "none", "v1.1.2",
       "Source address.").later(),
    kw("bind_if", Args::Device, "none", "v1.3.7",
       "Bind to device.").later(),
    kw("bind_port", Args::Uint(1, 65535), "any", "v1.2.13",
       "Source port.").later(),
    kw("connect_timeout", Args::Seconds(1, MAX_TIMER), "RS's (5)", "v1.0.3",
       "Connect timeout.").later(),
    kw("fwmark", Args::Uint(0, U32), "0", "v1.2.13",
       "SO_MARK of probe packets.").later(),
    kw("retry", Args::Uint(0, U32), "RS's (1)", "v1.3.7",
       "Failed probes tolerated while the RS is up.").later(),
    kw("delay_before_retry", Args::Seconds(0, FOREVER), "RS's (3 s)", "v1.0.3",
       "Delay between retries.").later(),
    kw("warmup", Args::Seconds(0, FOREVER), "RS's (delay_loop)", "v1.2.13",
       "Max random delay of first probe; 0 = none.").later(),
    kw("delay_loop", Args::Seconds(1, FOREVER), "RS's (60)", "v1.3.7",
       "Probe interval.").later(),
    kw("alpha", Args::Bool, "RS's", "v1.3.7",
       "Start failed.").later(),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.0.11",
       "Log each failed probe.").later(),
    kw("nb_get_retry", Args::Uint(0, U32), "", "v1.0.3",
       "Retries.").old("retry", true).later(),
    kw("virtualhost", Args::Text, "RS's, VS's", "v1.3.6",
       "Host: header.").later(),
    kw("http_protocol", Args::ChoiceAnyCase(&["1.0", "1.0C", "1.1"]), "1.0", "v2.0.17",
       "Request version; 1.0C adds Connection: close.").absent(Absent::Reported).later(),
    kw("enable_sni", Args::Bool, "off", "v1.4.3",
       "Send SNI (the virtualhost).").later(),
    kw("sni_name", Args::Text, "virtualhost", "unreleased",
       "SNI to send.").absent(Absent::Fine).later(),
    kw("fast_recovery", Args::Bool, "off", "v2.0.17",
       "No delay_loop between URLs when coming up.").later(),
    kw("tls_compliant", Args::Bool, "off", "v2.2.8",
       "Send close_notify.").later(),
    kw("url", Args::Block(&SSL_GET_URL, Name::None), "required", "v1.0.3",
       "One URL to test; all must pass.").later(),
];

/// `virtual_server/real_server/SSL_GET/url`
pub(crate) static SSL_GET_URL: Block =
    Block { path: "virtual_server/real_server/SSL_GET/url", keywords: SSL_GET_URL_KEYWORDS };

#[rustfmt::skip]
const SSL_GET_URL_KEYWORDS: &[Keyword] = &[
    kw("path", Args::Text, "required", "v1.0.3",
       "Request path.").later(),
    kw("digest", Args::Digest, "none", "v1.0.3",
       "Body digest.").later(),
    kw("status_code", Args::StatusCodes, "200-299", "v1.0.3",
       "Accepted status codes.").later(),
    kw("virtualhost", Args::Text, "checker's", "v1.3.6",
       "Host: header.").absent(Absent::Reported).later(),
    kw("regex", Args::Regex, "none", "v2.0.7",
       "Body must match.").later(),
    kw("regex_no_match", Args::Flag, "off", "v2.0.7",
       "Invert regex.").later(),
    kw("regex_options", Args::Words(0, 64), "none", "v2.0.7",
       "PCRE2 options.").later(),
    kw("regex_min_offset", Args::Offset, "0", "v2.0.7",
       "Search start.").later(),
    kw("regex_max_offset", Args::Offset, "none", "v2.0.7",
       "Search end.").later(),
    kw("regex_stack", Args::Words(0, 2), "default", "v2.0.7",
       "JIT stack.").later(),
    kw("tls_compliant", Args::Bool, "checker's", "v2.2.8",
       "Send close_notify.").later(),
];

/// `virtual_server/real_server/SMTP_CHECK`
pub(crate) static SMTP_CHECK: Block =
    Block { path: "virtual_server/real_server/SMTP_CHECK", keywords: SMTP_CHECK_KEYWORDS };

#[rustfmt::skip]
const SMTP_CHECK_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "RS address", "v1.2.17",
       "Address probed.").later(),
    kw("connect_port", Args::Uint(1, 65535), "RS port", "v1.2.17",
       "Port probed.").later(),
    kw("bindto", Args::Address, "none", "v1.2.17",
       "Source address.").later(),
    kw("bind_if", Args::Device, "none", "v1.3.7",
       "Bind to device.").later(),
    kw("bind_port", Args::Uint(1, 65535), "any", "v1.2.17",
       "Source port.").later(),
    kw("connect_timeout", Args::Seconds(1, MAX_TIMER), "RS's (5)", "v1.1.8",
       "Connect timeout.").later(),
    kw("fwmark", Args::Uint(0, U32), "0", "v1.2.17",
       "SO_MARK of probe packets.").later(),
    kw("retry", Args::Uint(0, U32), "RS's (1)", "v1.1.8",
       "Failed probes tolerated while the RS is up.").later(),
    kw("delay_before_retry", Args::Seconds(0, FOREVER), "RS's (1 s)", "v1.1.8",
       "Delay between retries.").later(),
    kw("warmup", Args::Seconds(0, FOREVER), "RS's (delay_loop)", "v1.2.13",
       "Max random delay of first probe; 0 = none.").later(),
    kw("delay_loop", Args::Seconds(1, FOREVER), "RS's (60)", "v1.3.7",
       "Probe interval.").later(),
    kw("alpha", Args::Bool, "RS's", "v1.3.7",
       "Start failed.").later(),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.0.11",
       "Log each failed probe.").later(),
    kw("helo_name", Args::Text, "smtp_helo_name/hostname", "v1.1.8",
       "HELO name.").absent(Absent::Reported).later(),
    kw("host", Args::Block(&SMTP_HOST, Name::None), "", "v1.1.8",
       "Old block for several hosts.").old("", false).later(),
];

/// `virtual_server/real_server/SMTP_CHECK/host`
pub(crate) static SMTP_HOST: Block =
    Block { path: "virtual_server/real_server/SMTP_CHECK/host", keywords: SMTP_HOST_KEYWORDS };

#[rustfmt::skip]
const SMTP_HOST_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "RS address", "v1.1.8",
       "Address probed.").later(),
    kw("connect_port", Args::Uint(1, 65535), "RS port", "v1.1.8",
       "Port probed.").later(),
    kw("bindto", Args::Address, "none", "v1.1.8",
       "Source address.").later(),
    kw("bind_if", Args::Device, "none", "v1.3.7",
       "Bind to device.").later(),
    kw("bind_port", Args::Uint(1, 65535), "any", "v1.2.13",
       "Source port.").later(),
    kw("connect_timeout", Args::Seconds(1, MAX_TIMER), "RS's (5)", "v1.2.13",
       "Connect timeout.").later(),
    kw("fwmark", Args::Uint(0, U32), "0", "v1.2.13",
       "SO_MARK of probe packets.").later(),
    kw("retry", Args::Uint(0, U32), "RS's (1)", "v1.3.7",
       "Failed probes tolerated while the RS is up.").later(),
    kw("delay_before_retry", Args::Seconds(0, FOREVER), "RS's (1 s)", "v1.3.7",
       "Delay between retries.").later(),
    kw("warmup", Args::Seconds(0, FOREVER), "RS's (delay_loop)", "v1.3.7",
       "Max random delay of first probe; 0 = none.").later(),
    kw("delay_loop", Args::Seconds(1, FOREVER), "RS's (60)", "v1.3.7",
       "Probe interval.").later(),
    kw("alpha", Args::Bool, "RS's", "v1.3.7",
       "Start failed.").later(),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.0.11",
       "Log each failed probe.").later(),
];

/// `virtual_server/real_server/DNS_CHECK`
pub(crate) static DNS_CHECK: Block =
    Block { path: "virtual_server/real_server/DNS_CHECK", keywords: DNS_CHECK_KEYWORDS };

#[rustfmt::skip]
const DNS_CHECK_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "RS address", "v1.3.0",
       "Address probed.").later(),
    kw("connect_port", Args::Uint(1, 65535), "RS port", "v1.3.0",
       "Port probed.").later(),
    kw("bindto", Args::Address, "none", "v1.3.0",
       "Source address.").later(),
    kw("bind_if", Args::Device, "none", "v1.3.7",
       "Bind to device.").later(),
    kw("bind_port", Args::Uint(1, 65535), "any", "v1.3.0",
       "Source port.").later(),
    kw("connect_timeout", Args::Seconds(1, MAX_TIMER), "RS's (5)", "v1.3.0",
       "Connect timeout.").later(),
    kw("fwmark", Args::Uint(0, U32), "0", "v1.3.0",
       "SO_MARK of probe packets.").later(),
    kw("retry", Args::Uint(0, U32), "RS's (3)", "v1.3.0",
       "Failed probes tolerated while the RS is up.").later(),
    kw("delay_before_retry", Args::Seconds(0, FOREVER), "RS's (delay_loop)", "v1.3.7",
       "Delay between retries.").later(),
    kw("warmup", Args::Seconds(0, FOREVER), "RS's (delay_loop)", "v1.3.7",
       "Max random delay of first probe; 0 = none.").later(),
    kw("delay_loop", Args::Seconds(1, FOREVER), "RS's (60)", "v1.3.7",
       "Probe interval.").later(),
    kw("alpha", Args::Bool, "RS's", "v1.3.7",
       "Start failed.").later(),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.0.11",
       "Log each failed probe.").later(),
    kw("type", Args::Choice(&["A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA", "RRSIG", "DNSKEY"]), "SOA", "v1.3.0",
       "Query type.").later(),
    kw("name", Args::DnsName, ".", "v1.3.0",
       "Query name.").later(),
];

/// `virtual_server/real_server/MISC_CHECK`
pub(crate) static MISC_CHECK: Block =
    Block { path: "virtual_server/real_server/MISC_CHECK", keywords: MISC_CHECK_KEYWORDS };

#[rustfmt::skip]
const MISC_CHECK_KEYWORDS: &[Keyword] = &[
    kw("retry", Args::Uint(0, U32), "RS's (0)", "v1.3.7",
       "Failed probes tolerated while the RS is up.").later(),
    kw("delay_before_retry", Args::Seconds(0, FOREVER), "RS's (1 s)", "v1.3.7",
       "Delay between retries.").later(),
    kw("warmup", Args::Seconds(0, FOREVER), "RS's (delay_loop)", "v1.2.13",
       "Max random delay of first probe; 0 = none.").later(),
    kw("delay_loop", Args::Seconds(1, FOREVER), "RS's (60)", "v1.3.7",
       "Probe interval.").later(),
    kw("alpha", Args::Bool, "RS's", "v1.3.7",
       "Start failed.").later(),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.0.11",
       "Log each failed probe.").later(),
    kw("misc_path", Args::Script, "required", "v1.0.3",
       "Program run; exit 0 ok, 1 fail, 2..255 dynamic weight+2.").absent(Absent::Reported).later(),
    kw("misc_timeout", Args::Uint(0, 4294), "delay_loop", "v1.1.0",
       "Kill after.").later(),
    kw("misc_dynamic", Args::Flag, "off", "v1.1.8",
       "Use exit status as weight.").later(),
    kw("user", Args::User, "script_user", "v1.3.0",
       "Identity.").absent(Absent::Reported).later(),
];

/// `virtual_server/real_server/PING_CHECK`
pub(crate) static PING_CHECK: Block =
    Block { path: "virtual_server/real_server/PING_CHECK", keywords: PING_CHECK_KEYWORDS };

#[rustfmt::skip]
const PING_CHECK_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "RS address", "v2.1.0",
       "Address probed.").later(),
    kw("connect_port", Args::Uint(1, 65535), "RS port", "v2.1.0",
       "Port probed.").later(),
    kw("bindto", Args::Address, "none", "v2.1.0",
       "Source address.").later(),
    kw("bind_if", Args::Device, "none", "v2.1.0",
       "Bind to device.").later(),
    kw("bind_port", Args::Uint(1, 65535), "any", "v2.1.0",
       "Source port.").later(),
    kw("connect_timeout", Args::Seconds(1, MAX_TIMER), "RS's (5)", "v2.1.0",
       "Connect timeout.").later(),
    kw("fwmark", Args::Uint(0, U32), "0", "v2.1.0",
       "SO_MARK of probe packets.").later(),
    kw("retry", Args::Uint(0, U32), "RS's (1)", "v2.1.0",
       "Failed probes tolerated while the RS is up.").later(),
    kw("delay_before_retry", Args::Seconds(0, FOREVER), "RS's (1 s)", "v2.1.0",
       "Delay between retries.").later(),
    kw("warmup", Args::Seconds(0, FOREVER), "RS's (delay_loop)", "v2.1.0",
       "Max random delay of first probe; 0 = none.").later(),
    kw("delay_loop", Args::Seconds(1, FOREVER), "RS's (60)", "v2.1.0",
       "Probe interval.").later(),
    kw("alpha", Args::Bool, "RS's", "v2.1.0",
       "Start failed.").later(),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.1.0",
       "Log each failed probe.").later(),
];

/// `virtual_server/real_server/UDP_CHECK`
pub(crate) static UDP_CHECK: Block =
    Block { path: "virtual_server/real_server/UDP_CHECK", keywords: UDP_CHECK_KEYWORDS };

#[rustfmt::skip]
const UDP_CHECK_KEYWORDS: &[Keyword] = &[
    kw("connect_ip", Args::Address, "RS address", "v2.1.0",
       "Address probed.").later(),
    kw("connect_port", Args::Uint(1, 65535), "RS port", "v2.1.0",
       "Port probed.").later(),
    kw("bindto", Args::Address, "none", "v2.1.0",
       "Source address.").later(),
    kw("bind_if", Args::Device, "none", "v2.1.0",
       "Bind to device.").later(),
    kw("bind_port", Args::Uint(1, 65535), "any", "v2.1.0",
       "Source port.").later(),
    kw("connect_timeout", Args::Seconds(1, MAX_TIMER), "RS's (5)", "v2.1.0",
       "Connect timeout.").later(),
    kw("fwmark", Args::Uint(0, U32), "0", "v2.1.0",
       "SO_MARK of probe packets.").later(),
    kw("retry", Args::Uint(0, U32), "RS's (1)", "v2.1.0",
       "Failed probes tolerated while the RS is up.").later(),
    kw("delay_before_retry", Args::Seconds(0, FOREVER), "RS's (1 s)", "v2.1.0",
       "Delay between retries.").later(),
    kw("warmup", Args::Seconds(0, FOREVER), "RS's (delay_loop)", "v2.1.0",
       "Max random delay of first probe; 0 = none.").later(),
    kw("delay_loop", Args::Seconds(1, FOREVER), "RS's (60)", "v2.1.0",
       "Probe interval.").later(),
    kw("alpha", Args::Bool, "RS's", "v2.1.0",
       "Start failed.").later(),
    kw("log_all_failures", Args::Bool, "global checker_log_all_failures", "v2.1.0",
       "Log each failed probe.").later(),
    kw("payload", Args::Hex, "random bytes", "v2.2.0",
       "Datagram sent.").absent(Absent::Reported).later(),
    kw("require_reply", Args::HexMask, "off", "v2.1.0",
       "Reply needed (and compared).").later(),
    kw("min_reply_length", Args::Uint(0, 65535), "0", "v2.2.0",
       "Reply length bound.").later(),
    kw("max_reply_length", Args::Uint(0, 65535), "255", "v2.2.0",
       "Reply length bound.").later(),
];

/// `virtual_server/real_server/FILE_CHECK`
pub(crate) static FILE_CHECK: Block =
    Block { path: "virtual_server/real_server/FILE_CHECK", keywords: FILE_CHECK_KEYWORDS };

#[rustfmt::skip]
const FILE_CHECK_KEYWORDS: &[Keyword] = &[
    kw("track_file", Args::Text, "required", "v2.1.0",
       "Tracked file.").later(),
    kw("weight", Args::Weight(-2_147_483_647, 2_147_483_647), "track_file's", "v2.1.0",
       "Multiplier of value added to RS weight.").later(),
];

/// `virtual_server/real_server/BFD_CHECK`
pub(crate) static BFD_CHECK: Block =
    Block { path: "virtual_server/real_server/BFD_CHECK", keywords: BFD_CHECK_KEYWORDS };

#[rustfmt::skip]
const BFD_CHECK_KEYWORDS: &[Keyword] = &[
    kw("name", Args::Text, "required", "v2.0.0",
       "Session.").later(),
    kw("alpha", Args::Bool, "off", "v2.0.0",
       "Start down.").later(),
];
