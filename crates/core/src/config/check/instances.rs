//! `vrrp_instance`: what it needs, and what does not go together.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use super::super::value::{Line, Section, Value};
use super::super::{Diagnostic, Span};
use super::{CheckContext, UniqueNames, report_missing, with_suggestion};

/// What earlier instances have taken.
#[derive(Default)]
struct SeenInstances<'s> {
    names: UniqueNames<'s>,
    vrids: HashMap<(&'s str, u64, bool), (Span, &'s str)>,
    vmac_names: HashMap<String, Span>,
}

/// An instance with what follows from several of its statements.
struct InstanceCheck<'s> {
    section: &'s Section,
    name: &'s str,
    /// Of its adverts: decided by the first virtual address, as keepalived does.
    ipv6: bool,
    version: u64,
    priority: u64,
    master: bool,
    strict: bool,
}

pub(super) fn check(c: &mut CheckContext<'_>) {
    let root = c.root;
    let mut taken = SeenInstances::default();
    let named = |k| -> HashSet<&str> { root.sections(k).map(Section::name).collect() };
    let defined = DefinedObjects {
        scripts: named("vrrp_script"),
        processes: named("vrrp_track_process"),
        files: named("track_file"),
        bfd: root.sections("bfd_instance").filter(|b| b.has("vrrp") || !b.has("checker")).map(Section::name).collect(),
    };
    for s in root.sections("vrrp_instance") {
        if !taken.names.insert_unique(c, "instance", s.name(), s.span) {
            continue;
        }
        let i = InstanceCheck::new(c, s);
        i.check(c, &mut taken);
        check_tracking(c, s, s.text("interface"), &defined);
        if let Some(name) = s.text("bfd_takeover").filter(|n| !defined.bfd.contains(n)) {
            let what = format!("no bfd_instance is named `{name}`");
            let d = Diagnostic::error("undefined-name-tracked", s.args_span("bfd_takeover"), what);
            c.push(with_suggestion(d.label("not defined in this file"), name, defined.bfd.iter().copied()));
        }
    }
    for s in root.sections("vrrp_sync_group") {
        check_tracking(c, s, None, &defined);
    }
    for (at, line) in root.lines("static_ipaddress") {
        if let Line::Address(a) = line
            && let Some(dev) = &a.dev
        {
            c.check_interface(dev, *at, "this address");
        }
    }
    for kind in ["static_routes", "static_rules"] {
        for (at, line) in root.lines(kind) {
            check_route_interfaces(c, *at, line);
        }
    }
}

/// The interfaces that a route or a rule names.
fn check_route_interfaces(c: &mut CheckContext<'_>, at: Span, line: &Line) {
    let Line::Options(options) = line else { return };
    for (name, value) in options {
        if let (true, Some(dev)) = (matches!(name.as_str(), "dev" | "oif" | "iif"), value) {
            c.check_interface(dev, at, "this line");
        }
    }
}

struct DefinedObjects<'s> {
    scripts: HashSet<&'s str>,
    processes: HashSet<&'s str>,
    files: HashSet<&'s str>,
    bfd: HashSet<&'s str>,
}

fn check_tracking(c: &mut CheckContext<'_>, s: &Section, own: Option<&str>, defined: &DefinedObjects<'_>) {
    let kinds = [
        ("track_script", "vrrp_script", "undefined-script", &defined.scripts),
        ("track_process", "vrrp_track_process", "undefined-name-tracked", &defined.processes),
        ("track_file", "track_file", "undefined-name-tracked", &defined.files),
        ("track_bfd", "bfd_instance", "undefined-name-tracked", &defined.bfd),
    ];
    for (keyword, block, code, names) in kinds {
        let mut seen = HashSet::new();
        for (at, line) in s.lines(keyword) {
            let Line::Track(name, _) = line else { continue };
            if !names.contains(name.as_str()) {
                let d = Diagnostic::error(code, *at, format!("no {block} is named `{name}`"));
                c.push(with_suggestion(d.label("not defined in this file"), name, names.iter().copied()));
            } else if !seen.insert(name) {
                c.push(Diagnostic::error("duplicate", *at, format!("`{name}` is tracked twice")).label("second time"));
            }
        }
    }
    let mut seen = HashSet::new();
    for (at, line) in s.lines("track_interface") {
        let Line::Track(name, _) = line else { continue };
        if own == Some(name) {
            c.push(
                Diagnostic::warning("own-interface", *at, format!("`{name}` is the instance's own interface"))
                    .label("tracked in any case, so this line does nothing")
                    .help("remove it"),
            );
        } else if !seen.insert(name) {
            c.push(Diagnostic::error("duplicate", *at, format!("`{name}` is tracked twice")).label("second time"));
        } else {
            c.check_interface(name, *at, "tracking");
        }
    }
}

