//! Virtual and static routes, rules and addresses: the same lines in `ip route`, `ip rule` and `ip addr` as with
//! keepalived.

use evenkeel_core::vrrp::State;
use evenkeel_testkit::demo_network::VIP;
use evenkeel_testkit::lan::{Pid, eventually};
use evenkeel_tests::{Net, TEST_TIMEOUT, vrrp_instance};
use nix::sys::signal::Signal;

use crate::start_keepalived;

fn routes_config() -> String {
    let more = "version 3\nadvert_int 0.2\nvirtual_routes {\n\
        10.7.0.0/16 via 192.168.1.1 dev eth0\n\
        10.8.0.0/16 dev eth0 scope link src 192.168.1.100\n\
        src 192.168.1.100 to 10.9.0.0/24 via 192.168.1.1 dev eth0 metric 20 mtu 1400 advmss lock 1300\n\
        default via 192.168.1.1 dev eth0 table 100\n\
        blackhole 10.10.0.0/16 no_track\n\
        unreachable 10.11.0.0/16 table 100 no_track\n\
        10.12.0.0/16 nexthop via 192.168.1.1 dev eth0 weight 2 nexthop via 192.168.1.11 dev eth0 weight 1 no_track\n\
        10.13.0.0/24 via 192.168.77.1 dev eth0 onlink\n\
        10.14.0.1 via 192.168.1.1 dev eth0 tos 0x10 initcwnd 20\n\
        fd98::/64 via fd99::1 dev eth0 metric 30\n\
        10.15.0.0/16 dev eth0 rto_min 250ms features ecn quickack 1\n\
        10.16.0.0/16 dev eth0 congctl reno realms 5/6\n\
        fd97::/64 via fd99::1 dev eth0 expires 5000 pref high\n\
        10.17.0.0/16 encap ip id 5 dst 192.168.1.1 src 192.168.1.2 tos 4 ttl 9 dev eth0\n\
        10.18.0.0/16 encap ip dst 192.168.1.1 dev eth0 metric 7\n\
        10.19.0.0/16 encap ip6 id 6 dst fd99::1 src fd99::2 tc 4 hoplimit 7 dev eth0\n\
        fd96::/64 encap ip6 dst fd99::1 via fd99::1 dev eth0\n\
        }\nvirtual_rules {\n\
        from 192.168.1.100 table 100 priority 1001\n\
        to 10.20.0.0/16 fwmark 0x10/0xff table 100 priority 1002\n\
        iif eth0 ipproto tcp dport 80-81 prohibit priority 1003\n\
        from 10.31.0.0/16 table main suppress_prefixlength 0 priority 1004\n\
        not from 10.32.0.0/16 unreachable priority 1005\n\
        from fd98::/64 table 100 priority 1006\n\
        from 10.33.0.0/16 table main suppress_ifgroup 7 priority 1007\n\
        from 10.34.0.0/16 table main realms 3/4 priority 1008\n\
        }";
    let statics = "static_ipaddress {\n10.5.0.1/24 dev eth0\n}\n\
        static_routes {\n10.6.0.0/16 via 10.5.0.2 dev eth0\n}\n\
        static_rules {\nfrom 10.6.0.0/16 table 100 priority 1000\n}\n";
    format!("{statics}{}", vrrp_instance(150, more))
}

/// The routes and rules of keepalived's protocol as `ip` shows them, and the static address.
fn read_routes_and_rules(net: &Net) -> Vec<String> {
    let mut all = Vec::new();
    for command in ["-4 route show table all", "-6 route show table all", "-4 rule show", "-6 rule show"] {
        let text = net.lan.ip("d1", command).expect("shown");
        all.extend(
            text.lines().filter(|l| l.contains("keepalived") || l.contains("nexthop")).map(|l| l.trim().to_owned()),
        );
    }
    let addresses = net.lan.ip("d1", "-4 addr show dev eth0").expect("shown");
    all.extend(addresses.lines().filter(|l| l.contains("10.5.0.1")).map(|l| l.trim().to_owned()));
    all
}

