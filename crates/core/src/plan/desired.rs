//! Configuration and health to the services that should be.

use super::{DestSpec, ServiceSpec, ServiceState, Services};
use crate::model::{ServerKey, ServiceKey, VirtualServer, Weight};

/// Who lives.
pub trait ServerHealth {
    /// Is this real server up? Unknown servers are.
    fn up(&self, service: ServiceKey, server: ServerKey) -> bool;
}

impl<F: Fn(ServiceKey, ServerKey) -> bool> ServerHealth for F {
    fn up(&self, service: ServiceKey, server: ServerKey) -> bool {
        self(service, server)
    }
}

/// A dead real server leaves its service, or stays with weight 0 if the configuration says so (`inhibit_on_failure`).
pub fn desired_services(servers: &[VirtualServer], health: &dyn ServerHealth) -> Services {
    let service = |v: &VirtualServer| {
        let dests = v.servers.iter().filter_map(|r| {
            let weight = match (health.up(v.key, r.key), r.inhibit_on_failure) {
                (true, _) => r.weight,
                (false, true) => Weight::QUIESCED,
                (false, false) => return None,
            };
            let (u_threshold, l_threshold) = (r.u_threshold, r.l_threshold);
            Some((r.key, DestSpec { weight, method: r.method, u_threshold, l_threshold }))
        });
        ServiceState {
            spec: ServiceSpec { scheduler: v.scheduler, persistence: v.persistence },
            dests: dests.collect(),
        }
    };
    servers.iter().map(|v| (v.key, service(v))).collect()
}