impl<'s> InstanceCheck<'s> {
    fn new(c: &CheckContext<'_>, section: &'s Section) -> Self {
        let first = section.lines("virtual_ipaddress").find_map(|(_, l)| match l {
            Line::Address(a) => Some(a.addr),
            _ => None,
        });
        let peer = section.lines("unicast_peer").find_map(|(_, l)| match l {
            Line::Options(o) => o.first()?.0.parse::<IpAddr>().ok(),
            _ => None,
        });
        let source = section.address("mcast_src_ip").or(section.address("unicast_src_ip"));
        let ipv6 = first.or(peer).or(source).is_some_and(|a| a.is_ipv6()) || section.has("native_ipv6");
        let global = c.global_setting(|g| g.uint("vrrp_version"));
        let version = if ipv6 { 3 } else { section.uint("version").or(global).unwrap_or(2) };
        let state = section.text("state");
        let priority = section.uint("priority").unwrap_or(if state == Some("MASTER") { 255 } else { 100 });
        let strict =
            section.flag("strict_mode").or_else(|| c.global_setting(|g| g.flag("vrrp_strict"))).unwrap_or(false);
        InstanceCheck {
            section,
            name: section.name(),
            ipv6,
            version,
            priority,
            master: state == Some("MASTER"),
            strict,
        }
    }

    fn check(&self, c: &mut CheckContext<'_>, taken: &mut SeenInstances<'s>) {
        let s = self.section;
        let what = format!("vrrp_instance `{}`", self.name);
        report_missing(c, s, "virtual_router_id", &what);
        match s.text("interface") {
            Some("lo") => c.push(
                Diagnostic::error("loopback", s.args_span("interface"), "nobody can be heard on a loopback interface")
                    .label("expected the interface of the link"),
            ),
            Some(name) => c.check_interface(name, s.args_span("interface"), "this instance"),
            // Adverts to unicast peers find their own way.
            None if s.has("unicast_peer") && s.lines("unicast_peer").next().is_some() => {}
            None => {
                report_missing(c, s, "interface", &what);
            }
        }
        self.check_duplicate_vrid(c, taken);
        self.check_addresses(c);
        self.check_version(c);
        self.check_preemption(c);
        self.check_authentication(c);
        self.check_unicast(c);
        self.check_virtual_interfaces(c, taken);
        self.check_strict_mode(c);
        for kind in ["virtual_routes", "virtual_rules"] {
            for (at, line) in s.lines(kind) {
                check_route_interfaces(c, *at, line);
            }
        }
    }

    /// VRRP tells virtual routers of a link apart by their number and family (RFC 9568, 5.2.3).
    fn check_duplicate_vrid(&self, c: &mut CheckContext<'_>, taken: &mut SeenInstances<'s>) {
        let (Some(vrid), Some(interface)) = (self.section.uint("virtual_router_id"), self.section.text("interface"))
        else {
            return;
        };
        let at = self.section.args_span("virtual_router_id");
        match taken.vrids.get(&(interface, vrid, self.ipv6)) {
            Some(&(first, other)) => c.push(
                Diagnostic::error(
                    "duplicate-vrid",
                    at,
                    format!("virtual_router_id {vrid} is used twice on {interface}"),
                )
                .label(format!("second use, by `{}`", self.name))
                .note(first, format!("first used here, by `{other}`"))
                .help("two virtual routers on one link need two numbers"),
            ),
            None => {
                taken.vrids.insert((interface, vrid, self.ipv6), (at, self.name));
            }
        }
    }

