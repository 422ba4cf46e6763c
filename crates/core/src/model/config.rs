//! The configuration as a whole, in types.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    AnnounceIntervals, BfdInstance, GlobalDefs, Statics, SyncGroup, TrackFile, TrackProcess, VirtualServer, Vmac,
    VrrpInstance, VrrpScript,
};

/// The contents of a configuration file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// `global_defs`
    pub global: GlobalDefs,
    /// `vrrp_script`: the scripts that an instance tracks
    pub scripts: Vec<VrrpScript>,
    /// `track_file`: the files that an instance or a check tracks
    pub track_files: Vec<TrackFile>,
    /// `vrrp_track_process`: the processes that an instance tracks
    pub track_processes: Vec<TrackProcess>,
    /// `bfd_instance`
    pub bfd: Vec<BfdInstance>,
    /// `vrrp_instance`
    pub instances: Vec<VrrpInstance>,
    /// `vrrp_sync_group`
    pub sync_groups: Vec<SyncGroup>,
    /// The interfaces that the daemon creates for instances
    pub vmacs: Vec<Vmac>,
    /// Addresses, routes and rules that do not depend on any instance
    pub statics: Statics,
    /// `interface_up_down_delays`: the delays of down and up
    pub link_delays: BTreeMap<String, (Duration, Duration)>,
    /// `dynamic_interfaces`: interfaces may be created and removed at any time
    pub dynamic_interfaces: bool,
    /// `garp_group`, `vrrp_garp_interval` and `vrrp_gna_interval`
    pub announce_intervals: AnnounceIntervals,
    /// `net_namespace`: the network namespace that the daemon runs in
    pub namespace: Option<String>,
    /// `net_namespace_ipvs`: the network namespace whose IPVS is used; the empty name is the namespace of PID 1
    pub ipvs_namespace: Option<String>,
    /// `virtual_server`
    pub virtual_servers: Vec<VirtualServer>,
}

impl Config {
    /// A feature that the configuration uses and that only the kernel's IPVS has; for messages.
    pub fn ipvs_only_feature(&self) -> Option<&'static str> {
        let all = &self.virtual_servers;
        if all.iter().any(|v| v.key.fwmark != 0 && v.mark_rules.is_empty()) {
            Some("a service on a firewall mark without members")
        } else if all.iter().any(|v| v.persistence_engine.is_some()) {
            Some("a persistence engine")
        } else if self.ipvs_namespace.is_some() {
            Some("net_namespace_ipvs")
        } else if self.global.sync.is_some() {
            Some("lvs_sync_daemon")
        } else {
            None
        }
    }

    /// Whether the configuration has neither instances nor virtual servers.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.virtual_servers.is_empty()
    }
}
