//! Routes: looked up, added, removed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use evenkeel_core::model::{Family, NextHop, RoutePlacement, RouteSpec};
use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags,
    RoutePreference, RouteProtocol, RouteRealm, RouteScope, RouteType, RouteVia,
};

use super::{Link, Netlink, address_family, encap};
use crate::{Error, Result};

/// Numbers of rtnetlink.h.
const RTN_LOCAL: u8 = 2;
const RTN_MULTICAST: u8 = 5;
const RTA_TTL_PROPAGATE: u16 = 26;
const RTAX_CC_ALGO: u16 = 16;
const SCOPE_GLOBAL: u8 = 0;
const SCOPE_LINK: u8 = 253;
const SCOPE_HOST: u8 = 254;

/// The kernel's route to a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// The index of the output device.
    pub oif: u32,
    /// The gateway; `None` if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The destination is an address of this host.
    pub local: bool,
    /// The preferred source address.
    pub source: Option<IpAddr>,
    /// The MTU of the route in bytes, if it has one.
    pub mtu: Option<u32>,
}

/// The devices by name.
type LinksByName = BTreeMap<String, Link>;

impl Netlink {
    /// The route to an address; `None` if there is none.
    pub fn lookup_route(&mut self, addr: IpAddr) -> Result<Option<Route>> {
        self.lookup_marked_route(addr, 0)
    }

    /// Whether the kernel delivers packets for an address to this host: by its route, or by that of packets with one of
    /// the firewall marks that rules name. `marks` keeps them for the next call.
    pub fn is_local(&mut self, addr: IpAddr, marks: &mut Option<Vec<u32>>) -> bool {
        let is_local = |route: Result<Option<Route>>| matches!(route, Ok(Some(Route { local: true, .. })));
        if is_local(self.lookup_route(addr)) {
            return true;
        }
        let marks = marks.get_or_insert_with(|| self.rule_marks().unwrap_or_default());
        marks.iter().any(|mark| is_local(self.lookup_marked_route(addr, *mark)))
    }

    fn lookup_marked_route(&mut self, addr: IpAddr, mark: u32) -> Result<Option<Route>> {
        let mut get = RouteMessage::default();
        let (family, prefix, to) = match addr {
            IpAddr::V4(a) => (Family::V4, 32, RouteAddress::Inet(a)),
            IpAddr::V6(a) => (Family::V6, 128, RouteAddress::Inet6(a)),
        };
        get.header.address_family = address_family(family);
        get.header.destination_prefix_length = prefix;
        get.attributes.push(RouteAttribute::Destination(to));
        if mark != 0 {
            get.attributes.push(RouteAttribute::Mark(mark));
        }
        let operation = || format!("look up the route to {addr}");
        let response = match self.request(RouteNetlinkMessage::GetRoute(get), 0, operation) {
            Err(e) if e.errno().is_some() => return Ok(None),
            other => other?,
        };
        Ok(response
            .iter()
            .find_map(|m| if let RouteNetlinkMessage::NewRoute(r) = m { Some(r) } else { None })
            .and_then(parse_route))
    }