    fn check_addresses(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        let mut named = 0;
        for (at, line) in s.lines("virtual_ipaddress") {
            let Line::Address(a) = line else { continue };
            named += 1;
            if a.addr.is_ipv6() != self.ipv6 {
                c.push(
                    Diagnostic::error("family", *at, format!("{} is of another family than the first address", a.addr))
                        .label("an instance speaks for one family")
                        .help("put it into virtual_ipaddress_excluded"),
                );
            }
            if let Some(dev) = &a.dev {
                c.check_interface(dev, *at, "this address");
            }
        }
        for (at, line) in s.lines("virtual_ipaddress_excluded") {
            if let Line::Address(a) = line
                && let Some(dev) = &a.dev
            {
                c.check_interface(dev, *at, "this address");
            }
        }
        if named > 255 {
            c.push(
                Diagnostic::error("too-many-vips", s.span, "an advert names at most 255 addresses")
                    .label(format!("{named} in virtual_ipaddress"))
                    .help("put the rest into virtual_ipaddress_excluded"),
            );
        }
        if named == 0 && !s.has("no_virtual_ipaddress") && !s.is_mentioned("virtual_ipaddress") {
            c.push(
                Diagnostic::warning("no-vip", s.span, format!("vrrp_instance `{}` has no virtual address", self.name))
                    .label("nothing moves when it fails over")
                    .help("add `virtual_ipaddress { … }`, or `no_virtual_ipaddress` if that is meant"),
            );
        }
    }

    /// RFC 3768, 5.3.7: whole seconds; RFC 9568, 5.2.7: twelve bits of centiseconds.
    fn check_version(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        if self.ipv6 && s.uint("version") == Some(2) {
            c.push(
                Diagnostic::error("version", s.args_span("version"), "VRRPv2 is for IPv4 alone")
                    .label("IPv6 is spoken in version 3"),
            );
        }
        let Some(t) = s.time("advert_int") else { return };
        let at = s.args_span("advert_int");
        let wrong = |what: &str, label: &str| Diagnostic::error("advert-int", at, what).label(label.to_owned());
        if self.version == 2 && t.subsec_nanos() != 0 {
            c.push(
                wrong("VRRPv2 counts in whole seconds", "a fraction of a second")
                    .help("write `version 3` for shorter intervals, on every director"),
            );
        }
        if self.version == 3 && t > Duration::from_millis(40_950) {
            c.push(wrong("VRRPv3 counts to 40.95 seconds", "too long"));
        } else if self.version == 3 && t.as_micros() % 10_000 != 0 {
            c.push(wrong("VRRPv3 counts in hundredths of a second", "finer than that"));
        }
    }

    /// keepalived.conf(5): nopreempt needs `state BACKUP`; preempt_delay goes with neither MASTER nor nopreempt.
    fn check_preemption(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        let nopreempt = s.get("nopreempt").filter(|n| s.get("preempt").is_none_or(|p| p.keyword_span < n.keyword_span));
        if let Some(e) = nopreempt
            && (self.master || self.priority == 255)
        {
            c.push(
                Diagnostic::warning(
                    "nopreempt",
                    e.keyword_span,
                    "`nopreempt` does not go with state MASTER or priority 255",
                )
                .label("ignored")
                .help("write `state BACKUP` on both directors"),
            );
        }
        if let Some(t) = s.time("preempt_delay")
            && !t.is_zero()
            && (self.master || nopreempt.is_some())
        {
            let what = "`preempt_delay` does not go with state MASTER or nopreempt";
            c.push(Diagnostic::warning("preempt-delay", s.args_span("preempt_delay"), what).label("ignored"));
        }
        if self.priority == 255 && s.flag("owner_ignore_adverts") == Some(false) {
            let at = s.args_span("owner_ignore_adverts");
            c.push(
                Diagnostic::warning("strict", at, "an address owner (priority 255) ignores adverts")
                    .label("RFC 9568, 6.4.3, has it so")
                    .help("remove this line"),
            );
        }
    }

