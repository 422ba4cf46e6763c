//! The encoding of a last will as bytes: its key, then records that begin with their kind. Both processes run the same
//! program on the same machine, so numbers are in native byte order.

use std::net::IpAddr;

use evenkeel_core::model::Transport;

use super::{LastWill, ResignationPacket};

/// The kinds of records.
const RESIGNATION: u8 = b'R';
const ADDRESS: u8 = b'A';

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

/// Encodes a will into at most `max` bytes. Records that do not fit are dropped.
pub(super) fn encode(will: &LastWill, max: usize) -> Vec<u8> {
    let mut b = will.key.to_ne_bytes().to_vec();
    let mut push_record = |record: Vec<u8>| {
        if b.len() + record.len() <= max {
            b.extend(record);
        }
    };
    for p in &will.resignations {
        let mut r = vec![RESIGNATION, p.transport as u8, p.hop_limit];
        r.extend(p.ifindex.to_ne_bytes());
        push_address(&mut r, p.from);
        push_address(&mut r, p.to);
        r.extend((p.packet.len() as u16).to_ne_bytes());
        r.extend(&p.packet);
        push_record(r);
    }
    for (ifindex, addr, prefix_len) in &will.addresses {
        let mut r = vec![ADDRESS, *prefix_len];
        r.extend(ifindex.to_ne_bytes());
        push_address(&mut r, *addr);
        push_record(r);
    }
    b
}

/// Reads values from the front of a slice.
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
        let hop_limit = self.read_byte()?;
        let ifindex = u32::from_ne_bytes(self.read_array()?);
        let (from, to) = (self.read_address()?, self.read_address()?);
        let len = usize::from(u16::from_ne_bytes(self.read_array()?));
        let packet = self.read_bytes(len)?.to_vec();
        Some(ResignationPacket { ifindex, transport, from, to, hop_limit, packet })
    }
}

/// Decodes a will; `None` if the bytes are invalid.
pub(super) fn decode(bytes: &[u8]) -> Option<LastWill> {
    let mut r = Reader(bytes);
    let mut will = LastWill { key: u64::from_ne_bytes(r.read_array()?), ..LastWill::default() };
    while let Some(kind) = r.read_byte() {
        match kind {
            RESIGNATION => will.resignations.push(r.read_resignation()?),
            ADDRESS => {
                let prefix_len = r.read_byte()?;
                will.addresses.push((u32::from_ne_bytes(r.read_array()?), r.read_address()?, prefix_len));
            }
            _ => return None,
        }
    }
    Some(will)
}
