//! Last wills: for every master, the packets that resign its mastership and the addresses to remove, in memory that the
//! supervisor reads if this process dies.

use evenkeel_core::model::{Auth, Transport};
use evenkeel_core::vrrp::State;
use evenkeel_sys::last_will::{LastWill, ResignationPacket};

use super::thread::RouterThread;

impl RouterThread {
    /// Writes the will of an entry if it is master, and deletes it otherwise.
    pub(super) fn update_will(&mut self, i: usize) {
        let is_master = self.entries[i].router.state() == State::Master;
        match (is_master, self.entries[i].will_slot) {
            (false, None) => {}
            (false, Some(slot)) => {
                self.will_store.store_will(slot, None);
                self.free_will_slots.push(slot);
                self.entries[i].will_slot = None;
            }
            (true, slot) => {
                let Some(slot) = slot.or_else(|| self.free_will_slots.pop()) else { return };
                self.entries[i].will_slot = Some(slot);
                let will = self.build_will(i);
                self.will_store.store_will(slot, Some(&will));
            }
        }
    }

    /// Renews a will whose packet is authenticated by AH or signed: peers reject the sequence number or time of the old
    /// packet once another advert was sent.
    pub(super) fn refresh_signed_will(&mut self, i: usize) {
        let cfg = self.entries[i].router.config();
        if matches!(cfg.auth, Auth::Ah(_)) || cfg.signing.is_some() {
            self.update_will(i);
        }
    }

    fn build_will(&self, i: usize) -> LastWill {
        let e = &self.entries[i];
        let cfg = e.router.config();
        let transport = cfg.transport();
        // Over IPv6 the source address of adverts is on the base interface, not on that of the virtual MAC address.
        let dev = if transport == Transport::Ipv6 { &cfg.interface } else { cfg.receive_device() };
        let ifindex = self.observed.links.get(dev).map(|l| l.index);
        let mut will = LastWill { key: e.key, ..LastWill::default() };
        if let (Some(ifindex), Some(from)) = (ifindex, e.router.source()) {
            let packet =
                |(to, hop_limit, packet)| ResignationPacket { ifindex, transport, from, to, hop_limit, packet };
            will.resignations = e.router.resignation_packets().into_iter().map(packet).collect();
        }
        if !e.owns_addresses {
            let index = |dev: &String| self.observed.links.get(dev).map(|l| l.index);
            let addresses = cfg.all_vips().filter_map(|v| Some((index(&v.dev)?, v.addr, v.prefix)));
            will.addresses = addresses.collect();
        }
        will
    }
}
