//! Drafts to a configuration: defaults, names, and what must agree across blocks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::keywords::{Broadcast, Cx, Draft, VipDraft};
use super::{Diagnostic, Span};
use crate::model::*;

/// Fills in defaults and resolves names. Diagnostics go to `cx`; what is wrong is left out.
pub(crate) fn finish(cx: &mut Cx<'_>, draft: Draft) -> Config {
    let scripts = scripts(cx, &draft);
    let instances = instances(cx, &draft, &scripts);
    let virtual_servers = virtual_servers(cx, &draft);
    for (s, d) in scripts.iter().zip(&draft.scripts) {
        if !draft.instances.iter().any(|i| i.track_scripts.iter().any(|t| t.name == s.name)) {
            cx.push(
                Diagnostic::warning("unused-script", d.at, format!("no instance tracks the script `{}`", s.name))
                    .label("it will not be run"),
            );
        }
    }
    let used = |s: &VrrpScript| instances.iter().any(|i| i.track_scripts.iter().any(|t| t.name == s.name));
    let scripts = scripts.iter().filter(|s| used(s)).cloned().collect();
    Config { global: draft.global.defs, scripts, instances, virtual_servers }
}

fn scripts(cx: &mut Cx<'_>, draft: &Draft) -> Vec<VrrpScript> {
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    let mut out = Vec::new();
    for d in &draft.scripts {
        if let Some(first) = seen.insert(&d.name, d.at) {
            cx.push(
                Diagnostic::error("duplicate", d.at, format!("the script `{}` is defined twice", d.name))
                    .label("second definition")
                    .note(first, "first defined here"),
            );
            continue;
        }
        let interval = d.interval.unwrap_or(Duration::from_secs(1));
        out.push(VrrpScript {
            name: d.name.clone(),
            command: ScriptCommand {
                argv: d.argv.clone(),
                user: d.user.clone().or(draft.global.defs.script_user.clone()),
            },
            interval,
            timeout: d.timeout.unwrap_or(interval),
            weight: d.weight,
            reverse: d.reverse,
            rise: d.rise,
            fall: d.fall,
            init_fail: d.init_fail,
        });
    }
    out
}

