//! Checks of `vrrp_instance`: required keywords, conflicts, and what must be unique among instances.

mod adverts;
mod authentication;
mod strict;
mod tracking;

use std::collections::HashMap;
use std::net::IpAddr;

use super::super::value::{Line, Section, Value};
use super::super::{Diagnostic, Span};
use super::{CheckContext, FirstSpans, address_lines, duplicate_definition};
use tracking::{DefinedObjects, check_bfd_takeover, check_tracking};

/// What earlier instances use.
#[derive(Default)]
struct SeenInstances<'s> {
    names: FirstSpans<&'s str>,
    /// By interface, VRID and family (`true`: IPv6): where it is written, and the instance's name.
    vrids: HashMap<(&'s str, u64, bool), (Span, &'s str)>,
    vmac_names: FirstSpans<String>,
}

/// An instance, with what follows from several of its statements.
struct InstanceCheck<'s> {
    section: &'s Section,
    name: &'s str,
    /// The family of its adverts; the first virtual address determines it, as in keepalived.
    ipv6: bool,
    version: u64,
    priority: u64,
    /// `state MASTER`
    master: bool,
    strict: bool,
}

pub(super) fn check(c: &mut CheckContext<'_>) {
    let root = c.root;
    let mut seen = SeenInstances::default();
    let defined = DefinedObjects::new(root);
    for s in root.sections("vrrp_instance") {
        if let Some(first) = seen.names.insert(s.name(), s.span) {
            c.report(duplicate_definition(s.span, first, format!("the instance `{}` is defined twice", s.name())));
            continue;
        }
        InstanceCheck::new(c, s).check(c, &mut seen);
        check_tracking(c, s, s.text("interface"), &defined);
        check_bfd_takeover(c, s, &defined);
    }
    for s in root.sections("vrrp_sync_group") {
        check_tracking(c, s, None, &defined);
    }
    check_address_interfaces(c, root, "static_ipaddress");
    check_route_interfaces(c, root, ["static_routes", "static_rules"]);
}

/// The interfaces that addresses name.
fn check_address_interfaces(c: &mut CheckContext<'_>, s: &Section, keyword: &str) {
    for (span, a) in address_lines(s, keyword) {
        if let Some(dev) = &a.dev {
            c.check_interface(dev, span, "this address");
        }
    }
}

/// The interfaces that routes and rules name.
fn check_route_interfaces(c: &mut CheckContext<'_>, s: &Section, keywords: [&str; 2]) {
    for (span, line) in keywords.into_iter().flat_map(|keyword| s.lines(keyword)) {
        let Line::Options(options) = line else { continue };
        for (name, value) in options {
            if let (true, Some(dev)) = (matches!(name.as_str(), "dev" | "oif" | "iif"), value) {
                c.check_interface(dev, *span, "this line");
            }
        }
    }
}

impl<'s> InstanceCheck<'s> {
    fn new(c: &CheckContext<'_>, section: &'s Section) -> Self {
        let first = address_lines(section, "virtual_ipaddress").next().map(|(_, a)| a.addr);
        let peer = section.lines("unicast_peer").find_map(|(_, l)| match l {
            Line::Options(o) => o.first()?.0.parse::<IpAddr>().ok(),
            _ => None,
        });
        let source = section.address("mcast_src_ip").or(section.address("unicast_src_ip"));
        let ipv6 = first.or(peer).or(source).is_some_and(|a| a.is_ipv6()) || section.has("native_ipv6");
        let version = || section.uint("version").or_else(|| c.global_setting(|g| g.uint("vrrp_version"))).unwrap_or(2);
        let master = section.text("state") == Some("MASTER");
        let strict = section.flag("strict_mode").or_else(|| c.global_setting(|g| g.flag("vrrp_strict")));
        InstanceCheck {
            section,
            name: section.name(),
            ipv6,
            version: if ipv6 { 3 } else { version() },
            priority: section.uint("priority").unwrap_or(if master { 255 } else { 100 }),
            master,
            strict: strict.unwrap_or(false),
        }
    }

    fn check(&self, c: &mut CheckContext<'_>, seen: &mut SeenInstances<'s>) {
        let s = self.section;
        let block = format!("vrrp_instance `{}`", self.name);
        c.report_missing(s, "virtual_router_id", &block);
        match s.text("interface") {
            Some("lo") => c.report(
                Diagnostic::error("loopback", s.args_span("interface"), "VRRP does not work on a loopback interface")
                    .label("expected the interface of the link to the other directors"),
            ),
            Some(name) => c.check_interface(name, s.args_span("interface"), "this instance"),
            // The routing table selects the interface for unicast peers.
            None if s.has("unicast_peer") && s.lines("unicast_peer").next().is_some() => {}
            None => {
                c.report_missing(s, "interface", &block);
            }
        }
        self.check_duplicate_vrid(c, seen);
        self.check_addresses(c);
        self.check_version(c);
        self.check_preemption(c);
        self.check_authentication(c);
        self.check_unicast(c);
        self.check_virtual_interfaces(c, seen);
        self.check_strict_mode(c);
        check_route_interfaces(c, s, ["virtual_routes", "virtual_rules"]);
    }