    fn check_authentication(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        for a in s.sections("authentication") {
            if self.version == 3 {
                c.push(
                    Diagnostic::warning("auth-v3", a.args_span("auth_pass"), "VRRPv3 has no authentication")
                        .label("ignored")
                        .help("use version 2, or filter protocol 112"),
                );
            }
            match a.text("auth_pass").filter(|p| !p.is_empty()) {
                None if a.has("auth_pass") => {
                    let d = Diagnostic::error("missing-keyword", a.args_span("auth_pass"), "the password is empty");
                    c.push(d.label("keepalived leaves the authentication out"));
                }
                None => {
                    report_missing(c, a, "auth_pass", "this authentication");
                }
                Some(p) if p.len() > 8 => c.push(
                    Diagnostic::warning(
                        "auth-length",
                        a.args_span("auth_pass"),
                        "only eight characters of a password count",
                    )
                    .label(format!("{} characters", p.len()))
                    .help("shorten it on every director"),
                ),
                Some(_) => {}
            }
        }
        for a in s.sections("authentication").filter(|a| a.text("auth_type") == Some("AH") && self.master) {
            c.push(
                Diagnostic::warning(
                    "auth-ah",
                    a.args_span("auth_type"),
                    "state MASTER does not go with an authentication header",
                )
                .label("it begins as backup: the sequence numbers of others must be heard first")
                .note(s.args_span("state"), "the state")
                .help("write `state BACKUP`"),
            );
        }
        for a in s.sections("auth_hmac") {
            let keys: Vec<u8> = a
                .get_all("key")
                .filter_map(|e| match &e.value {
                    Value::Bytes(b) => b.first().copied(),
                    _ => None,
                })
                .collect();
            match a.uint("active_key") {
                Some(n) if keys.iter().any(|k| u64::from(*k) == n) => c.push(
                    Diagnostic::lint("hmac-peers", a.span, "only evenkeel understands these signatures")
                        .label("keepalived 2.4 takes its MAC over other bytes: the two refuse each other's adverts")
                        .help("have evenkeel on every director of this virtual router"),
                ),
                Some(n) => c.push(
                    Diagnostic::error("undefined-key", a.args_span("active_key"), format!("no key has the number {n}"))
                        .label("not defined in this block"),
                ),
                None => {
                    report_missing(c, a, "active_key", "this auth_hmac");
                }
            }
        }
    }

    fn check_unicast(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        let mut peers = 0;
        for (at, line) in s.lines("unicast_peer") {
            let Line::Options(o) = line else { continue };
            let Some(addr) = o.first().and_then(|(a, _)| a.parse::<IpAddr>().ok()) else { continue };
            if addr.is_ipv6() == self.ipv6 {
                peers += 1;
            } else {
                c.push(
                    Diagnostic::error("family", *at, format!("{addr} is of another family than the virtual addresses"))
                        .label("such a peer cannot be told of them"),
                );
            }
        }
        let speaks = ["unicast_src_ip", "unicast_peer"].into_iter().find(|k| s.has(k));
        if let (Some(k), 0) = (speaks, peers)
            && !s.has("unicast_fault_no_peer")
        {
            c.push(
                Diagnostic::warning("no-peer", s.args_span(k), "unicast without a peer")
                    .label("adverts go to the multicast group")
                    .help("add `unicast_peer { ADDRESS }`, or remove this line"),
            );
        }
        for k in ["mcast_src_ip", "unicast_src_ip", "mcast_dst_ip"] {
            if let Some(a) = s.address(k)
                && a.is_ipv6() != self.ipv6
            {
                let d = Diagnostic::error(
                    "family",
                    s.args_span(k),
                    format!("{a} is of another family than the virtual addresses"),
                );
                c.push(d.label(if self.ipv6 { "expected an IPv6 address" } else { "expected an IPv4 address" }));
            }
        }
    }

