//! Routes and rules as keepalived puts them in: the same lines in `ip route` and `ip rule`.

use evenkeel_testkit::lan::{Pid, eventually};
use evenkeel_testkit::office::VIP;
use evenkeel_tests::{Net, SOON, vrrp};
use nix::sys::signal::Signal;

use crate::keepalived;

fn config() -> String {
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
        }\nvirtual_rules {\n\
        from 192.168.1.100 table 100 priority 1001\n\
        to 10.20.0.0/16 fwmark 0x10/0xff table 100 priority 1002\n\
        iif eth0 ipproto tcp dport 80-81 prohibit priority 1003\n\
        from 10.31.0.0/16 table main suppress_prefixlength 0 priority 1004\n\
        not from 10.32.0.0/16 unreachable priority 1005\n\
        from fd98::/64 table 100 priority 1006\n\
        }";
    let statics = "static_ipaddress {\n10.5.0.1/24 dev eth0\n}\n\
        static_routes {\n10.6.0.0/16 via 10.5.0.2 dev eth0\n}\n\
        static_rules {\nfrom 10.6.0.0/16 table 100 priority 1000\n}\n";
    format!("{statics}{}", vrrp(150, more))
}

/// What `ip` shows of keepalived's protocol, and the static address.
fn seen(net: &Net) -> Vec<String> {
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

/// As master, and after the stop.
fn life(net: &Net, start: impl Fn(&str) -> Option<Pid>) -> Option<[Vec<String>; 2]> {
    let pid = start(&config())?;
    eventually("master", SOON, || net.holds("d1", VIP).then_some(()));
    // Both put everything in within the turn that makes them master, rules last.
    let master = eventually("all of it", SOON, || Some(seen(net)).filter(|s| s.len() >= 21));
    net.lan.signal(pid, Signal::SIGTERM).expect("stops");
    let after = eventually("all of it is gone", SOON, || Some(seen(net)).filter(Vec::is_empty));
    Some([master, after])
}

#[test]
fn routes_and_rules_are_keepaliveds() {
    let Some(net) = Net::directors("interop-routes") else { return };
    net.lan.sysctl("d1", "net/ipv6/conf/eth0/disable_ipv6", "0").expect("IPv6");
    net.lan.ip("d1", "addr add fd99::2/64 dev eth0 nodad").expect("an address");
    let Some(theirs) = life(&net, |c| keepalived(&net, "d1", c)) else { return };
    let ours = life(&net, |c| Some(net.start("d1", c))).expect("it starts");
    assert_eq!(ours, theirs);
}
