//! The loaded program with maps of its own, driven packet by packet through the kernel's test-run facility.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use evenkeel_core::plan::Step;
use evenkeel_sys::bpf::{NextHop, XdpPlane};
use evenkeel_testkit::frames::{self, Flags, look};

/// What a packet met with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Sent to this server.
    Sent(Ipv4Addr),
    /// Left to the kernel.
    Kernel,
    /// Dropped.
    Dropped,
}

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// A program under test; its pins go when it goes.
pub struct TestPlane {
    pub plane: XdpPlane,
    macs: BTreeMap<[u8; 6], Ipv4Addr>,
}

impl Drop for TestPlane {
    fn drop(&mut self) {
        self.plane.loaded.unpin();
    }
}

/// A plane with a table of so many entries; `None`, with a word, for those who are not root.
pub fn test_plane(entries: u32) -> Option<TestPlane> {
    if !evenkeel_sys::user::is_root() {
        eprintln!("skipped: it needs root");
        return None;
    }
    static N: AtomicU32 = AtomicU32::new(0);
    let name = format!("test-{}-{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed));
    let dir = PathBuf::from("/sys/fs/bpf/evenkeel").join(name);
    let plane = XdpPlane::load(&dir, entries).unwrap_or_else(|e| panic!("load: {e}"));
    plane.loaded.note_test_device();
    Some(TestPlane { plane, macs: BTreeMap::new() })
}

impl TestPlane {
    /// Applies steps and gives every destination a next hop with an address that tells it apart.
    pub fn apply(&mut self, steps: &[Step]) {
        let errors = self.plane.apply(steps);
        assert!(errors.is_empty(), "{errors:?}");
        for (id, addr) in self.plane.dest_addresses() {
            let [a, b, c, d] = addr.octets();
            let dmac = [2, 1, a, b, c, d];
            self.macs.insert(dmac, addr);
            self.plane.set_hop(id, Some(NextHop { ifindex: 1, dmac, smac: [2, 2, 2, 2, 2, 2] }));
        }
    }

    /// Runs the program on a frame.
    pub fn frame(&self, frame: &[u8]) -> Fate {
        let (code, out) = self.plane.loaded.run("evenkeel_xdp", frame).unwrap_or_else(|e| panic!("{e}"));
        match code {
            XDP_TX => {
                let (before, after) = (look(frame), look(&out));
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
