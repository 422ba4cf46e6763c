//! The decision on topologies of real set-ups.

use std::net::IpAddr;

use super::*;
use crate::model::AttachOverride;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A host that is built up by lines, as `ip` would show it.
#[derive(Default)]
struct Host {
    topology: Topology,
    traffic: Traffic,
    closed: Vec<&'static str>,
}

impl Host {
    /// A host with `lo` and one service on 192.0.2.100.
    fn new() -> Host {
        let mut h = Host::default();
        h.traffic.addresses.insert(ip("192.0.2.100"));
        h.device("lo", "", &["127.0.0.1/8", "::1/128"]);
        let lo = &mut h.topology.devices[0];
        (lo.loopback, lo.ethernet, lo.native_xdp) = (true, false, false);
        h
    }

    fn device(&mut self, name: &str, kind: &str, addresses: &[&str]) -> u32 {
        let index = self.topology.devices.len() as u32 + 1;
        let ethernet = !matches!(kind, "wireguard" | "ipip" | "tun");
        let (name, kind, native_xdp) = (name.to_owned(), kind.to_owned(), kind.is_empty());
        self.topology.devices.push(Device { index, name, kind, ethernet, native_xdp, up: true, ..Device::default() });
        for a in addresses {
            let (addr, len) = a.split_once('/').expect("a prefix length");
            self.topology.addresses.push((index, ip(addr), len.parse().expect("a number")));
        }
        index
    }

    fn port(&mut self, name: &str, kind: &str, master: u32) -> u32 {
        let index = self.device(name, kind, &[]);
        self.topology.devices[index as usize - 1].master = Some(master);
        index
    }

    fn default_route(&mut self, ifindex: u32, gateway: &str) {
        self.topology.gateways.push(GatewayRoute { ifindex, gateway: Some(ip(gateway)), default: true });
    }

    fn server(&mut self, addr: &str, ifindex: u32, nat: bool) {
        self.traffic.servers.insert(ip(addr), nat);
        self.topology.server_devices.insert(ip(addr), ifindex);
    }

    fn decide(&self) -> AttachDecision {
        let mut may_open = |d: &Device| self.closed.contains(&d.name.as_str()).then(|| "rule 7".to_owned());
        derive(&self.topology, &self.traffic, &mut may_open)
    }

    fn name(&self, index: u32) -> &str {
        &self.topology.devices[index as usize - 1].name
    }

    /// `DEVICE MODE: REASON` for each attachment.
    fn attached(&self) -> Vec<String> {
        let decision = self.decide();
        let mode = |c: AttachChoice| match c {
            AttachChoice::Auto => "auto",
            AttachChoice::Tc => "tc",
            AttachChoice::NativeXdp => "xdp",
            AttachChoice::GenericXdp => "generic",
        };
        decision.attached.iter().map(|(i, (c, reason))| format!("{} {}: {reason}", self.name(*i), mode(*c))).collect()
    }

    /// `DEVICE: REASON` for each device without an attachment, with what it is needed for.
    fn left_alone(&self) -> Vec<String> {
        let decision = self.decide();
        let needed = |l: &LeftAlone| l.needed.as_ref().map_or_else(String::new, |n| format!("; needed: {n}"));
        decision.left_alone.iter().map(|(i, l)| format!("{}: {}{}", self.name(*i), l.reason, needed(l))).collect()
    }
}

#[test]
fn without_services_nothing_is_attached() {
    let mut h = Host::new();
    h.device("eth0", "", &["192.0.2.100/24"]);
    h.traffic.overrides.insert("eth0", AttachOverride::Attach(AttachChoice::Auto));
    h.traffic.addresses.clear();
    assert_eq!(h.decide(), AttachDecision::default());
}

#[test]
fn two_armed_nat_attaches_to_the_devices_of_clients_and_of_servers() {
    let mut h = Host::new();
    let eth0 = h.device("eth0", "", &["192.0.2.1/24", "192.0.2.100/32"]);
    let eth1 = h.device("eth1", "", &["198.51.100.1/24"]);
    h.default_route(eth0, "192.0.2.254");
    h.server("198.51.100.11", eth1, true);
    assert_eq!(h.attached(), ["eth0 auto: holds 192.0.2.100", "eth1 auto: leads to real server 198.51.100.11 (NAT)"]);
}

