//! The desired state: the services that follow from the configuration and the health of real servers.

use super::{DestSpec, ServiceSpec, ServiceState, Services};
use crate::health::ActiveServers;
use crate::model::{RealServer, ServerKey, VirtualServer, Weight};

/// The desired services. `active_servers` says which real servers of a service get connections now, with which weights;
/// `None`: all configured ones.
pub fn desired_services(
    servers: &[VirtualServer],
    active_servers: &dyn Fn(&VirtualServer) -> Option<ActiveServers>,
) -> Services {
    let service = |v: &VirtualServer| {
        let active = active_servers(v).unwrap_or_else(|| all_servers(v));
        (v.key, ServiceState { spec: service_spec(v), dests: service_dests(v, active) })
    };
    servers.iter().map(service).collect()
}

fn all_servers(v: &VirtualServer) -> ActiveServers {
    let weight = |r: &RealServer| if r.drained { Weight::QUIESCED } else { r.weight };
    ActiveServers { servers: v.servers.iter().map(|r| (r.key, weight(r))).collect(), sorry: None }
}

fn service_spec(v: &VirtualServer) -> ServiceSpec {
    ServiceSpec {
        scheduler: v.scheduler,
        flags: v.scheduler_flags,
        one_packet: v.one_packet,
        persistence: v.persistence,
        persistence_engine: v.persistence_engine,
        removal_policy: v.removal_policy,
    }
}

fn service_dests(v: &VirtualServer, active: ActiveServers) -> Vec<(ServerKey, DestSpec)> {
    let find = |key: ServerKey| v.servers.iter().find(|r| r.key == key);
    let mut dests: Vec<(ServerKey, DestSpec)> = Vec::with_capacity(active.servers.len() + 1);
    for (n, (key, weight)) in active.servers.into_iter().enumerate() {
        // The active servers nearly always have the order of the configuration.
        let Some(r) = v.servers.get(n).filter(|r| r.key == key).or_else(|| find(key)) else { continue };
        let (u_threshold, l_threshold) = (r.u_threshold, r.l_threshold);
        dests.push((key, DestSpec { weight, method: r.method, u_threshold, l_threshold }));
    }
    if let (Some(sorry), Some(weight)) = (v.sorry_server, active.sorry) {
        match dests.iter_mut().find(|(key, _)| *key == sorry.key) {
            // The sorry server is also one of the real servers.
            Some((_, spec)) if weight != Weight::QUIESCED => spec.weight = weight,
            Some(_) => {}
            None => {
                let spec = DestSpec { weight, method: sorry.method, u_threshold: 0, l_threshold: 0 };
                dests.push((sorry.key, spec));
            }
        }
    }
    dests
}
