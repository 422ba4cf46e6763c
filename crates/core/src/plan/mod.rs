//! The plan: the steps from the observed state of the data plane to the desired state.
//!
//! The start, a reload, a failed health check and the repair of drift all compute the desired state ([`desired_services`])
//! and apply the difference ([`diff`]). The tests check this property:
//! `apply(diff(desired, observed), observed) == desired`.

mod config_changes;
mod desired;

pub use config_changes::{ConfigChange, config_changes};
pub use desired::desired_services;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::model::{
    ForwardingMethod, Persistence, PersistenceEngine, RemovalPolicy, Scheduler, SchedulerFlags, ServerKey, ServiceKey,
    Weight,
};

/// The settings of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ServiceSpec {
    /// The scheduler.
    pub scheduler: Scheduler,
    /// The scheduler's flags.
    pub flags: SchedulerFlags,
    /// One-packet scheduling: each UDP packet is a connection of its own.
    pub one_packet: bool,
    /// Persistence, if configured.
    pub persistence: Option<Persistence>,
    /// What identifies a persistent client besides its address.
    pub persistence_engine: Option<PersistenceEngine>,
    /// What happens to the connections of a removed real server.
    pub removal_policy: RemovalPolicy,
}

impl ServiceSpec {
    /// A service with this scheduler and default settings.
    pub fn with_scheduler(scheduler: Scheduler) -> Self {
        ServiceSpec {
            scheduler,
            flags: SchedulerFlags::default(),
            one_packet: false,
            persistence: None,
            persistence_engine: None,
            removal_policy: RemovalPolicy::Drop,
        }
    }
}

/// The settings of a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct DestSpec {
    /// The weight.
    pub weight: Weight,
    /// The forwarding method.
    pub method: ForwardingMethod,
    /// The upper threshold of connections; 0: none.
    pub u_threshold: u32,
    /// The lower threshold; 0: three quarters of the upper threshold.
    pub l_threshold: u32,
}

/// A service and its destinations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ServiceState {
    /// The settings of the service.
    pub spec: ServiceSpec,
    /// The destinations in the order in which they are added, oldest first.
    pub dests: Vec<(ServerKey, DestSpec)>,
}

impl ServiceState {
    fn dest(&self, key: ServerKey) -> Option<DestSpec> {
        self.dests.iter().find(|(k, _)| *k == key).map(|(_, d)| *d)
    }
}

/// The services of a data plane.
pub type Services = BTreeMap<ServiceKey, ServiceState>;

/// A change of the data plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Adds a service without destinations.
    AddService(ServiceKey, ServiceSpec),
    /// Changes the settings of a service.
    EditService(ServiceKey, ServiceSpec),
    /// Removes a service and its destinations.
    RemoveService(ServiceKey),
    /// Adds a destination at the head of the service's list.
    AddDest(ServiceKey, ServerKey, DestSpec),
    /// Changes the settings of a destination. Its place in the list stays.
    EditDest(ServiceKey, ServerKey, DestSpec),
    /// Removes a destination. Its connections are kept in case it is added again.
    RemoveDest(ServiceKey, ServerKey),
}

impl Step {
    /// The service that the step changes.
    pub fn service(&self) -> ServiceKey {
        match self {
            Step::AddService(k, _) | Step::EditService(k, _) | Step::RemoveService(k) => *k,
            Step::AddDest(k, ..) | Step::EditDest(k, ..) | Step::RemoveDest(k, _) => *k,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::AddService(k, s) => write!(f, "add service {k} {}", s.scheduler),
            Step::EditService(k, s) => write!(f, "change service {k} to {}", s.scheduler),
            Step::RemoveService(k) => write!(f, "remove service {k}"),
            Step::AddDest(k, d, s) => write!(f, "add {d} to {k}, weight {}", s.weight),
            Step::EditDest(k, d, s) => write!(f, "change {d} of {k}, weight {}", s.weight),
            Step::RemoveDest(k, d) => write!(f, "remove {d} from {k}"),
        }
    }
}

/// The steps from the observed to the desired services. Destinations are added before others are removed, so that a
/// service that keeps destinations is never empty in between.
pub fn diff(desired: &Services, observed: &Services) -> Vec<Step> {
    let mut steps = Vec::new();
    for (key, service) in desired {
        match observed.get(key) {
            Some(old) => diff_service(*key, service, old, &mut steps),
            None => {
                steps.push(Step::AddService(*key, service.spec));
                steps.extend(service.dests.iter().map(|(d, spec)| Step::AddDest(*key, *d, *spec)));
            }
        }
    }
    steps.extend(observed.keys().filter(|k| !desired.contains_key(k)).map(|k| Step::RemoveService(*k)));
    steps
}

fn diff_service(key: ServiceKey, desired: &ServiceState, observed: &ServiceState, steps: &mut Vec<Step>) {
    if observed.spec != desired.spec {
        steps.push(Step::EditService(key, desired.spec));
    }
    for (d, spec) in &desired.dests {
        match observed.dest(*d) {
            None => steps.push(Step::AddDest(key, *d, *spec)),
            Some(old) if old != *spec => steps.push(Step::EditDest(key, *d, *spec)),
            Some(_) => {}
        }
    }
    let removed = observed.dests.iter().filter(|(d, _)| desired.dest(*d).is_none());
    steps.extend(removed.map(|(d, _)| Step::RemoveDest(key, *d)));
}

/// Applies steps to plain values: the reference model of a data plane.
pub fn apply(steps: &[Step], state: &mut Services) {
    for step in steps {
        match *step {
            Step::AddService(k, spec) => {
                state.insert(k, ServiceState { spec, dests: Vec::new() });
            }
            Step::EditService(k, spec) => {
                if let Some(s) = state.get_mut(&k) {
                    s.spec = spec;
                }
            }
            Step::RemoveService(k) => {
                state.remove(&k);
            }
            Step::AddDest(k, d, spec) => {
                if let Some(s) = state.get_mut(&k) {
                    s.dests.push((d, spec));
                }
            }
            Step::EditDest(k, d, spec) => {
                let dest = state.get_mut(&k).and_then(|s| s.dests.iter_mut().find(|(key, _)| *key == d));
                if let Some((_, old)) = dest {
                    *old = spec;
                }
            }
            Step::RemoveDest(k, d) => {
                if let Some(s) = state.get_mut(&k) {
                    s.dests.retain(|(key, _)| *key != d);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
