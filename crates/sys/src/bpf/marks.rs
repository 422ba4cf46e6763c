//! The firewall marks of packets: rules of (addresses, protocol, ports → mark), written as a longest-prefix-match table
//! of networks.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use evenkeel_core::model::{MarkRule, Protocol};
use libbpf_rs::{MapCore, MapFlags};

use super::abi::*;
use super::libbpf::bpf_error;
use super::maps::Maps;
use crate::{Error, Result};

/// An address as a number. IPv4 addresses are mapped into ::ffff:0:0/96.
fn to_u128(a: IpAddr) -> u128 {
    match a {
        IpAddr::V4(a) => a.to_ipv6_mapped().into(),
        IpAddr::V6(a) => a.into(),
    }
}

/// An address and a prefix length.
type Network = (u128, u32);

/// The fewest networks that cover exactly the range from `first` to `last`.
fn range_to_networks(first: u128, last: u128) -> Vec<Network> {
    let (mut start, mut out) = (first, Vec::new());
    loop {
        // The largest network that starts at `start` and does not go beyond `last`.
        let span = |bits: u32| u128::MAX.checked_shr(128 - bits).unwrap_or(0);
        let bits = (0..=start.trailing_zeros().min(128)).rev().find(|b| span(*b) <= last - start).unwrap_or(0);
        out.push((start, 128 - bits));
        if last - start <= span(bits) {
            return out;
        }
        start += span(bits) + 1;
    }
}

/// What fails if the rules cannot be written.
const OPERATION: &str = "write the firewall marks";

/// The table: each network of a rule, with all rules whose range contains the network, in the configuration's order.
/// `all` has the rules with their marks.
fn build_table(all: &[(u32, MarkRule)]) -> Result<BTreeMap<Network, Vec<(u32, MarkRule)>>> {
    let networks_of = |m: &MarkRule| range_to_networks(to_u128(m.first), to_u128(m.last));
    let networks: BTreeSet<Network> = all.iter().flat_map(|(_, m)| networks_of(m)).collect();
    if networks.len() > EK_MARK_NETS as usize {
        let reason = format!("the members need {} networks; at most {EK_MARK_NETS} are possible", networks.len());
        return Err(Error::new(OPERATION, reason).with_hint("use networks instead of ranges"));
    }
    let mut table = BTreeMap::new();
    for (addr, len) in networks {
        let is_ipv4 = addr >> 32 == 0xffff;
        let contains =
            |m: &MarkRule| (to_u128(m.first)..=to_u128(m.last)).contains(&addr) && m.first.is_ipv4() == is_ipv4;
        let rules: Vec<(u32, MarkRule)> = all.iter().filter(|(_, m)| contains(m)).copied().collect();
        if rules.len() > EK_MARK_RULES as usize {
            let addr = IpAddr::from(addr.to_be_bytes()).to_canonical();
            let reason = format!("{} members contain {addr}; at most {EK_MARK_RULES} are possible", rules.len());
            return Err(Error::new(OPERATION, reason).with_hint("join their ports, or their addresses"));
        }
        table.insert((addr, len), rules);
    }
    Ok(table)
}

/// The map's key: `struct mark_net`.
fn key_bytes((addr, len): Network) -> Vec<u8> {
    [&len.to_ne_bytes()[..], &addr.to_be_bytes()[..]].concat()
}

/// The map's value: `struct mark_rule_set`.
fn value_bytes(all: &[(u32, MarkRule)]) -> Vec<u8> {
    let one = |(mark, m): &(u32, MarkRule)| {
        let protocol = m.protocol.map_or(0, Protocol::number);
        let (first, last) = m.ports;
        [&mark.to_ne_bytes()[..], &first.to_ne_bytes(), &last.to_ne_bytes(), &[protocol, 0, 0, 0]].concat()
    };
    let mut out: Vec<u8> = all.iter().flat_map(one).collect();
    out.resize(size_of::<mark_rule>() * EK_MARK_RULES as usize, 0);
    out
}