/// The lines as master, and after the stop.
fn run_life_cycle(net: &Net, start: impl Fn(&str) -> Option<Pid>) -> Option<[Vec<String>; 2]> {
    let pid = start(&routes_config())?;
    eventually("master", TEST_TIMEOUT, || net.has_address("d1", VIP).then_some(()));
    // Both daemons add everything when they become master, rules last.
    let master = eventually("all of it", TEST_TIMEOUT, || Some(read_routes_and_rules(net)).filter(|s| s.len() >= 30));
    net.lan.signal(pid, Signal::SIGTERM).expect("stops");
    let after =
        eventually("all of it is gone", TEST_TIMEOUT, || Some(read_routes_and_rules(net)).filter(Vec::is_empty));
    Some([master, after])
}

#[test]
fn routes_and_rules_are_keepaliveds() {
    let Some(net) = Net::directors("interop-routes") else { return };
    net.add_ipv6_to_directors();
    let Some(keepalived) = run_life_cycle(&net, |c| start_keepalived(&net, "d1", c)) else { return };
    let evenkeel = run_life_cycle(&net, |c| Some(net.start_daemon("d1", c))).expect("it starts");
    for (evenkeel, keepalived) in evenkeel.iter().zip(&keepalived) {
        let (only_evenkeel, only_keepalived): (Vec<_>, Vec<_>) = (
            evenkeel.iter().filter(|l| !keepalived.contains(l)).collect(),
            keepalived.iter().filter(|l| !evenkeel.contains(l)).collect(),
        );
        assert_eq!(only_evenkeel, only_keepalived);
        assert_eq!(evenkeel, keepalived, "in another order");
    }
}

/// The virtual addresses as `ip addr` shows them, each with its lifetimes.
fn read_addresses(net: &Net) -> Vec<String> {
    let text = ["-4", "-6"].map(|f| net.lan.ip("d1", &format!("{f} addr show dev eth0")).expect("shown")).concat();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let own = |l: &str| l.contains("192.168.1.2/24") || l.contains("fd99::2/64") || l.contains("inet6 fe80:");
    let pairs = lines.windows(2).filter(|w| w[0].starts_with("inet") && !own(w[0]));
    pairs.map(|w| format!("{} {}", w[0], w[1])).collect()
}

#[test]
fn addresses_are_keepaliveds() {
    let Some(net) = Net::directors("interop-addresses") else { return };
    net.add_ipv6_to_directors();
    let more = "version 3\nadvert_int 0.2\nvirtual_ipaddress_excluded {\n192.168.1.101/24 noprefixroute\n\
        192.168.3.1/32 peer 192.168.3.2\n192.168.4.1/24 brd + scope link\n192.168.1.102/24 preferred_lft 1000\n\
        fd99::70/64 preferred_lft 0\nfd99::71/128 preferred_lft forever\nfd99::72/128\nfd99::73/64 noprefixroute\n}\n";
    let config = vrrp_instance(150, more);
    let life = |pid: Pid, is_evenkeel: bool| {
        let all = eventually("all of them", TEST_TIMEOUT, || Some(read_addresses(&net)).filter(|a| a.len() == 9));
        net.lan.signal(pid, Signal::SIGTERM).expect("stops");
        // keepalived 2.2.7 leaves the one with a peer.
        if !is_evenkeel {
            eventually("they are gone", TEST_TIMEOUT, || (read_addresses(&net).len() <= 1).then_some(()));
            let _ = net.lan.ip("d1", "addr del 192.168.3.1 peer 192.168.3.2/32 dev eth0");
        }
        eventually("they are gone", TEST_TIMEOUT, || read_addresses(&net).is_empty().then_some(()));
        // A second may pass between two readings.
        all.into_iter().map(|l| l.replace("999sec", "1000sec")).collect::<Vec<_>>()
    };
    let Some(k) = start_keepalived(&net, "d1", &config) else { return };
    let keepalived = life(k, false);
    assert_eq!(life(net.start_daemon("d1", &config), true), keepalived);
}

