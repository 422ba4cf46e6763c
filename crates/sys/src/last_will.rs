//! What is to be said and done when the process that speaks VRRP is gone: memory that it shares with the parent that
//! watches it.
//!
//! Every virtual router that is master keeps here the packets that give its role up, and the addresses to take away. Each
//! place has two halves and a word that says which one counts, so that a process that dies while it writes leaves the
//! older half in force.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_core::model::Transport;
use evenkeel_core::time::Instant;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use crate::{Context, Result};

/// As many virtual routers can leave last words.
pub const MAX_WILLS: usize = 4096;
const HALF_BYTES: usize = 8 * 1024;
/// Three words: the current half, and the length of each.
const SLOT_HEADER_BYTES: usize = 24;
const SLOT_BYTES: usize = SLOT_HEADER_BYTES + 2 * HALF_BYTES;
/// Ready; awake by; patience.
const HEADER_BYTES: usize = 24;
const STORE_BYTES: usize = HEADER_BYTES + MAX_WILLS * SLOT_BYTES;

/// A packet that gives up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResignationPacket {
    /// The interface.
    pub ifindex: u32,
    /// How it travels.
    pub transport: Transport,
    /// From whom, to whom.
    pub from: IpAddr,
    /// A group or a peer.
    pub to: IpAddr,
    /// Hop limit over IPv6.
    pub hop_limit: u8,
    /// As [`crate::wire::VrrpSocket::send`] takes it.
    pub packet: Vec<u8>,
}

/// What one master leaves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LastWill {
    /// Which virtual router, as the memo knows it.
    pub key: u64,
    /// To be sent.
    pub resignations: Vec<ResignationPacket>,
    /// To be taken away: interface, address, prefix length.
    pub addresses: Vec<(u32, IpAddr, u8)>,
}

/// The shared memory. It lives as long as both processes; only what is used takes room.
pub struct WillStore {
    base: NonNull<u8>,
}

// SAFETY: one process writes, the other reads when the first is gone; the words are atomics.
unsafe impl Send for WillStore {}
// SAFETY: as above; within the writing process only one thread has the mutable half (`set` takes a place of its own).
unsafe impl Sync for WillStore {}