fn instances(cx: &mut Cx<'_>, draft: &Draft, scripts: &[VrrpScript]) -> Vec<VrrpInstance> {
    let g = &draft.global;
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    let mut routers: BTreeMap<(String, Vrid), Span> = BTreeMap::new();
    let mut holders: BTreeMap<(Ipv4Addr, String), Span> = BTreeMap::new();
    let mut out: Vec<VrrpInstance> = Vec::new();
    for d in &draft.instances {
        if let Some(first) = names.insert(&d.name, d.at) {
            cx.push(
                Diagnostic::error("duplicate", d.at, format!("the instance `{}` is defined twice", d.name))
                    .label("second definition")
                    .note(first, "first defined here"),
            );
            continue;
        }
        let missing = |cx: &mut Cx<'_>, what: &str| {
            if cx.was_meant(what) {
                return;
            }
            cx.push(
                Diagnostic::error("missing-keyword", d.at, format!("vrrp_instance `{}` has no `{what}`", d.name))
                    .label(format!("`{what}` is missing in this block")),
            );
        };
        let Some(interface) = d.interface.clone() else {
            missing(cx, "interface");
            continue;
        };
        let Some((vrid, vrid_at)) = d.vrid else {
            missing(cx, "virtual_router_id");
            continue;
        };
        if let Some(first) = routers.insert((interface.clone(), vrid), vrid_at) {
            cx.push(
                Diagnostic::error(
                    "duplicate-vrid",
                    vrid_at,
                    format!("virtual_router_id {vrid} is used twice on {interface}"),
                )
                .label("second use")
                .note(first, "first used here")
                .help("two virtual routers on one link need two numbers"),
            );
        }
        let state = d.state;
        let priority = d.priority.unwrap_or(if state == Some(InitialState::Master) { 255 } else { 100 });
        let initial = state.unwrap_or(if priority == 255 { InitialState::Master } else { InitialState::Backup });
        let version = d.version.or(g.version).unwrap_or(VrrpVersion::V2);
        let advert_int = advert_interval(cx, d.advert_int, version);
        if let (VrrpVersion::V3, Some((_, at))) = (version, d.auth_pass) {
            cx.push(
                Diagnostic::warning("auth-v3", at, "VRRPv3 has no authentication")
                    .label("ignored")
                    .help("use version 2, or filter protocol 112"),
            );
        }
        if let (Some(at), None) = (d.auth_type, d.auth_pass) {
            cx.push(
                Diagnostic::error("missing-keyword", at, "auth_type PASS without `auth_pass`")
                    .label("the password is missing"),
            );
        }
        let owner = priority == 255 || initial == InitialState::Master;
        let mut preempt = true;
        if let Some(at) = d.nopreempt {
            if owner {
                cx.push(
                    Diagnostic::warning("nopreempt", at, "`nopreempt` does not go with state MASTER or priority 255")
                        .label("ignored")
                        .help("write `state BACKUP` on both directors"),
                );
            } else {
                preempt = false;
            }
        }
        let mut preempt_delay = Duration::ZERO;
        if let Some((delay, at)) = d.preempt_delay {
            if initial == InitialState::Master || !preempt {
                cx.push(
                    Diagnostic::warning(
                        "preempt-delay",
                        at,
                        "`preempt_delay` does not go with state MASTER or nopreempt",
                    )
                    .label("ignored"),
                );
            } else {
                preempt_delay = delay;
            }
        }
        if d.vips.is_empty() && d.excluded.is_empty() {
            cx.push(
                Diagnostic::warning("no-vip", d.at, format!("vrrp_instance `{}` has no virtual address", d.name))
                    .label("nothing moves when it fails over"),
            );
        }
        let mut vip = |cx: &mut Cx<'_>, v: &VipDraft| {
            let dev = v.dev.clone().unwrap_or_else(|| interface.clone());
            if let Some(first) = holders.insert((v.addr, dev.clone()), v.at) {
                cx.push(
                    Diagnostic::error("duplicate", v.at, format!("{} stands on {dev} twice", v.addr))
                        .label("second time")
                        .note(first, "first time"),
                );
            }
            resolve(v, dev)
        };
        let vips: Vec<VipSpec> = d.vips.iter().map(|v| vip(cx, v)).collect();
        let vips_excluded: Vec<VipSpec> = d.excluded.iter().map(|v| vip(cx, v)).collect();
        if vips.len() > 255 {
            cx.push(
                Diagnostic::error("too-many-vips", d.at, "an advert names at most 255 addresses")
                    .label(format!("{} in virtual_ipaddress", vips.len()))
                    .help("put the rest into virtual_ipaddress_excluded"),
            );
        }
        let mut track_scripts = Vec::new();
        for t in &d.track_scripts {
            let Some(s) = scripts.iter().find(|s| s.name == t.name) else {
                let e = Diagnostic::error("undefined-script", t.at, format!("no vrrp_script is named `{}`", t.name))
                    .label("not defined in this file");
                let near = super::diag::nearest(&t.name, scripts.iter().map(|s| s.name.as_str()));
                cx.push(match near {
                    Some(n) => e.help(format!("did you mean `{n}`?")),
                    None => e,
                });
                continue;
            };
            let (weight, reverse) = t.weight.unwrap_or((s.weight, s.reverse));
            track_scripts.push(TrackedScript { name: t.name.clone(), weight, reverse });
        }
        let garp = GarpTiming {
            master_delay: d.garp_master_delay.or(g.garp_master_delay).unwrap_or(Duration::from_secs(5)),
            master_repeat: d.garp_master_repeat.or(g.garp_master_repeat).unwrap_or(5),
            master_refresh: d.garp_master_refresh.or(g.garp_master_refresh).unwrap_or(Duration::ZERO),
            master_refresh_repeat: d.garp_master_refresh_repeat.or(g.garp_master_refresh_repeat).unwrap_or(1),
        };
        out.push(VrrpInstance {
            name: d.name.clone(),
            interface,
            vrid,
            initial,
            priority,
            advert_int,
            version,
            auth: d.auth_pass.map(|(p, _)| p).filter(|_| version == VrrpVersion::V2),
            preempt,
            preempt_delay,
            down_timer_adverts: d.down_timer_adverts.or(g.down_timer_adverts).unwrap_or(3),
            mcast_src_ip: d.mcast_src_ip,
            v3_checksum_as_v2: d.v3_checksum_as_v2.unwrap_or(g.v3_checksum_as_v2),
            lower_prio_no_advert: d.lower_prio_no_advert.unwrap_or(g.lower_prio_no_advert),
            higher_prio_send_advert: d.higher_prio_send_advert.unwrap_or(g.higher_prio_send_advert),
            garp,
            vips,
            vips_excluded,
            track_scripts,
            dont_track_primary: d.dont_track_primary,
        });
    }
    out
}

/// An address with its device, scope and broadcast address; the scope's default is ip(8)'s.
fn resolve(v: &VipDraft, dev: String) -> VipSpec {
    let broadcast = match v.broadcast {
        Broadcast::None => None,
        Broadcast::Given(a) => Some(a),
        Broadcast::Computed => {
            let host_bits = u32::MAX.checked_shr(u32::from(v.prefix)).unwrap_or(0);
            Some(Ipv4Addr::from(u32::from(v.addr) | host_bits))
        }
    };
    let scope = v.scope.unwrap_or(if v.addr.is_loopback() {
        254
    } else if v.addr.is_link_local() {
        253
    } else {
        0
    });
    VipSpec { addr: v.addr, prefix: v.prefix, dev, label: v.label.clone(), broadcast, scope }
}

