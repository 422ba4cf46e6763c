//! Desired state, observed state, difference, steps.
//!
//! Whoever wants something changed says what should be; [`diff`] compares it with what is and returns the steps between
//! them. Start, reload, a dead server and repair are all this one function, and its law is
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

/// What a service is, its servers apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ServiceSpec {
    /// Scheduler.
    pub scheduler: Scheduler,
    /// What it is told besides.
    pub flags: SchedulerFlags,
    /// Each UDP packet is a connection of its own.
    pub one_packet: bool,
    /// Persistence.
    pub persistence: Option<Persistence>,
    /// What it tells clients apart by.
    pub persistence_engine: Option<PersistenceEngine>,
    /// What becomes of the connections of a real server that leaves.
    pub removal_policy: RemovalPolicy,
}

impl ServiceSpec {
    /// A scheduler and nothing else.
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

/// What a destination is, its name apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct DestSpec {
    /// Weight.
    pub weight: Weight,
    /// Forwarding method.
    pub method: ForwardingMethod,
    /// Upper threshold; 0: none.
    pub u_threshold: u32,
    /// Lower threshold; 0: three quarters of the upper one.
    pub l_threshold: u32,
}

/// A service with its destinations, in the order in which they are (or are to be) added.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ServiceState {
    /// The service.
    pub spec: ServiceSpec,
    /// Its destinations, oldest first.
    pub dests: Vec<(ServerKey, DestSpec)>,
}

impl ServiceState {
    fn dest(&self, key: ServerKey) -> Option<DestSpec> {
        self.dests.iter().find(|(k, _)| *k == key).map(|(_, d)| *d)
    }
}

/// All services.
pub type Services = BTreeMap<ServiceKey, ServiceState>;

/// One change of the data plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A new service without destinations.
    AddService(ServiceKey, ServiceSpec),
    /// Its scheduler or persistence.
    EditService(ServiceKey, ServiceSpec),
    /// With its destinations.
    RemoveService(ServiceKey),
    /// At the head of the service's list.
    AddDest(ServiceKey, ServerKey, DestSpec),
    /// It stays where it is in the list.
    EditDest(ServiceKey, ServerKey, DestSpec),
    /// Its connections are remembered, should it come back.
    RemoveDest(ServiceKey, ServerKey),
}

impl Step {
    /// The service that it changes.
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

/// The steps from what is to what should be. What is to be added comes before what is to be removed, so that a service
/// is never empty in between.
pub fn diff(desired: &Services, observed: &Services) -> Vec<Step> {
    let mut steps = Vec::new();
    for (key, want) in desired {
        match observed.get(key) {
            None => {
                steps.push(Step::AddService(*key, want.spec));
                steps.extend(want.dests.iter().map(|(d, spec)| Step::AddDest(*key, *d, *spec)));
            }
            Some(have) => {
                if have.spec != want.spec {
                    steps.push(Step::EditService(*key, want.spec));
                }
                for (d, spec) in &want.dests {
                    match have.dest(*d) {
                        None => steps.push(Step::AddDest(*key, *d, *spec)),
                        Some(had) if had != *spec => steps.push(Step::EditDest(*key, *d, *spec)),
                        Some(_) => {}
                    }
                }
                let gone = have.dests.iter().filter(|(d, _)| want.dest(*d).is_none());
                steps.extend(gone.map(|(d, _)| Step::RemoveDest(*key, *d)));
            }
        }
    }
    steps.extend(observed.keys().filter(|k| !desired.contains_key(k)).map(|k| Step::RemoveService(*k)));
    steps
}

/// What a data plane does with steps, on plain values; the model that tests compare real ones with.
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
                if let Some((_, had)) = dest {
                    *had = spec;
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
