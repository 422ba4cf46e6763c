//! A packet path under test: the loaded program with its own maps, which the kernel's test-run facility runs on frames.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use evenkeel_core::plan::Step;
use evenkeel_sys::bpf::{DestPath, NextHop, XdpPlane};
use evenkeel_testkit::frames::{self, TcpFlags, parse_frame, parse_icmp};
use evenkeel_testkit::ipvs_recording::parse_ipvsadm_command;
use evenkeel_testkit::lan::eventually;

/// The verdict on a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Forwarded to this server.
    Forwarded(IpAddr),
    /// Passed to the kernel.
    Passed,
    /// Rejected with a TCP RST.
    Reset,
    /// Rejected with an ICMP error of this type and code.
    IcmpError(u8, u8),
    /// Dropped without an ICMP error or RST.
    Dropped,
}

pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;
pub const XDP_TX: u32 = 3;
pub const XDP_REDIRECT: u32 = 4;

/// A packet path under test. Its maps are unpinned when it is dropped.
pub struct TestPlane {
    pub plane: XdpPlane,
    servers_by_mac: BTreeMap<[u8; 6], IpAddr>,
}

impl Drop for TestPlane {
    fn drop(&mut self) {
        self.plane.packet_path.unpin();
    }
}

/// Can BPF programs be loaded? Without root, prints that the test is skipped.
pub fn can_load() -> bool {
    let root = evenkeel_sys::user::is_root();
    if !root {
        eprintln!("skipped: it needs root");
    }
    root
}

/// The programs that most tests do not load: each takes some seconds on an emulated machine.
pub const NO_TC: &[&str] = &["evenkeel_tc"];

/// A packet path with a connection table of `entries` entries, and the XDP program. `None` without root.
pub fn test_plane(entries: u32) -> Option<TestPlane> {
    test_plane_without(entries, NO_TC)
}

/// The same with the tc program too.
pub fn test_plane_with_tc(entries: u32) -> Option<TestPlane> {
    test_plane_without(entries, &[])
}