    /// Adds a route, and leaves all other routes as they are (fib_table_insert(), fib6_add_rt2node()). `links` has all
    /// devices. Returns false if the same route exists.
    pub fn add_route(&mut self, r: &RouteSpec, links: &LinksByName) -> Result<bool> {
        let placement = match r.placement {
            RoutePlacement::Add => NLM_F_EXCL,
            RoutePlacement::Append => NLM_F_APPEND,
            RoutePlacement::Prepend => 0,
        };
        let operation = || format!("add route {r}");
        let message = route_message(r, links).map_err(|reason| Error::new(operation(), reason))?;
        let flags = NLM_F_ACK | NLM_F_CREATE | placement;
        match self.request(RouteNetlinkMessage::NewRoute(message), flags, operation) {
            Err(e) if e.errno() == Some(libc::EEXIST) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Removes a route. Returns false if the route, its device or its VRF does not exist.
    pub fn remove_route(&mut self, r: &RouteSpec, links: &LinksByName) -> Result<bool> {
        let Ok(message) = route_message(r, links) else { return Ok(false) };
        match self.request(RouteNetlinkMessage::DelRoute(message), NLM_F_ACK, || format!("remove route {r}")) {
            Err(e) if matches!(e.errno(), Some(libc::ESRCH | libc::ENODEV)) => Ok(false),
            other => other.map(|_| true),
        }
    }
}

/// Parses the response to a route lookup; `None` for routes that reject packets.
fn parse_route(r: &RouteMessage) -> Option<Route> {
    let ip = |a: &RouteAddress| match a {
        RouteAddress::Inet(a) => Some(IpAddr::V4(*a)),
        RouteAddress::Inet6(a) => Some(IpAddr::V6(*a)),
        _ => None,
    };
    let (mut oif, mut gateway, mut source, mut mtu) = (None, None, None, None);
    for a in &r.attributes {
        match a {
            RouteAttribute::Oif(i) => oif = Some(*i),
            RouteAttribute::Gateway(g) => gateway = ip(g),
            RouteAttribute::Via(RouteVia::Inet6(g)) => gateway = Some(IpAddr::V6(*g)),
            RouteAttribute::PrefSource(p) => source = ip(p),
            RouteAttribute::Metrics(all) => {
                mtu = all.iter().find_map(|m| if let RouteMetric::Mtu(n) = m { Some(*n) } else { None }).or(mtu);
            }
            _ => {}
        }
    }
    let local = r.header.kind == RouteType::Local;
    let usable = local || r.header.kind == RouteType::Unicast;
    oif.filter(|_| usable).map(|oif| Route { oif, gateway, local, source, mtu })
}

/// The scope of a route whose configuration has none, as keepalived sets it. ip-route(8) differs: it uses scope link
/// for a unicast route without a gateway.
fn default_scope(r: &RouteSpec) -> u8 {
    match (r.family, r.kind) {
        (Family::V6, _) => SCOPE_GLOBAL,
        (_, RTN_LOCAL) => SCOPE_HOST,
        (_, 3..=RTN_MULTICAST) => SCOPE_LINK,
        _ => SCOPE_GLOBAL,
    }
}

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
    a.extend(r.realms.map(|(source, destination)| RouteAttribute::Realm(RouteRealm { source, destination })));
    a.extend(r.expires.map(RouteAttribute::Expires));
    let ttl_propagate = |on| RouteAttribute::Other(DefaultNla::new(RTA_TTL_PROPAGATE, vec![u8::from(on)]));
    a.extend(r.ttl_propagate.map(ttl_propagate));
    let metrics = route_metrics(r);
    if !metrics.is_empty() {
        a.push(RouteAttribute::Metrics(metrics));
    }
    add_next_hops(&mut m, r, links)?;
    Ok(m)
}

fn route_metrics(r: &RouteSpec) -> Vec<RouteMetric> {
    let metric = |(id, value): &(u16, u32)| RouteMetric::Other(DefaultNla::new(*id, value.to_ne_bytes().to_vec()));
    let mut metrics: Vec<RouteMetric> = r.metrics.iter().map(metric).collect();
    metrics.extend(r.congestion.iter().map(|name| {
        let bytes = [name.as_bytes(), &[0]].concat();
        RouteMetric::Other(DefaultNla::new(RTAX_CC_ALGO, bytes))
    }));
    metrics
}

/// Adds the only next hop as attributes of the route, or several next hops as RTA_MULTIPATH.
fn add_next_hops(m: &mut RouteMessage, r: &RouteSpec, links: &LinksByName) -> std::result::Result<(), String> {
    let device = |h: &NextHop| match &h.dev {
        Some(dev) => links.get(dev).map(|l| Some(l.index)).ok_or_else(|| format!("there is no device {dev}")),
        None => Ok(None),
    };
    let encap_of = |h: &NextHop| -> Vec<RouteAttribute> {
        h.encap.iter().flat_map(encap::encap_attributes).map(RouteAttribute::Other).collect()
    };
    if let [only] = r.next_hops.as_slice() {
        m.attributes.extend(only.via.map(|v| RouteAttribute::Gateway(v.into())));
        m.attributes.extend(device(only)?.map(RouteAttribute::Oif));
        m.attributes.extend(encap_of(only));
        if only.onlink {
            m.header.flags |= RouteFlags::Onlink;
        }
        return Ok(());
    }
    let mut hops = Vec::new();
    for h in &r.next_hops {
        let mut hop = RouteNextHop::default();
        // rtnh_hops is the weight less 1.
        hop.hops = (h.weight.clamp(1, 256) - 1) as u8;
        hop.interface_index = device(h)?.unwrap_or(0);
        if h.onlink {
            hop.flags |= RouteNextHopFlags::Onlink;
        }
        hop.attributes.extend(h.via.map(|v| RouteAttribute::Gateway(v.into())));
        hop.attributes.extend(encap_of(h));
        hops.push(hop);
    }
    m.attributes.push(RouteAttribute::MultiPath(hops));
    Ok(())
}
