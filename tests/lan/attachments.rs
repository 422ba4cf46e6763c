//! Where the packet path attaches by itself: packets for a virtual address, and replies of real servers, by any device.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use evenkeel_core::ipc::{AttachmentStatus, DataPlaneStatus, Severity};
use evenkeel_testkit::lan::{Lan, eventually};
use evenkeel_tests::{Net, TEST_TIMEOUT, program};

/// A director with two NICs for clients and one for the real server, whose gateway it is:
///
/// ```text
///   c1 192.0.2.9 ───── eth0 192.0.2.1 ┐
///      2001:db8::9          db8::1    d ── eth1 198.51.100.1 ───── s 198.51.100.11
///   c2 203.0.113.9 ─ eth2 203.0.113.1 ┘         db8:1::1             2001:db8:1::11
/// ```
fn build(dir: &Path) -> anyhow::Result<Lan> {
    let mut lan = Lan::new(dir)?;
    for host in ["d", "c1", "c2", "s"] {
        lan.add_host(host)?;
    }
    for (host, device) in [("c1", "eth0"), ("s", "eth1"), ("c2", "eth2")] {
        lan.add_link((host, "eth0"), ("d", device))?;
    }
    for (host, device, addr) in [
        ("d", "eth0", "192.0.2.1/24"),
        ("d", "eth1", "198.51.100.1/24"),
        ("d", "eth2", "203.0.113.1/24"),
        ("c1", "eth0", "192.0.2.9/24"),
        ("c2", "eth0", "203.0.113.9/24"),
        ("s", "eth0", "198.51.100.11/24"),
    ] {
        lan.ip(host, &format!("addr add {addr} dev {device}"))?;
    }
    for (host, gateway) in [("c1", "192.0.2.1"), ("c2", "203.0.113.1"), ("s", "198.51.100.1")] {
        lan.ip(host, &format!("route add default via {gateway}"))?;
    }
    for (host, device, addr) in [
        ("d", "eth0", "2001:db8::1/64"),
        ("d", "eth1", "2001:db8:1::1/64"),
        ("c1", "eth0", "2001:db8::9/64"),
        ("s", "eth0", "2001:db8:1::11/64"),
    ] {
        lan.sysctl(host, &format!("net/ipv6/conf/{device}/accept_dad"), "0")?;
        lan.sysctl(host, &format!("net/ipv6/conf/{device}/disable_ipv6"), "0")?;
        lan.ip(host, &format!("addr add {addr} dev {device} nodad"))?;
    }
    lan.ip("s", "-6 route add default via 2001:db8:1::1")?;
    lan.sysctl("d", "net/ipv4/ip_forward", "1")?;
    lan.sysctl("d", "net/ipv6/conf/all/forwarding", "1")?;
    Ok(lan)
}

struct Setup {
    net: Net,
}

impl Setup {
    /// The network with a running server.
    fn new(name: &str) -> Option<Setup> {
        let net = Net::with(name, build)?;
        let server = net.lan.run_in("s", || TcpListener::bind((Ipv6Addr::UNSPECIFIED, 80)));
        let server = server.expect("entered").expect("bound");
        std::thread::spawn(move || {
            for stream in server.incoming() {
                let Ok(mut stream) = stream else { return };
                let peer = stream.peer_addr().map(|a| a.ip().to_canonical().to_string()).unwrap_or_default();
                let _ = stream.write_all(peer.as_bytes());
                let _ = stream.shutdown(Shutdown::Write);
            }
        });
        Some(Setup { net })
    }

    fn ip(&self, host: &str, args: &str) {
        self.net.lan.ip(host, args).unwrap_or_else(|e| panic!("{args}: {e:#}"));
    }

    /// The server's answer: the client's address as the server sees it.
    fn request(&self, client: &str, to: &str) -> std::io::Result<String> {
        let to: SocketAddr = to.parse().expect("an address");
        let request = || {
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map(|_| text)
        };
        self.net.lan.run_in(client, request).expect("entered")
    }

