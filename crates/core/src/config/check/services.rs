//! `virtual_server`: defaults, inheritance, and what must agree.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::keywords::{CheckDraft, Cx, Draft, RealDraft, ServerDraft, TimingDraft};
use crate::config::{Diagnostic, Span};
use crate::model::{
    Check, CheckKind, CheckTiming, Protocol, RealServer, Scheduler, ServerKey, ServiceKey, VirtualServer, Weight,
};

/// keepalived.conf(5), "delay_loop".
const DELAY_LOOP: Duration = Duration::from_secs(60);

pub fn finish(cx: &mut Cx<'_>, draft: &Draft) -> Vec<VirtualServer> {
    let mut seen: BTreeMap<ServiceKey, Span> = BTreeMap::new();
    let mut out = Vec::new();
    for d in &draft.servers {
        let Some(protocol) = protocol(cx, d) else { continue };
        let key = ServiceKey { protocol, addr: d.addr, port: d.port };
        if let Some(first) = seen.insert(key, d.at) {
            cx.push(
                Diagnostic::error("duplicate", d.at, format!("the service {key} is defined twice"))
                    .label("second definition")
                    .note(first, "first defined here"),
            );
            continue;
        }
        if d.port == 0 && d.persistence().is_none() {
            cx.push(
                Diagnostic::error("port-zero", d.at, "a service on port 0 needs persistence")
                    .label("takes every port")
                    .help("add `persistence_timeout`, or name the port"),
            );
        }
        let mut servers: Vec<RealServer> = Vec::new();
        for r in &d.servers {
            if let Some(server) = real_server(cx, d, r, &servers) {
                servers.push(server);
            }
        }
        out.push(VirtualServer {
            key,
            scheduler: d.scheduler.unwrap_or(Scheduler::Wlc),
            persistence: d.persistence(),
            delay_loop: d.timing.delay_loop.unwrap_or(DELAY_LOOP),
            servers,
        });
    }
    out
}

fn protocol(cx: &mut Cx<'_>, d: &ServerDraft) -> Option<Protocol> {
    if d.protocol.is_none() && !d.protocol_seen && !cx.was_meant("protocol") {
        cx.push(
            Diagnostic::error("missing-keyword", d.at, "this virtual_server has no `protocol`")
                .label("`protocol` is missing in this block")
                .help("keepalived takes UDP here, which is rarely meant; write `protocol TCP`"),
        );
    }
    d.protocol
}

fn real_server(cx: &mut Cx<'_>, d: &ServerDraft, r: &RealDraft, earlier: &[RealServer]) -> Option<RealServer> {
    let Some(method) = r.method.or(d.method) else {
        if !d.method_seen {
            let what = "without `lb_kind` the method is NAT, which is not supported yet";
            cx.push(
                Diagnostic::error("not-supported", d.at, what).label("no forwarding method").help("write `lb_kind DR`"),
            );
        }
        return None;
    };
    // The kernel ignores a DR destination's port as well; ipvsadm replaces it by the service's.
    if let Some(port) = r.port.filter(|&p| p != d.port) {
        cx.push(
            Diagnostic::warning("dr-port", r.at, format!("direct routing cannot change the port to {port}"))
                .label(format!("packets arrive at port {}", d.port)),
        );
    }
    let key = ServerKey { addr: r.addr, port: d.port };
    if earlier.iter().any(|s| s.key == key) {
        cx.push(
            Diagnostic::error("duplicate", r.at, format!("the real server {key} stands in this service twice"))
                .label("second definition"),
        );
        return None;
    }
    let timing = r.timing.or(&d.timing);
    Some(RealServer {
        key,
        weight: r.weight.or(d.weight).unwrap_or(Weight::DEFAULT),
        method,
        u_threshold: r.u_threshold,
        l_threshold: r.l_threshold,
        inhibit_on_failure: r.inhibit.unwrap_or(d.inhibit),
        alpha: timing.alpha.unwrap_or(false),
        checks: r.checks.iter().map(|c| check(d, r, c, &timing)).collect(),
    })
}

/// Virtual server, real server, checker: what the inner one does not set comes from the outer one.
fn check(d: &ServerDraft, r: &RealDraft, c: &CheckDraft, outer: &TimingDraft) -> Check {
    let t = c.timing.or(outer);
    let delay_loop = t.delay_loop.unwrap_or(DELAY_LOOP);
    let kind = if c.http {
        let virtualhost = c.virtualhost.clone().or(r.virtualhost.clone()).or(d.virtualhost.clone());
        CheckKind::Http { urls: c.urls.clone(), virtualhost }
    } else {
        CheckKind::Tcp
    };
    let usual_retry_delay = Duration::from_secs(if c.http { 3 } else { 1 });
    Check {
        timing: CheckTiming {
            delay_loop,
            connect_timeout: t.connect_timeout.unwrap_or(Duration::from_secs(5)),
            retry: t.retry.unwrap_or(1),
            delay_before_retry: t.delay_before_retry.unwrap_or(usual_retry_delay),
            warmup: t.warmup.unwrap_or(delay_loop),
        },
        kind,
        connect_ip: c.connect_ip,
        connect_port: c.connect_port.or(r.port),
        bindto: c.bindto,
        alpha: c.timing.alpha,
    }
}
