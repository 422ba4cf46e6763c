//! Checks of the health checkers of a real server.

use std::collections::HashSet;
use std::net::IpAddr;

use super::super::super::derived::regex_pattern;
use super::super::super::value::{Section, Value};
use super::super::super::{Diagnostic, Severity};
use super::super::{CheckContext, expected_family, undefined_name};
use crate::health::{IGNORED_OPTIONS, compile_regex};

/// Checks the checkers of a real server. `files`, `bfd`: the names that the file defines.
pub(super) fn check(c: &mut CheckContext<'_>, r: &Section, files: &HashSet<&str>, bfd: &HashSet<&str>) {
    for e in &r.entries {
        let Value::Section(checker) = &e.value else { continue };
        check_requirements(c, checker, files, bfd);
        check_source_address(c, checker, r);
        check_link_local(c, checker);
        if checker.block.name() == "SMTP_CHECK" {
            checker.sections("host").for_each(|host| check_source_address(c, host, r));
        }
    }
}

/// What each kind of checker requires.
fn check_requirements(c: &mut CheckContext<'_>, k: &Section, files: &HashSet<&str>, bfd: &HashSet<&str>) {
    let kind = k.block.name();
    match kind {
        "HTTP_GET" | "SSL_GET" => {
            if c.report_missing(k, "url", kind) {
                return;
            }
            for url in k.sections("url") {
                c.report_missing(url, "path", "this url");
                check_regex(c, url);
            }
        }
        "MISC_CHECK" => {
            c.report_missing(k, "misc_path", kind);
        }
        "FILE_CHECK" => check_reference(c, k, "track_file", "track_file", files),
        "BFD_CHECK" => check_reference(c, k, "name", "bfd_instance", bfd),
        "UDP_CHECK" => check_reply_length(c, k),
        _ => {}
    }
}

/// A keyword that names a block elsewhere in the file.
fn check_reference(c: &mut CheckContext<'_>, k: &Section, keyword: &str, block: &str, names: &HashSet<&str>) {
    if c.report_missing(k, keyword, k.block.name()) {
        return;
    }
    if let Some(name) = k.text(keyword).filter(|name| !names.contains(name)) {
        let known = names.iter().copied();
        c.report(undefined_name("undefined-name-tracked", k.args_span(keyword), (block, name), known));
    }
}

fn check_reply_length(c: &mut CheckContext<'_>, k: &Section) {
    let (min, max) = (k.uint("min_reply_length").unwrap_or(0), k.uint("max_reply_length").unwrap_or(255));
    if min > max {
        let keyword = if k.has("min_reply_length") { "min_reply_length" } else { "max_reply_length" };
        let message = format!("the minimum reply length {min} is greater than the maximum, {max}");
        let d = Diagnostic::error("reply-length", k.args_span(keyword), message);
        c.report(d.label("no reply meets both limits").help("raise `max_reply_length`"));
    }
}

/// keepalived accepts an invalid expression without a message and then uses the part that it can compile (its
/// prepare_regex()). Such a check can only fail.
fn check_regex(c: &mut CheckContext<'_>, url: &Section) {
    let Some(pattern) = regex_pattern(url) else {
        for keyword in ["regex_options", "regex_no_match", "regex_min_offset", "regex_max_offset", "regex_stack"] {
            if let Some(e) = url.get(keyword) {
                let d = Diagnostic::lint("regex", e.keyword_span, format!("`{keyword}` requires a `regex`"));
                c.report(d.label("this url has no regex"));
            }
        }
        return;
    };
    for word in pattern.options.iter().filter(|o| IGNORED_OPTIONS.contains(&o.as_str())) {
        let message = format!("the option `{word}` has no effect");
        let d = Diagnostic::lint("regex", url.args_span("regex_options"), message);
        c.report(d.label("accepted, as in keepalived"));
    }
    if let Err(reason) = compile_regex(&pattern) {
        let message = format!("the regular expression is invalid: {reason}");
        let mut d = Diagnostic::lint("regex", url.args_span("regex"), message);
        (d.severity, d.blocks_start) = (Severity::Error, true);
        c.report(d.label("no page can match it"));
    }
}

/// A link-local address is valid on its link only.
fn check_link_local(c: &mut CheckContext<'_>, k: &Section) {
    if !k.entries.iter().any(|e| e.keyword.name == "connect_ip") || k.has("bind_if") {
        return;
    }
    if let Some(IpAddr::V6(a)) = k.address("connect_ip")
        && a.is_unicast_link_local()
    {
        let message = format!("the link-local address {a} needs an interface");
        let d = Diagnostic::error("link-local", k.args_span("connect_ip"), message);
        c.report(d.label("expected `bind_if INTERFACE` as well"));
    }
}

/// The source address of probes must belong to the family of their destination.
fn check_source_address(c: &mut CheckContext<'_>, k: &Section, r: &Section) {
    // keepalived compares them in all checkers but SMTP_CHECK.
    if !k.entries.iter().any(|e| e.keyword.name == "bindto") || k.block.name() == "SMTP_CHECK" {
        return;
    }
    let server = match r.name {
        Value::Endpoint(a, _) => Some(a),
        _ => None,
    };
    if let (Some(source), Some(destination)) = (k.address("bindto"), k.address("connect_ip").or(server))
        && source.is_ipv4() != destination.is_ipv4()
    {
        let message = format!("{source} belongs to another address family than {destination}, which is probed");
        let d = Diagnostic::error("family", k.args_span("bindto"), message);
        c.report(d.label(expected_family(destination.is_ipv6())));
    }
}