/// A deleted address is added again unless it has `no_track`. With `track_group` a missing static address is a fault of
/// the group's instances.
#[test]
fn addresses_are_restored_unless_they_are_not_tracked() {
    let Some(net) = Net::directors("no-track") else { return };
    let statics = "static_ipaddress {\n10.5.0.1/24 dev eth0 track_group G\n}\ntrack_group G {\n group {\n  V\n }\n}\n";
    let more =
        "version 3\nadvert_int 0.2\nvirtual_ipaddress_excluded {\n192.168.1.101/24\n192.168.1.102/24 no_track\n}\n";
    net.start_daemon("d1", &format!("{statics}{}", vrrp_instance(150, more)));
    let there = |vip: &str| net.lan.ip("d1", "addr show dev eth0").is_ok_and(|t| t.contains(&format!("inet {vip}/")));
    eventually("master", TEST_TIMEOUT, || (there("192.168.1.101") && there("192.168.1.102")).then_some(()));
    for vip in ["192.168.1.102", "192.168.1.101"] {
        net.lan.ip("d1", &format!("addr del {vip}/24 dev eth0")).expect("gone");
    }
    eventually("it is restored", TEST_TIMEOUT, || there("192.168.1.101").then_some(()));
    assert!(!there("192.168.1.102"));
    let i = net.instance("d1", "V").expect("answers");
    assert_eq!(i.state, State::Master, "the static address is there: {}", i.reason);
}

/// A deleted route or rule is added again unless it has `no_track`. With `track_group` a missing static route is a
/// fault of the group's instances.
#[test]
fn routes_and_rules_are_restored_unless_they_are_not_tracked() {
    let Some(net) = Net::directors("no-track-routes") else { return };
    let statics = "static_routes {\n10.6.0.0/16 via 192.168.55.1 dev eth0 track_group G\n}\n\
        static_rules {\nfrom 10.6.0.0/16 table 100 priority 1000 track_group G\n}\n\
        track_group G {\n group {\n  V\n }\n}\n";
    let more = "version 3\nadvert_int 0.2\n\
        virtual_routes {\n10.7.0.0/16 via 192.168.1.1 dev eth0\n10.8.0.0/16 dev eth0 no_track\n\
        default via 192.168.1.1 dev eth0 table 100\n}\n\
        virtual_rules {\nfrom 192.168.1.100 table 100 priority 1001\n\
        from 10.7.0.0/16 table 100 priority 1002 no_track\n}";
    net.lan.ip("d1", "addr add 192.168.55.2/24 dev eth0").expect("a route to the gateway");
    net.start_daemon("d1", &format!("{statics}{}", vrrp_instance(150, more)));
    let there = |what: &str| {
        let shown =
            ["route show", "route show table 100", "rule show"].map(|c| net.lan.ip("d1", c).unwrap_or_default());
        shown.iter().any(|t| t.contains(what))
    };
    let state = || net.instance("d1", "V").map(|i| (i.state, i.reason));
    eventually("master", TEST_TIMEOUT, || (there("1001:") && there("1002:") && there("10.8.0.0/16")).then_some(()));
    let taken = [
        "route del 10.8.0.0/16 dev eth0",
        "rule del priority 1002",
        "route del 10.7.0.0/16",
        "route del default table 100",
        "rule del priority 1001",
        "rule del priority 1000",
        "route del 10.6.0.0/16",
    ];
    for command in taken {
        net.lan.ip("d1", command).expect("gone");
    }
    for put_back in ["10.7.0.0/16 via", "default via 192.168.1.1", "1001:", "1000:", "10.6.0.0/16 via"] {
        eventually(&format!("{put_back} is restored"), TEST_TIMEOUT, || there(put_back).then_some(()));
    }
    assert!(!there("10.8.0.0/16") && !there("1002:"), "these are not tracked");
    // A later change of an address does not restore them.
    net.lan.ip("d1", "addr add 192.168.1.55/24 dev eth0").expect("another address");
    eventually("it was seen", TEST_TIMEOUT, || there("10.7.0.0/16").then_some(()));
    assert!(!there("10.8.0.0/16") && !there("1002:"), "these are not tracked");
    assert_eq!(state().expect("answers").0, State::Master);
    // Without a route to its gateway a static route cannot be restored.
    net.lan.ip("d1", "addr del 192.168.55.2/24 dev eth0").expect("no way");
    net.lan.ip("d1", "route del 10.6.0.0/16").expect("gone");
    let why = eventually("it is in FAULT", TEST_TIMEOUT, || state().filter(|(s, _)| *s == State::Fault)).1;
    assert!(why.contains("route 10.6.0.0/16 via 192.168.55.1 dev eth0 is missing"), "{why}");
    net.lan.ip("d1", "addr add 192.168.55.2/24 dev eth0").expect("a way");
    eventually("master again", TEST_TIMEOUT, || state().filter(|(s, _)| *s == State::Master));
    assert!(there("10.6.0.0/16 via"));
}