#[test]
fn a_server_may_reply_by_every_device_of_its_network() {
    let mut h = Host::new();
    h.device("eth0", "", &["192.0.2.100/24"]);
    let eth1 = h.device("eth1", "", &["2001:db8:1::1/64"]);
    h.device("eth2", "", &["2001:db8:1::2/64"]);
    h.server("2001:db8:1::11", eth1, true);
    let nat = "leads to real server 2001:db8:1::11 (NAT)";
    let expected =
        ["eth0 auto: holds 192.0.2.100".to_owned(), format!("eth1 auto: {nat}"), format!("eth2 auto: {nat}")];
    assert_eq!(h.attached(), expected);
}

#[test]
fn an_address_on_lo_or_a_dummy_is_reached_by_the_other_devices() {
    for kind in ["", "dummy"] {
        let mut h = Host::new();
        match kind {
            "" => h.topology.addresses.push((1, ip("192.0.2.100"), 32)),
            _ => drop(h.device("anycast0", "dummy", &["192.0.2.100/32"])),
        }
        let eth0 = h.device("eth0", "", &["10.0.0.1/30"]);
        let eth1 = h.device("eth1", "", &["fe80::1/64"]);
        h.default_route(eth0, "10.0.0.2");
        // BGP unnumbered: IPv4 by an IPv6 gateway (RFC 8950).
        h.default_route(eth1, "fe80::2");
        assert_eq!(h.attached(), ["eth0 auto: default route by 10.0.0.2", "eth1 auto: default route by fe80::2"]);
        let reason = "anycast0: a dummy device receives no packets from outside";
        assert_eq!(h.left_alone(), if kind.is_empty() { vec![] } else { vec![reason] });
    }
}

#[test]
fn further_nics_router_legs_and_container_bridges_get_tc() {
    let mut h = Host::new();
    let eth0 = h.device("eth0", "", &["192.0.2.1/24", "192.0.2.100/32"]);
    h.device("eth1", "", &["203.0.113.9/24"]);
    let eth2 = h.device("eth2", "", &["10.9.0.1/31"]);
    let docker0 = h.device("docker0", "bridge", &["172.17.0.1/16"]);
    h.port("veth1", "veth", docker0);
    h.default_route(eth0, "192.0.2.254");
    h.topology.gateways.push(GatewayRoute { ifindex: eth2, gateway: Some(ip("10.9.0.0")), default: false });
    let expected = [
        "eth0 auto: holds 192.0.2.100",
        "eth1 tc: clients in 203.0.113.0/24",
        "eth2 tc: route by gateway 10.9.0.0",
        "docker0 tc: clients in 172.17.0.0/16",
    ];
    assert_eq!(h.attached(), expected);
    assert_eq!(h.left_alone(), [] as [&str; 0], "a port is nobody's choice");
}

#[test]
fn ports_have_the_attachments_of_their_masters_and_members_of_a_vrf_their_own() {
    let mut h = Host::new();
    let bond = h.device("bond0", "bond", &["192.0.2.1/24"]);
    for name in ["eth0", "eth1"] {
        let port = h.port(name, "", bond);
        h.topology.addresses.push((port, ip("192.0.2.100"), 32));
    }
    let vrf = h.device("red", "vrf", &["192.0.2.100/32"]);
    let eth2 = h.port("eth2", "", vrf);
    h.topology.addresses.push((eth2, ip("203.0.113.1"), 24));
    assert_eq!(h.attached(), ["bond0 tc: holds 192.0.2.100", "eth2 tc: clients in 203.0.113.0/24"]);
}

#[test]
fn vlans_and_virtual_mac_interfaces_are_attached_and_not_their_lower_devices() {
    let mut h = Host::new();
    let eth0 = h.device("eth0", "", &[]);
    let vlan = h.device("eth0.7", "vlan", &["192.0.2.1/24"]);
    h.topology.devices[vlan as usize - 1].lower = Some(eth0);
    let vmac = h.device("vrrp.51", "macvlan", &[]);
    h.topology.devices[vmac as usize - 1].lower = Some(eth0);
    h.traffic.vrrp_addresses.insert(("vrrp.51".into(), ip("192.0.2.100")));
    assert_eq!(h.attached(), ["eth0.7 tc: clients in 192.0.2.0/24", "vrrp.51 tc: gets 192.0.2.100 by VRRP"]);
    assert_eq!(h.left_alone(), ["eth0: it has no address of a network, and no gateway is behind it"]);
}