fn test_plane_without(entries: u32, without: &[&str]) -> Option<TestPlane> {
    if !can_load() {
        return None;
    }
    static N: AtomicU32 = AtomicU32::new(0);
    let name = format!("test-{}-{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed));
    let dir = PathBuf::from("/sys/fs/bpf/evenkeel").join(name);
    let plane = XdpPlane::load_without_programs(&dir, entries, without).unwrap_or_else(|e| panic!("load: {e}"));
    plane.packet_path.record_test_devices();
    Some(TestPlane { plane, servers_by_mac: BTreeMap::new() })
}

/// A MAC address that identifies a server.
pub fn server_mac(server: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = match server {
        IpAddr::V4(a) => a.octets(),
        IpAddr::V6(a) => a.octets()[12..].try_into().expect("four"),
    };
    [2, if server.is_ipv6() { 6 } else { 4 }, a, b, c, d]
}

impl TestPlane {
    /// Applies steps, and gives every destination a next hop with the MAC address that identifies it.
    pub fn apply(&mut self, steps: &[Step]) {
        let errors = self.plane.apply_steps(steps);
        assert!(errors.is_empty(), "{errors:?}");
        for (id, addr) in self.plane.dest_addresses() {
            let dmac = server_mac(addr);
            self.servers_by_mac.insert(dmac, addr);
            let hop = NextHop { ifindex: 1, dmac, smac: [2; 6] };
            let source = if addr.is_ipv6() { "2001:db8::d" } else { "10.2.0.10" };
            self.plane.set_dest_path(id, DestPath::Via { hop, mtu: 1500, source: source.parse().ok() });
        }
    }

    /// As [`TestPlane::apply`], with commands of `ipvsadm`.
    pub fn ipvsadm(&mut self, commands: &[&str]) {
        let steps: Vec<_> = commands.iter().map(|c| parse_ipvsadm_command(c).expect("a step")).collect();
        self.apply(&steps);
    }

    /// Removes all services and waits until all connections are freed, for the next recording. Loading the program
    /// again takes longer, on an emulated machine much longer.
    pub fn remove_all(&mut self) {
        let steps: Vec<Step> = self.plane.maps().observe_services().into_keys().map(Step::RemoveService).collect();
        self.apply(&steps);
        // The expiry timer checks the whole table in each turn, with short intervals.
        let maps = self.plane.maps();
        let mut settings = maps.settings.read(0);
        (settings.expire_lines, settings.expire_interval_ns, settings.grace) = (settings.conn_mask + 1, 10_000_000, 0);
        maps.settings.write(0, settings);
        eventually("an empty table", Duration::from_secs(120), || {
            self.plane.maps().set_expiry_of_all(-100_000);
            self.plane.maps().raw_entries().is_empty().then_some(())
        });
    }

    /// Runs the XDP program on a frame. Returns its action, and the frame afterwards.
    pub fn run(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        self.plane.packet_path.test_run("evenkeel_xdp", frame).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The same by the tc program; its action is translated to that of XDP.
    pub fn run_tc(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        const TC_ACT_SHOT: u32 = 2;
        const TC_ACT_REDIRECT: u32 = 7;
        const TC_ACT_UNSPEC: u32 = u32::MAX;
        let (code, out) = self.plane.packet_path.test_run("evenkeel_tc", frame).unwrap_or_else(|e| panic!("{e}"));
        let code = match code {
            TC_ACT_REDIRECT => XDP_TX,
            TC_ACT_UNSPEC => XDP_PASS,
            TC_ACT_SHOT => XDP_DROP,
            other => panic!("verdict {other}"),
        };
        (code, out)
    }

    /// The verdict of the XDP program on a frame to a service with direct routing.
    pub fn forward(&self, frame: &[u8]) -> Verdict {
        let (code, out) = self.run(frame);
        match code {
            XDP_TX if parse_icmp(&out).is_some() => {
                let error = parse_icmp(&out).expect("it is one");
                let sender = parse_frame(frame);
                assert_eq!((error.from, error.to), (sender.to.0, sender.from.0), "from the virtual address");
                assert_eq!((error.dmac, &error.quote[..]), (sender.smac, &frame[14..14 + error.quote.len()]));
                Verdict::IcmpError(error.kind.0, error.kind.1)
            }
            XDP_TX => {
                let (before, after) = (parse_frame(frame), parse_frame(&out));
                if (after.from, after.to) == (before.to, before.from) {
                    assert_eq!(after.dmac, before.smac);
                    assert!(out[14 + if after.to.0.is_ipv6() { 40 } else { 20 } + 13] & 4 != 0, "a RST");
                    return Verdict::Reset;
                }
                assert_eq!((after.from, after.to), (before.from, before.to), "direct routing changes no address");
                assert_eq!(after.ttl, before.ttl - 1, "TTL");
                assert_eq!(after.smac, [2; 6]);
                Verdict::Forwarded(
                    *self.servers_by_mac.get(&after.dmac).unwrap_or_else(|| panic!("unknown MAC {:?}", after.dmac)),
                )
            }
            XDP_PASS => {
                assert_eq!(out, frame, "a packet that is passed is unchanged");
                Verdict::Passed
            }
            XDP_DROP => Verdict::Dropped,
            other => panic!("verdict {other}"),
        }
    }

    pub fn send_tcp(&self, from: frames::Endpoint, to: frames::Endpoint, flags: &str) -> Verdict {
        self.forward(&frames::tcp(from, to, TcpFlags::parse(flags), 64, b"x"))
    }

    pub fn send_udp(&self, from: frames::Endpoint, to: frames::Endpoint) -> Verdict {
        self.forward(&frames::udp(from, to, 64, b"x"))
    }

    /// The counter of a reason.
    pub fn packet_count(&self, name: &str) -> u64 {
        let all = self.plane.maps().packet_counters();
        all.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no reason {name}")).1
    }
}
