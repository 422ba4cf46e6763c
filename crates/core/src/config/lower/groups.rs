//! `virtual_server_group`: the addresses that one block answers for.

use std::net::{IpAddr, Ipv4Addr};

use super::super::value::{Line, Value};
use super::Lower;

/// A range is of the last number of an address (keepalived.conf(5)), so that it has no more.
const MOST: u32 = 256;

impl Lower<'_> {
    /// The addresses of a group, with their ports, each once; what is no address is told and left out.
    pub(super) fn group_addresses(&mut self, name: &str) -> Vec<(Ipv4Addr, u16)> {
        let mut out: Vec<(Ipv4Addr, u16)> = Vec::new();
        for e in self.root.all("virtual_server_group") {
            let Value::Lines(group) = &e.value else { continue };
            if group.0.as_deref() != Some(name) {
                continue;
            }
            for (at, line) in &group.1.0 {
                match line {
                    Line::Range(IpAddr::V4(from), IpAddr::V4(to), port) => {
                        let (from, to) = (u32::from(*from), u32::from(*to));
                        let all = (from..=to).take(MOST as usize).map(|a| (Ipv4Addr::from(a), port.unwrap_or(0)));
                        let new: Vec<_> = all.filter(|a| !out.contains(a)).collect();
                        out.extend(new);
                    }
                    Line::Range(a, ..) => {
                        self.unsupported(*at, format!("{a}: services of IPv6 are not supported yet"), "IPv4 is");
                    }
                    Line::Mark(..) => {
                        let what = "a firewall mark in a group is not supported yet".to_owned();
                        self.unsupported(*at, what, "addresses and ranges are");
                    }
                    _ => {}
                }
            }
        }
        out
    }
}
