//! The keywords of the health checkers of a `real_server`.

use super::shared::*;
use super::spec::MissingArgument::{Accepts, Reports};
use super::spec::*;

#[rustfmt::skip]
pub(crate) static TCP_CHECK: Block = Block { path: "virtual_server/real_server/TCP_CHECK", keywords: &[TCP_TARGET, &[
    retry(0, "the real server's, else 1", "v1.2.20"),
    delay_before_retry("the real server's, else 1", "v1.2.20"),
    warmup("the real server's, else delay_loop", "v1.2.13"),
    delay_loop("the real server's, else 60", "v1.3.7"),
    alpha_check("v1.3.7"),
    log_all_failures("v2.0.11"),
    kw("through_service", Args::Flag, "off", "evenkeel",
       "Also open a connection along the path of forwarded packets, which verifies that the real server holds the virtual server's address or, with NAT, that its answers return through this director."),
]] };

pub(crate) static HTTP_GET: Block =
    Block { path: "virtual_server/real_server/HTTP_GET", keywords: &[TCP_TARGET, HTTP_OPTIONS, &[url(&HTTP_GET_URL)]] };

#[rustfmt::skip]
pub(crate) static SSL_GET: Block = Block { path: "virtual_server/real_server/SSL_GET", keywords: &[TCP_TARGET, HTTP_OPTIONS, &[
    kw("tls_verify", Args::Bool, "on if `SSL` has a `ca`", "evenkeel",
       "Verify the server's certificate with that `ca` or the system's CA certificates, and its name if `sni_name` or `virtualhost` is set."),
    tls_compliant("off"),
    url(&SSL_GET_URL),
]] };

/// Where TCP_CHECK, HTTP_GET and SSL_GET connect to.
const TCP_TARGET: &[Keyword] = &[
    connect_ip("v1.2.13"),
    connect_port("v1.0.3"),
    bindto("v1.1.2"),
    bind_if("v1.3.7"),
    bind_port("v1.2.13"),
    connect_timeout("the real server's, else 5", "v1.0.3"),
    fwmark("v1.2.13"),
];

/// What else HTTP_GET and SSL_GET have in common.
#[rustfmt::skip]
const HTTP_OPTIONS: &[Keyword] = &[
    retry(0, "the real server's, else 1", "v1.3.7"),
    delay_before_retry("the real server's, else 3", "v1.0.3"),
    warmup("the real server's, else delay_loop", "v1.2.13"),
    delay_loop("the real server's, else 60", "v1.3.7"),
    alpha_check("v1.3.7"),
    log_all_failures("v2.0.11"),
    kw("nb_get_retry", Args::Uint(0, U32_MAX), "", "v1.0.3",
       "Old name of `retry`.").replaced_by("retry").reported(),
    kw("virtualhost", Args::Text, "the real server's, else the virtual server's", "v1.3.6",
       "Host header of the requests."),
    kw("http_protocol", Args::ChoiceAnyCase(&["1.0", "1.0C", "1.1", "h2"]), "1.0", "v2.0.17",
       "HTTP version. 1.0C and 1.1 send `Connection: close`. h2 (HTTP/2) is an addition.").missing_argument(Reports),
    kw("enable_sni", Args::Bool, "off", "v1.4.3",
       "Send the host name in the TLS handshake (SNI)."),
    kw("sni_name", Args::Text, "virtualhost", "unreleased",
       "Host name for SNI.").missing_argument(Accepts),
    kw("fast_recovery", Args::Bool, "off", "v2.0.17",
       "When a failed server recovers, request all urls at once instead of one in each `delay_loop`."),
    kw("response_timeout", Args::Seconds(1, TIMER_MAX_US), "10 * connect_timeout", "evenkeel",
       "Timeout of a request as a whole, from the connection to the end of the response."),
];

pub(crate) static HTTP_GET_URL: Block =
    Block { path: "virtual_server/real_server/HTTP_GET/url", keywords: &[URL_OPTIONS] };

pub(crate) static SSL_GET_URL: Block = Block {
    path: "virtual_server/real_server/SSL_GET/url",
    keywords: &[URL_OPTIONS, &[tls_compliant("the checker's")]],
};