    fn expect_answer(&self, client: &str, to: &str, seen_as: &str) {
        let answer = eventually(&format!("{client} gets an answer of {to}"), TEST_TIMEOUT, || {
            self.request(client, to).ok().filter(|text| !text.is_empty())
        });
        assert_eq!(answer, seen_as, "{client} asked {to}");
    }

    fn dataplane(&self) -> DataPlaneStatus {
        self.net.status("d").expect("answers").dataplane
    }

    fn attachment(&self, device: &str) -> Option<AttachmentStatus> {
        self.dataplane().attachments.into_iter().find(|a| a.device == device)
    }

    fn wait_attachment(&self, device: &str, reason: &str) {
        eventually(&format!("{device}: {reason}"), TEST_TIMEOUT, || {
            self.attachment(device).filter(|a| a.reason == reason)
        });
    }
}

/// `global_defs` with a small table, and a service with the real server behind NAT.
fn config(global: &str, vip: &str, more: &str) -> String {
    let server = if vip.contains(':') { "2001:db8:1::11" } else { "198.51.100.11" };
    format!(
        "global_defs {{\n connection_table_size 16384\n {global}\n}}\n\
         virtual_server {vip} 80 {{\n lb_algo rr\n lb_kind NAT\n protocol TCP\n {more}\n real_server {server} 80 {{\n }}\n}}\n"
    )
}

const VIP: &str = "192.0.2.100";
const SERVICE: &str = "192.0.2.100:80";

#[test]
fn replies_of_nat_servers_behind_another_device_are_translated() {
    let Some(s) = Setup::new("two-armed") else { return };
    s.ip("d", "addr add 192.0.2.100/32 dev eth0");
    s.ip("d", "addr add 2001:db8::100/128 dev eth0 nodad");
    let v6 = config("", "2001:db8::100", "");
    s.net.start_daemon("d", &(config("", VIP, "") + &v6[v6.find("virtual_server").expect("there")..]));
    s.expect_answer("c1", SERVICE, "192.0.2.9");
    s.expect_answer("c1", "[2001:db8::100]:80", "2001:db8::9");
    assert_eq!(s.attachment("eth0").expect("attached").reason, "holds 192.0.2.100");
    assert_eq!(s.attachment("eth1").expect("attached").reason, "leads to real server 198.51.100.11 (NAT)");
    let text = s.net.evenkeel("d", &["status"]);
    let text = String::from_utf8_lossy(&text.stdout);
    assert!(text.contains("eth1: leads to real server 198.51.100.11 (NAT)"), "{text}");
}

#[test]
fn an_address_on_lo_is_served_on_the_devices_that_lead_to_clients() {
    let Some(s) = Setup::new("vip-on-lo") else { return };
    // No network of any host: routers lead to it, as with anycast.
    let up =
        "quorum_up \"/bin/ip addr add 10.99.0.1/32 dev lo\"\n quorum_down \"/bin/ip addr del 10.99.0.1/32 dev lo\"";
    s.net.start_daemon("d", &config("script_user root", "10.99.0.1", up));
    s.expect_answer("c1", "10.99.0.1:80", "192.0.2.9");
    s.expect_answer("c2", "10.99.0.1:80", "203.0.113.9");
    assert!(s.net.lan.ip("d", "addr show dev lo").expect("shown").contains("10.99.0.1"));
    assert_eq!(s.attachment("eth0").expect("attached").reason, "clients in 192.0.2.0/24");
    assert_eq!(s.attachment("lo"), None);
}

