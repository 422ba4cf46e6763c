//! From one data plane to the other while packets flow: no connection is lost.
//!
//! At any moment one of them begins connections, and each connection is known to whoever forwards it:
//!
//! 1. The new plane gets the services. Ours stands by: what it does not know it passes to the kernel, so to IPVS.
//! 2. The old plane begins no connection any more, if it is ours (then IPVS begins them from now on).
//! 3. The new plane takes the connections over. Ours forwards those from now on.
//! 4. The new plane begins connections. Those that IPVS began meanwhile are still forwarded by it, until they too are
//!    taken over.
//! 5. The old plane goes.

use std::time::Duration;

use evenkeel_core::model::Config;
use evenkeel_core::plan::{Services, diff};
use evenkeel_sys::netlink::Netlink;

use super::{DataPlane, PlaneObservation, UpdateReason};

/// Neighbours are waited for so long, so often.
const NEIGHBOUR_POLL: Duration = Duration::from_millis(20);
const NEIGHBOUR_POLLS: u32 = 50;

/// Lets `new` take over from `old`; returns it.
pub fn switch_plane(
    mut old: Box<dyn DataPlane>,
    mut new: Box<dyn DataPlane>,
    desired: &Services,
    config: &Config,
    netlink: &mut Netlink,
) -> Box<dyn DataPlane> {
    let (from, to) = (old.kind().name(), new.kind().name());
    tracing::info!("the data plane changes from {from} to {to}");
    new.set_standby(true);
    for e in new.tune(config) {
        tracing::error!("{e}");
    }
    new.claim(desired);
    match new.observe(desired) {
        Ok(PlaneObservation { services: mut there, .. }) => {
            there.retain(|k, _| desired.contains_key(k));
            for e in new.apply(&diff(desired, &there)) {
                tracing::error!("{e}");
            }
        }
        Err(e) => tracing::error!("{e}"),
    }
    for _ in 0..NEIGHBOUR_POLLS {
        if new.refresh_next_hops(netlink) {
            break;
        }
        std::thread::sleep(NEIGHBOUR_POLL);
    }
    new.update_attachments(netlink, config, UpdateReason::NewConfig);
    new.refresh_next_hops(netlink); // VLANs are known now
    old.set_standby(true);
    move_connections(&mut *old, &mut *new);
    new.set_standby(false);
    let taken = move_connections(&mut *old, &mut *new);
    tracing::info!("{to} has taken {taken} connections over");
    old.release(netlink, false);
    new
}

fn move_connections(old: &mut dyn DataPlane, new: &mut dyn DataPlane) -> usize {
    let connections = match old.connections() {
        Ok(all) => all,
        Err(e) => {
            tracing::error!("{e}");
            return 0;
        }
    };
    match new.import_connections(&connections) {
        Ok(0) => connections.len(),
        Ok(lost) => {
            tracing::warn!("{lost} of {} connections could not be taken over", connections.len());
            connections.len() - lost
        }
        Err(e) => {
            tracing::error!("{e}");
            0
        }
    }
}
