//! VRRP with Debian's keepalived: every mode that it supports × which of the two is master × every way to lose the
//! master and to get it back.
//!
//! d1 (192.168.1.2, fd99::2) runs evenkeel and d2 (.3, ::3) runs keepalived. First keepalived has the higher priority,
//! then evenkeel has.

use std::time::{Duration, Instant};

use evenkeel_core::vrrp::State;
use evenkeel_testkit::lan::{Pid, eventually};
use evenkeel_tests::{Net, TEST_TIMEOUT};
use nix::sys::signal::Signal;

use crate::start_keepalived;

/// A mode of VRRP: the lines of an instance besides its name, interface, VRID, priority and addresses.
struct VrrpMode {
    name: &'static str,
    /// Lines of both directors.
    both: &'static str,
    /// Lines of d1 only, lines of d2 only.
    each: [&'static str; 2],
    ipv6: bool,
}

/// Three master-down intervals and more.
const V2_STABLE_TIME: Duration = Duration::from_secs(11);
const V3_STABLE_TIME: Duration = Duration::from_secs(6);

const PEERS_V4: [&str; 2] = [
    "unicast_src_ip 192.168.1.2\nunicast_peer {\n192.168.1.3 min_ttl 255\n}\n",
    "unicast_src_ip 192.168.1.3\nunicast_peer {\n192.168.1.2\n}\n",
];
const PEERS_V6: [&str; 2] =
    ["unicast_src_ip fd99::2\nunicast_peer {\nfd99::3\n}\n", "unicast_src_ip fd99::3\nunicast_peer {\nfd99::2\n}\n"];
const FAST_OTHER_GROUP: &str = "version 3\nadvert_int 0.5\nmcast_dst_ip 224.0.0.77\n";
const VMAC: &str = "version 3\nadvert_int 0.5\nuse_vmac\n";
const VMAC_BASE: &str = "version 3\nadvert_int 0.5\nuse_vmac\nvmac_xmit_base\n";
const FAST: &str = "version 3\nadvert_int 0.5\n";

struct Pair<'m> {
    net: Net,
    mode: &'m VrrpMode,
}

