//! Last words: kept up to date for every master, in memory that the parent reads if this process dies.

use evenkeel_core::model::{Auth, Transport};
use evenkeel_core::vrrp::State;
use evenkeel_sys::last_will::{LastWill, ResignationPacket};

use super::RouterThread;

impl RouterThread {
    /// Writes what is to be said and taken away if this process died now; nothing unless the router is master.
    pub(super) fn update_will(&mut self, i: usize) {
        let master = self.entries[i].router.state() == State::Master;
        match (master, self.entries[i].will_slot) {
            (false, None) => {}
            (false, Some(place)) => {
                self.will_store.store_will(place, None);
                self.free_will_slots.push(place);
                self.entries[i].will_slot = None;
            }
            (true, place) => {
                let Some(place) = place.or_else(|| self.free_will_slots.pop()) else { return };
                self.entries[i].will_slot = Some(place);
                let words = self.build_will(i);
                self.will_store.store_will(place, Some(&words));
            }
        }
    }

    /// The last word of an authentication header or a signature is too old once another one was sent.
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
        // Over IPv6 only the device underneath has the address that adverts come from.
        let dev = if transport == Transport::Ipv6 { &cfg.interface } else { cfg.receive_device() };
        let ifindex = self.observed.links.get(dev).map(|l| l.index);
        let mut words = LastWill { key: e.key, ..LastWill::default() };
        if let (Some(ifindex), Some(from)) = (ifindex, e.router.source()) {
            let farewell =
                |(to, hops, packet)| ResignationPacket { ifindex, transport, from, to, hop_limit: hops, packet };
            words.resignations = e.router.resignation_packets().into_iter().map(farewell).collect();
        }
        if !e.owns_addresses {
            let index = |dev: &String| self.observed.links.get(dev).map(|l| l.index);
            let addresses = cfg.all_vips().filter_map(|v| Some((index(&v.dev)?, v.addr, v.prefix)));
            words.addresses = addresses.collect();
        }
        words
    }
}
