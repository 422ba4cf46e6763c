//! What nftables is told: to refuse packets to addresses that a master does not own (`no_accept`), and to keep virtual MAC
//! addresses out of reports of multicast groups.
//!
//! One table for each family, written anew in one transaction each time, as nft(8) has it: "the whole file is applied or
//! nothing of it".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

/// Everything that the tables say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FirewallRules {
    /// Packets from and to these are dropped. The device matters for addresses that are of one link only.
    pub blocked: BTreeSet<(IpAddr, String)>,
    /// Interfaces with a virtual MAC address, each with the one that its frames go through, if that is there.
    pub vmacs: BTreeMap<String, Option<String>>,
    /// `nftables_priority`: before (negative) or behind the filters of others, which stand at 0.
    pub priority: i32,
    /// `nftables_counters`: each rule counts.
    pub counters: bool,
}

impl FirewallRules {
    /// Is there nothing to be told?
    pub fn is_empty(&self) -> bool {
        self.blocked.is_empty() && self.vmacs.is_empty()
    }

    /// The file for `nft -f`: whatever the tables of this name said, they say this afterwards, or are gone.
    pub fn ruleset(&self, table: &str) -> String {
        let mut out = String::new();
        for (family, v6) in [("ip", false), ("ip6", true)] {
            // A table that is not there cannot be deleted, one that is added twice is there once.
            let _ = writeln!(out, "table {family} {table} {{}}\ndelete table {family} {table}");
            let chains = self.table_body(family, v6);
            if !chains.is_empty() {
                let _ = writeln!(out, "table {family} {table} {{\n{chains}}}");
            }
        }
        out
    }

    fn table_body(&self, family: &str, v6: bool) -> String {
        let count = if self.counters { "counter " } else { "" };
        let of_family = || self.blocked.iter().filter(move |(a, _)| a.is_ipv6() == v6);
        let everywhere: Vec<String> =
            of_family().filter(|(a, _)| !is_link_local(*a)).map(|(a, _)| a.to_string()).collect();
        let on_a_link: Vec<String> =
            of_family().filter(|(a, _)| is_link_local(*a)).map(|(a, dev)| format!("{a} . \"{dev}\"")).collect();
        let mut sets = String::new();
        for (name, kind, elements) in [("vips", "", &everywhere), ("vips_link_local", " . ifname", &on_a_link)] {
            if !elements.is_empty() {
                let elements = elements.join(", ");
                let kind = format!("ip{}_addr{kind}", if v6 { "v6" } else { "v4" });
                let _ = writeln!(sets, "  set {name} {{ type {kind}; elements = {{ {elements} }} }}");
            }
        }
        let (mut incoming, mut outgoing) = (String::new(), String::new());
        for (vmac, base) in &self.vmacs {
            let reports = if v6 {
                "icmpv6 type { mld2-listener-report, mld-listener-report, mld-listener-done }"
            } else {
                "ip protocol igmp"
            };
            // Switches learn from such a frame where a MAC address is; a backup must never say so of the virtual one.
            let dup = base.as_ref().map_or(String::new(), |b| format!("dup to {family} daddr device \"{b}\" "));
            let _ = writeln!(outgoing, "    oifname \"{vmac}\" {reports} {count}{dup}drop");
            if v6 {
                let _ = writeln!(outgoing, "    oifname \"{vmac}\" icmpv6 type nd-router-solicit {count}drop");
            }
        }
        if v6 && !sets.is_empty() {
            // Neighbours are still told where the address is (RFC 9568, 6.1, Accept_Mode).
            let nd = "    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n";
            incoming.push_str(nd);
            outgoing.push_str(nd);
        }
        if !everywhere.is_empty() {
            let _ = writeln!(incoming, "    {family} daddr @vips {count}drop");
            let _ = writeln!(outgoing, "    {family} saddr @vips {count}drop");
        }
        if !on_a_link.is_empty() {
            let _ = writeln!(incoming, "    {family} daddr . iifname @vips_link_local {count}drop");
            let _ = writeln!(outgoing, "    {family} saddr . oifname @vips_link_local {count}drop");
        }
        let mut out = sets;
        for (name, hook, rules) in [("in", "input", incoming), ("out", "output", outgoing)] {
            if !rules.is_empty() {
                let at = format!("type filter hook {hook} priority {}; policy accept;", self.priority);
                let _ = writeln!(out, "  chain {name} {{\n    {at}\n{rules}  }}");
            }
        }
        out
    }
}

fn is_link_local(a: IpAddr) -> bool {
    matches!(a, IpAddr::V6(a) if a.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_rules_delete_the_tables() {
        let text = FirewallRules::default().ruleset("evenkeel");
        assert_eq!(text.matches("delete table").count(), 2, "{text}");
        assert!(!text.contains("chain"), "{text}");
    }

    #[test]
    fn a_multicast_report_leaves_by_the_base_device_or_is_dropped() {
        let vmacs = [("vrrp.1".to_owned(), Some("eth0".to_owned())), ("vrrp.2".to_owned(), None)].into();
        let text = FirewallRules { vmacs, ..FirewallRules::default() }.ruleset("evenkeel");
        for line in [
            "oifname \"vrrp.1\" ip protocol igmp dup to ip daddr device \"eth0\" drop",
            "oifname \"vrrp.2\" ip protocol igmp drop",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn neighbour_discovery_is_accepted_for_a_blocked_address() {
        let refused = ["10.0.0.9", "fd00::9", "fe80::9"].map(|a| (a.parse().expect("an address"), "eth0".to_owned()));
        let text =
            FirewallRules { blocked: refused.into(), priority: -1, ..FirewallRules::default() }.ruleset("evenkeel");
        for line in [
            "set vips { type ipv4_addr; elements = { 10.0.0.9 } }",
            "ip daddr @vips drop",
            "set vips_link_local { type ipv6_addr . ifname; elements = { fe80::9 . \"eth0\" } }",
            "ip6 saddr . oifname @vips_link_local drop",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let (nd, drop) = (text.find("nd-neighbor-solicit"), text.find("ip6 daddr @vips drop"));
        assert!(nd < drop && nd.is_some(), "{text}");
    }
}
