//! `virtual_server_group`: the addresses that one block answers for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::value::{Line, Value};
use super::LoweringContext;
use super::services::ServiceTarget;

/// A range is of the last number of an address (keepalived.conf(5)), so that it has no more.
const MAX_RANGE_ADDRESSES: usize = 1 << 16;

impl LoweringContext<'_> {
    /// The addresses of a group, with their ports, each once; what is no address is told and left out.
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
                        let all: Vec<IpAddr> = match (from, to) {
                            (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(*a)..=u32::from(*b))
                                .take(MAX_RANGE_ADDRESSES)
                                .map(|a| Ipv4Addr::from(a).into())
                                .collect(),
                            (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(*a)..=u128::from(*b))
                                .take(MAX_RANGE_ADDRESSES)
                                .map(|a| Ipv6Addr::from(a).into())
                                .collect(),
                            _ => Vec::new(), // told already
                        };
                        let all = all.into_iter().map(|a| ServiceTarget::Address(a, port.unwrap_or(0)));
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
