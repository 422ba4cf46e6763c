//! `vrrp_instance`: defaults, and what must agree.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::{suggest, unique};
use crate::config::keywords::{Broadcast, Cx, Draft, Globals, InstanceDraft, VipDraft};
use crate::config::{Diagnostic, Span};
use crate::model::{GarpTiming, InitialState, TrackedScript, VipSpec, Vrid, VrrpInstance, VrrpScript, VrrpVersion};

/// What earlier instances have taken.
#[derive(Default)]
struct Taken {
    routers: BTreeMap<(String, Vrid), Span>,
    addresses: BTreeMap<(Ipv4Addr, String), Span>,
}

pub fn finish(cx: &mut Cx<'_>, draft: &Draft, scripts: &[VrrpScript]) -> Vec<VrrpInstance> {
    let mut names = BTreeMap::new();
    let mut taken = Taken::default();
    let mut out = Vec::new();
    for d in &draft.instances {
        if unique(cx, &mut names, "instance", &d.name, d.at) {
            out.extend(instance(cx, &draft.global, d, scripts, &mut taken));
        }
    }
    out
}

/// A keyword that must be there, unless it was misspelt, which is told already.
fn missing(cx: &mut Cx<'_>, d: &InstanceDraft, what: &str) {
    if !cx.was_meant(what) {
        cx.push(
            Diagnostic::error("missing-keyword", d.at, format!("vrrp_instance `{}` has no `{what}`", d.name))
                .label(format!("`{what}` is missing in this block")),
        );
    }
}

fn instance(
    cx: &mut Cx<'_>,
    g: &Globals,
    d: &InstanceDraft,
    scripts: &[VrrpScript],
    taken: &mut Taken,
) -> Option<VrrpInstance> {
    let Some(interface) = d.interface.clone() else {
        missing(cx, d, "interface");
        return None;
    };
    let Some((vrid, vrid_at)) = d.vrid else {
        missing(cx, d, "virtual_router_id");
        return None;
    };
    if let Some(first) = taken.routers.insert((interface.clone(), vrid), vrid_at) {
        let what = format!("virtual_router_id {vrid} is used twice on {interface}");
        cx.push(
            Diagnostic::error("duplicate-vrid", vrid_at, what)
                .label("second use")
                .note(first, "first used here")
                .help("two virtual routers on one link need two numbers"),
        );
    }
    // keepalived: `state MASTER` without a priority means the owner's.
    let priority = d.priority.unwrap_or(if d.state == Some(InitialState::Master) { 255 } else { 100 });
    let initial = d.state.unwrap_or(if priority == 255 { InitialState::Master } else { InitialState::Backup });
    let version = d.version.or(g.version).unwrap_or(VrrpVersion::V2);
    authentication(cx, d, version);
    let (preempt, preempt_delay) = preemption(cx, d, initial, priority);
    let (vips, vips_excluded) = addresses(cx, d, &interface, taken);
    Some(VrrpInstance {
        name: d.name.clone(),
        vrid,
        initial,
        priority,
        advert_int: advert_interval(cx, d.advert_int, version),
        version,
        auth: d.auth_pass.map(|(p, _)| p).filter(|_| version == VrrpVersion::V2),
        preempt,
        preempt_delay,
        down_timer_adverts: d.down_timer_adverts.or(g.down_timer_adverts).unwrap_or(3),
        mcast_src_ip: d.mcast_src_ip,
        v3_checksum_as_v2: d.v3_checksum_as_v2.unwrap_or(g.v3_checksum_as_v2),
        lower_prio_no_advert: d.lower_prio_no_advert.unwrap_or(g.lower_prio_no_advert),
        higher_prio_send_advert: d.higher_prio_send_advert.unwrap_or(g.higher_prio_send_advert),
        garp: GarpTiming {
            master_delay: d.garp_master_delay.or(g.garp_master_delay).unwrap_or(Duration::from_secs(5)),
            master_repeat: d.garp_master_repeat.or(g.garp_master_repeat).unwrap_or(5),
            master_refresh: d.garp_master_refresh.or(g.garp_master_refresh).unwrap_or(Duration::ZERO),
            master_refresh_repeat: d.garp_master_refresh_repeat.or(g.garp_master_refresh_repeat).unwrap_or(1),
        },
        vips,
        vips_excluded,
        track_scripts: tracked(cx, d, scripts),
        dont_track_primary: d.dont_track_primary,
        interface,
    })
}