impl WillStore {
    /// Memory that a child made by fork() shares.
    pub fn new() -> Result<Self> {
        let size = NonZeroUsize::new(STORE_BYTES).ok_or(std::io::ErrorKind::InvalidInput).map_err(std::io::Error::from);
        let what = || "map memory for last words".into();
        // SAFETY: a fresh anonymous mapping.
        let map = unsafe {
            mmap_anonymous(
                None,
                size.context(what)?,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE,
            )
        };
        Ok(WillStore { base: map.context(what)?.cast() })
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset + 8 <= STORE_BYTES && offset.is_multiple_of(8));
        // SAFETY: inside the mapping, aligned: the mapping is, and every offset is a multiple of eight.
        unsafe { self.base.add(offset).cast::<AtomicU64>().as_ref() }
    }

    fn half_ptr(&self, place: usize, half: usize) -> NonNull<u8> {
        debug_assert!(place < MAX_WILLS && half < 2);
        // SAFETY: inside the mapping.
        unsafe { self.base.add(HEADER_BYTES + place * SLOT_BYTES + SLOT_HEADER_BYTES + half * HALF_BYTES) }
    }

    /// The child has started all right; what it dies of from now on is no mistake of the start.
    pub fn set_ready(&self) {
        self.word(0).store(1, Ordering::Release);
    }

    /// Has it?
    pub fn is_ready(&self) -> bool {
        self.word(0).load(Ordering::Acquire) == 1
    }

    /// The thread that speaks VRRP sleeps, and will be awake by then.
    pub fn set_wake_deadline(&self, when: Option<Instant>) {
        self.word(8).store(when.map_or(u64::MAX, |w| w.as_nanos()), Ordering::Release);
    }

    /// When it should have been awake; `None`: whenever it likes.
    pub fn wake_deadline(&self) -> Option<Instant> {
        let at = self.word(8).load(Ordering::Acquire);
        (at != u64::MAX).then(|| Instant::from_nanos(at))
    }

    /// How long the parent waits for the child to end when it was asked to; `None`: as long as it takes.
    pub fn set_stop_timeout(&self, patience: Option<Duration>) {
        self.word(16).store(patience.map_or(u64::MAX, |p| p.as_nanos() as u64), Ordering::Release);
    }

    /// See [`Testament::set_patience`]; nobody has said so far: as long as it takes.
    pub fn stop_timeout(&self) -> Option<Duration> {
        let nanos = self.word(16).load(Ordering::Acquire);
        (nanos != u64::MAX && nanos != 0).then(|| Duration::from_nanos(nanos))
    }

    /// Leaves these words in a place, instead of what is there. False if there is no such place; addresses that find no
    /// room are left out.
    pub fn store_will(&self, place: usize, words: Option<&LastWill>) -> bool {
        if place >= MAX_WILLS {
            return words.is_none();
        }
        let head = HEADER_BYTES + place * SLOT_BYTES;
        let Some(words) = words else {
            self.word(head).store(0, Ordering::Release);
            return true;
        };
        let bytes = encode(words);
        let half = usize::from(self.word(head).load(Ordering::Acquire) == 1);
        // SAFETY: the half is as long as HALF, which no encoding exceeds; nobody reads it before the word below is set.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.half_ptr(place, half).as_ptr(), bytes.len()) };
        self.word(head + 8 + 8 * half).store(bytes.len() as u64, Ordering::Release);
        self.word(head).store(1 + half as u64, Ordering::Release);
        true
    }

    /// Everything that was left, and empties every place. For the parent, when the child is gone.
    pub fn take_wills(&self) -> Vec<LastWill> {
        let mut out = Vec::new();
        for place in 0..MAX_WILLS {
            let head = HEADER_BYTES + place * SLOT_BYTES;
            let which = self.word(head).swap(0, Ordering::AcqRel);
            let Some(half @ 0..=1) = (which as usize).checked_sub(1) else { continue };
            let len = (self.word(head + 8 + 8 * half).load(Ordering::Acquire) as usize).min(HALF_BYTES);
            // SAFETY: inside the mapping, and whoever wrote it is gone.
            let bytes = unsafe { std::slice::from_raw_parts(self.half_ptr(place, half).as_ptr(), len) };
            out.extend(decode(bytes));
        }
        self.word(0).store(0, Ordering::Release);
        self.set_wake_deadline(None);
        out
    }
}

fn push_address(b: &mut Vec<u8>, a: IpAddr) {
    match a {
        IpAddr::V4(a) => {
            b.push(4);
            b.extend(a.octets());
        }
        IpAddr::V6(a) => {
            b.push(6);
            b.extend(a.octets());
        }
    }
}

/// At most [`HALF`] bytes.
fn encode(words: &LastWill) -> Vec<u8> {
    let mut b = words.key.to_ne_bytes().to_vec();
    let mut add = |record: Vec<u8>| {
        if b.len() + record.len() <= HALF_BYTES {
            b.extend(record);
        }
    };
    for f in &words.resignations {
        let mut r = vec![b'F', f.transport as u8, f.hop_limit];
        r.extend(f.ifindex.to_ne_bytes());
        push_address(&mut r, f.from);
        push_address(&mut r, f.to);
        r.extend((f.packet.len() as u16).to_ne_bytes());
        r.extend(&f.packet);
        add(r);
    }
    for (ifindex, addr, prefix) in &words.addresses {
        let mut r = vec![b'A', *prefix];
        r.extend(ifindex.to_ne_bytes());
        push_address(&mut r, *addr);
        add(r);
    }
    b
}