/// BGP unnumbered: the links have IPv6 link-local addresses only, and IPv4 routes have these as gateways (RFC 8950).
#[test]
fn an_address_is_served_on_links_without_addresses_of_its_family() {
    let Some(s) = Setup::new("unnumbered") else { return };
    s.ip("d", "addr add 10.99.0.1/32 dev lo");
    for (host, device, addr) in [("d", "eth2", "fe80::d"), ("c2", "eth0", "fe80::c")] {
        s.ip(host, &format!("addr flush dev {device}"));
        s.net.lan.sysctl(host, &format!("net/ipv6/conf/{device}/accept_dad"), "0").expect("set");
        s.net.lan.sysctl(host, &format!("net/ipv6/conf/{device}/disable_ipv6"), "0").expect("set");
        s.ip(host, &format!("addr add {addr}/64 dev {device} nodad"));
    }
    s.ip("c2", "addr add 203.0.113.9/32 dev lo");
    s.ip("c2", "-4 route add default src 203.0.113.9 via inet6 fe80::d dev eth0");
    s.ip("d", "-4 route add 203.0.113.0/24 via inet6 fe80::c dev eth2");
    s.net.start_daemon("d", &config("", "10.99.0.1", ""));
    s.expect_answer("c2", "10.99.0.1:80", "203.0.113.9");
    assert_eq!(s.attachment("eth2").expect("attached").reason, "route by gateway fe80::c");
}

#[test]
fn packets_for_an_address_of_another_device_are_served() {
    let Some(mut s) = Setup::new("other-device") else { return };
    s.ip("d", "addr add 192.0.2.100/32 dev eth0");
    // A bridge of containers, and a router with clients behind it.
    s.net.lan.add_host("box").expect("added");
    s.ip("d", "link add docker0 type bridge forward_delay 0");
    s.ip("d", "addr add 172.17.0.1/16 dev docker0");
    s.ip("d", "link set docker0 up");
    s.net.lan.add_link(("box", "eth0"), ("d", "veth7")).expect("added");
    s.ip("d", "link set veth7 master docker0");
    s.ip("box", "addr add 172.17.0.2/16 dev eth0");
    s.ip("box", "route add default via 172.17.0.1");
    s.ip("c2", "addr add 10.50.0.9/24 dev lo");
    s.ip("d", "addr del 203.0.113.1/24 dev eth2");
    s.ip("d", "addr add 203.0.113.1/32 dev eth2");
    s.ip("d", "route add 203.0.113.9 dev eth2");
    s.ip("d", "route add 10.50.0.0/24 via 203.0.113.9");
    s.net.start_daemon("d", &config("", VIP, ""));
    s.expect_answer("c2", SERVICE, "203.0.113.9");
    s.expect_answer("box", SERVICE, "172.17.0.2");
    assert_eq!(s.attachment("eth2").expect("attached").reason, "route by gateway 203.0.113.9");
    assert_eq!(s.attachment("docker0").expect("attached").reason, "clients in 172.17.0.0/16");
    assert_eq!(s.attachment("veth7"), None, "a port's frames come in by its bridge");
}

#[test]
fn devices_and_addresses_that_come_later_are_followed() {
    let Some(mut s) = Setup::new("later-device") else { return };
    s.ip("d", "addr add 192.0.2.100/32 dev eth0");
    s.ip("d", "addr flush dev eth2");
    s.net.start_daemon("d", &config("", VIP, ""));
    s.expect_answer("c1", SERVICE, "192.0.2.9");
    let left = s.dataplane().devices_left_alone;
    assert!(left.iter().any(|l| l.device == "eth2" && l.reason.starts_with("it has no address")), "{left:?}");
    // As by DHCP.
    s.ip("d", "addr add 203.0.113.1/24 dev eth2");
    s.wait_attachment("eth2", "clients in 203.0.113.0/24");
    s.expect_answer("c2", SERVICE, "203.0.113.9");
    // A new device, which only a route makes interesting.
    s.net.lan.add_host("c3").expect("added");
    s.net.lan.add_link(("c3", "eth0"), ("d", "eth3")).expect("added");
    s.ip("c3", "addr add 10.60.0.9/32 dev eth0");
    s.ip("c3", "route add default dev eth0");
    s.ip("d", "route add 10.60.0.9 dev eth3");
    s.ip("d", "route add 10.61.0.0/24 via 10.60.0.9");
    s.wait_attachment("eth3", "route by gateway 10.60.0.9");
    s.ip("c3", "route add 192.0.2.0/24 via 192.0.2.1 dev eth0 onlink");
    s.expect_answer("c3", SERVICE, "10.60.0.9");
    // A frame for a new MAC address of the device.
    s.ip("d", "link set eth2 address 02:00:00:00:07:07");
    s.ip("c2", "neigh flush all");
    s.expect_answer("c2", SERVICE, "203.0.113.9");
}