    /// VRRP identifies the virtual routers of a link by VRID and family (RFC 9568, 5.2.3).
    fn check_duplicate_vrid(&self, c: &mut CheckContext<'_>, seen: &mut SeenInstances<'s>) {
        let (Some(vrid), Some(interface)) = (self.section.uint("virtual_router_id"), self.section.text("interface"))
        else {
            return;
        };
        let span = self.section.args_span("virtual_router_id");
        match seen.vrids.get(&(interface, vrid, self.ipv6)) {
            Some(&(first, other)) => {
                let message = format!("virtual_router_id {vrid} is used twice on {interface}");
                c.report(
                    Diagnostic::error("duplicate-vrid", span, message)
                        .label(format!("second use, by `{}`", self.name))
                        .note(first, format!("first used here, by `{other}`"))
                        .help("give each virtual router on a link its own virtual_router_id"),
                );
            }
            None => {
                seen.vrids.insert((interface, vrid, self.ipv6), (span, self.name));
            }
        }
    }

    fn check_addresses(&self, c: &mut CheckContext<'_>) {
        let s = self.section;
        let mut count = 0;
        for (span, a) in address_lines(s, "virtual_ipaddress") {
            count += 1;
            if a.addr.is_ipv6() != self.ipv6 {
                let message = format!("{} belongs to another address family than the first address", a.addr);
                c.report(
                    Diagnostic::error("family", span, message)
                        .label("the adverts of an instance list addresses of one family")
                        .help("move it to virtual_ipaddress_excluded"),
                );
            }
        }
        check_address_interfaces(c, s, "virtual_ipaddress");
        check_address_interfaces(c, s, "virtual_ipaddress_excluded");
        if count > 255 {
            c.report(
                Diagnostic::error("too-many-vips", s.span, "an advert can list at most 255 addresses")
                    .label(format!("{count} addresses in virtual_ipaddress"))
                    .help("move the others to virtual_ipaddress_excluded"),
            );
        }
        if count == 0 && !s.has("no_virtual_ipaddress") && !s.is_mentioned("virtual_ipaddress") {
            c.report(
                Diagnostic::warning("no-vip", s.span, format!("vrrp_instance `{}` has no virtual address", self.name))
                    .label("a failover moves nothing")
                    .help("add `virtual_ipaddress { … }`, or `no_virtual_ipaddress` if this is intended"),
            );
        }
    }

    /// Macvlans and ipvlans.
    fn check_virtual_interfaces(&self, c: &mut CheckContext<'_>, seen: &mut SeenInstances<'s>) {
        let s = self.section;
        if s.has("vmac_xmit_base") && !s.has("use_vmac") {
            let message = "`vmac_xmit_base` requires `use_vmac`";
            c.report(Diagnostic::warning("vmac", s.args_span("vmac_xmit_base"), message).label("ignored"));
        }
        if s.has("vrf") && s.has("interface") {
            let message = "`vrf` is for instances without an interface";
            c.report(Diagnostic::warning("vrf", s.args_span("vrf"), message).label("ignored"));
        }
        if let Some(e) = s.get("use_ipvlan") {
            let words: &[String] = if let Value::Words(w) = &e.value { w } else { &[] };
            let given = words.iter().find_map(|w| w.split('/').next()?.parse::<IpAddr>().ok());
            let source = given.is_some_and(|a| a.is_ipv6() == self.ipv6);
            if !self.ipv6 && !source && !s.has("mcast_src_ip") && !s.has("unicast_src_ip") {
                c.report(
                    Diagnostic::error("ipvlan", e.args_span, "an ipvlan needs an IPv4 source address")
                        .label("expected `use_ipvlan ADDRESS`"),
                );
            }
        }
        if let Some(e) = s.get("use_vmac")
            && let Value::Words(w) = &e.value
        {
            let mut names = w.iter().filter(|w| !w.contains(':') && *w != "name" && *w != "netlink_notify_msg");
            if let Some(name) = names.next().filter(|n| *n != "group")
                && let Some(first) = seen.vmac_names.insert(name.clone(), e.args_span)
            {
                let message = format!("the interface `{name}` is created twice");
                c.report(duplicate_definition(e.args_span, first, message));
            }
        }
    }
}
