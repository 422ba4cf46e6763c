//! Source addresses of probes that go the way of forwarded packets, where the source of an ordinary connection does not
//! serve: by NAT, and by tunnels across families.

use std::net::IpAddr;

use crate::Result;
use crate::netlink::{InterfaceAddr, Netlink};

/// What a probe from the virtual address to a real server behind NAT can show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NatSource {
    /// This host does not hold the virtual address: the answer would go to another host.
    Elsewhere,
    /// The virtual address is on the real server's link, so that the answer needs no gateway.
    OnLink,
    /// The answer goes through the real server's gateway, as the answers to clients do.
    Routed,
}

/// What a probe from `vip` to `server` can show.
pub fn nat_source(vip: IpAddr, server: IpAddr) -> Result<NatSource> {
    let mut netlink = Netlink::new()?;
    if !netlink.is_local(vip, &mut None) {
        return Ok(NatSource::Elsewhere);
    }
    let on_link = match netlink.lookup_route(server)? {
        Some(route) if route.gateway.is_none() => {
            let of_link = |a: &InterfaceAddr| a.ifindex == route.oif && shares_link(a, vip) && shares_link(a, server);
            netlink.addresses()?.iter().any(of_link)
        }
        _ => false,
    };
    Ok(if on_link { NatSource::OnLink } else { NatSource::Routed })
}

/// An address of this host in the family of `vip`, to which a real server that gets packets by a tunnel can answer: on
/// the device towards the server, if that has one. `None`: there is none beside `vip` itself.
pub fn tunnel_source(vip: IpAddr, server: IpAddr) -> Result<Option<IpAddr>> {
    let mut netlink = Netlink::new()?;
    let oif = netlink.lookup_route(server)?.map(|r| r.oif);
    let mut all = netlink.addresses()?;
    all.retain(|a| a.addr.is_ipv6() == vip.is_ipv6() && a.addr != vip && a.usable && is_global(a.addr));
    // an address of a whole prefix is the host's own, and not one that moves between directors
    Ok(all.iter().min_by_key(|a| (is_single(a), Some(a.ifindex) != oif)).map(|a| a.addr))
}

fn is_global(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => !a.is_loopback() && !a.is_link_local(),
        IpAddr::V6(a) => !a.is_loopback() && !a.is_unicast_link_local(),
    }
}

fn is_single(a: &InterfaceAddr) -> bool {
    a.prefix_len == if a.addr.is_ipv4() { 32 } else { 128 }
}

/// Whether an address is on the link that this interface address has its prefix on.
fn shares_link(a: &InterfaceAddr, addr: IpAddr) -> bool {
    let bits = |addr| match addr {
        IpAddr::V4(a) => u128::from(u32::from(a)) << 96,
        IpAddr::V6(a) => u128::from(a),
    };
    let differ = bits(a.addr) ^ bits(addr);
    a.addr.is_ipv4() == addr.is_ipv4() && differ.leading_zeros() >= u32::from(a.prefix_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_says_what_is_on_a_link() {
        let a = |addr: &str, prefix_len| {
            let addr = addr.parse().expect("an address");
            InterfaceAddr { ifindex: 1, addr, prefix_len, label: None, usable: true }
        };
        let on = |a: &InterfaceAddr, addr: &str| shares_link(a, addr.parse().expect("an address"));
        assert!(on(&a("192.0.2.1", 24), "192.0.2.255") && !on(&a("192.0.2.1", 24), "192.0.3.1"));
        assert!(on(&a("192.0.2.1", 32), "192.0.2.1") && !on(&a("192.0.2.1", 32), "192.0.2.2"));
        assert!(on(&a("2001:db8::1", 64), "2001:db8::2:9") && !on(&a("2001:db8::1", 64), "2001:db8:1::1"));
        assert!(!on(&a("0.0.0.0", 0), "::1"));
    }
}