/// What the host has stays behind what the daemon adds, and comes back when the daemon goes: a default route, the route
/// of the interface's network, a rule. Rules without a preference get keepalived's, so that none is added twice.
#[test]
fn what_the_host_has_is_never_replaced_or_removed() {
    let Some(net) = Net::directors("interop-host-routes") else { return };
    let host =
        ["route add default via 192.168.1.1", "addr add 10.1.1.1/24 dev eth0", "rule add from 10.2.0.0/16 table 5"];
    for command in host {
        net.lan.ip("d1", command).expect("added");
    }
    let statics = "static_rules {\nfrom 10.30.0.0/16 table 1\nfrom 10.31.0.0/16 table 1 priority 77\n}\n";
    let more = "advert_int 0.2\nversion 3\nvirtual_routes {\ndefault via 192.168.1.1 dev eth0\n\
        192.168.1.0/24 dev eth0 src 192.168.1.100\n10.9.0.0/16 via 192.168.1.1 or 192.168.1.11\n}\n\
        virtual_rules {\nfrom 10.32.0.0/16 table 2\nfrom 10.33.0.0/16 table 2\n}";
    let config = format!("{statics}{}", vrrp_instance(150, more));
    let shown = || ["-4 route", "-4 rule", "-4 -br addr"].map(|c| net.lan.ip("d1", c).expect("shown"));
    let before = shown();
    let life = |pid: Pid| {
        let complete =
            |s: &[String; 3]| s[2].contains("192.168.1.100") && s[1].contains("10.33") && s[0].contains("10.9");
        let master = eventually("master", TEST_TIMEOUT, || Some(shown()).filter(complete));
        // The kernel forgets the routes of a device that goes down, the host's too.
        net.lan.ip("d1", "link set eth0 down").expect("down");
        eventually("no address", TEST_TIMEOUT, || (!shown()[2].contains("192.168.1.100")).then_some(()));
        net.lan.ip("d1", "link set eth0 up").expect("up");
        net.lan
            .ip("d1", "route add default via 192.168.1.1 metric 0")
            .or_else(|_| net.lan.ip("d1", "route"))
            .expect("a route");
        let again = eventually("master again", TEST_TIMEOUT, || Some(shown()).filter(|s| complete(s) && *s == master));
        net.lan.signal(pid, Signal::SIGTERM).expect("stops");
        eventually("all is as before", TEST_TIMEOUT, || (shown() == before).then_some(()));
        [master, again]
    };
    let Some(keepalived) = start_keepalived(&net, "d1", &config) else { return };
    let keepalived = life(keepalived);
    let daemon = net.start_daemon("d1", &config);
    let source = eventually("a source", TEST_TIMEOUT, || net.instance("d1", "V")?.source_address);
    assert_eq!(source.to_string(), "192.168.1.2", "the primary address, not the lowest one");
    assert_eq!(life(daemon), keepalived);
}
