//! The status of a VRRP instance, for `evenkeel status` and the dumps.

use evenkeel_core::ipc::InstanceStatus;
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::Router;

/// The status of an instance at a time.
pub fn instance_status(r: &Router, now: Instant) -> InstanceStatus {
    let cfg = r.config();
    let (since, reason) = r.last_transition();
    InstanceStatus {
        name: cfg.name.clone(),
        interface: cfg.interface.clone(),
        vrid: cfg.vrid.get(),
        version: cfg.version.number(),
        state: r.state(),
        since_ms: now.duration_since(since).as_millis() as u64,
        reason: reason.to_string(),
        base_priority: cfg.priority,
        priority: r.priority(),
        master: r.master().map(|m| m.0),
        master_priority: r.master().map(|m| m.1),
        senders: r.describe_peers(now),
        source_address: r.source(),
        master_interval_ms: r.master_interval().as_millis() as u64,
        master_down_ms: r.master_down_interval().as_millis() as u64,
        vmac: cfg.vmac.as_ref().map(|v| v.name.clone()),
        accept_mode: cfg.accept_mode,
        vips: cfg.all_vips().map(ToString::to_string).collect(),
        counters: r.counters().clone(),
    }
}
