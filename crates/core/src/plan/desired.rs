//! Configuration and health to the services that should be.

use super::{DestSpec, ServiceSpec, ServiceState, Services};
use crate::health::ActiveServers;
use crate::model::{ServerKey, VirtualServer, Weight};

/// The services that should be; `standing` says of each which real servers take connections now. Of one without a standing
/// all do.
pub fn desired_services(
    servers: &[VirtualServer],
    standing: &dyn Fn(&VirtualServer) -> Option<ActiveServers>,
) -> Services {
    let service = |v: &VirtualServer| {
        let all = || ActiveServers {
            servers: v.servers.iter().map(|r| (r.key, if r.drained { Weight::QUIESCED } else { r.weight })).collect(),
            sorry: None,
        };
        let standing = standing(v).unwrap_or_else(all);
        let of = |key: ServerKey| v.servers.iter().find(|r| r.key == key);
        let mut dests: Vec<(ServerKey, DestSpec)> = Vec::with_capacity(standing.servers.len() + 1);
        for (n, (key, weight)) in standing.servers.into_iter().enumerate() {
            // Nearly always the standing's order is the configuration's.
            let Some(r) = v.servers.get(n).filter(|r| r.key == key).or_else(|| of(key)) else { continue };
            let (u_threshold, l_threshold) = (r.u_threshold, r.l_threshold);
            dests.push((key, DestSpec { weight, method: r.method, u_threshold, l_threshold }));
        }
        if let (Some(sorry), Some(weight)) = (v.sorry_server, standing.sorry) {
            match dests.iter_mut().find(|(key, _)| *key == sorry.key) {
                // It is one of the real servers as well.
                Some((_, spec)) if weight != Weight::QUIESCED => spec.weight = weight,
                Some(_) => {}
                None => {
                    let spec = DestSpec { weight, method: sorry.method, u_threshold: 0, l_threshold: 0 };
                    dests.push((sorry.key, spec));
                }
            }
        }
        let spec = ServiceSpec {
            scheduler: v.scheduler,
            flags: v.scheduler_flags,
            one_packet: v.one_packet,
            persistence: v.persistence,
            persistence_engine: v.persistence_engine,
            removal_policy: v.removal_policy,
        };
        ServiceState { spec, dests }
    };
    servers.iter().map(|v| (v.key, service(v))).collect()
}