#[test]
fn containers_that_are_routed_one_by_one_get_no_attachment_except_a_nat_server() {
    let mut h = Host::new();
    let eth0 = h.device("eth0", "", &["192.0.2.1/24", "192.0.2.100/32"]);
    h.default_route(eth0, "192.0.2.254");
    let pods: Vec<u32> = (0..3000).map(|n| h.device(&format!("cali{n}"), "veth", &["fe80::ecee:eeff/64"])).collect();
    h.server("10.1.2.3", pods[17], true);
    assert_eq!(h.attached(), ["eth0 tc: holds 192.0.2.100", "cali17 tc: leads to real server 10.1.2.3 (NAT)"]);
    assert_eq!(h.left_alone().len(), 2999);
    h.traffic.overrides.insert("cali*", AttachOverride::Attach(AttachChoice::Tc));
    assert_eq!(h.attached().len(), 3001);
}

#[test]
fn micro_vms_with_a_network_each_do_not_all_get_an_attachment() {
    let mut h = Host::new();
    let eth0 = h.device("eth0", "", &["192.0.2.1/24", "192.0.2.100/32"]);
    for n in 0..1000 {
        h.device(&format!("tap{n}"), "tun-ethernet", &[&format!("10.{}.{}.1/30", n / 256, n % 256)]);
    }
    let eth1 = h.device("eth1", "", &["fe80::1/64"]);
    h.default_route(eth1, "fe80::2");
    let attached = h.decide().attached;
    assert_eq!(attached.len(), MAX_CLIENT_DEVICES + 1);
    assert!(attached.contains_key(&eth0) && attached.contains_key(&eth1), "gateways come first");
    assert!(h.left_alone().iter().all(|l| l.ends_with("256 devices for clients are attached already")));
}

#[test]
fn tunnels_without_an_ethernet_header_are_left_alone() {
    let mut h = Host::new();
    h.device("eth0", "", &["192.0.2.100/24"]);
    let wg = h.device("wg0", "wireguard", &["10.8.0.1/24"]);
    h.device("flannel.1", "vxlan", &["10.42.0.0/32"]);
    h.topology.gateways.push(GatewayRoute { ifindex: 4, gateway: Some(ip("10.42.1.0")), default: false });
    assert_eq!(h.attached(), ["eth0 auto: holds 192.0.2.100", "flannel.1 tc: route by gateway 10.42.1.0"]);
    assert_eq!(h.left_alone(), ["wg0: its packets have no Ethernet header"]);
    h.server("10.8.0.2", wg, true);
    let needed = "; needed: leads to real server 10.8.0.2 (NAT)";
    assert_eq!(h.left_alone(), [format!("wg0: its packets have no Ethernet header{needed}")]);
}

#[test]
fn an_override_is_obeyed_and_what_it_leaves_out_is_known() {
    let mut h = Host::new();
    let eth0 = h.device("eth0", "", &["192.0.2.1/24", "192.0.2.100/32"]);
    let eth1 = h.device("eth1", "", &["198.51.100.1/24"]);
    h.device("eth2", "", &[]);
    h.device("eth3", "", &["203.0.113.1/24"]);
    h.default_route(eth0, "192.0.2.254");
    h.server("198.51.100.11", eth1, true);
    for name in ["eth0", "eth1", "eth3"] {
        h.traffic.overrides.insert(name, AttachOverride::Off);
    }
    h.traffic.overrides.insert("eth2", AttachOverride::Attach(AttachChoice::GenericXdp));
    h.traffic.overrides.insert("eth*", AttachOverride::Attach(AttachChoice::NativeXdp));
    assert_eq!(h.attached(), ["eth2 generic: dataplane_interface"], "a name goes before a pattern");
    let expected = [
        "eth0: dataplane_interface off; needed: holds 192.0.2.100",
        "eth1: dataplane_interface off; needed: leads to real server 198.51.100.11 (NAT)",
        "eth3: dataplane_interface off",
    ];
    assert_eq!(h.left_alone(), expected);
}

