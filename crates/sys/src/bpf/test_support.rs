//! Functions for tests: the device of test runs, and the passing of time.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use super::abi::*;
use super::conn_table::is_whole_key;
use super::maps::Maps;
use super::packet_path::PacketPath;
use crate::netlink::Netlink;

impl PacketPath {
    /// Records the loopback device, which the frames of test runs come in by, with a MAC address of zeros; and the other
    /// devices, which XDP can send by.
    pub fn record_test_devices(&self) {
        let links = Netlink::new().and_then(|mut n| n.links()).unwrap_or_default();
        for link in &links {
            if let Err(e) = self.maps.record_device(link) {
                tracing::warn!("{e}");
            }
        }
        self.maps.sync_devices(&links, |_| true);
    }
}

impl Maps {
    /// Makes all entries of the connection table, and all removals of destinations, older by some seconds.
    pub fn shift_time(&self, seconds: u32) {
        let jiffies = seconds * self.hz();
        self.for_each_expiry(|word| {
            word.fetch_sub(jiffies, Ordering::Relaxed);
        });
        for i in 0..self.dests.len() {
            if self.dests.read(i).flags == DEST_LIVE {
                self.dests.atomic_u32(i, offset_of!(dest, removed)).fetch_sub(jiffies, Ordering::Relaxed);
            }
        }
    }

    /// Makes all entries of the connection table expire in `seconds` from now.
    pub fn set_expiry_of_all(&self, seconds: i32) {
        let at = self.jiffies().wrapping_add_signed(seconds * self.hz() as i32);
        self.for_each_expiry(|word| word.store(at, Ordering::Relaxed));
    }

    /// Calls `change` with the expiry time of each entry.
    fn for_each_expiry(&self, change: impl Fn(&std::sync::atomic::AtomicU32)) {
        for i in 0..self.conns.len() {
            for e in (0..2).filter(|e| is_whole_key(self.conns.read(i).entry[*e].key1)) {
                let base = offset_of!(conn_line, entry) + e * size_of::<conn>();
                change(self.conns.atomic_u32(i, base + offset_of!(conn, expires)));
            }
        }
        self.invalidate_flow_cache();
    }
}
