//! Whom firewall marks are for: sets of addresses, protocols and ports, as a table of networks that the program looks the
//! longest prefix up in.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use evenkeel_core::model::{MarkRule, Protocol};
use libbpf_rs::{MapCore, MapFlags};

use super::abi::*;
use super::object::bpf_error;
use super::packet_path::Maps;
use crate::{Error, Result};

/// An address among those of both families: IPv4's lie in ::ffff:0:0/96.
fn to_u128(a: IpAddr) -> u128 {
    match a {
        IpAddr::V4(a) => a.to_ipv6_mapped().into(),
        IpAddr::V6(a) => a.into(),
    }
}

/// Address and prefix length.
type Network = (u128, u32);

/// The networks that a range is made of.
fn range_to_networks(first: u128, last: u128) -> Vec<Network> {
    let (mut at, mut out) = (first, Vec::new());
    loop {
        // The largest network that begins here and does not end behind the last address.
        let end = |bits: u32| u128::MAX.checked_shr(128 - bits).unwrap_or(0);
        let bits = (0..=at.trailing_zeros().min(128)).rev().find(|b| end(*b) <= last - at).unwrap_or(0);
        out.push((at, 128 - bits));
        if last - at <= end(bits) {
            return out;
        }
        at += end(bits) + 1;
    }
}

/// Every network that is named, with what is wanted of the packets to it: its own members and those around it, in the
/// order in which they are written.
fn build_table(all: &[(u32, MarkRule)]) -> Result<BTreeMap<Network, Vec<(u32, MarkRule)>>> {
    let of = |m: &MarkRule| range_to_networks(to_u128(m.first), to_u128(m.last));
    let named: BTreeSet<Network> = all.iter().flat_map(|(_, m)| of(m)).collect();
    let what = || "give packets their firewall marks".to_owned();
    if named.len() > EK_MARK_NETS as usize {
        let why = format!("members name {} networks, and there is room for {EK_MARK_NETS}", named.len());
        return Err(Error::new(what(), why).with_hint("name whole networks instead of ranges"));
    }
    let mut table = BTreeMap::new();
    for (at, len) in named {
        let holds =
            |m: &MarkRule| to_u128(m.first) <= at && at <= to_u128(m.last) && m.first.is_ipv4() == (at >> 32 == 0xffff);
        let here: Vec<(u32, MarkRule)> = all.iter().filter(|(_, m)| holds(m)).copied().collect();
        if here.len() > EK_MARK_RULES as usize {
            let at = IpAddr::from(at.to_be_bytes()).to_canonical();
            let why =
                format!("{} members are for {at}, and at most {EK_MARK_RULES} may be for one address", here.len());
            return Err(Error::new(what(), why).with_hint("join their ports, or their addresses"));
        }
        table.insert((at, len), here);
    }
    Ok(table)
}

fn key_bytes((at, len): Network) -> Vec<u8> {
    [&len.to_ne_bytes()[..], &at.to_be_bytes()[..]].concat()
}

/// struct members
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
    /// The mark that packets to an address have; 0: none.
    pub(super) fn lookup_mark(&self, addr: IpAddr, protocol: Protocol, port: u16) -> u32 {
        let Ok(Some(value)) = self.members.lookup(&key_bytes((to_u128(addr), 128)), MapFlags::ANY) else { return 0 };
        let word = |b: &[u8]| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
        let half = |b: &[u8]| u16::from_ne_bytes([b[0], b[1]]);
        let for_it =
            |m: &&[u8]| (m[8] == 0 || m[8] == protocol.number()) && (half(&m[4..])..=half(&m[6..])).contains(&port);
        value.chunks_exact(size_of::<mark_rule>()).find(for_it).map_or(0, word)
    }

    /// Lets packets have marks by where they go to. Each network changes at once; what is not named any more goes.
    pub fn write_mark_members(&self, all: &[(u32, MarkRule)]) -> Result<()> {
        let wanted: BTreeMap<Vec<u8>, Vec<u8>> =
            build_table(all)?.iter().map(|(net, here)| (key_bytes(*net), value_bytes(here))).collect();
        let failed = |e| bpf_error("give packets their firewall marks".into(), e);
        for (key, value) in &wanted {
            self.members.update(key, value, MapFlags::ANY).map_err(failed)?;
        }
        let gone: Vec<Vec<u8>> = self.members.keys().filter(|k| !wanted.contains_key(k)).collect();
        for key in gone {
            self.members.delete(&key).map_err(failed)?;
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
        assert!(e.contains("17 members are for 10.0.0.1"), "{e}");
    }
}
