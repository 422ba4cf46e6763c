//! The virtual addresses on their devices.

use std::collections::BTreeMap;

use evenkeel_core::model::VipSpec;
use evenkeel_core::plan::{VipStep, diff_vips};
use evenkeel_core::vrrp::State;
use evenkeel_sys::netlink::Addr;

use super::Shell;

impl Shell {
    /// Every address of a master is there, none of another's; nothing else is touched. Works from what the last event
    /// said, so that a take-over waits for no dump; the kernel refuses an addition or removal that came too late.
    pub(super) fn set_addresses(&mut self) {
        let mut managed: Vec<VipSpec> = Vec::new();
        let mut desired: Vec<VipSpec> = Vec::new();
        for e in &self.entries {
            let cfg = e.router.config();
            if e.router.state() == State::Master {
                desired.extend(cfg.all_vips().cloned());
            }
            if !e.owns && (e.router.state() == State::Master || !e.holds) {
                managed.extend(cfg.all_vips().cloned());
            }
        }
        let names: BTreeMap<u32, &String> = self.seen.links.values().map(|l| (l.index, &l.name)).collect();
        let observed: Vec<VipSpec> = self
            .seen
            .addresses
            .iter()
            .filter_map(|a| {
                let dev = (*names.get(&a.ifindex)?).clone();
                Some(VipSpec { addr: a.addr, prefix: a.prefix, dev, label: a.label.clone(), broadcast: None, scope: 0 })
            })
            .collect();
        let desired: Vec<&VipSpec> = desired.iter().collect();
        let managed: Vec<&VipSpec> = managed.iter().collect();
        for step in diff_vips(&desired, &managed, &observed) {
            let (vip, add) = match &step {
                VipStep::Add(v) => (v, true),
                VipStep::Remove(v) => (v, false),
            };
            let Some(link) = self.seen.links.get(&vip.dev) else { continue };
            let index = link.index;
            let done = if add { self.netlink.add_address(index, vip) } else { self.netlink.remove_address(index, vip) };
            match done {
                Ok(changed) => {
                    // If not, somebody was first, or the observation was old.
                    if changed {
                        tracing::info!(vip = %vip.addr, "{} {vip}", if add { "added" } else { "removed" });
                    }
                    self.seen.addresses.retain(|a| (a.ifindex, a.addr) != (index, vip.addr));
                    if add {
                        let (addr, prefix, label) = (vip.addr, vip.prefix, vip.label.clone());
                        self.seen.addresses.push(Addr { ifindex: index, addr, prefix, label, usable: true });
                    }
                }
                Err(e) => tracing::error!("{e}"),
            }
        }
    }

    pub(super) fn remove(&mut self, vips: &[VipSpec]) {
        for vip in vips {
            let Some(link) = self.seen.links.get(&vip.dev) else { continue };
            let there = self.seen.addresses.iter().any(|a| a.ifindex == link.index && a.addr == vip.addr);
            if there && let Err(e) = self.netlink.remove_address(link.index, vip) {
                tracing::error!("{e}");
            }
        }
    }
}
