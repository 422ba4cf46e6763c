//! The will store: memory shared by the worker process and its supervisor, with the last will of each master.
//!
//! If the worker dies, the supervisor sends the resignation packets and removes the addresses, so that backups take
//! over at once. Each slot has two halves and a word that names the valid half. A worker that dies while it writes a
//! slot leaves the older half valid.

mod encoding;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_core::model::Transport;
use evenkeel_core::time::Instant;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use crate::{Context, Result};

/// The number of slots: virtual routers that can have a last will.
pub const MAX_WILLS: usize = 4096;
const HALF_BYTES: usize = 8 * 1024;
/// Three words: the valid half plus one (0: the slot is empty), and the lengths of both halves.
const SLOT_HEADER_BYTES: usize = 24;
const SLOT_BYTES: usize = SLOT_HEADER_BYTES + 2 * HALF_BYTES;
/// Three words: ready, wake deadline, stop timeout.
const HEADER_BYTES: usize = 24;
const STORE_BYTES: usize = HEADER_BYTES + MAX_WILLS * SLOT_BYTES;

/// A packet that resigns mastership: an advert with priority 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResignationPacket {
    /// The index of the interface.
    pub ifindex: u32,
    /// The transport.
    pub transport: Transport,
    /// The source address.
    pub from: IpAddr,
    /// The destination address: a multicast group or a unicast peer.
    pub to: IpAddr,
    /// The hop limit over IPv6.
    pub hop_limit: u8,
    /// The packet, as for [`crate::wire::VrrpSocket::send`].
    pub packet: Vec<u8>,
}

/// What the supervisor does for one master if the worker dies.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LastWill {
    /// The key of the virtual router in the mastership record.
    pub key: u64,
    /// The packets to send.
    pub resignations: Vec<ResignationPacket>,
    /// The addresses to remove: interface index, address, prefix length.
    pub addresses: Vec<(u32, IpAddr, u8)>,
}

/// The shared memory. Pages that are never written take no memory.
pub struct WillStore {
    base: NonNull<u8>,
}

// SAFETY: The worker writes, and the supervisor reads after the worker's death. All shared words are atomics.
unsafe impl Send for WillStore {}
// SAFETY: As for Send. Within the worker each slot is written by one thread.
unsafe impl Sync for WillStore {}

