//! The virtual addresses on their devices.
//!
//! Works from what the last event said, so that a take-over waits for no dump; the kernel refuses an addition or removal
//! that came too late.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use evenkeel_core::model::VipSpec;
use evenkeel_core::vrrp::State;
use evenkeel_sys::netlink::InterfaceAddr;

use super::RouterThread;

impl RouterThread {
    /// Every address of a master is there, and so are the static ones; none of anybody else's is; nothing else is touched.
    pub(super) fn reconcile_addresses(&mut self) {
        self.remove_unwanted_routes();
        let wanted: HashSet<(String, IpAddr)> = self.master_vips().map(|v| (v.dev.clone(), v.addr)).collect();
        for i in 0..self.entries.len() {
            let e = &self.entries[i];
            if e.router.state() != State::Master && !e.owns_addresses && !e.keeps_found_addresses {
                self.remove_unless(i, |v| wanted.contains(&(v.dev.clone(), v.addr)));
            }
        }
        let statics = self.statics.addresses.clone();
        self.add_vips(&statics);
        for i in 0..self.entries.len() {
            if self.entries[i].router.state() == State::Master {
                let vips = self.entries[i].router.config().all_vips();
                let vips: Vec<VipSpec> = vips.filter(|v| !v.no_track).cloned().collect();
                self.add_vips(&vips);
            }
        }
        self.install_routes(false);
        self.update_rejected_addresses();
    }

    /// Has packets to the addresses of masters that do not own them refused, where that is wanted.
    pub(super) fn update_rejected_addresses(&mut self) {
        let masters = self.entries.iter().filter(|e| e.router.state() == State::Master);
        let strict = masters.map(|e| e.router.config()).filter(|c| !c.accept_mode);
        let refused: BTreeSet<_> = strict.flat_map(|c| c.all_vips()).map(|v| (v.addr, v.dev.clone())).collect();
        if refused != self.rejected_addresses {
            self.rejected_addresses.clone_from(&refused);
            self.firewall.update(move |f| f.blocked = refused);
        }
    }

    /// Those of one instance.
    pub(super) fn add_addresses(&mut self, i: usize) {
        let vips: Vec<VipSpec> = self.entries[i].router.config().all_vips().cloned().collect();
        self.add_vips(&vips);
    }

    /// Takes those of one instance away, but not what another master holds or the host owns.
    pub(super) fn remove_addresses(&mut self, i: usize) {
        if self.entries[i].owns_addresses {
            return;
        }
        let mine: Vec<VipSpec> = self.entries[i].router.config().all_vips().cloned().collect();
        let same = |a: &VipSpec, b: &VipSpec| a.addr == b.addr && a.dev == b.dev;
        let others: Vec<VipSpec> = self.master_vips().filter(|v| mine.iter().any(|m| same(m, v))).cloned().collect();
        self.remove_unless(i, |v| others.iter().any(|o| same(o, v)));
    }

    fn master_vips(&self) -> impl Iterator<Item = &VipSpec> {
        self.entries.iter().filter(|e| e.router.state() == State::Master).flat_map(|e| e.router.config().all_vips())
    }

    fn remove_unless(&mut self, i: usize, keep: impl Fn(&VipSpec) -> bool) {
        let gone: Vec<VipSpec> = self.entries[i].router.config().all_vips().filter(|v| !keep(v)).cloned().collect();
        self.remove_vips(&gone);
    }

    fn add_vips(&mut self, vips: &[VipSpec]) {
        for vip in vips {
            let Some(index) = self.observed.links.get(&vip.dev).map(|l| l.index) else { continue };
            let key = (index, vip.addr, vip.prefix);
            if self.observed.addresses.contains_key(&key) {
                continue;
            }
            match self.netlink.add_address(index, vip) {
                Ok(added) => {
                    // If not, somebody was first, or the observation was old.
                    if added {
                        tracing::info!(vip = %vip.addr, "added {vip}");
                    }
                    let (addr, prefix, label) = (vip.addr, vip.prefix, vip.label.clone());
                    self.observed
                        .addresses
                        .insert(key, InterfaceAddr { ifindex: index, addr, prefix_len: prefix, label, usable: true });
                }
                Err(e) => tracing::error!("{e}"),
            }
        }
    }

    pub(super) fn remove_vips(&mut self, vips: &[VipSpec]) {
        for vip in vips {
            let Some(index) = self.observed.links.get(&vip.dev).map(|l| l.index) else { continue };
            if self.observed.addresses.remove(&(index, vip.addr, vip.prefix)).is_none() {
                continue;
            }
            match self.netlink.remove_address(index, vip) {
                Ok(true) => tracing::info!(vip = %vip.addr, "removed {vip}"),
                Ok(false) => {}
                Err(e) => tracing::error!("{e}"),
            }
        }
    }
}