    /// VMACs and ipvlans.
    fn check_virtual_interfaces(&self, c: &mut CheckContext<'_>, taken: &mut SeenInstances<'s>) {
        let s = self.section;
        if s.has("vmac_xmit_base") && !s.has("use_vmac") {
            let what = "`vmac_xmit_base` needs `use_vmac`";
            c.push(Diagnostic::warning("vmac", s.args_span("vmac_xmit_base"), what).label("ignored"));
        }
        if s.has("vrf") && s.has("interface") {
            let what = "`vrf` is for instances without an interface";
            c.push(Diagnostic::warning("vrf", s.args_span("vrf"), what).label("ignored"));
        }
        if let Some(e) = s.get("use_ipvlan") {
            let words: &[String] = if let Value::Words(w) = &e.value { w } else { &[] };
            let given = words.iter().find_map(|w| w.split('/').next()?.parse::<IpAddr>().ok());
            let source = given.is_some_and(|a| a.is_ipv6() == self.ipv6);
            if !self.ipv6 && !source && !s.has("mcast_src_ip") && !s.has("unicast_src_ip") {
                c.push(
                    Diagnostic::error("ipvlan", e.args_span, "an ipvlan needs an IPv4 address to send from")
                        .label("expected `use_ipvlan ADDRESS`"),
                );
            }
        }
        if let Some(e) = s.get("use_vmac")
            && let Value::Words(w) = &e.value
        {
            let mut names = w.iter().filter(|w| !w.contains(':') && *w != "name" && *w != "netlink_notify_msg");
            if let Some(name) = names.next().filter(|n| *n != "group") {
                match taken.vmac_names.get(name.as_str()) {
                    Some(&first) => c.push(
                        Diagnostic::error("duplicate", e.args_span, format!("the interface `{name}` is made twice"))
                            .label("second time")
                            .note(first, "first time"),
                    ),
                    None => {
                        taken.vmac_names.insert(name.clone(), e.args_span);
                    }
                }
            }
        }
    }

    /// keepalived.conf(5), "strict_mode": what RFC 9568 and RFC 3768 do not know.
    fn check_strict_mode(&self, c: &mut CheckContext<'_>) {
        if !self.strict {
            return;
        }
        let s = self.section;
        let mut not = |keyword: &str, why: &str| {
            let at = s.args_span(keyword);
            c.push(
                Diagnostic::warning("strict", at, format!("strict mode does not go with `{keyword}`"))
                    .label(why.to_owned()),
            );
        };
        if s.has("authentication") && self.version == 2 {
            not("authentication", "RFC 3768 has no authentication: ignored");
        }
        if s.time("preempt_delay").is_some_and(|t| !t.is_zero()) {
            not("preempt_delay", "no RFC knows it: ignored");
        }
        if s.has("unicast_peer") {
            not("unicast_peer", "no RFC knows it: adverts go to the multicast group");
        }
        if s.has("accept") && self.version == 2 && self.priority != 255 {
            not("accept", "RFC 3768 has no accept mode: ignored");
        }
        if self.master != (self.priority == 255) && s.has("state") {
            not("state", "MASTER means the address owner, priority 255, and nobody else");
        }
        if s.uint("garp_lower_prio_repeat").is_some_and(|n| n > 0) {
            not("garp_lower_prio_repeat", "no RFC knows it: 0");
        }
        if s.flag("higher_prio_send_advert") == Some(true) {
            not("higher_prio_send_advert", "no RFC knows it: off");
        }
        if s.has("vmac_xmit_base") {
            not("vmac_xmit_base", "adverts come from the virtual MAC (RFC 9568, 7.3): ignored");
        }
        if self.ipv6 {
            let first = s.lines("virtual_ipaddress").next();
            if let Some((at, Line::Address(a))) = first
                && let IpAddr::V6(v6) = a.addr
                && v6.segments()[0] & 0xffc0 != 0xfe80
            {
                c.push(
                    Diagnostic::error("strict", *at, "in strict mode the first IPv6 address must be link-local")
                        .label("expected one of fe80::/10 (RFC 9568, 5.2.9)"),
                );
            }
        }
    }
}