impl Maps {
    /// The firewall mark of packets to an address and port; 0 if there is none.
    pub(super) fn lookup_mark(&self, addr: IpAddr, protocol: Protocol, port: u16) -> u32 {
        let Ok(Some(value)) = self.mark_rules.lookup(&key_bytes((to_u128(addr), 128)), MapFlags::ANY) else { return 0 };
        let word = |b: &[u8]| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
        let half = |b: &[u8]| u16::from_ne_bytes([b[0], b[1]]);
        let matches =
            |m: &&[u8]| (m[8] == 0 || m[8] == protocol.number()) && (half(&m[4..])..=half(&m[6..])).contains(&port);
        value.chunks_exact(size_of::<mark_rule>()).find(matches).map_or(0, word)
    }

    /// Writes the rules with their marks, and removes networks of former rules. Packets see each network before or
    /// after the change.
    pub fn write_mark_rules(&self, all: &[(u32, MarkRule)]) -> Result<()> {
        let wanted: BTreeMap<Vec<u8>, Vec<u8>> =
            build_table(all)?.iter().map(|(net, rules)| (key_bytes(*net), value_bytes(rules))).collect();
        let failed = |e| bpf_error(OPERATION.into(), e);
        for (key, value) in &wanted {
            self.mark_rules.update(key, value, MapFlags::ANY).map_err(failed)?;
        }
        let gone: Vec<Vec<u8>> = self.mark_rules.keys().filter(|k| !wanted.contains_key(k)).collect();
        for key in gone {
            self.mark_rules.delete(&key).map_err(failed)?;
        }
        let any = self.settings.atomic_u32(0, offset_of!(settings, has_mark_rules));
        any.store(u32::from(!wanted.is_empty()), Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(range: (&str, &str)) -> MarkRule {
        let addr = |a: &str| a.parse().expect("an address");
        MarkRule { first: addr(range.0), last: addr(range.1), protocol: None, ports: (0, u16::MAX) }
    }

    fn nets(first: &str, last: &str) -> Vec<String> {
        let m = member((first, last));
        let net = |(at, len): Network| match IpAddr::from(at.to_be_bytes()).to_canonical() {
            IpAddr::V4(a) => format!("{a}/{}", len - 96),
            a => format!("{a}/{len}"),
        };
        range_to_networks(to_u128(m.first), to_u128(m.last)).into_iter().map(net).collect()
    }

    #[test]
    fn a_range_is_made_of_the_fewest_networks() {
        assert_eq!(nets("10.0.0.1", "10.0.0.9"), ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/30", "10.0.0.8/31"]);
        assert_eq!(nets("10.0.0.0", "10.0.0.255"), ["10.0.0.0/24"]);
        assert_eq!(nets("0.0.0.0", "255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(nets("2001:db8::5", "2001:db8::5"), ["2001:db8::5/128"]);
        assert_eq!(nets("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ["::/0"]);
        assert_eq!(nets("10.0.0.255", "10.0.1.0"), ["10.0.0.255/32", "10.0.1.0/32"]);
    }

    #[test]
    fn a_network_within_another_has_the_members_of_both() {
        let all = [(1, member(("10.0.0.0", "10.255.255.255"))), (2, member(("10.1.0.0", "10.1.255.255")))];
        let table = build_table(&all).expect("room");
        let marks: Vec<Vec<u32>> = table.values().map(|v| v.iter().map(|(m, _)| *m).collect()).collect();
        assert_eq!(marks, [vec![1], vec![1, 2]]);
        let many: Vec<_> = (1..=17).map(|n| (n, member(("10.0.0.1", "10.0.0.1")))).collect();
        let e = super::build_table(&many).expect_err("too many").to_string();
        assert!(e.contains("17 members contain 10.0.0.1"), "{e}");
    }
}
