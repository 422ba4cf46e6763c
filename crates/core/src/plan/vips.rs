//! Virtual addresses: which to put on and which to take away.

use crate::model::VipSpec;

/// One change of an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VipStep {
    /// Put it on its device.
    Add(VipSpec),
    /// Take it away.
    Remove(VipSpec),
}

/// The steps between the addresses that a device holds and those that it should hold.
///
/// `managed` are all addresses that the configuration names; nothing else on a device is ever touched. An address counts
/// as present when address, prefix and device agree: its label is set when it is added.
pub fn diff_vips(desired: &[&VipSpec], managed: &[&VipSpec], observed: &[VipSpec]) -> Vec<VipStep> {
    let same = |a: &VipSpec, b: &VipSpec| a.addr == b.addr && a.prefix == b.prefix && a.dev == b.dev;
    let mut steps = Vec::new();
    for want in desired {
        if !observed.iter().any(|o| same(o, want)) {
            steps.push(VipStep::Add((*want).clone()));
        }
    }
    for m in managed {
        if !desired.iter().any(|d| same(d, m)) && observed.iter().any(|o| same(o, m)) {
            steps.push(VipStep::Remove((*m).clone()));
        }
    }
    steps
}