impl Pair<'_> {
    fn config(&self, director: usize, priority: u8) -> String {
        let vips = if self.mode.ipv6 { "fe80::100/64\nfd99::100/64" } else { "192.168.1.100/24" };
        let VrrpMode { both, each, .. } = self.mode;
        let own = each[director];
        format!(
            "vrrp_instance V {{\ninterface eth0\nvirtual_router_id 51\npriority {priority}\n{both}{own}\
             virtual_ipaddress {{\n{vips}\n}}\n}}\n"
        )
    }

    fn start_keepalived(&self, priority: u8) -> Option<Pid> {
        start_keepalived(&self.net, "d2", &self.config(1, priority))
    }

    fn start_evenkeel(&self, priority: u8) -> Pid {
        self.net.start_daemon("d1", &self.config(0, priority))
    }

    /// Kills keepalived and waits for the end of its child process, which follows by itself.
    fn kill_keepalived(&self, keepalived: Pid) {
        let file = self.net.lan.dir.join("d2-keepalived/r");
        let child = std::fs::read_to_string(file).expect("a pid file").trim().to_owned();
        self.net.lan.signal(keepalived, Signal::SIGKILL).expect("dies");
        let gone = || (!std::path::Path::new("/proc").join(&child).exists()).then_some(());
        eventually("keepalived's child is gone", TEST_TIMEOUT, gone);
    }

    fn has_address(&self, host: &str) -> bool {
        let (family, vip) = if self.mode.ipv6 { ("-6", "inet6 fd99::100/") } else { ("-4", "inet 192.168.1.100/") };
        self.net.lan.ip(host, &format!("{family} addr show")).is_ok_and(|t| t.contains(vip))
    }

    /// Waits until `holder` has the address and the other director does not.
    fn wait_for_single_holder(&self, holder: &str, what: &str) {
        let other = if holder == "d1" { "d2" } else { "d1" };
        let done = || (self.has_address(holder) && !self.has_address(other)).then_some(());
        let limit = Instant::now() + TEST_TIMEOUT;
        while done().is_none() {
            assert!(
                Instant::now() < limit,
                "{}: {what}: {holder} alone should hold the address\n{:?}\nwe:\n{}\nkeepalived:\n{}",
                self.mode.name,
                self.net.instance("d1", "V"),
                self.net.lan.log("d1"),
                self.net.lan.log("d2-keepalived")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        if holder == "d2" {
            // evenkeel follows, unless its link is down.
            let follows = || {
                let i = self.net.instance("d1", "V")?;
                matches!(i.state, State::Backup | State::Fault).then_some(())
            };
            eventually("evenkeel follows", TEST_TIMEOUT, follows);
        }
    }

    /// Checks that this does not change within a time in which either could take over.
    fn check_holder_is_stable(&self, holder: &str) {
        let other = if holder == "d1" { "d2" } else { "d1" };
        let until = Instant::now() + if self.mode.both.contains("version 3") { V3_STABLE_TIME } else { V2_STABLE_TIME };
        while Instant::now() < until {
            assert!(self.has_address(holder) && !self.has_address(other), "{}: {holder} loses it", self.mode.name);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn set_switch_port(&self, host: &str, what: &str) {
        self.net.lan.ip("sw", &format!("link set p-{host} {what}")).expect("the port changes");
    }

    /// A host that has lost its power has no virtual address when it comes back.
    fn remove_addresses(&self, host: &str) {
        let vips: &[&str] = if self.mode.ipv6 { &["fe80::100/64", "fd99::100/64"] } else { &["192.168.1.100/24"] };
        let _ = self.net.lan.ip(host, "link del vrrp.51");
        for vip in vips {
            let _ = self.net.lan.ip(host, &format!("addr del {vip} dev eth0"));
        }
    }

    /// Cuts the master off, first with a link that it sees going down, then with one that stays up; it comes back each
    /// time.
    fn check_link_failures(&self, master: &str, other: &str) {
        self.set_switch_port(master, "down");
        self.wait_for_single_holder(other, "after a link failure that the master sees");
        self.set_switch_port(master, "up");
        self.wait_for_single_holder(master, "after the link is back");
        self.set_switch_port(master, "nomaster");
        eventually("both are master while the link is cut", TEST_TIMEOUT, || {
            (self.has_address("d1") && self.has_address("d2")).then_some(())
        });
        self.set_switch_port(master, "master br0");
        self.wait_for_single_holder(master, "after a link failure that the master does not see");
    }
}

fn run_mode(mode: &VrrpMode) {
    let Some(net) = Net::directors(&format!("matrix-{}", mode.name)) else { return };
    if mode.ipv6 {
        net.add_ipv6_to_directors();
    }
    let pair = Pair { net, mode };

    // keepalived is master, and evenkeel follows.
    let Some(k) = pair.start_keepalived(150) else { return };
    eventually("keepalived holds the address", TEST_TIMEOUT, || pair.has_address("d2").then_some(()));
    let d1 = pair.start_evenkeel(100);
    let i = eventually("we follow keepalived", TEST_TIMEOUT, || {
        pair.net.instance("d1", "V").filter(|i| i.state == State::Backup && i.master_priority == Some(150))
    });
    assert_eq!((i.counters.became_master, i.counters.rejected.len()), (0, 0), "{}: {:?}", mode.name, i.counters);
    pair.check_holder_is_stable("d2");
    // It stops, and its priority 0 hands over to evenkeel. It returns.
    pair.net.lan.signal(k, Signal::SIGTERM).expect("stops");
    pair.wait_for_single_holder("d1", "keepalived stopped");
    let because = pair.net.instance("d1", "V").expect("answers").reason;
    assert!(because.ends_with("resigned with priority 0"), "{}: {because}", mode.name);
    let k = pair.start_keepalived(150).expect("it was there before");
    pair.wait_for_single_holder("d2", "keepalived returned");
    // Its host fails, and returns.
    pair.set_switch_port("d2", "down");
    pair.kill_keepalived(k);
    eventually("we take over", TEST_TIMEOUT, || pair.has_address("d1").then_some(()));
    let because = pair.net.instance("d1", "V").expect("answers").reason;
    assert!(because.starts_with("no advert for"), "{}: {because}", mode.name);
    pair.remove_addresses("d2");
    pair.set_switch_port("d2", "up");
    pair.start_keepalived(150).expect("it was there before");
    pair.wait_for_single_holder("d2", "keepalived's host returned");
    let because = pair.net.instance("d1", "V").expect("answers").reason;
    assert!(because.ends_with("advertises priority 150"), "{}: {because}", mode.name);
    pair.check_link_failures("d2", "d1");

    // Now evenkeel has the higher priority.
    pair.net.lan.signal(d1, Signal::SIGTERM).expect("stops");
    let d1 = pair.start_evenkeel(200);
    pair.wait_for_single_holder("d1", "we came with a higher priority");
    pair.check_holder_is_stable("d1");
    pair.net.lan.signal(d1, Signal::SIGTERM).expect("stops");
    eventually("keepalived takes over", TEST_TIMEOUT, || {
        (pair.has_address("d2") && !pair.has_address("d1")).then_some(())
    });
    let d1 = pair.start_evenkeel(200);
    pair.wait_for_single_holder("d1", "we returned");
    pair.set_switch_port("d1", "down");
    pair.net.lan.signal(d1, Signal::SIGKILL).expect("dies");
    eventually("keepalived takes over", TEST_TIMEOUT, || pair.has_address("d2").then_some(()));
    pair.remove_addresses("d1");
    pair.set_switch_port("d1", "up");
    pair.start_evenkeel(200);
    pair.wait_for_single_holder("d1", "our host returned");
    pair.check_link_failures("d1", "d2");
}

const PASS: &str = "authentication {\nauth_type PASS\nauth_pass secret12\n}\n";
const AH: &str = "authentication {\nauth_type AH\nauth_pass secret12\n}\n";
/// keepalived sends the old form of the checksum; evenkeel recognises it and uses it, too.
const OLD_CHECKSUM: [&str; 2] =
    [PEERS_V4[0], "old_unicast_checksum\nunicast_src_ip 192.168.1.3\nunicast_peer {\n192.168.1.2\n}\n"];

const MODES: &[VrrpMode] = &[
    VrrpMode { name: "v2", both: "", each: ["", ""], ipv6: false },
    VrrpMode { name: "v2-pass", both: PASS, each: ["", ""], ipv6: false },
    VrrpMode { name: "v2-ah", both: AH, each: ["", ""], ipv6: false },
    VrrpMode { name: "v2-unicast", both: "", each: PEERS_V4, ipv6: false },
    VrrpMode { name: "v3", both: FAST, each: ["", ""], ipv6: false },
    VrrpMode { name: "v3-group", both: FAST_OTHER_GROUP, each: ["", ""], ipv6: false },
    VrrpMode { name: "v3-unicast", both: FAST, each: PEERS_V4, ipv6: false },
    VrrpMode { name: "v3-old", both: FAST, each: OLD_CHECKSUM, ipv6: false },
    VrrpMode { name: "v3-ipv6", both: FAST, each: ["", ""], ipv6: true },
    VrrpMode { name: "v2-vmac", both: "use_vmac\n", each: ["", ""], ipv6: false },
    VrrpMode { name: "v3-vmac-base", both: VMAC_BASE, each: ["", ""], ipv6: false },
    VrrpMode { name: "v3-ipv6-vmac", both: VMAC, each: ["", ""], ipv6: true },
    VrrpMode { name: "v3-ipv6-unicast", both: FAST, each: PEERS_V6, ipv6: true },
];

/// All modes at once: they mostly wait.
#[test]
fn every_mode_survives_every_loss_and_return() {
    std::thread::scope(|s| {
        for mode in MODES {
            std::thread::Builder::new().name(mode.name.into()).spawn_scoped(s, || run_mode(mode)).expect("a thread");
        }
    });
}
