//! Virtual addresses: added to their devices for masters, removed for others. Static addresses too.
//!
//! Additions and removals are decided by the last observation, so that a takeover does not wait for a listing. If the
//! observation is old, the kernel rejects the change, which is no error.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use evenkeel_core::model::VipSpec;
use evenkeel_core::vrrp::State;
use evenkeel_sys::netlink::InterfaceAddr;

use super::thread::RouterThread;

impl RouterThread {
    /// Adds the addresses of masters and the static ones, and removes those of other instances. Addresses that are not
    /// configured are not touched.
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
        self.update_blocked_addresses();
    }

    /// `no_accept`: makes the firewall drop packets to the addresses of masters that do not own them.
    pub(super) fn update_blocked_addresses(&mut self) {
        let masters = self.entries.iter().filter(|e| e.router.state() == State::Master);
        let strict = masters.map(|e| e.router.config()).filter(|c| !c.accept_mode);
        let blocked: BTreeSet<_> = strict.flat_map(|c| c.all_vips()).map(|v| (v.addr, v.dev.clone())).collect();
        if blocked != self.blocked_addresses {
            self.blocked_addresses.clone_from(&blocked);
            self.firewall.update(move |f| f.blocked = blocked);
        }
    }

    /// Adds the addresses of an entry.
    pub(super) fn add_addresses(&mut self, i: usize) {
        let vips: Vec<VipSpec> = self.entries[i].router.config().all_vips().cloned().collect();
        self.add_vips(&vips);
    }

    /// Removes the addresses of an entry, except those that another master holds or the host owns.
    pub(super) fn remove_addresses(&mut self, i: usize) {
        if self.entries[i].owns_addresses {
            return;
        }
        let own: Vec<VipSpec> = self.entries[i].router.config().all_vips().cloned().collect();
        let same = |a: &VipSpec, b: &VipSpec| a.addr == b.addr && a.dev == b.dev;
        let others: Vec<VipSpec> = self.master_vips().filter(|v| own.iter().any(|o| same(o, v))).cloned().collect();
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
                    // Otherwise it existed: somebody else added it, or the observation was old.
                    if added {
                        tracing::info!(vip = %vip.addr, "added {vip}");
                    }
                    let (addr, prefix_len, label) = (vip.addr, vip.prefix, vip.label.clone());
                    let address = InterfaceAddr { ifindex: index, addr, prefix_len, label, usable: true };
                    self.observed.addresses.insert(key, address);
                }
                Err(e) => tracing::error!(vip = %vip.addr, "{e}"),
            }
        }
    }

    /// Removes addresses that exist.
    pub(super) fn remove_vips(&mut self, vips: &[VipSpec]) {
        for vip in vips {
            let Some(index) = self.observed.links.get(&vip.dev).map(|l| l.index) else { continue };
            if self.observed.addresses.remove(&(index, vip.addr, vip.prefix)).is_none() {
                continue;
            }
            match self.netlink.remove_address(index, vip) {
                Ok(true) => tracing::info!(vip = %vip.addr, "removed {vip}"),
                Ok(false) => {}
                Err(e) => tracing::error!(vip = %vip.addr, "{e}"),
            }
        }
    }
}
