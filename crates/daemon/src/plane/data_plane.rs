//! The interface of a data plane.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use evenkeel_core::answers::AnswerCounts;
use evenkeel_core::ipc::{DataPlaneStatus, Finding};
use evenkeel_core::ipvs::Connection;
use evenkeel_core::model::{Config, ServerKey, ServiceKey};
use evenkeel_core::plan::{Services, Step};
use evenkeel_sys::bpf::{ServeAll, ServiceRecord};
use evenkeel_sys::netlink::Netlink;
use evenkeel_sys::{Error, Result};

/// A kind of data plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlaneKind {
    /// evenkeel's packet path, in XDP and tc.
    Xdp,
    /// The kernel's IPVS.
    Ipvs,
}

impl PlaneKind {
    /// Its name, as `dataplane` in the configuration has it.
    pub fn name(self) -> &'static str {
        match self {
            PlaneKind::Xdp => "xdp",
            PlaneKind::Ipvs => "ipvs",
        }
    }
}

/// The services of a data plane at one moment.
#[derive(Default, Debug)]
pub struct PlaneObservation {
    /// Services that this daemon made, and desired services, whoever made them.
    pub services: Services,
    /// Services that somebody else made, which are not changed.
    pub external: BTreeSet<ServiceKey>,
}

/// A data plane forwards packets of virtual services.
pub trait DataPlane {
    /// Its kind.
    fn kind(&self) -> PlaneKind;
    /// Whether it was running at start, with services of an earlier daemon.
    fn is_inherited(&self) -> bool;
    /// Reads the services. What a data plane does not keep is taken from `desired`: the removal policy, and how a
    /// server that is this director is reached.
    fn observe(&mut self, desired: &Services) -> Result<PlaneObservation>;
    /// Makes desired services this daemon's, even if somebody else made them.
    fn claim(&mut self, desired: &Services);
    /// Applies steps in their order. A failed step does not stop the others.
    fn apply(&mut self, steps: &[Step]) -> Vec<Error>;
    /// Removes all services, external ones too.
    fn flush(&mut self) -> Vec<Error>;
    /// Makes services active or inactive: packets for an inactive one are the kernel's. Returns those that changed. The
    /// kernel's IPVS decides by itself.
    fn set_active_services(&mut self, _active: &BTreeMap<ServiceKey, bool>) -> Result<Vec<(ServiceKey, bool)>> {
        Ok(Vec::new())
    }
    /// Sets timeouts and the options for which IPVS has sysctls.
    fn tune(&mut self, config: &Config) -> Vec<Error>;
    /// The services with their servers and counters.
    fn service_records(&mut self) -> Vec<ServiceRecord>;
    /// The connections of each server, and how many went on; none if the data plane does not count them.
    fn answer_counts(&mut self) -> Vec<((ServiceKey, ServerKey), AnswerCounts)> {
        Vec::new()
    }
    /// Connections and persistence templates.
    fn connections(&mut self) -> Result<Vec<Connection>>;
    /// In standby it creates no connection; existing connections continue. IPVS has no standby and needs none.
    fn set_standby(&mut self, standby: bool);
    /// Imports connections of the other data plane; returns how many could not be imported.
    fn import_connections(&mut self, connections: &[Connection]) -> Result<usize>;
    /// Attaches itself to the devices that packets of services may arrive on; returns what failed, for `status`.
    fn update_attachments(&mut self, netlink: &mut Netlink, config: &Config, reason: UpdateReason) -> Vec<String>;
    /// Whether the rules of the host's packet filter have changed, so that attachments must be decided anew.
    fn has_new_filter_rules(&mut self) -> bool {
        false
    }
    /// Attaches again where somebody has detached it, and restores removed pins.
    fn repair_attachments(&mut self, _netlink: &mut Netlink) {}
    /// Looks up the next hops of real servers again. True if all are known.
    fn refresh_next_hops(&mut self, netlink: &mut Netlink) -> bool;
    /// Why a server cannot be reached; `None` if it can, or if that is not known.
    fn unreachable_reason(&self, addr: IpAddr) -> Option<String>;
    /// Its part of the director's status.
    fn status(&mut self) -> DataPlaneStatus;
    /// What is wrong with it at this moment.
    fn findings(&mut self) -> Vec<Finding> {
        Vec::new()
    }
    /// What it put into the system and removes at stop, for `status`.
    fn installed(&self) -> Vec<String>;
    /// `lvs_sync_daemon`: sends connections to another director (master) or receives them (backup). `is_master`: the
    /// state of the instance that it is bound to; `None` if it is bound to none, which means both.
    fn update_connection_sync(&mut self, config: &Config, is_master: Option<bool>) -> Vec<Error>;
    /// Removes what it put into the system; with `all`, external services too.
    fn release(self: Box<Self>, netlink: &mut Netlink, all: bool);
}

/// Why attachments are updated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdateReason {
    /// There is a new configuration.
    NewConfig,
    /// A link or an address changed.
    NetworkEvent,
}

/// Where data planes keep what outlives the daemon.
#[derive(Clone, Debug)]
pub struct PlanePaths {
    /// Directory of pinned maps and links.
    pub bpf_dir: PathBuf,
    /// File of the services that this instance added to the kernel's IPVS.
    pub services_record: PathBuf,
    /// What the router thread sets before it adds addresses.
    pub serve_all: Arc<ServeAll>,
}