#[test]
fn off_leaves_a_device_alone_and_a_finding_says_what_that_breaks() {
    let Some(s) = Setup::new("off") else { return };
    s.ip("d", "addr add 192.0.2.100/32 dev eth0");
    s.net.start_daemon("d", &config("dataplane_interface eth2 off", VIP, ""));
    s.expect_answer("c1", SERVICE, "192.0.2.9");
    let refused = s.request("c2", SERVICE).expect_err("the director's own stack answers");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let status = s.net.status("d").expect("answers");
    assert!(status.dataplane.devices_left_alone.iter().any(|l| l.device == "eth2"), "{:?}", status.dataplane);
    assert!(status.findings.iter().all(|f| f.id != "device-left-alone"), "nobody needs it: {:?}", status.findings);
    s.net.write_config("d", &config("dataplane_interface eth1 off", VIP, ""));
    s.net.reload("d");
    assert_eq!(s.attachment("eth1"), None);
    s.wait_attachment("eth2", "clients in 203.0.113.0/24");
    let findings = s.net.status("d").expect("answers").findings;
    let finding = findings.iter().find(|f| f.id == "device-left-alone").expect("a finding");
    assert_eq!((finding.severity, finding.subject.as_str()), (Severity::Critical, "eth1"));
    let status = s.net.evenkeel("d", &["status"]);
    assert_eq!(status.status.code(), Some(2));
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(text.contains("eth1 is left alone: dataplane_interface off"), "{text}");
    assert!(s.request("c1", SERVICE).is_err(), "replies are not translated");
}