/// Takes pieces from the front of a slice.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn read_bytes(&mut self, n: usize) -> Option<&'b [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn read_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.read_bytes(N)?.try_into().ok()
    }

    fn read_byte(&mut self) -> Option<u8> {
        self.read_array::<1>().map(|[b]| b)
    }

    fn read_address(&mut self) -> Option<IpAddr> {
        match self.read_byte()? {
            4 => self.read_array::<4>().map(IpAddr::from),
            6 => self.read_array::<16>().map(IpAddr::from),
            _ => None,
        }
    }

    fn read_resignation(&mut self) -> Option<ResignationPacket> {
        let transport = match self.read_byte()? {
            t if t == Transport::Ipv4 as u8 => Transport::Ipv4,
            t if t == Transport::Ipv4Ah as u8 => Transport::Ipv4Ah,
            _ => Transport::Ipv6,
        };
        let hops = self.read_byte()?;
        let ifindex = u32::from_ne_bytes(self.read_array()?);
        let (from, to) = (self.read_address()?, self.read_address()?);
        let len = usize::from(u16::from_ne_bytes(self.read_array()?));
        Some(ResignationPacket {
            ifindex,
            transport,
            from,
            to,
            hop_limit: hops,
            packet: self.read_bytes(len)?.to_vec(),
        })
    }
}

fn decode(bytes: &[u8]) -> Option<LastWill> {
    let mut r = Reader(bytes);
    let mut words = LastWill { key: u64::from_ne_bytes(r.read_array()?), ..LastWill::default() };
    while let Some(kind) = r.read_byte() {
        match kind {
            b'F' => words.resignations.push(r.read_resignation()?),
            b'A' => {
                let prefix = r.read_byte()?;
                words.addresses.push((u32::from_ne_bytes(r.read_array()?), r.read_address()?, prefix));
            }
            _ => return None,
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(key: u64, addresses: u32) -> LastWill {
        let farewell = |transport, to: &str| ResignationPacket {
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
            resignations: vec![farewell(Transport::Ipv4, "224.0.0.18"), farewell(Transport::Ipv6, "ff02::12")],
            addresses: (0..addresses).map(address).collect(),
        }
    }

    #[test]
    fn the_last_words_left_in_each_place_are_found() {
        let t = WillStore::new().expect("memory");
        assert!(
            t.store_will(0, Some(&words(1, 2)))
                && t.store_will(0, Some(&words(2, 3)))
                && t.store_will(0, Some(&words(3, 4)))
        );
        assert!(t.store_will(7, Some(&words(9, 1))) && t.store_will(8, Some(&words(8, 1))) && t.store_will(8, None));
        assert!(!t.store_will(MAX_WILLS, Some(&words(1, 1))));
        assert_eq!(t.take_wills(), [words(3, 4), words(9, 1)]);
        assert_eq!(t.take_wills(), [], "once");
    }

    #[test]
    fn hundreds_of_addresses_find_room_and_more_are_left_out() {
        let t = WillStore::new().expect("memory");
        t.store_will(1, Some(&words(5, 300)));
        assert_eq!(t.take_wills(), [words(5, 300)]);
        t.store_will(1, Some(&words(5, 5000)));
        let took = t.take_wills();
        assert_eq!(took[0].resignations, words(5, 0).resignations);
        assert!((300..5000).contains(&took[0].addresses.len()));
    }

    #[test]
    fn a_child_that_dies_leaves_them_to_its_parent() {
        let t = WillStore::new().expect("memory");
        // SAFETY: the child only writes memory and ends.
        match unsafe { nix::unistd::fork() }.expect("a child") {
            nix::unistd::ForkResult::Child => {
                t.store_will(0, Some(&words(4, 4)));
                t.set_ready();
                // SAFETY: nothing of the parent's is run.
                unsafe { libc::_exit(0) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                nix::sys::wait::waitpid(child, None).expect("ended");
                assert!(t.is_ready());
                assert_eq!(t.take_wills(), [words(4, 4)]);
            }
        }
    }
}