fn authentication(cx: &mut Cx<'_>, d: &InstanceDraft, version: VrrpVersion) {
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
}

/// keepalived.conf(5): nopreempt needs `state BACKUP`; preempt_delay goes with neither MASTER nor nopreempt.
fn preemption(cx: &mut Cx<'_>, d: &InstanceDraft, initial: InitialState, priority: u8) -> (bool, Duration) {
    let mut preempt = true;
    if let Some(at) = d.nopreempt {
        if priority == 255 || initial == InitialState::Master {
            cx.push(
                Diagnostic::warning("nopreempt", at, "`nopreempt` does not go with state MASTER or priority 255")
                    .label("ignored")
                    .help("write `state BACKUP` on both directors"),
            );
        } else {
            preempt = false;
        }
    }
    let mut delay = Duration::ZERO;
    if let Some((wanted, at)) = d.preempt_delay {
        if initial == InitialState::Master || !preempt {
            let what = "`preempt_delay` does not go with state MASTER or nopreempt";
            cx.push(Diagnostic::warning("preempt-delay", at, what).label("ignored"));
        } else {
            delay = wanted;
        }
    }
    (preempt, delay)
}

/// virtual_ipaddress and virtual_ipaddress_excluded.
fn addresses(cx: &mut Cx<'_>, d: &InstanceDraft, interface: &str, taken: &mut Taken) -> (Vec<VipSpec>, Vec<VipSpec>) {
    if d.vips.is_empty() && d.excluded.is_empty() {
        cx.push(
            Diagnostic::warning("no-vip", d.at, format!("vrrp_instance `{}` has no virtual address", d.name))
                .label("nothing moves when it fails over"),
        );
    }
    let mut vip = |v: &VipDraft| {
        let dev = v.dev.clone().unwrap_or_else(|| interface.to_owned());
        if let Some(first) = taken.addresses.insert((v.addr, dev.clone()), v.at) {
            cx.push(
                Diagnostic::error("duplicate", v.at, format!("{} stands on {dev} twice", v.addr))
                    .label("second time")
                    .note(first, "first time"),
            );
        }
        resolve(v, dev)
    };
    let vips: Vec<VipSpec> = d.vips.iter().map(&mut vip).collect();
    let excluded = d.excluded.iter().map(&mut vip).collect();
    if vips.len() > 255 {
        cx.push(
            Diagnostic::error("too-many-vips", d.at, "an advert names at most 255 addresses")
                .label(format!("{} in virtual_ipaddress", vips.len()))
                .help("put the rest into virtual_ipaddress_excluded"),
        );
    }
    (vips, excluded)
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
    let usual = match v.addr {
        a if a.is_loopback() => 254,
        a if a.is_link_local() => 253,
        _ => 0,
    };
    let scope = v.scope.unwrap_or(usual);
    VipSpec { addr: v.addr, prefix: v.prefix, dev, label: v.label.clone(), broadcast, scope }
}

fn tracked(cx: &mut Cx<'_>, d: &InstanceDraft, scripts: &[VrrpScript]) -> Vec<TrackedScript> {
    let mut out = Vec::new();
    for t in &d.track_scripts {
        let Some(s) = scripts.iter().find(|s| s.name == t.name) else {
            let e = Diagnostic::error("undefined-script", t.at, format!("no vrrp_script is named `{}`", t.name))
                .label("not defined in this file");
            cx.push(suggest(e, &t.name, scripts.iter().map(|s| s.name.as_str())));
            continue;
        };
        let (weight, reverse) = t.weight.unwrap_or((s.weight, s.reverse));
        out.push(TrackedScript { name: t.name.clone(), weight, reverse });
    }
    out
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
