//! The connection table, listed and audited.

use std::mem::offset_of;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;

use evenkeel_core::model::{Protocol, ServerKey};

use super::abi::*;
use super::load::Maps;
use super::slots::addr_of_wire;

/// A connection or a persistence template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnView {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The client; a template's is its network, port 0.
    pub client: (Ipv4Addr, u16),
    /// The service's address and port.
    pub service: (Ipv4Addr, u16),
    /// The destination's index and name.
    pub dest: (u32, Option<ServerKey>),
    /// enum tcp_state; 0 for UDP and templates.
    pub state: u32,
    /// enum conn_flags.
    pub flags: u32,
    /// How long it still lives, seconds.
    pub expires_s: u32,
    /// A template: how many connections it controls.
    pub control: u32,
}

impl ConnView {
    /// Is it a persistence template?
    pub fn is_template(&self) -> bool {
        self.flags & CONN_TEMPLATE != 0
    }

    /// ip_vs_state_name(): what `ipvsadm -Lc` prints.
    pub fn state_name(&self) -> &'static str {
        const TCP: [&str; TCP_STATES as usize] = [
            "NONE",
            "ESTABLISHED",
            "SYN_SENT",
            "SYN_RECV",
            "FIN_WAIT",
            "TIME_WAIT",
            "CLOSE",
            "CLOSE_WAIT",
            "LAST_ACK",
            "LISTEN",
            "SYNACK",
        ];
        match (self.is_template(), self.flags & CONN_ASSURED != 0, self.protocol) {
            (true, true, _) => "ASSURED",
            (true, false, _) => "NONE",
            (false, _, Protocol::Udp) => "UDP",
            (false, _, Protocol::Tcp) => TCP.get(self.state as usize).copied().unwrap_or("ERR!"),
        }
    }
}

fn view(maps: &Maps, c: &conn, now: u32, hz: u32) -> Option<ConnView> {
    // KEY_FREE and KEY_BUSY of abi.h
    if c.key1 == 0 || c.key1 == u64::MAX {
        return None;
    }
    let left = c.expires.wrapping_sub(now) as i32;
    let flags = (c.life >> 8) & 0xff;
    let controls = flags & CONN_TEMPLATE != 0 && c.control > 0;
    if left <= 0 && !controls {
        return None; // past its time: absent, whether the sweep has come by or not
    }
    let port = |shift: u32| u16::from_be((c.key1 >> shift) as u16);
    Some(ConnView {
        protocol: Protocol::from_number((c.key1 >> 32) as u8)?,
        client: (addr_of_wire(c.key0 as u32), port(0)),
        service: (addr_of_wire((c.key0 >> 32) as u32), port(16)),
        dest: (c.dest, maps.dest_key(c.dest)),
        state: c.life & 0xff,
        flags,
        expires_s: left.max(0) as u32 / hz,
        control: if flags & CONN_TEMPLATE != 0 { c.control } else { 0 },
    })
}

impl Maps {
    /// Everything in the connection table.
    pub fn connections(&self) -> Vec<ConnView> {
        let (now, hz) = (self.jiffies(), self.hz());
        let lines = (0..self.conns.len()).map(|i| self.conns.get(i));
        lines.flat_map(|l| l.entry).filter_map(|c| view(self, &c, now, hz)).collect()
    }

    /// Entries that hold their place, past their time or not; for the audit of a test.
    pub fn raw_entries(&self) -> Vec<conn> {
        let taken = |c: &conn| c.key1 != 0 && c.key1 != u64::MAX;
        (0..self.conns.len()).flat_map(|i| self.conns.get(i).entry).filter(taken).collect()
    }

    /// Makes every connection expire `seconds` from now, as if time had passed; for tests of the sweep.
    pub fn age_connections(&self, seconds: i32) {
        let at = self.jiffies().wrapping_add_signed(seconds * self.hz() as i32);
        for i in 0..self.conns.len() {
            for e in 0..2 {
                let base = offset_of!(conn_line, entry) + e * size_of::<conn>();
                self.conns.word(i, base + offset_of!(conn, expires)).store(at, Ordering::Relaxed);
            }
        }
    }
}
