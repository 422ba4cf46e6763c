//! Services and destinations of IPVS in the plan's terms.

use evenkeel_core::ipvs::{Dest, DestEntry, FwdMethod, ServiceEntry};
use evenkeel_core::model::{ForwardingMethod, Scheduler, Weight};
use evenkeel_core::plan::{DestSpec, ServiceSpec, ServiceState};
use evenkeel_sys::bpf::{DestRecord, ServiceRecord};

/// The state of a service. What IPVS does not keep is taken from `desired`.
pub fn service_state(entry: &ServiceEntry, dests: &[DestEntry], desired: Option<&ServiceState>) -> ServiceState {
    // A service that the plan cannot express differs from every desired one, and so is changed as a whole.
    let mut spec = entry.service.to_spec().unwrap_or_else(|| ServiceSpec::with_scheduler(Scheduler::None));
    if let Some(d) = desired {
        spec.removal_policy = d.spec.removal_policy;
    }
    let dest = |d: &DestEntry| {
        let key = d.dest.server_key();
        let desired = desired.and_then(|s| s.dests.iter().find(|(k, _)| *k == key)).map(|(_, spec)| spec);
        (key, dest_spec(&d.dest, desired))
    };
    // The kernel lists the newest destination first.
    ServiceState { spec, dests: dests.iter().rev().map(dest).collect() }
}

/// A service with its counters, for `status`; `None` if the plan cannot express it.
pub fn service_record(entry: &ServiceEntry, dests: &[DestEntry]) -> Option<ServiceRecord> {
    let dest = |d: &DestEntry| DestRecord {
        id: 0,
        key: d.dest.server_key(),
        spec: dest_spec(&d.dest, None),
        active: d.active,
        inactive: d.inactive,
        persistent: d.persistent,
        overload: false,
        hop: None,
        mtu: 0,
        local: d.dest.method == FwdMethod::Local,
        stats: d.stats,
    };
    Some(ServiceRecord {
        key: entry.service.id.service_key(),
        spec: entry.service.to_spec()?,
        active: true,
        stats: entry.stats,
        dests: dests.iter().map(dest).collect(),
    })
}

/// The specification of a destination. IPVS replaces the forwarding method of a destination on this host by `Local`:
/// the desired method is assumed then.
fn dest_spec(d: &Dest, desired: Option<&DestSpec>) -> DestSpec {
    let spec = match d.method {
        FwdMethod::Local => {
            let routed = Dest { method: FwdMethod::Route, ..*d };
            routed.to_spec().map(|s| DestSpec { method: desired.map_or(s.method, |w| w.method), ..s })
        }
        _ => d.to_spec(),
    };
    // A destination that the plan cannot express must differ from every desired one: thresholds that nobody would set.
    spec.unwrap_or(DestSpec {
        weight: Weight::new(i32::MAX as u32).unwrap_or(Weight::QUIESCED),
        method: ForwardingMethod::Nat,
        u_threshold: u32::MAX,
        l_threshold: u32::MAX,
    })
}