#[rustfmt::skip]
const URL_OPTIONS: &[Keyword] = &[
    kw("path", Args::Text, "required", "v1.0.3",
       "Path of the request."),
    kw("digest", Args::Digest, "none", "v1.0.3",
       "Expected MD5 digest of the body, as `genhash` prints it."),
    kw("status_code", Args::StatusCodes, "200-299", "v1.0.3",
       "Accepted status codes."),
    kw("virtualhost", Args::Text, "the checker's", "v1.3.6",
       "Host header of the request.").missing_argument(Reports),
    kw("regex", Args::Regex, "none", "v2.0.7",
       "Regular expression (PCRE2) that the body must match."),
    kw("regex_no_match", Args::Flag, "off", "v2.0.7",
       "The body must not match `regex`."),
    kw("regex_options", Args::Words(0, 64), "none", "v2.0.7",
       "PCRE2 options of `regex`."),
    kw("regex_min_offset", Args::Offset, "0", "v2.0.7",
       "Lowest offset in bytes at which a match may start."),
    kw("regex_max_offset", Args::Offset, "none", "v2.0.7",
       "Highest offset in bytes at which a match may start."),
    kw("regex_stack", Args::Words(0, 2), "default", "v2.0.7",
       "Initial and maximum size of the PCRE2 JIT stack."),
];

#[rustfmt::skip]
pub(crate) static SMTP_CHECK: Block = Block { path: "virtual_server/real_server/SMTP_CHECK", keywords: &[&[
    connect_ip("v1.2.17"),
    connect_port("v1.2.17"),
    bindto("v1.2.17"),
    bind_if("v1.3.7"),
    bind_port("v1.2.17"),
    connect_timeout("the real server's, else 5", "v1.1.8"),
    fwmark("v1.2.17"),
    retry(0, "the real server's, else 1", "v1.1.8"),
    delay_before_retry("the real server's, else 1", "v1.1.8"),
    warmup("the real server's, else delay_loop", "v1.2.13"),
    delay_loop("the real server's, else 60", "v1.3.7"),
    alpha_check("v1.3.7"),
    log_all_failures("v2.0.11"),
    kw("helo_name", Args::Text, "global_defs smtp_helo_name, else the host name", "v1.1.8",
       "Name that the check sends in HELO.").missing_argument(Reports),
    kw("host", Args::Block(&SMTP_HOST, BlockName::None), "", "v1.1.8",
       "Old form: a block for each of several hosts.").obsolete(),
]] };

#[rustfmt::skip]
pub(crate) static SMTP_HOST: Block = Block { path: "virtual_server/real_server/SMTP_CHECK/host", keywords: &[&[
    connect_ip("v1.1.8"),
    connect_port("v1.1.8"),
    bindto("v1.1.8"),
    bind_if("v1.3.7"),
    bind_port("v1.2.13"),
    connect_timeout("the real server's, else 5", "v1.2.13"),
    fwmark("v1.2.13"),
    retry(0, "the real server's, else 1", "v1.3.7"),
    delay_before_retry("the real server's, else 1", "v1.3.7"),
    warmup("the real server's, else delay_loop", "v1.3.7"),
    delay_loop("the real server's, else 60", "v1.3.7"),
    alpha_check("v1.3.7"),
    log_all_failures("v2.0.11"),
]] };

#[rustfmt::skip]
pub(crate) static DNS_CHECK: Block = Block { path: "virtual_server/real_server/DNS_CHECK", keywords: &[&[
    connect_ip("v1.3.0"),
    connect_port("v1.3.0"),
    bindto("v1.3.0"),
    bind_if("v1.3.7"),
    bind_port("v1.3.0"),
    connect_timeout("the real server's, else 5", "v1.3.0"),
    fwmark("v1.3.0"),
    retry(0, "the real server's, else 3", "v1.3.0"),
    delay_before_retry("the real server's, else delay_loop", "v1.3.7"),
    warmup("the real server's, else delay_loop", "v1.3.7"),
    delay_loop("the real server's, else 60", "v1.3.7"),
    alpha_check("v1.3.7"),
    log_all_failures("v2.0.11"),
    kw("type", Args::Choice(&["A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA", "RRSIG", "DNSKEY"]), "SOA", "v1.3.0",
       "Record type of the query."),
    kw("name", Args::DnsName, ".", "v1.3.0",
       "Domain name of the query."),
]] };

