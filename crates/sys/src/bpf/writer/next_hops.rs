//! The paths to destinations: next hop, path MTU, source address.

use std::mem::{offset_of, size_of};
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use super::super::abi::*;
use super::super::address::to_wire_addr;
use super::super::encoding::{dest_key_and_spec, tunnel_overhead};
use super::super::reader::NextHop;
use super::MapWriter;

/// The path to a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DestPath {
    /// Through a next hop.
    Via {
        /// The next hop.
        hop: NextHop,
        /// The path MTU in bytes; 0 if unknown.
        mtu: u32,
        /// The director's source address towards the destination; the outer source address of tunnels.
        source: Option<IpAddr>,
    },
    /// The destination is this director.
    Local,
}

impl MapWriter {
    /// The indices and addresses of all destinations that are in a service.
    pub fn dest_addresses(&self) -> Vec<(u32, IpAddr)> {
        let maps = self.maps();
        let addr = |id: u32| dest_key_and_spec(&maps.dests.read(id as usize)).0.addr;
        let ids = maps.live_services().flat_map(|(_, s)| maps.active_dests(&s));
        ids.map(|id| (id, addr(id))).collect()
    }

    /// Sets the path to a destination. Returns true if it changed.
    pub fn set_dest_path(&self, id: u32, path: DestPath) -> bool {
        let (dests, i) = (&self.maps().dests, id as usize);
        let d = dests.read(i);
        let DestPath::Via { hop, mtu, source } = path else {
            dests.store_u32(i, offset_of!(dest, hop), HOP_LOCAL);
            return d.hop != HOP_LOCAL;
        };
        let mtu = mtu.saturating_sub(tunnel_overhead(&d));
        let source = source.map_or([0; 4], to_wire_addr);
        let current = matches!(d.hop, 1 | 2).then(|| d.hops[d.hop as usize - 1]);
        let current = current.map(|h| NextHop { ifindex: h.ifindex, dmac: h.dmac, smac: h.smac });
        let vlan = if self.maps().is_vlan(hop.ifindex) { EK_HOP_VLAN } else { 0 };
        let hop = NextHop { ifindex: hop.ifindex | vlan, ..hop };
        if current == Some(hop) && d.mtu == mtu && d.source == source {
            return false;
        }
        // The program reads these words after `dest.hop`, which is written last.
        dests.atomic_u32(i, offset_of!(dest, mtu)).store(mtu, Ordering::Relaxed);
        dests.write_field(i, offset_of!(dest, source), source);
        let unused = if d.hop == 1 { 2 } else { 1 };
        let value = next_hop { ifindex: hop.ifindex, dmac: hop.dmac, smac: hop.smac };
        dests.write_field(i, offset_of!(dest, hops) + (unused - 1) * size_of::<next_hop>(), value);
        dests.store_u32(i, offset_of!(dest, hop), unused as u32);
        true
    }
}
