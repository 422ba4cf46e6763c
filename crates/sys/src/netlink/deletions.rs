//! Deletions: routes and rules that other programs delete.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use evenkeel_core::model::{Family, Prefix, RouteSpec, RuleSpec};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Monitor;
use crate::sockopt::set_int_option;

/// Multicast groups of rtnetlink.h: RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE.
const ROUTE_AND_RULE_GROUPS: [libc::c_int; 4] = [7, 11, 8, 19];
const RTM_DELROUTE: u16 = 25;
const RTM_DELRULE: u16 = 33;

/// A deleted route or rule, as far as its event identifies it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deletion {
    /// A route.
    Route {
        /// The address family.
        family: Family,
        /// The destination network; `None` for the default route.
        to: Option<Prefix>,
        /// The routing table.
        table: u32,
        /// The metric, if the route had one.
        metric: Option<u32>,
        /// The type of service.
        tos: u8,
    },
    /// A rule.
    Rule {
        /// The address family.
        family: Family,
        /// The preference (its position among the rules).
        preference: u32,
    },
    /// Events were lost, so any route or rule may have been deleted.
    EventsLost,
}

impl Deletion {
    /// True if the deletion may concern this route.
    pub fn may_be_route(&self, r: &RouteSpec) -> bool {
        match self {
            Deletion::Route { family, to, table, metric, tos } => {
                let same_metric = r.metric.is_none() || r.metric == *metric;
                let is_default = |n: &Option<Prefix>| n.is_none_or(|(_, length)| length == 0);
                let same_to = r.to == *to || is_default(&r.to) && is_default(to);
                // Only the kernel knows the table of a VRF.
                let same_table = r.vrf.is_some() || r.table == *table;
                (r.family, r.tos) == (*family, *tos) && same_table && same_to && same_metric
            }
            Deletion::Rule { .. } => false,
            Deletion::EventsLost => true,
        }
    }

    /// True if the deletion may concern this rule.
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

/// Parses an event of type `kind`. Returns `None` for other events, and for deletions by the socket with port ID
/// `own_port`.
pub(super) fn parse_deletion(message: &[u8], kind: u16, own_port: u32) -> Option<Deletion> {
    if !matches!(kind, RTM_DELROUTE | RTM_DELRULE) {
        return None;
    }
    let m = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message).ok()?;
    if m.header.port_number == own_port {
        return None;
    }
    match m.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(r)) => parse_route(&r),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRule(r)) => parse_rule(&r),
        _ => None,
    }
}

/// A [`Monitor`]'s subscription to events about routes and rules. It is enabled only while the configuration has routes
/// or rules, because a router with a hundred thousand routes would wake the monitor all the time.
pub struct DeletionSubscription {
    socket: OwnedFd,
    enabled: bool,
}

impl DeletionSubscription {
    /// The subscription of this monitor, disabled.
    pub fn new(monitor: &Monitor) -> std::io::Result<Self> {
        // SAFETY: The socket lives at least as long as the borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(monitor.socket.as_raw_fd()) };
        Ok(DeletionSubscription { socket: fd.try_clone_to_owned()?, enabled: false })
    }

    /// Enables or disables the subscription.
    pub fn set_enabled(&mut self, enabled: bool) {
        if std::mem::replace(&mut self.enabled, enabled) == enabled {
            return;
        }
        let option = if enabled { libc::NETLINK_ADD_MEMBERSHIP } else { libc::NETLINK_DROP_MEMBERSHIP };
        for group in ROUTE_AND_RULE_GROUPS {
            let _ = set_int_option(&self.socket, libc::SOL_NETLINK, option, group);
        }
    }
}
