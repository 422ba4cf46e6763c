//! The loaded program with maps of its own, driven packet by packet through the kernel's test-run facility.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use evenkeel_core::plan::Step;
use evenkeel_sys::bpf::{NextHop, Path, XdpPlane};
use evenkeel_testkit::frames::{self, Flags, look, look_icmp};
use evenkeel_testkit::lan::eventually;
use evenkeel_testkit::sequences::ipvsadm_step;

/// What a packet met with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Sent to this server.
    Sent(IpAddr),
    /// Left to the kernel.
    Kernel,
    /// Answered with a TCP RST.
    Reset,
    /// Answered with an ICMP error of this type and code.
    Refused(u8, u8),
    /// Dropped.
    Dropped,
}

pub const XDP_DROP: u32 = 1;
pub const XDP_PASS: u32 = 2;
pub const XDP_TX: u32 = 3;
pub const XDP_REDIRECT: u32 = 4;

/// A program under test; its pins go when it goes.
pub struct TestPlane {
    pub plane: XdpPlane,
    macs: BTreeMap<[u8; 6], IpAddr>,
}

impl Drop for TestPlane {
    fn drop(&mut self) {
        self.plane.loaded.unpin();
    }
}

/// Can planes be had? Says, to those who are not root, that the test is skipped.
pub fn can_load() -> bool {
    let root = evenkeel_sys::user::is_root();
    if !root {
        eprintln!("skipped: it needs root");
    }
    root
}

/// What most tests do without: it takes as long to load as the other one, on an emulated machine some seconds.
pub const NO_TC: &[&str] = &["evenkeel_tc"];

/// A plane with a table of so many entries and the program for XDP; `None`, with a word, for those who are not root.
pub fn test_plane(entries: u32) -> Option<TestPlane> {
    test_plane_without(entries, NO_TC)
}

/// The same with the program for tc as well.
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
    let plane = XdpPlane::load_without(&dir, entries, without).unwrap_or_else(|e| panic!("load: {e}"));
    plane.loaded.note_test_device();
    Some(TestPlane { plane, macs: BTreeMap::new() })
}

/// A hardware address that tells a server apart.
pub fn mac_of(server: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = match server {
        IpAddr::V4(a) => a.octets(),
        IpAddr::V6(a) => a.octets()[12..].try_into().expect("four"),
    };
    [2, if server.is_ipv6() { 6 } else { 4 }, a, b, c, d]
}

impl TestPlane {
    /// Applies steps and gives every destination a next hop with an address that tells it apart.
    pub fn apply(&mut self, steps: &[Step]) {
        let errors = self.plane.apply(steps);
        assert!(errors.is_empty(), "{errors:?}");
        for (id, addr) in self.plane.dest_addresses() {
            let dmac = mac_of(addr);
            self.macs.insert(dmac, addr);
            let hop = NextHop { ifindex: 1, dmac, smac: [2; 6] };
            let source = if addr.is_ipv6() { "2001:db8::d" } else { "10.2.0.10" };
            self.plane.set_path(id, Path::Via { hop, mtu: 1500, source: source.parse().ok() });
        }
    }

    /// As [`TestPlane::apply`], said as one would to `ipvsadm`.
    pub fn ipvsadm(&mut self, commands: &[&str]) {
        let steps: Vec<_> = commands.iter().map(|c| ipvsadm_step(c).expect("a step")).collect();
        self.apply(&steps);
    }

    /// Takes every service out and waits until every connection is swept away, for the next recording: to load the program
    /// anew takes longer, on an emulated machine much longer.
    pub fn clear(&mut self) {
        let steps: Vec<Step> = self.plane.maps().observe().into_keys().map(Step::RemoveService).collect();
        self.apply(&steps);
        // One turn of the sweep for the whole table, and many of them.
        let maps = self.plane.maps();
        let mut settings = maps.settings.get(0);
        (settings.sweep_lines, settings.sweep_ns, settings.grace) = (settings.conn_mask + 1, 10_000_000, 0);
        maps.settings.set(0, settings);
        eventually("an empty table", Duration::from_secs(120), || {
            self.plane.maps().age_connections(-100_000);
            self.plane.maps().raw_entries().is_empty().then_some(())
        });
    }

    /// Runs the program on a frame: its verdict, and the frame after it.
    pub fn run(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        self.plane.loaded.run("evenkeel_xdp", frame).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The same by the program for tc; its verdict is said as XDP says it.
    pub fn run_in_tc(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        const TC_ACT_SHOT: u32 = 2;
        const TC_ACT_REDIRECT: u32 = 7;
        const TC_ACT_UNSPEC: u32 = u32::MAX;
        let (code, out) = self.plane.loaded.run("evenkeel_tc", frame).unwrap_or_else(|e| panic!("{e}"));
        let code = match code {
            TC_ACT_REDIRECT => XDP_TX,
            TC_ACT_UNSPEC => XDP_PASS,
            TC_ACT_SHOT => XDP_DROP,
            other => panic!("verdict {other}"),
        };
        (code, out)
    }

    /// Runs the program on a frame that direct routing sends on.
    pub fn frame(&self, frame: &[u8]) -> Fate {
        let (code, out) = self.run(frame);
        match code {
            XDP_TX if look_icmp(&out).is_some() => {
                let error = look_icmp(&out).expect("it is one");
                let sender = look(frame);
                assert_eq!((error.from, error.to), (sender.to.0, sender.from.0), "from the virtual address");
                assert_eq!((error.dmac, &error.quote[..]), (sender.smac, &frame[14..14 + error.quote.len()]));
                Fate::Refused(error.kind.0, error.kind.1)
            }
            XDP_TX => {
                let (before, after) = (look(frame), look(&out));
                if (after.from, after.to) == (before.to, before.from) {
                    assert_eq!(after.dmac, before.smac);
                    assert!(out[14 + if after.to.0.is_ipv6() { 40 } else { 20 } + 13] & 4 != 0, "a RST");
                    return Fate::Reset;
                }
                assert_eq!((after.from, after.to), (before.from, before.to), "direct routing changes no address");
                assert_eq!(after.ttl, before.ttl - 1, "TTL");
                assert_eq!(after.smac, [2; 6]);
                Fate::Sent(*self.macs.get(&after.dmac).unwrap_or_else(|| panic!("unknown MAC {:?}", after.dmac)))
            }
            XDP_PASS => {
                assert_eq!(out, frame, "what goes to the kernel is untouched");
                Fate::Kernel
            }
            XDP_DROP => Fate::Dropped,
            other => panic!("verdict {other}"),
        }
    }

    pub fn tcp(&self, from: frames::End, to: frames::End, flags: &str) -> Fate {
        self.frame(&frames::tcp(from, to, Flags::of(flags), 64, b"x"))
    }

    pub fn udp(&self, from: frames::End, to: frames::End) -> Fate {
        self.frame(&frames::udp(from, to, 64, b"x"))
    }

    /// How many packets met with a reason.
    pub fn reason(&self, name: &str) -> u64 {
        let all = self.plane.maps().reasons();
        all.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no reason {name}")).1
    }
}