#[test]
fn ipvsadm_without_a_daemon_attaches_to_the_same_devices() {
    let Some(s) = Setup::new("ipvsadm-attach") else { return };
    s.ip("d", "addr add 192.0.2.100/32 dev eth0");
    let run = |args: &str| {
        let instance = s.net.lan.instance("d");
        let args = ["--instance", &instance, "ipvsadm"].into_iter().chain(args.split(' '));
        let mut command = s.net.lan.command("d", &program("evenkeel"));
        let out = command.args(args).env("EVENKEEL_DATAPLANE", "xdp").output().expect("runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    run("-A -t 192.0.2.100:80 -s rr");
    run("-a -t 192.0.2.100:80 -r 198.51.100.11:80 -m");
    s.expect_answer("c1", SERVICE, "192.0.2.9");
    s.expect_answer("c2", SERVICE, "203.0.113.9");
}

/// XDP and tc on the two sides. XDP cannot send by a device with tc: the kernel sends what it has translated.
#[test]
fn replies_pass_between_devices_with_different_attachments() {
    let Some(s) = Setup::new("mixed") else { return };
    // The sender completes checksums, as a NIC would.
    let mut ethtool = s.net.lan.command("s", Path::new("ethtool"));
    assert!(ethtool.args(["-K", "eth0", "tx", "off"]).output().expect("runs").status.success());
    s.ip("d", "addr add 192.0.2.100/32 dev eth0");
    s.ip("d", "addr add 2001:db8::100/128 dev eth0 nodad");
    let services = |global: &str| {
        let v6 = config("", "2001:db8::100", "");
        config(global, VIP, "") + &v6[v6.find("virtual_server").expect("there")..]
    };
    s.net.start_daemon("d", &services(""));
    for (eth0, eth1) in [("tc", "generic"), ("tc", "xdp"), ("generic", "tc"), ("generic", "generic")] {
        let global = format!("dataplane_interface eth0 {eth0}\n dataplane_interface eth1 {eth1}");
        s.net.write_config("d", &services(&global));
        s.net.reload("d");
        let mode = s.attachment("eth1").expect("attached").mode;
        assert!(mode.contains(if eth1 == "tc" { "tc" } else { "XDP" }), "{mode}");
        for _ in 0..5 {
            s.expect_answer("c1", SERVICE, "192.0.2.9");
            s.expect_answer("c1", "[2001:db8::100]:80", "2001:db8::9");
            s.expect_answer("c2", SERVICE, "203.0.113.9");
        }
    }
    let strict = || s.net.status("d").expect("answers").findings.into_iter().find(|f| f.id == "strict-rp-filter");
    assert_eq!(strict(), None);
    s.net.lan.sysctl("d", "net/ipv4/conf/eth1/rp_filter", "1").expect("set");
    assert_eq!(strict().expect("a finding").subject, "eth1");
}

/// Runs `nft` on the director.
fn nft(s: &Setup, ruleset: &str) {
    let file = s.net.lan.dir.join("rules.nft");
    std::fs::write(&file, ruleset).expect("writable");
    let done = s.net.lan.command("d", Path::new("nft")).arg("-f").arg(&file).output().expect("nft runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A device that rules close, or strict reverse path filtering, is not opened by an attachment: the rule is named, and
/// only `dataplane_interface` overrides it, with a warning.
#[test]
fn a_device_that_the_firewall_closes_stays_closed() {
    let Some(s) = Setup::new("closed") else { return };
    s.ip("d", "addr add 192.0.2.100/24 dev eth0");
    nft(&s, "table inet f {\nchain i {\ntype filter hook input priority 0;\niifname \"eth2\" drop\n}\n}\n");
    s.net.start_daemon("d", &config("", "192.0.2.100", ""));
    s.expect_answer("c1", "192.0.2.100:80", "192.0.2.9");
    let left_alone = |device: &str| {
        let left = s.dataplane().devices_left_alone.into_iter().find(|l| l.device == device);
        left.map(|l| l.reason)
    };
    let reason = eventually("eth2 is left alone", TEST_TIMEOUT, || left_alone("eth2"));
    assert!(reason.contains("of chain i of table inet f, which drops TCP 192.0.2.100:80"), "{reason}");
    assert!(s.request("c2", "192.0.2.100:80").is_err(), "it stays closed");
    let configured = config("dataplane_interface eth2 auto", "192.0.2.100", "");
    s.net.write_config("d", &configured);
    s.net.reload("d");
    s.wait_attachment("eth2", "dataplane_interface");
    s.expect_answer("c2", "192.0.2.100:80", "203.0.113.9");
    eventually("the rule that is bypassed is named", TEST_TIMEOUT, || {
        let findings = s.net.status("d")?.findings;
        let f = findings.into_iter().find(|f| f.id == "bypassed-rule")?;
        (f.severity == Severity::Warning && f.subject == "packet path on eth2" && f.reason.contains("table inet f"))
            .then_some(())
    });
    // Without the rule the device is opened, and closed again when the rule comes back.
    nft(&s, "delete table inet f\n");
    s.net.write_config("d", &config("", "192.0.2.100", ""));
    s.net.reload("d");
    s.wait_attachment("eth2", "clients in 203.0.113.0/24");
    nft(&s, "table inet f {\nchain i {\ntype filter hook prerouting priority -300;\niifname \"eth2\" drop\n}\n}\n");
    eventually("eth2 is left alone again", TEST_TIMEOUT, || left_alone("eth2"));
    assert!(s.attachment("eth2").is_none() && s.request("c2", "192.0.2.100:80").is_err());
    nft(&s, "delete table inet f\n");
    s.wait_attachment("eth2", "clients in 203.0.113.0/24");
    s.net.lan.sysctl("d", "net/ipv4/conf/eth2/rp_filter", "1").expect("set");
    s.net.reload("d");
    let reason = eventually("eth2 is left alone", TEST_TIMEOUT, || left_alone("eth2"));
    assert!(reason.ends_with("net.ipv4.conf.eth2.rp_filter=1"), "{reason}");
}
