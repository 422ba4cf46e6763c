//! The addresses of devices: listed, added, removed.

use std::net::IpAddr;

use evenkeel_core::model::VipSpec;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Netlink;
use crate::Result;

/// An address of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceAddr {
    /// The index of the device.
    pub ifindex: u32,
    /// The address.
    pub addr: IpAddr,
    /// The prefix length.
    pub prefix_len: u8,
    /// The label, for an IPv4 address.
    pub label: Option<String>,
    /// Packets can be sent from the address: duplicate address detection is complete and has found no duplicate
    /// (RFC 4862, section 5.4).
    pub usable: bool,
}

impl Netlink {
    /// All addresses of both families.
    pub fn addresses(&mut self) -> Result<Vec<InterfaceAddr>> {
        let get = AddressMessage::default(); // of any family
        let response = self.request(RouteNetlinkMessage::GetAddress(get), NLM_F_DUMP, || "list addresses".into())?;
        let addrs = response.into_iter().filter_map(|m| match m {
            RouteNetlinkMessage::NewAddress(a) => parse_address(&a),
            _ => None,
        });
        Ok(addrs.collect())
    }

    /// Adds an address to a device. Returns false if the device has it already.
    pub fn add_address(&mut self, ifindex: u32, vip: &VipSpec) -> Result<bool> {
        let message = address_message(ifindex, vip, true);
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.request(RouteNetlinkMessage::NewAddress(message), flags, || format!("add address {vip}")) {
            Err(e) if e.errno() == Some(libc::EEXIST) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Removes an address from a device. Returns false if the device does not have it.
    pub fn remove_address(&mut self, ifindex: u32, vip: &VipSpec) -> Result<bool> {
        self.send_removal(address_message(ifindex, vip, false), vip)
    }

    /// As [`Netlink::remove_address`], for an address whose peer address is unknown.
    pub fn remove_address_any_peer(&mut self, ifindex: u32, vip: &VipSpec) -> Result<bool> {
        let mut message = address_message(ifindex, vip, false);
        message.attributes.retain(|a| matches!(a, AddressAttribute::Local(_)));
        self.send_removal(message, vip)
    }

    fn send_removal(&mut self, message: AddressMessage, vip: &VipSpec) -> Result<bool> {
        match self.request(RouteNetlinkMessage::DelAddress(message), NLM_F_ACK, || format!("remove address {vip}")) {
            Err(e) if e.errno() == Some(libc::EADDRNOTAVAIL) => Ok(false),
            other => other.map(|_| true),
        }
    }
}

/// The message that adds an address, or removes it if not `adds`.
///
/// An IPv6 address is added without duplicate address detection: the former master may still have the address, and the
/// kernel never uses an address with a detected duplicate. An IPv6 address with prefix length 128 is deprecated from
/// the start, so that the host does not select it as a source address (RFC 6724, section 5, rule 3). keepalived does
/// both.
fn address_message(ifindex: u32, vip: &VipSpec, adds: bool) -> AddressMessage {
    let mut m = AddressMessage::default();
    m.header.family = if vip.addr.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    m.header.prefix_len = vip.prefix;
    m.header.scope = AddressScope::from(vip.scope);
    m.header.index = ifindex;
    m.attributes.push(AddressAttribute::Local(vip.addr));
    m.attributes.push(AddressAttribute::Address(vip.peer.unwrap_or(vip.addr)));
    if !adds {
        return m;
    }
    let mut flags = AddressFlags::from_bits_retain(vip.flags);
    let mut preferred = vip.preferred;
    if vip.addr.is_ipv6() {
        flags |= AddressFlags::Nodad;
        if vip.prefix == 128 {
            preferred = preferred.or(Some(0));
        }
    } else {
        m.attributes.extend(vip.broadcast.map(AddressAttribute::Broadcast));
        m.attributes.extend(vip.label.clone().map(AddressAttribute::Label));
    }
    if !flags.is_empty() {
        m.attributes.push(AddressAttribute::Flags(flags));
    }
    if let Some(seconds) = preferred.filter(|s| *s != u32::MAX) {
        let mut lifetimes = CacheInfo::default();
        lifetimes.ifa_valid = u32::MAX;
        lifetimes.ifa_preferred = seconds;
        m.attributes.push(AddressAttribute::CacheInfo(lifetimes));
    }
    m
}

fn parse_address(a: &AddressMessage) -> Option<InterfaceAddr> {
    let (mut local, mut addr, mut label) = (None, None, None);
    let mut flags = AddressFlags::from_bits_retain(u32::from(a.header.flags.bits()));
    for attr in &a.attributes {
        match attr {
            AddressAttribute::Local(l) => local = Some(*l),
            AddressAttribute::Address(a) => addr = Some(*a),
            AddressAttribute::Label(l) => label = Some(l.clone()),
            AddressAttribute::Flags(f) => flags = *f,
            _ => {}
        }
    }
    let tentative = flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    let usable = !tentative && !flags.contains(AddressFlags::Dadfailed);
    let (ifindex, prefix_len) = (a.header.index, a.header.prefix_len);
    Some(InterfaceAddr { ifindex, addr: local.or(addr)?, prefix_len, label, usable })
}
