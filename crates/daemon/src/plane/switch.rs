//! Switching from one data plane to the other while packets flow: no connection is lost.
//!
//! At any moment one of them creates connections, and each connection is in the data plane that forwards it:
//!
//! 1. The new data plane gets the services. If it is the packet path it is in standby: packets of connections that it
//!    does not have go on to the kernel, so to IPVS.
//! 2. The old data plane goes to standby if it is the packet path: from now on IPVS creates connections.
//! 3. The new data plane imports the connections. If it is the packet path, it forwards these from now on.
//! 4. The new data plane creates connections. IPVS still forwards those that it created meanwhile, until they are
//!    imported too.
//! 5. The old data plane is released.

use std::time::Duration;

use evenkeel_core::model::Config;
use evenkeel_core::plan::{Services, diff};
use evenkeel_sys::netlink::Netlink;

use super::data_plane::{DataPlane, UpdateReason};

/// Interval and number of lookups while neighbours of real servers resolve.
const NEIGHBOUR_POLL: Duration = Duration::from_millis(20);
const NEIGHBOUR_POLLS: u32 = 50;

/// Moves the services and connections of `old` to `new`, and returns `new`. Errors are logged: a switch is not taken
/// back.
pub fn switch_plane(
    mut old: Box<dyn DataPlane>,
    mut new: Box<dyn DataPlane>,
    desired: &Services,
    config: &Config,
    netlink: &mut Netlink,
) -> Box<dyn DataPlane> {
    let (from, to) = (old.kind().name(), new.kind().name());
    tracing::info!(from, to, "switching the data plane from {from} to {to}");
    new.set_standby(true);
    for e in new.tune(config) {
        tracing::error!("cannot tune the data plane {to}: {e}");
    }
    add_services(&mut *new, desired);
    for _ in 0..NEIGHBOUR_POLLS {
        if new.refresh_next_hops(netlink) {
            break;
        }
        std::thread::sleep(NEIGHBOUR_POLL);
    }
    new.update_attachments(netlink, config, UpdateReason::NewConfig);
    new.refresh_next_hops(netlink); // again: next hops in VLANs need the attachments
    old.set_standby(true);
    move_connections(&mut *old, &mut *new);
    new.set_standby(false);
    let conns = move_connections(&mut *old, &mut *new);
    tracing::info!(conns, "the data plane {to} forwards, with {conns} connections of {from}");
    old.release(netlink, false);
    new
}

fn add_services(new: &mut dyn DataPlane, desired: &Services) {
    new.claim(desired);
    match new.observe(desired) {
        Ok(mut observed) => {
            observed.services.retain(|k, _| desired.contains_key(k));
            for e in new.apply(&diff(desired, &observed.services)) {
                tracing::error!("cannot add services to the data plane {}: {e}", new.kind().name());
            }
        }
        Err(e) => tracing::error!("cannot observe the data plane {}: {e}", new.kind().name()),
    }
}

/// Imports the connections of `old` into `new`; returns how many.
fn move_connections(old: &mut dyn DataPlane, new: &mut dyn DataPlane) -> usize {
    let connections = match old.connections() {
        Ok(connections) => connections,
        Err(e) => {
            tracing::error!("cannot read the connections of the data plane {}: {e}", old.kind().name());
            return 0;
        }
    };
    match new.import_connections(&connections) {
        Ok(0) => connections.len(),
        Ok(lost) => {
            tracing::warn!(lost, "{lost} of {} connections could not be imported", connections.len());
            connections.len() - lost
        }
        Err(e) => {
            tracing::error!("cannot import connections into the data plane {}: {e}", new.kind().name());
            0
        }
    }
}
