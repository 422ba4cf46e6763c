//! Policy routing rules: added, removed.

use std::collections::BTreeSet;

use evenkeel_core::model::{Family, RuleAction, RuleSpec};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::route::{RouteProtocol, RouteRealm};
use netlink_packet_route::rule::{
    RuleAction as Action, RuleAttribute, RuleFlags, RuleMessage, RulePortRange, RuleUidRange,
};
use netlink_packet_route::{IpProtocol, RouteNetlinkMessage};

use super::{Netlink, address_family};
use crate::Result;

impl Netlink {
    /// Adds a rule. Returns false if it exists already.
    pub fn add_rule(&mut self, r: &RuleSpec) -> Result<bool> {
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.request(RouteNetlinkMessage::NewRule(rule_message(r)), flags, || format!("add rule {r}")) {
            Err(e) if e.errno() == Some(libc::EEXIST) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// The firewall marks that rules of both families name, each once.
    pub fn rule_marks(&mut self) -> Result<Vec<u32>> {
        let mut marks = BTreeSet::new();
        for family in [Family::V4, Family::V6] {
            let mut get = RuleMessage::default();
            get.header.family = address_family(family);
            let rules = self.request(RouteNetlinkMessage::GetRule(get), NLM_F_DUMP, || "list rules".into())?;
            for rule in rules {
                let RouteNetlinkMessage::NewRule(r) = rule else { continue };
                let mark = |a: &RuleAttribute| if let RuleAttribute::FwMark(mark) = a { Some(*mark) } else { None };
                marks.extend(r.attributes.iter().filter_map(mark));
            }
        }
        Ok(marks.into_iter().collect())
    }

    /// Removes a rule. Returns false if it does not exist.
    pub fn remove_rule(&mut self, r: &RuleSpec) -> Result<bool> {
        let message = RouteNetlinkMessage::DelRule(rule_message(r));
        match self.request(message, NLM_F_ACK, || format!("remove rule {r}")) {
            Err(e) if matches!(e.errno(), Some(libc::ENOENT | libc::ESRCH)) => Ok(false),
            other => other.map(|_| true),
        }
    }
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
