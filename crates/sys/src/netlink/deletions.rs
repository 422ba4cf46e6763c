//! Routes and rules that somebody takes out.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use evenkeel_core::model::{Family, Prefix, RouteSpec, RuleSpec};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Monitor;

/// Groups of rtnetlink.h, RTNLGRP_…: IPv4 and IPv6 routes, IPv4 and IPv6 rules.
const ROUTE_AND_RULE_GROUPS: [libc::c_int; 4] = [7, 11, 8, 19];
const RTM_DELROUTE: u16 = 25;
const RTM_DELRULE: u16 = 33;

/// What was taken out, as far as it tells one from another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deletion {
    /// A route.
    Route {
        /// Of its addresses.
        family: Family,
        /// Where to; nothing: everywhere.
        to: Option<Prefix>,
        /// Its table.
        table: u32,
        /// Its metric, if it has one.
        metric: Option<u32>,
        /// Type of service.
        tos: u8,
    },
    /// A rule.
    Rule {
        /// Of its addresses.
        family: Family,
        /// Its place among rules.
        preference: u32,
    },
    /// Events were lost: anything may be gone.
    EventsLost,
}

impl Deletion {
    /// May it have been this route?
    pub fn may_be_route(&self, r: &RouteSpec) -> bool {
        match self {
            Deletion::Route { family, to, table, metric, tos } => {
                let same_metric = r.metric.is_none() || r.metric == *metric;
                let everywhere = |n: &Option<Prefix>| n.is_none_or(|(_, length)| length == 0);
                let same_to = r.to == *to || everywhere(&r.to) && everywhere(to);
                // Of a VRF only the kernel knows the table.
                let same_table = r.vrf.is_some() || r.table == *table;
                (r.family, r.tos) == (*family, *tos) && same_table && same_to && same_metric
            }
            Deletion::Rule { .. } => false,
            Deletion::EventsLost => true,
        }
    }

    /// May it have been this rule?
    pub fn may_be_rule(&self, r: &RuleSpec) -> bool {
        match self {
            Deletion::Rule { family, preference } => {
                r.family == *family && r.preference.is_none_or(|p| p == *preference)
            }
            Deletion::Route { .. } => false,
            Deletion::EventsLost => true,
        }
    }
}

fn parse_family(f: AddressFamily) -> Option<Family> {
    match f {
        AddressFamily::Inet => Some(Family::V4),
        AddressFamily::Inet6 => Some(Family::V6),
        _ => None,
    }
}

fn parse_route(m: &RouteMessage) -> Option<Deletion> {
    let h = &m.header;
    let (mut to, mut table, mut metric) = (None, u32::from(h.table), None);
    for a in &m.attributes {
        match a {
            RouteAttribute::Destination(RouteAddress::Inet(a)) => to = Some(((*a).into(), h.destination_prefix_length)),
            RouteAttribute::Destination(RouteAddress::Inet6(a)) => {
                to = Some(((*a).into(), h.destination_prefix_length))
            }
            RouteAttribute::Table(n) => table = *n,
            RouteAttribute::Priority(n) => metric = Some(*n),
            _ => {}
        }
    }
    Some(Deletion::Route { family: parse_family(h.address_family)?, to, table, metric, tos: h.tos })
}

fn parse_rule(m: &RuleMessage) -> Option<Deletion> {
    let preference = m.attributes.iter().find_map(|a| if let RuleAttribute::Priority(n) = a { Some(*n) } else { None });
    Some(Deletion::Rule { family: parse_family(m.header.family)?, preference: preference.unwrap_or(0) })
}

/// What a message says that was taken out by somebody else than `ourselves` (a port of netlink's).
pub(super) fn parse_deletion(message: &[u8], kind: u16, ourselves: u32) -> Option<Deletion> {
    if !matches!(kind, RTM_DELROUTE | RTM_DELRULE) {
        return None;
    }
    let m = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message).ok()?;
    if m.header.port_number == ourselves {
        return None;
    }
    match m.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(r)) => parse_route(&r),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRule(r)) => parse_rule(&r),
        _ => None,
    }
}

/// Has a [`Monitor`] hear of routes and rules, or not: where nobody wants to know, a router's hundred thousand routes
/// should wake nobody.
pub struct DeletionSubscription {
    socket: OwnedFd,
    enabled: bool,
}

impl DeletionSubscription {
    /// In what this monitor hears.
    pub fn new(monitor: &Monitor) -> std::io::Result<Self> {
        // SAFETY: the socket lives as long as the borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(monitor.socket.as_raw_fd()) };
        Ok(DeletionSubscription { socket: fd.try_clone_to_owned()?, enabled: false })
    }

    /// From now on.
    pub fn set_enabled(&mut self, on: bool) {
        if std::mem::replace(&mut self.enabled, on) == on {
            return;
        }
        let option = if on { libc::NETLINK_ADD_MEMBERSHIP } else { libc::NETLINK_DROP_MEMBERSHIP };
        for group in ROUTE_AND_RULE_GROUPS {
            // SAFETY: a valid socket, and an int of its true size.
            unsafe {
                libc::setsockopt(
                    self.socket.as_raw_fd(),
                    libc::SOL_NETLINK,
                    option,
                    (&raw const group).cast(),
                    size_of::<libc::c_int>() as libc::socklen_t,
                )
            };
        }
    }
}
