//! Gateways: default routes and the devices that gateways are behind, of all routing tables.
//!
//! A router may have a million routes. The kernel lists a table in the order of its prefixes, the default route first
//! (fib_table_dump() and fib6_dump_table() walk tries), so the list is read up to a limit.

use std::net::IpAddr;

use evenkeel_core::attachments::GatewayRoute;
use evenkeel_core::model::Family;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::Netlink;
use crate::netlink_socket::{self, HEADER_BYTES, MessageKind, find_attribute};
use crate::{Context, Result};

/// At most so many routes of a family are read.
const MAX_ROUTES: usize = 20_000;
/// Numbers of rtnetlink.h.
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const RTN_UNICAST: u8 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;
/// The sizes of `struct rtmsg` and `struct rtnexthop`.
const RTMSG_BYTES: usize = 12;
const RTNEXTHOP_BYTES: usize = 8;

impl Netlink {
    /// The default routes and gateways, each once for a device.
    pub fn gateways(&mut self) -> Result<Vec<GatewayRoute>> {
        let mut all = Vec::new();
        for family in [Family::V4, Family::V6] {
            read_routes(family, &mut all).context(|| "list routes".into())?;
        }
        Ok(all)
    }
}

/// Adds the gateways of a family. The socket is the list's own: closing it ends a long list.
fn read_routes(family: Family, all: &mut Vec<GatewayRoute>) -> std::io::Result<()> {
    let socket = netlink_socket::open(NETLINK_ROUTE)?;
    // Makes the kernel filter by the request's header (Linux 4.20). Otherwise more is read.
    let _ = socket.set_netlink_get_strict_chk(true);
    let mut request = [0u8; HEADER_BYTES + RTMSG_BYTES];
    let len = request.len() as u32;
    request[..4].copy_from_slice(&len.to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETROUTE.to_ne_bytes());
    request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request[8..12].copy_from_slice(&1u32.to_ne_bytes());
    request[HEADER_BYTES] = if family == Family::V4 { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 };
    request[HEADER_BYTES + 7] = RTN_UNICAST;
    socket.send(&request, 0)?;
    let mut buf = vec![0u8; 64 * 1024];
    let mut count = 0;
    while count < MAX_ROUTES {
        let n = socket.recv(&mut &mut buf[..], 0)?;
        for message in netlink_socket::messages(buf.get(..n).unwrap_or_default()) {
            if let MessageKind::End(result) = message.classify() {
                return result.map_err(|e| e.source);
            }
            if message.kind == RTM_NEWROUTE {
                count += 1;
                add_gateways(message.body, all);
            }
        }
    }
    tracing::debug!("the routing tables have more than {MAX_ROUTES} routes; the others are not read");
    Ok(())
}

/// Adds what a route message leads to.
fn add_gateways(body: &[u8], all: &mut Vec<GatewayRoute>) {
    let (Some(header), Some(attributes)) = (body.first_chunk::<RTMSG_BYTES>(), body.get(RTMSG_BYTES..)) else { return };
    let [_, dst_len, _, _, _, _, _, kind, ..] = *header;
    if kind != RTN_UNICAST {
        return;
    }
    let mut add = |ifindex: u32, attributes: &[u8]| {
        let route = GatewayRoute { ifindex, gateway: gateway(attributes), default: dst_len == 0 };
        let is_known = all.iter().any(|g| g.ifindex == ifindex && (g.default || !route.default));
        if (route.default || route.gateway.is_some()) && !is_known {
            all.push(route);
        }
    };
    if let Some(oif) = find_attribute(attributes, RTA_OIF).and_then(|v| v.first_chunk::<4>()) {
        add(u32::from_ne_bytes(*oif), attributes);
    }
    let mut hops = find_attribute(attributes, RTA_MULTIPATH).unwrap_or_default();
    while let Some([l0, l1, _, _, i0, i1, i2, i3]) = hops.first_chunk::<RTNEXTHOP_BYTES>().copied() {
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(hop) = hops.get(RTNEXTHOP_BYTES..len) else { return };
        add(u32::from_ne_bytes([i0, i1, i2, i3]), hop);
        hops = hops.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// RTA_GATEWAY, or RTA_VIA: a gateway of another family behind its family's number.
fn gateway(attributes: &[u8]) -> Option<IpAddr> {
    let via = || find_attribute(attributes, RTA_VIA).and_then(|v| v.get(2..));
    let bytes = find_attribute(attributes, RTA_GATEWAY).or_else(via)?;
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        [&(4 + value.len() as u16).to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
    }

    fn parsed(dst_len: u8, kind: u8, attributes: &[u8]) -> Vec<GatewayRoute> {
        let mut all = Vec::new();
        add_gateways(&[&[2, dst_len, 0, 0, 254, 0, 0, kind, 0, 0, 0, 0][..], attributes].concat(), &mut all);
        all
    }

    #[test]
    fn gateways_of_one_and_of_several_next_hops_are_found() {
        let oif = attribute(RTA_OIF, &7u32.to_ne_bytes());
        let v4 = attribute(RTA_GATEWAY, &[192, 0, 2, 254]);
        let via = attribute(RTA_VIA, &[&10u16.to_ne_bytes()[..], &[0xfe, 0x80], &[0; 13], &[2]].concat());
        let route = |ifindex, gateway: &str, default| GatewayRoute { ifindex, gateway: gateway.parse().ok(), default };
        assert_eq!(parsed(0, 1, &[&oif[..], &v4].concat()), [route(7, "192.0.2.254", true)]);
        assert_eq!(parsed(24, 1, &[&oif[..], &via].concat()), [route(7, "fe80::2", false)]);
        assert_eq!(parsed(0, 1, &oif), [route(7, "", true)], "a default route without a gateway");
        assert_eq!(parsed(24, 1, &oif), [], "a network on the link");
        assert_eq!(parsed(0, 7, &[&oif[..], &v4].concat()), [], "unreachable");
        let hop = |ifindex: i32| {
            let header = [&(8 + v4.len() as u16).to_ne_bytes()[..], &[0, 0], &ifindex.to_ne_bytes()].concat();
            [header, v4.clone()].concat()
        };
        let multipath = attribute(RTA_MULTIPATH, &[hop(3), hop(4)].concat());
        assert_eq!(parsed(0, 1, &multipath), [route(3, "192.0.2.254", true), route(4, "192.0.2.254", true)]);
        for end in 0..multipath.len() {
            parsed(0, 1, &multipath[..end]);
        }
    }

    #[test]
    fn a_default_route_counts_before_other_routes_of_its_device() {
        let mut all = Vec::new();
        let oif = attribute(RTA_OIF, &7u32.to_ne_bytes());
        let v4 = attribute(RTA_GATEWAY, &[192, 0, 2, 254]);
        for dst_len in [24, 16, 0, 8] {
            let header = [2, dst_len, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0];
            add_gateways(&[&header[..], &oif, &v4].concat(), &mut all);
        }
        assert_eq!(all.iter().map(|g| g.default).collect::<Vec<_>>(), [false, true]);
    }
}