/// RFC 3768, 5.3.7: whole seconds; RFC 9568, 5.2.7: twelve bits of centiseconds.
fn advert_interval(cx: &mut Cx<'_>, given: Option<(Duration, Span)>, version: VrrpVersion) -> Duration {
    let Some((t, at)) = given else { return Duration::from_secs(1) };
    match version {
        VrrpVersion::V2 => {
            if t.subsec_nanos() != 0 {
                cx.push(
                    Diagnostic::error("advert-int", at, "VRRPv2 counts in whole seconds")
                        .label("a fraction of a second")
                        .help("write `version 3` for shorter intervals, on every director"),
                );
            }
            Duration::from_secs(t.as_secs().max(1))
        }
        VrrpVersion::V3 => {
            let cs = t.as_millis() / 10;
            if cs > 4095 {
                cx.push(Diagnostic::error("advert-int", at, "VRRPv3 counts to 40.95 seconds").label("too long"));
            }
            Duration::from_millis((cs.clamp(1, 4095) * 10) as u64)
        }
    }
}

fn virtual_servers(cx: &mut Cx<'_>, draft: &Draft) -> Vec<VirtualServer> {
    let mut seen: BTreeMap<ServiceKey, Span> = BTreeMap::new();
    let mut out = Vec::new();
    for d in &draft.servers {
        let Some(protocol) = d.protocol else {
            if d.protocol_seen || cx.was_meant("protocol") {
                continue;
            }
            cx.push(
                Diagnostic::error("missing-keyword", d.at, "this virtual_server has no `protocol`")
                    .label("`protocol` is missing in this block")
                    .help("keepalived takes UDP here, which is rarely meant; write `protocol TCP`"),
            );
            continue;
        };
        let key = ServiceKey { protocol, addr: d.addr, port: d.port };
        if let Some(first) = seen.insert(key, d.at) {
            cx.push(
                Diagnostic::error("duplicate", d.at, format!("the service {key} is defined twice"))
                    .label("second definition")
                    .note(first, "first defined here"),
            );
            continue;
        }
        let persistence = d.persistence();
        if d.port == 0 && persistence.is_none() {
            cx.push(
                Diagnostic::error("port-zero", d.at, "a service on port 0 needs persistence")
                    .label("takes every port")
                    .help("add `persistence_timeout`, or name the port"),
            );
        }
        let mut servers: Vec<RealServer> = Vec::new();
        for r in &d.servers {
            let Some(method) = r.method.or(d.method) else {
                if !d.method_seen {
                    cx.push(
                        Diagnostic::error(
                            "not-supported",
                            d.at,
                            "without `lb_kind` the method is NAT, which is not supported yet",
                        )
                        .label("no forwarding method")
                        .help("write `lb_kind DR`"),
                    );
                }
                continue;
            };
            if r.port.is_some_and(|p| p != d.port) {
                cx.push(
                    Diagnostic::warning(
                        "dr-port",
                        r.at,
                        format!("direct routing cannot change the port to {}", r.port.unwrap_or(0)),
                    )
                    .label(format!("packets arrive at port {}", d.port)),
                );
            }
            let key = ServerKey { addr: r.addr, port: d.port };
            if servers.iter().any(|s| s.key == key) {
                cx.push(
                    Diagnostic::error("duplicate", r.at, format!("the real server {key} stands in this service twice"))
                        .label("second definition"),
                );
                continue;
            }
            let timing = r.timing.or(&d.timing);
            let checks = r
                .checks
                .iter()
                .map(|c| {
                    let t = c.timing.or(&timing);
                    let delay_loop = t.delay_loop.unwrap_or(Duration::from_secs(60));
                    let kind = if c.http {
                        let virtualhost = c.virtualhost.clone().or(r.virtualhost.clone()).or(d.virtualhost.clone());
                        CheckKind::Http { urls: c.urls.clone(), virtualhost }
                    } else {
                        CheckKind::Tcp
                    };
                    Check {
                        timing: CheckTiming {
                            delay_loop,
                            connect_timeout: t.connect_timeout.unwrap_or(Duration::from_secs(5)),
                            retry: t.retry.unwrap_or(1),
                            delay_before_retry: t.delay_before_retry.unwrap_or(Duration::from_secs(if c.http {
                                3
                            } else {
                                1
                            })),
                            warmup: t.warmup.unwrap_or(delay_loop),
                        },
                        kind,
                        connect_ip: c.connect_ip,
                        connect_port: c.connect_port.or(r.port),
                        bindto: c.bindto,
                        alpha: c.timing.alpha,
                    }
                })
                .collect();
            servers.push(RealServer {
                key,
                weight: r.weight.or(d.weight).unwrap_or(Weight::DEFAULT),
                method,
                u_threshold: r.u_threshold,
                l_threshold: r.l_threshold,
                inhibit_on_failure: r.inhibit.unwrap_or(d.inhibit),
                alpha: timing.alpha.unwrap_or(false),
                checks,
            });
        }
        out.push(VirtualServer {
            key,
            scheduler: d.scheduler.unwrap_or(Scheduler::Wlc),
            persistence,
            delay_loop: d.timing.delay_loop.unwrap_or(Duration::from_secs(60)),
            servers,
        });
    }
    out
}
