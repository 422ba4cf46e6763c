//! The virtual addresses on their devices.
//!
//! Works from what the last event said, so that a take-over waits for no dump; the kernel refuses an addition or removal
//! that came too late.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use evenkeel_core::model::VipSpec;
use evenkeel_core::vrrp::State;
use evenkeel_sys::netlink::Addr;

use super::Shell;

impl Shell {
    /// Every address of a master is there, and so are the static ones; none of anybody else's is; nothing else is touched.
    pub(super) fn set_addresses(&mut self) {
        self.withdraw();
        let wanted: HashSet<(String, IpAddr)> = self.masters().map(|v| (v.dev.clone(), v.addr)).collect();
        for i in 0..self.entries.len() {
            let e = &self.entries[i];
            if e.router.state() != State::Master && !e.owns && !e.holds {
                self.drop_unless(i, |v| wanted.contains(&(v.dev.clone(), v.addr)));
            }
        }
        let statics = self.statics.addresses.clone();
        self.add(&statics);
        for i in 0..self.entries.len() {
            if self.entries[i].router.state() == State::Master {
                let vips = self.entries[i].router.config().all_vips();
                let vips: Vec<VipSpec> = vips.filter(|v| !v.no_track).cloned().collect();
                self.add(&vips);
            }
        }
        self.install(false);
        self.refuse();
    }

    /// Has packets to the addresses of masters that do not own them refused, where that is wanted.
    pub(super) fn refuse(&mut self) {
        let masters = self.entries.iter().filter(|e| e.router.state() == State::Master);
        let strict = masters.map(|e| e.router.config()).filter(|c| !c.accept);
        let refused: BTreeSet<_> = strict.flat_map(|c| c.all_vips()).map(|v| (v.addr, v.dev.clone())).collect();
        if refused != self.refused {
            self.refused.clone_from(&refused);
            self.firewall.change(move |f| f.refused = refused);
        }
    }

    /// Those of one instance.
    pub(super) fn add_addresses(&mut self, i: usize) {
        let vips: Vec<VipSpec> = self.entries[i].router.config().all_vips().cloned().collect();
        self.add(&vips);
    }

    /// Takes those of one instance away, but not what another master holds or the host owns.
    pub(super) fn drop_addresses(&mut self, i: usize) {
        if self.entries[i].owns {
            return;
        }
        let mine: Vec<VipSpec> = self.entries[i].router.config().all_vips().cloned().collect();
        let same = |a: &VipSpec, b: &VipSpec| a.addr == b.addr && a.dev == b.dev;
        let others: Vec<VipSpec> = self.masters().filter(|v| mine.iter().any(|m| same(m, v))).cloned().collect();
        self.drop_unless(i, |v| others.iter().any(|o| same(o, v)));
    }

    fn masters(&self) -> impl Iterator<Item = &VipSpec> {
        self.entries.iter().filter(|e| e.router.state() == State::Master).flat_map(|e| e.router.config().all_vips())
    }

    fn drop_unless(&mut self, i: usize, keep: impl Fn(&VipSpec) -> bool) {
        let gone: Vec<VipSpec> = self.entries[i].router.config().all_vips().filter(|v| !keep(v)).cloned().collect();
        self.remove(&gone);
    }

    fn add(&mut self, vips: &[VipSpec]) {
        for vip in vips {
            let Some(index) = self.seen.links.get(&vip.dev).map(|l| l.index) else { continue };
            let key = (index, vip.addr, vip.prefix);
            if self.seen.addresses.contains_key(&key) {
                continue;
            }
            match self.netlink.add_address(index, vip) {
                Ok(added) => {
                    // If not, somebody was first, or the observation was old.
                    if added {
                        tracing::info!(vip = %vip.addr, "added {vip}");
                    }
                    let (addr, prefix, label) = (vip.addr, vip.prefix, vip.label.clone());
                    self.seen.addresses.insert(key, Addr { ifindex: index, addr, prefix, label, usable: true });
                }
                Err(e) => tracing::error!("{e}"),
            }
        }
    }

    pub(super) fn remove(&mut self, vips: &[VipSpec]) {
        for vip in vips {
            let Some(index) = self.seen.links.get(&vip.dev).map(|l| l.index) else { continue };
            if self.seen.addresses.remove(&(index, vip.addr, vip.prefix)).is_none() {
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