impl WillStore {
    /// Maps memory that a child process made by fork() shares.
    pub fn new() -> Result<Self> {
        let size = NonZeroUsize::new(STORE_BYTES).ok_or(std::io::ErrorKind::InvalidInput).map_err(std::io::Error::from);
        let operation = || "map shared memory for last wills".into();
        // SAFETY: A new anonymous mapping aliases no memory.
        let map = unsafe {
            mmap_anonymous(
                None,
                size.context(operation)?,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE,
            )
        };
        Ok(WillStore { base: map.context(operation)?.cast() })
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset + 8 <= STORE_BYTES && offset.is_multiple_of(8));
        // SAFETY: The word is inside the mapping. It is aligned, because the mapping is, and the offset is a multiple
        // of 8.
        unsafe { self.base.add(offset).cast::<AtomicU64>().as_ref() }
    }

    fn half_ptr(&self, slot: usize, half: usize) -> NonNull<u8> {
        debug_assert!(slot < MAX_WILLS && half < 2);
        // SAFETY: The half is inside the mapping.
        unsafe { self.base.add(HEADER_BYTES + slot * SLOT_BYTES + SLOT_HEADER_BYTES + half * HALF_BYTES) }
    }

    /// Marks the worker's start as successful. A later death is no failure of the start.
    pub fn set_ready(&self) {
        self.word(0).store(1, Ordering::Release);
    }

    /// True if the worker has started successfully.
    pub fn is_ready(&self) -> bool {
        self.word(0).load(Ordering::Acquire) == 1
    }

    /// Sets the time until which the VRRP thread sleeps at most; `None` if it has no deadline.
    pub fn set_wake_deadline(&self, when: Option<Instant>) {
        self.word(8).store(when.map_or(u64::MAX, |w| w.as_nanos()), Ordering::Release);
    }

    /// The time until which the VRRP thread sleeps at most; `None` if it has no deadline.
    pub fn wake_deadline(&self) -> Option<Instant> {
        let nanos = self.word(8).load(Ordering::Acquire);
        (nanos != u64::MAX).then(|| Instant::from_nanos(nanos))
    }

    /// Sets how long the supervisor waits for the worker to stop; `None` for without limit.
    pub fn set_stop_timeout(&self, timeout: Option<Duration>) {
        self.word(16).store(timeout.map_or(u64::MAX, |t| t.as_nanos() as u64), Ordering::Release);
    }

    /// How long the supervisor waits for the worker to stop; `None` for without limit, which is the initial value.
    pub fn stop_timeout(&self) -> Option<Duration> {
        let nanos = self.word(16).load(Ordering::Acquire);
        (nanos != u64::MAX && nanos != 0).then(|| Duration::from_nanos(nanos))
    }

    /// Replaces the will in a slot, or clears the slot. Returns false if the slot does not exist. Addresses that do not
    /// fit into the slot are dropped.
    pub fn store_will(&self, slot: usize, will: Option<&LastWill>) -> bool {
        if slot >= MAX_WILLS {
            return will.is_none();
        }
        let header = HEADER_BYTES + slot * SLOT_BYTES;
        let Some(will) = will else {
            self.word(header).store(0, Ordering::Release);
            return true;
        };
        let bytes = encoding::encode(will, HALF_BYTES);
        let half = usize::from(self.word(header).load(Ordering::Acquire) == 1);
        // SAFETY: The half has HALF_BYTES bytes, and `bytes` is not longer. The half is not valid, so nobody reads it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.half_ptr(slot, half).as_ptr(), bytes.len()) };
        self.word(header + 8 + 8 * half).store(bytes.len() as u64, Ordering::Release);
        self.word(header).store(1 + half as u64, Ordering::Release);
        true
    }

    /// Takes all wills out of the store, and resets the worker's state. For the supervisor, after the worker's death.
    pub fn take_wills(&self) -> Vec<LastWill> {
        let mut out = Vec::new();
        for slot in 0..MAX_WILLS {
            let header = HEADER_BYTES + slot * SLOT_BYTES;
            let valid = self.word(header).swap(0, Ordering::AcqRel);
            let Some(half @ 0..=1) = (valid as usize).checked_sub(1) else { continue };
            let len = (self.word(header + 8 + 8 * half).load(Ordering::Acquire) as usize).min(HALF_BYTES);
            // SAFETY: The half is inside the mapping, and its writer is dead.
            let bytes = unsafe { std::slice::from_raw_parts(self.half_ptr(slot, half).as_ptr(), len) };
            out.extend(encoding::decode(bytes));
        }
        self.word(0).store(0, Ordering::Release);
        self.set_wake_deadline(None);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn will(key: u64, addresses: u32) -> LastWill {
        let resignation = |transport, to: &str| ResignationPacket {
            ifindex: 3,
            transport,
            from: "192.0.2.1".parse().expect("an address"),
            to: to.parse().expect("an address"),
            hop_limit: 255,
            packet: vec![key as u8; 40],
        };
        let address = |n: u32| {
            (n, if n.is_multiple_of(2) { IpAddr::from(n.to_be_bytes()) } else { IpAddr::from([n as u16; 8]) }, 24)
        };
        LastWill {
            key,
            resignations: vec![resignation(Transport::Ipv4, "224.0.0.18"), resignation(Transport::Ipv6, "ff02::12")],
            addresses: (0..addresses).map(address).collect(),
        }
    }

    #[test]
    fn the_newest_will_of_each_slot_is_taken() {
        let store = WillStore::new().expect("memory");
        for (slot, key, addresses) in [(0, 1, 2), (0, 2, 3), (0, 3, 4), (7, 9, 1), (8, 8, 1)] {
            assert!(store.store_will(slot, Some(&will(key, addresses))));
        }
        assert!(store.store_will(8, None));
        assert!(!store.store_will(MAX_WILLS, Some(&will(1, 1))));
        assert_eq!(store.take_wills(), [will(3, 4), will(9, 1)]);
        assert_eq!(store.take_wills(), [], "each will is taken once");
    }

    #[test]
    fn hundreds_of_addresses_fit_and_more_are_dropped() {
        let store = WillStore::new().expect("memory");
        store.store_will(1, Some(&will(5, 300)));
        assert_eq!(store.take_wills(), [will(5, 300)]);
        store.store_will(1, Some(&will(5, 5000)));
        let wills = store.take_wills();
        assert_eq!(wills[0].resignations, will(5, 0).resignations);
        assert!((300..5000).contains(&wills[0].addresses.len()));
    }

    #[test]
    fn a_parent_reads_the_wills_of_its_dead_child() {
        let store = WillStore::new().expect("memory");
        // SAFETY: The child only writes memory and exits.
        match unsafe { nix::unistd::fork() }.expect("a child") {
            nix::unistd::ForkResult::Child => {
                store.store_will(0, Some(&will(4, 4)));
                store.set_ready();
                // SAFETY: _exit runs no code of the parent.
                unsafe { libc::_exit(0) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                nix::sys::wait::waitpid(child, None).expect("ended");
                assert!(store.is_ready());
                assert_eq!(store.take_wills(), [will(4, 4)]);
            }
        }
    }
}
