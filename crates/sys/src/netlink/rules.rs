//! Routes and rules, put in and taken out.

use std::collections::BTreeMap;

use evenkeel_core::model::{Family, NextHop, RoutePlacement, RouteSpec, RuleAction, RuleSpec};
use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags, RoutePreference,
    RouteProtocol, RouteRealm, RouteScope, RouteType,
};
use netlink_packet_route::rule::{
    RuleAction as Action, RuleAttribute, RuleFlags, RuleMessage, RulePortRange, RuleUidRange,
};
use netlink_packet_route::{AddressFamily, IpProtocol, RouteNetlinkMessage};

use super::{Link, Netlink, encap};
use crate::{Error, Result};

/// Numbers of rtnetlink.h.
const RTN_LOCAL: u8 = 2;
const RTN_MULTICAST: u8 = 5;
const RTA_TTL_PROPAGATE: u16 = 26;
const RTAX_CC_ALGO: u16 = 16;
const SCOPE_GLOBAL: u8 = 0;
const SCOPE_LINK: u8 = 253;
const SCOPE_HOST: u8 = 254;

impl Netlink {
    /// Puts a route in; `links` are the devices that there are. False if it was there and is not to be replaced.
    pub fn add_route(&mut self, r: &RouteSpec, links: &LinksByName) -> Result<bool> {
        let flags = NLM_F_ACK
            | NLM_F_CREATE
            | match r.placement {
                RoutePlacement::Replace => NLM_F_REPLACE,
                RoutePlacement::Add => NLM_F_EXCL,
                RoutePlacement::Append => NLM_F_APPEND,
                RoutePlacement::Prepend => 0,
            };
        let what = || format!("add route {r}");
        let message = route_message(r, links).map_err(|why| Error::new(what(), why))?;
        match self.request(RouteNetlinkMessage::NewRoute(message), flags, what) {
            Err(e) if e.errno() == Some(libc::EEXIST) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Takes a route out. False if it was not there, or its device is not.
    pub fn remove_route(&mut self, r: &RouteSpec, links: &LinksByName) -> Result<bool> {
        let Ok(message) = route_message(r, links) else { return Ok(false) };
        match self.request(RouteNetlinkMessage::DelRoute(message), NLM_F_ACK, || format!("remove route {r}")) {
            Err(e) if matches!(e.errno(), Some(libc::ESRCH | libc::ENODEV)) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Puts a rule in. False if it was there.
    pub fn add_rule(&mut self, r: &RuleSpec) -> Result<bool> {
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.request(RouteNetlinkMessage::NewRule(rule_message(r)), flags, || format!("add rule {r}")) {
            Err(e) if e.errno() == Some(libc::EEXIST) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Takes a rule out. False if it was not there.
    pub fn remove_rule(&mut self, r: &RuleSpec) -> Result<bool> {
        let message = RouteNetlinkMessage::DelRule(rule_message(r));
        match self.request(message, NLM_F_ACK, || format!("remove rule {r}")) {
            Err(e) if matches!(e.errno(), Some(libc::ENOENT | libc::ESRCH)) => Ok(false),
            other => other.map(|_| true),
        }
    }
}

fn address_family(f: Family) -> AddressFamily {
    match f {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// The scope of a route for which none is written: keepalived's, which gives one without a gateway no narrower scope, as
/// ip-route(8) would.
fn default_scope(r: &RouteSpec) -> u8 {
    match (r.family, r.kind) {
        (Family::V6, _) => SCOPE_GLOBAL,
        (_, RTN_LOCAL) => SCOPE_HOST,
        (_, 3..=RTN_MULTICAST) => SCOPE_LINK,
        _ => SCOPE_GLOBAL,
    }
}

/// The devices that there are, by name.
type LinksByName = BTreeMap<String, Link>;

fn route_message(r: &RouteSpec, links: &LinksByName) -> std::result::Result<RouteMessage, String> {
    let table = match &r.vrf {
        Some(vrf) => links.get(vrf).and_then(|l| l.vrf_table).ok_or_else(|| format!("there is no VRF {vrf}"))?,
        None => r.table,
    };
    let mut m = RouteMessage::default();
    m.header.address_family = address_family(r.family);
    m.header.tos = r.tos;
    m.header.table = u8::try_from(table).unwrap_or(0);
    m.header.protocol = RouteProtocol::from(r.protocol);
    m.header.scope = RouteScope::from(r.scope.unwrap_or_else(|| default_scope(r)));
    m.header.kind = RouteType::from(r.kind);
    let a = &mut m.attributes;
    a.push(RouteAttribute::Table(table));
    if let Some((addr, length)) = r.to {
        m.header.destination_prefix_length = length;
        a.push(RouteAttribute::Destination(addr.into()));
    }
    if let Some((addr, length)) = r.from {
        m.header.source_prefix_length = length;
        a.push(RouteAttribute::Source(addr.into()));
    }
    a.extend(r.src.map(|s| RouteAttribute::PrefSource(s.into())));
    a.extend(r.metric.map(RouteAttribute::Priority));
    a.extend(r.preference.map(|p| RouteAttribute::Preference(RoutePreference::from(p))));
    let realm = |(source, destination)| RouteRealm { source, destination };
    a.extend(r.realms.map(|n| RouteAttribute::Realm(realm(n))));
    a.extend(r.expires.map(RouteAttribute::Expires));
    a.extend(r.ttl_propagate.map(|on| {
        let n = DefaultNla::new(RTA_TTL_PROPAGATE, vec![u8::from(on)]);
        RouteAttribute::Other(n)
    }));
    let metric = |(id, value): &(u16, u32)| RouteMetric::Other(DefaultNla::new(*id, value.to_ne_bytes().to_vec()));
    let mut metrics: Vec<RouteMetric> = r.metrics.iter().map(metric).collect();
    metrics.extend(r.congestion.iter().map(|name| {
        let bytes = [name.as_bytes(), &[0]].concat();
        RouteMetric::Other(DefaultNla::new(RTAX_CC_ALGO, bytes))
    }));
    if !metrics.is_empty() {
        a.push(RouteAttribute::Metrics(metrics));
    }
    let device = |h: &NextHop| match &h.dev {
        Some(dev) => links.get(dev).map(|l| Some(l.index)).ok_or_else(|| format!("there is no device {dev}")),
        None => Ok(None),
    };
    match r.next_hops.as_slice() {
        [only] => {
            a.extend(only.via.map(|v| RouteAttribute::Gateway(v.into())));
            a.extend(device(only)?.map(RouteAttribute::Oif));
            a.extend(only.encap.iter().flat_map(encap::encap_attributes).map(RouteAttribute::Other));
            if only.onlink {
                m.header.flags |= RouteFlags::Onlink;
            }
        }
        several => {
            let mut hops = Vec::new();
            for h in several {
                let mut hop = RouteNextHop::default();
                hop.hops = (h.weight.clamp(1, 256) - 1) as u8;
                hop.interface_index = device(h)?.unwrap_or(0);
                if h.onlink {
                    hop.flags |= RouteNextHopFlags::Onlink;
                }
                hop.attributes.extend(h.via.map(|v| RouteAttribute::Gateway(v.into())));
                hop.attributes.extend(h.encap.iter().flat_map(encap::encap_attributes).map(RouteAttribute::Other));
                hops.push(hop);
            }
            a.push(RouteAttribute::MultiPath(hops));
        }
    }
    Ok(m)
}

fn rule_message(r: &RuleSpec) -> RuleMessage {
    let mut m = RuleMessage::default();
    m.header.family = address_family(r.family);
    m.header.tos = r.tos;
    if r.not {
        m.header.flags |= RuleFlags::Invert;
    }
    let a = &mut m.attributes;
    if let Some((addr, length)) = r.from {
        m.header.src_len = length;
        a.push(RuleAttribute::Source(addr));
    }
    if let Some((addr, length)) = r.to {
        m.header.dst_len = length;
        a.push(RuleAttribute::Destination(addr));
    }
    a.extend(r.iif.clone().map(RuleAttribute::Iifname));
    a.extend(r.oif.clone().map(RuleAttribute::Oifname));
    if let Some((mark, mask)) = r.fwmark {
        a.push(RuleAttribute::FwMark(mark));
        a.extend(mask.map(RuleAttribute::FwMask));
    }
    a.extend(r.ip_protocol.map(|p| RuleAttribute::IpProtocol(IpProtocol::from(i32::from(p)))));
    let ports = |(start, end)| RulePortRange { start, end };
    a.extend(r.sport.map(|p| RuleAttribute::SourcePortRange(ports(p))));
    a.extend(r.dport.map(|p| RuleAttribute::DestinationPortRange(ports(p))));
    a.extend(r.uids.map(|(start, end)| RuleAttribute::UidRange(RuleUidRange { start, end })));
    a.extend(r.suppress_prefix.map(RuleAttribute::SuppressPrefixLen));
    a.extend(r.suppress_group.map(RuleAttribute::SuppressIfGroup));
    a.extend(r.tunnel.map(RuleAttribute::TunId));
    a.extend(r.realms.map(|(source, destination)| RuleAttribute::Realm(RouteRealm { source, destination })));
    a.extend(r.preference.map(RuleAttribute::Priority));
    if r.l3mdev {
        a.push(RuleAttribute::L3MDev(true));
    }
    a.push(RuleAttribute::Protocol(RouteProtocol::from(r.protocol)));
    m.header.action = match r.action {
        RuleAction::Table(table) => {
            m.header.table = u8::try_from(table).unwrap_or(0);
            if !r.l3mdev {
                a.push(RuleAttribute::Table(table));
            }
            Action::ToTable
        }
        RuleAction::Goto(preference) => {
            a.push(RuleAttribute::Goto(preference));
            Action::Goto
        }
        RuleAction::Nop => Action::Nop,
        RuleAction::Blackhole => Action::Blackhole,
        RuleAction::Unreachable => Action::Unreachable,
        RuleAction::Prohibit => Action::Prohibit,
    };
    m
}
