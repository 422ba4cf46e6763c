//! Firewall rules for nftables: they drop packets to addresses that a master must not accept (`no_accept`), and keep
//! virtual MAC addresses out of multicast group reports.
//!
//! There is one table for each family. It is written anew in one transaction each time; nft(8): "the whole file is
//! applied or nothing of it".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

/// The content of the tables.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FirewallRules {
    /// Packets from and to these addresses are dropped. The device matters only for link-local addresses.
    pub blocked: BTreeSet<(IpAddr, String)>,
    /// Interfaces with a virtual MAC address, and the interface below each, if it exists.
    pub vmacs: BTreeMap<String, Option<String>>,
    /// `nftables_priority`: the priority of the chains. Those of other filters usually have 0.
    pub priority: i32,
    /// `nftables_counters`: whether each rule has a counter.
    pub counters: bool,
}

impl FirewallRules {
    /// Whether no rule is needed.
    pub fn is_empty(&self) -> bool {
        self.blocked.is_empty() && self.vmacs.is_empty()
    }

    /// The input of `nft -f` that replaces both tables of the name `table`, or removes them if no rule is needed.
    pub fn ruleset(&self, table: &str) -> String {
        let mut out = String::new();
        for (family, v6) in [("ip", false), ("ip6", true)] {
            // Adding a table that exists does nothing; deleting one that does not exist fails. So it is added, then
            // deleted.
            let _ = writeln!(out, "table {family} {table} {{}}\ndelete table {family} {table}");
            let chains = self.table_body(family, v6);
            if !chains.is_empty() {
                let _ = writeln!(out, "table {family} {table} {{\n{chains}}}");
            }
        }
        out
    }

    /// Sets and chains of the table of one family; empty if no rule is needed.
    fn table_body(&self, family: &str, v6: bool) -> String {
        let count = if self.counters { "counter " } else { "" };
        let of_family = || self.blocked.iter().filter(move |(a, _)| a.is_ipv6() == v6);
        let global: Vec<String> = of_family().filter(|(a, _)| !is_link_local(*a)).map(|(a, _)| a.to_string()).collect();
        let link_local: Vec<String> =
            of_family().filter(|(a, _)| is_link_local(*a)).map(|(a, dev)| format!("{a} . \"{dev}\"")).collect();
        let mut sets = String::new();
        for (name, kind, elements) in [("vips", "", &global), ("vips_link_local", " . ifname", &link_local)] {
            if !elements.is_empty() {
                let elements = elements.join(", ");
                let kind = format!("ip{}_addr{kind}", if v6 { "v6" } else { "v4" });
                let _ = writeln!(sets, "  set {name} {{ type {kind}; elements = {{ {elements} }} }}");
            }
        }
        let (mut input, mut output) = (String::new(), self.multicast_report_rules(family, v6, count));
        if v6 && !sets.is_empty() {
            // Neighbour discovery works for addresses that accept no other packets (RFC 9568, 6.1, Accept_Mode).
            let nd = "    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n";
            input.push_str(nd);
            output.push_str(nd);
        }
        if !global.is_empty() {
            let _ = writeln!(input, "    {family} daddr @vips {count}drop");
            let _ = writeln!(output, "    {family} saddr @vips {count}drop");
        }
        if !link_local.is_empty() {
            let _ = writeln!(input, "    {family} daddr . iifname @vips_link_local {count}drop");
            let _ = writeln!(output, "    {family} saddr . oifname @vips_link_local {count}drop");
        }
        let mut out = sets;
        for (name, hook, rules) in [("in", "input", input), ("out", "output", output)] {
            if !rules.is_empty() {
                let chain = format!("type filter hook {hook} priority {}; policy accept;", self.priority);
                let _ = writeln!(out, "  chain {name} {{\n    {chain}\n{rules}  }}");
            }
        }
        out
    }

    /// Output rules that keep IGMP and MLD reports off virtual MAC interfaces. Switches learn the port of a MAC address
    /// from such a frame, and a backup must not move the virtual MAC address to its own port. Reports leave by the
    /// interface below instead.
    fn multicast_report_rules(&self, family: &str, v6: bool, count: &str) -> String {
        let reports = if v6 {
            "icmpv6 type { mld2-listener-report, mld-listener-report, mld-listener-done }"
        } else {
            "ip protocol igmp"
        };
        let mut rules = String::new();
        for (vmac, base) in &self.vmacs {
            let dup = base.as_ref().map_or(String::new(), |b| format!("dup to {family} daddr device \"{b}\" "));
            let _ = writeln!(rules, "    oifname \"{vmac}\" {reports} {count}{dup}drop");
            if v6 {
                let _ = writeln!(rules, "    oifname \"{vmac}\" icmpv6 type nd-router-solicit {count}drop");
            }
        }
        rules
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