#[test]
fn a_pattern_means_devices_that_packets_come_in_by() {
    let mut h = Host::new();
    let br0 = h.device("br0", "bridge", &["192.0.2.100/24"]);
    h.port("tap0", "tun", br0);
    h.device("wg0", "wireguard", &["10.8.0.1/24"]);
    h.device("eth1", "", &["203.0.113.1/24"]);
    h.traffic.overrides.insert("*", AttachOverride::Attach(AttachChoice::Tc));
    assert_eq!(h.attached(), ["br0 tc: dataplane_interface", "eth1 tc: dataplane_interface"]);
    // Only what is named.
    h.traffic.overrides.insert("*", AttachOverride::Off);
    h.traffic.overrides.insert("br0", AttachOverride::Attach(AttachChoice::Auto));
    assert_eq!(h.attached(), ["br0 tc: dataplane_interface"]);
    assert_eq!(h.left_alone()[1], "eth1: dataplane_interface off");
}

#[test]
fn what_a_firewall_closes_is_not_opened_unless_it_is_needed() {
    let mut h = Host::new();
    let eth0 = h.device("eth0", "", &["192.0.2.1/24", "192.0.2.100/32"]);
    let eth1 = h.device("eth1", "", &["198.51.100.1/24"]);
    h.device("eth2", "", &["203.0.113.1/24"]);
    h.default_route(eth0, "192.0.2.254");
    h.server("198.51.100.11", eth1, true);
    h.closed = vec!["eth0", "eth1", "eth2"];
    assert_eq!(h.attached().len(), 2, "{:?}", h.attached());
    assert_eq!(h.left_alone(), ["eth2: an attachment would open it to clients, against rule 7"]);
    h.traffic.overrides.insert("eth2", AttachOverride::Attach(AttachChoice::Auto));
    assert_eq!(h.attached()[2], "eth2 auto: dataplane_interface");
}

#[test]
fn every_device_gets_tc_if_an_xdp_program_cannot_send_to_a_server() {
    let mut h = Host::new();
    let eth0 = h.device("eth0", "", &["192.0.2.100/24"]);
    let docker0 = h.device("docker0", "bridge", &["172.17.0.1/16"]);
    h.server("192.0.2.11", eth0, false);
    assert_eq!(h.attached()[0], "eth0 auto: holds 192.0.2.100");
    h.server("172.17.0.2", docker0, true);
    let expected = ["eth0 tc: holds 192.0.2.100", "docker0 tc: leads to real server 172.17.0.2 (NAT)"];
    assert_eq!(h.attached(), expected);
    assert!(h.decide().is_xdp_ruled_out && h.decide().unreachable_by_xdp.is_empty());
    // Unless the operator knows better, and then it is known which server that loses.
    h.traffic.overrides.insert("eth0", AttachOverride::Attach(AttachChoice::NativeXdp));
    assert_eq!(h.attached()[0], "eth0 xdp: dataplane_interface");
    assert_eq!(h.decide().unreachable_by_xdp, [(ip("172.17.0.2"), docker0)]);
    // By another NIC it can, which then needs a program of its own.
    let mut h = Host::new();
    h.device("eth0", "", &["192.0.2.100/24"]);
    let eth1 = h.device("eth1", "", &["198.51.100.1/24"]);
    h.server("198.51.100.11", eth1, false);
    assert_eq!(h.attached(), ["eth0 auto: holds 192.0.2.100", "eth1 auto: clients in 198.51.100.0/24"]);
}

#[test]
fn a_mark_s_addresses_need_not_be_local() {
    let mut h = Host::new();
    h.traffic.addresses.clear();
    h.traffic.ranges.push((ip("203.0.113.0"), ip("203.0.113.255")));
    let eth0 = h.device("eth0", "", &["10.0.0.1/24"]);
    h.default_route(eth0, "10.0.0.254");
    assert_eq!(h.attached(), ["eth0 auto: default route by 10.0.0.254"]);
}