#[rustfmt::skip]
pub(crate) static MISC_CHECK: Block = Block { path: "virtual_server/real_server/MISC_CHECK", keywords: &[&[
    retry(0, "the real server's, else 0", "v1.3.7"),
    delay_before_retry("the real server's, else 1", "v1.3.7"),
    warmup("the real server's, else delay_loop", "v1.2.13"),
    delay_loop("the real server's, else 60", "v1.3.7"),
    alpha_check("v1.3.7"),
    log_all_failures("v2.0.11"),
    kw("misc_path", Args::Script, "required", "v1.0.3",
       "Program to run. Exit status 0 means success, 1 failure; with `misc_dynamic` 2 to 255 mean success and set the weight to the status minus 2.").missing_argument(Reports),
    kw("misc_timeout", Args::Uint(0, 4294), "delay_loop", "v1.1.0",
       "Maximum run time in seconds, after which the program is killed and the check has failed."),
    kw("misc_dynamic", Args::Flag, "off", "v1.1.8",
       "Set the real server's weight by the program's exit status."),
    kw("user", Args::User, "script_user", "v1.3.0",
       "User and group that run the program.").missing_argument(Reports),
]] };

pub(crate) static PING_CHECK: Block =
    Block { path: "virtual_server/real_server/PING_CHECK", keywords: &[&probe_options("v2.1.0")] };

#[rustfmt::skip]
pub(crate) static UDP_CHECK: Block = Block { path: "virtual_server/real_server/UDP_CHECK", keywords: &[&probe_options("v2.1.0"), &[
    kw("payload", Args::Hex, "random bytes", "v2.2.0",
       "Payload of the datagram.").missing_argument(Reports),
    kw("require_reply", Args::HexMask, "off", "v2.1.0",
       "Require a reply, which must match these bytes if any are given."),
    kw("min_reply_length", Args::Uint(0, 65535), "0", "v2.2.0",
       "Minimum length of the reply in bytes."),
    kw("max_reply_length", Args::Uint(0, 65535), "255", "v2.2.0",
       "Maximum length of the reply in bytes."),
]] };

#[rustfmt::skip]
pub(crate) static FILE_CHECK: Block = Block { path: "virtual_server/real_server/FILE_CHECK", keywords: &[&[
    kw("track_file", Args::Text, "required", "v2.1.0",
       "Name of the `track_file` block."),
    kw("weight", Args::Weight(-2_147_483_647, 2_147_483_647), "the track_file's", "v2.1.0",
       "Factor for the number in the file, before it is added to the server's weight."),
]] };

#[rustfmt::skip]
pub(crate) static BFD_CHECK: Block = Block { path: "virtual_server/real_server/BFD_CHECK", keywords: &[&[
    kw("name", Args::Text, "required", "v2.0.0",
       "Name of the `bfd_instance` block."),
    kw("alpha", Args::Bool, "off", "v2.0.0",
       "The check counts as failed until the session is up."),
]] };

pub(crate) static REDIS_CHECK: Block =
    Block { path: "virtual_server/real_server/REDIS_CHECK", keywords: &[&probe_options("evenkeel")] };

pub(crate) static PGSQL_CHECK: Block = Block {
    path: "virtual_server/real_server/PGSQL_CHECK",
    keywords: &[&probe_options("evenkeel"), &[database_user()]],
};

pub(crate) static MYSQL_CHECK: Block = Block {
    path: "virtual_server/real_server/MYSQL_CHECK",
    keywords: &[&probe_options("evenkeel"), &[database_user()]],
};

#[rustfmt::skip]
pub(crate) static GRPC_CHECK: Block = Block { path: "virtual_server/real_server/GRPC_CHECK", keywords: &[&probe_options("evenkeel"), &[
    kw("service", Args::Text, "the whole server", "evenkeel",
       "Name of the gRPC service in the request."),
    kw("tls", Args::Bool, "off", "evenkeel",
       "Use TLS, with the certificates of the block `SSL`."),
    kw("tls_verify", Args::Bool, "on if `SSL` has a `ca`", "evenkeel",
       "Verify the server's certificate with that `ca` or the system's CA certificates, and its name if `sni_name` is set."),
    kw("enable_sni", Args::Bool, "on with `sni_name`", "evenkeel",
       "Send the host name in the TLS handshake (SNI)."),
    kw("sni_name", Args::Text, "none", "evenkeel",
       "Host name for SNI."),
]] };
