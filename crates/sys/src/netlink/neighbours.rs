//! Neighbours: looked up, and kept resolved by the kernel.

use std::net::IpAddr;

use evenkeel_core::model::Family;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
};

use super::{Netlink, address_family};
use crate::Result;

/// A neighbour with a valid MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// The index of the device.
    pub ifindex: u32,
    /// The address.
    pub addr: IpAddr,
    /// The MAC address.
    pub mac: [u8; 6],
    /// The entry is permanent (`ip neigh … nud permanent`) or needs no resolution (`nud noarp`).
    pub permanent: bool,
}

impl Netlink {
    /// All neighbours of both families with a valid MAC address.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>> {
        let mut all = Vec::new();
        for family in [Family::V4, Family::V6] {
            let mut get = NeighbourMessage::default();
            get.header.family = address_family(family);
            let response =
                self.request(RouteNetlinkMessage::GetNeighbour(get), NLM_F_DUMP, || "list neighbours".into())?;
            all.extend(response.into_iter().filter_map(|m| match m {
                RouteNetlinkMessage::NewNeighbour(n) => parse_neighbour(&n),
                _ => None,
            }));
        }
        Ok(all)
    }

    /// The MAC address of a neighbour; `None` if the kernel has no valid one.
    pub fn lookup_neighbour(&mut self, ifindex: u32, addr: IpAddr) -> Result<Option<[u8; 6]>> {
        let get = RouteNetlinkMessage::GetNeighbour(neighbour_message(ifindex, addr));
        let response = match self.request(get, 0, || format!("look up neighbour {addr}")) {
            Err(e) if e.errno().is_some() => return Ok(None),
            other => other?,
        };
        Ok(response.iter().find_map(|m| match m {
            RouteNetlinkMessage::NewNeighbour(n) => parse_neighbour(n).map(|n| n.mac),
            _ => None,
        }))
    }

    /// Makes the kernel resolve a neighbour and keep it resolved (a managed neighbour, Linux 5.16).
    pub fn manage_neighbour(&mut self, ifindex: u32, addr: IpAddr) -> Result<()> {
        let mut m = neighbour_message(ifindex, addr);
        m.header.flags = NeighbourFlags::Use;
        m.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.request(RouteNetlinkMessage::NewNeighbour(m), flags, || format!("keep neighbour {addr} resolved"))?;
        Ok(())
    }

    /// Ends [`Netlink::manage_neighbour`]: deletes the neighbour's entry.
    pub fn unmanage_neighbour(&mut self, ifindex: u32, addr: IpAddr) -> Result<()> {
        let m = neighbour_message(ifindex, addr);
        self.request(RouteNetlinkMessage::DelNeighbour(m), NLM_F_ACK, || format!("delete neighbour {addr}"))?;
        Ok(())
    }
}

fn neighbour_message(ifindex: u32, addr: IpAddr) -> NeighbourMessage {
    let mut m = NeighbourMessage::default();
    let (family, to) = match addr {
        IpAddr::V4(a) => (Family::V4, NeighbourAddress::Inet(a)),
        IpAddr::V6(a) => (Family::V6, NeighbourAddress::Inet6(a)),
    };
    m.header.family = address_family(family);
    m.header.ifindex = ifindex;
    m.attributes.push(NeighbourAttribute::Destination(to));
    m
}

fn parse_neighbour(n: &NeighbourMessage) -> Option<Neighbour> {
    if !matches!(
        n.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    ) {
        return None;
    }
    let mut addr = None;
    let mut mac = None;
    for a in &n.attributes {
        match a {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => addr = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => addr = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(m) => mac = m.as_slice().try_into().ok(),
            _ => {}
        }
    }
    let permanent = matches!(n.header.state, NeighbourState::Permanent | NeighbourState::Noarp);
    Some(Neighbour { ifindex: n.header.ifindex, addr: addr?, mac: mac?, permanent })
}
