//! `virtual_server_group`: the addresses and firewall marks that one `virtual_server` block serves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::lower::LoweringContext;
use crate::config::value::{Line, Value};

/// The packets that a service accepts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ServiceTarget {
    /// Packets to an address and port; port 0 stands for every port.
    Address(IpAddr, u16),
    /// Packets with a firewall mark; `Some(true)` for IPv6, `None` if the file does not give a family.
    Fwmark(u32, Option<bool>),
}

/// The most addresses that one range stands for.
///
/// A range differs only in the last part of an address (keepalived.conf(5)), 16 bits of IPv6.
const MAX_RANGE_ADDRESSES: usize = 1 << 16;

impl LoweringContext<'_> {
    /// The members of a group, each once, in the order of the file. Invalid members were reported by `read`.
    pub(super) fn group_targets(&mut self, name: &str) -> Vec<ServiceTarget> {
        let mut out: Vec<ServiceTarget> = Vec::new();
        for e in self.root.get_all("virtual_server_group") {
            let Value::Lines(group) = &e.value else { continue };
            if group.0.as_deref() != Some(name) {
                continue;
            }
            for (_, line) in &group.1.0 {
                match line {
                    Line::Range(from, to, port) => {
                        let all = range_addresses(*from, *to)
                            .into_iter()
                            .map(|a| ServiceTarget::Address(a, port.unwrap_or(0)));
                        let new: Vec<_> = all.filter(|a| !out.contains(a)).collect();
                        out.extend(new);
                    }
                    Line::Fwmark(mark, family) => {
                        let ipv6 = family.as_ref().map(|f| *f == "inet6");
                        let new = ServiceTarget::Fwmark(*mark, ipv6);
                        out.extend((!out.contains(&new)).then_some(new));
                    }
                    _ => {}
                }
            }
        }
        out
    }
}

/// The addresses from `first` to `last`; none if they are of different families.
fn range_addresses(first: IpAddr, last: IpAddr) -> Vec<IpAddr> {
    match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (u32::from(a)..=u32::from(b)).take(MAX_RANGE_ADDRESSES).map(|a| Ipv4Addr::from(a).into()).collect()
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (u128::from(a)..=u128::from(b)).take(MAX_RANGE_ADDRESSES).map(|a| Ipv6Addr::from(a).into()).collect()
        }
        _ => Vec::new(),
    }
}
