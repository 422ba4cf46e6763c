//! The settings of `global_defs`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Mail, ScriptCommand, Tuning};

/// How the packet path is attached to a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachChoice {
    /// The best for the device: native XDP on a NIC, tc on a device whose packets come from local sockets.
    Auto,
    /// XDP in the driver.
    NativeXdp,
    /// tc ingress.
    Tc,
    /// XDP in the network stack, for tests and for drivers without XDP.
    GenericXdp,
}

impl FromStr for AttachChoice {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        Ok(match s {
            "auto" => AttachChoice::Auto,
            "xdp" | "native" => AttachChoice::NativeXdp,
            "tc" => AttachChoice::Tc,
            "generic" => AttachChoice::GenericXdp,
            _ => return Err(()),
        })
    }
}

/// What `dataplane_interface` says about a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachOverride {
    /// The packet path is attached to it.
    Attach(AttachChoice),
    /// It is not.
    Off,
}

impl FromStr for AttachOverride {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        if s == "off" { Ok(AttachOverride::Off) } else { s.parse().map(AttachOverride::Attach) }
    }
}

/// All `dataplane_interface`, by the name of the device, which may end in `*`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AttachOverrides(BTreeMap<String, AttachOverride>);

impl AttachOverrides {
    /// Adds a line; the last one with a name counts.
    pub fn insert(&mut self, name: &str, what: AttachOverride) {
        self.0.insert(name.to_owned(), what);
    }

    /// What is said about a device: by its name, or else by the longest pattern that matches it.
    pub fn find(&self, device: &str) -> Option<AttachOverride> {
        self.find_named(device).or_else(|| self.find_pattern(device))
    }

    /// What is said about a device by its name.
    pub fn find_named(&self, device: &str) -> Option<AttachOverride> {
        self.0.get(device).copied()
    }

    fn find_pattern(&self, device: &str) -> Option<AttachOverride> {
        let patterns = self.0.iter().filter_map(|(name, what)| Some((name.strip_suffix('*')?, *what)));
        let matching = patterns.filter(|(prefix, _)| device.starts_with(prefix));
        matching.max_by_key(|(prefix, _)| prefix.len()).map(|(_, what)| what)
    }

    /// Whether there is a device that the packet path must leave alone.
    pub fn has_off(&self) -> bool {
        self.0.values().any(|what| *what == AttachOverride::Off)
    }

    /// The devices that must exist: those that the packet path is attached to by their whole names.
    pub fn required_devices(&self) -> impl Iterator<Item = &str> {
        let attached = self.0.iter().filter(|(name, what)| **what != AttachOverride::Off && !name.ends_with('*'));
        attached.map(|(name, _)| name.as_str())
    }
}

/// Which data plane forwards packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DataPlaneMode {
    /// evenkeel's packet path if the kernel supports it, unless the configuration needs the kernel's IPVS.
    #[default]
    Auto,
    /// evenkeel's packet path.
    Xdp,
    /// The kernel's IPVS.
    Ipvs,
}

/// What the daemon does with drift: changes that others have made in a configured service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DriftPolicy {
    /// The change is reverted.
    #[default]
    Repair,
    /// The change is reported, and kept until the configuration or the health of the service changes.
    Leave,
}

/// Which services are removed at a stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FlushScope {
    /// The services of the configuration.
    #[default]
    Configured,
    /// All services.
    All,
}

/// `lvs_sync_daemon`: the kernel synchronises connections with another director.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SyncConfig {
    /// The interface that is used.
    pub interface: String,
    /// The instance whose state decides: its master sends, its backups receive. Without an instance, the director does
    /// both.
    pub instance: Option<String>,
    /// The sync ID, which separates groups of directors.
    pub syncid: Option<u8>,
    /// The maximum length of a datagram in bytes.
    pub maxlen: Option<u16>,
    /// The UDP port.
    pub port: Option<u16>,
    /// The TTL of the datagrams.
    pub ttl: Option<u8>,
    /// The multicast group.
    pub group: Option<IpAddr>,
}

/// A FIFO that events are written to, one a line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fifo {
    /// The path. The daemon creates the FIFO if it does not exist.
    pub path: String,
    /// The owner: user and group.
    pub user: Option<(String, Option<String>)>,
    /// VRRP events are written.
    pub vrrp: bool,
    /// Events of real servers and virtual servers are written.
    pub servers: bool,
    /// Programs that read the FIFO. They get its path as last argument.
    pub readers: Vec<ScriptCommand>,
}

/// The scheduling of a process by the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ProcessScheduling {
    /// The nice value, -20 to 19.
    pub nice: Option<i8>,
    /// SCHED_RR with this priority, 1 to 99.
    pub rt_priority: Option<u8>,
    /// How long the process may run in real time without a blocking call, in microseconds (RLIMIT_RTTIME).
    pub rttime_limit_us: Option<u32>,
    /// The memory of the process is locked.
    pub lock_memory: bool,
}

/// `global_defs`: the settings that take effect.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GlobalDefs {
    /// The director's name in messages; the host name if `None`.
    pub router_id: Option<String>,
    /// Mail, if there is a recipient.
    pub mail: Option<Mail>,
    /// Notify scripts of one object run one after the other, each for at most this time (an extension of evenkeel).
    pub notify_ordered: Option<Duration>,
    /// `child_wait_time`: the maximum duration of a stop.
    pub child_wait: Option<Duration>,
    /// `reload_time_file`: a file with the time of the next reload; with `true` (`reload_repeat`) the reload repeats daily.
    pub reload_time: Option<(String, bool)>,
    /// `reload_file`: a file that exists while the configuration is reloaded. An empty path is the default path.
    pub reload_file: Option<String>,
    /// The kernel reports no link-local multicast groups, from the start of the daemon until a clean stop.
    pub disable_local_igmp: bool,
    /// The default user and group of scripts.
    pub script_user: Option<(String, Option<String>)>,
    /// Never run a script as root if others may write to it.
    pub enable_script_security: bool,
    /// `notify_fifo`, `vrrp_notify_fifo`, `lvs_notify_fifo`.
    pub fifos: Vec<Fifo>,
    /// The SCHED_RR priority of the router thread, 1 to 99. The thread uses SCHED_RR by default.
    pub vrrp_rt_priority: Option<u8>,
    /// The CPUs of the router thread; all if empty.
    pub vrrp_cpus: Vec<u16>,
    /// The scheduling of health checks and scripts.
    pub checker_scheduling: ProcessScheduling,
    /// The CPUs of health checks; all if empty.
    pub checker_cpus: Vec<u16>,
    /// The umask of files that the daemon creates.
    pub umask: Option<u32>,
    /// The number of entries of the connection table, a power of two (an extension of evenkeel).
    pub connection_table_size: Option<u32>,
    /// `startup_script` and its maximum duration. It runs before everything else.
    pub startup_script: Option<(ScriptCommand, Duration)>,
    /// `shutdown_script` and its maximum duration. It runs after everything else has ended.
    pub shutdown_script: Option<(ScriptCommand, Duration)>,
    /// `state_dump_file`: the path of state dumps.
    pub state_dump_file: Option<String>,
    /// `stats_dump_file`: the path of statistics dumps.
    pub stats_dump_file: Option<String>,
    /// `json_dump_file`: the path of JSON dumps with state and statistics.
    pub json_dump_file: Option<String>,
    /// `json_version 2`: the JSON dump is an object, and has tracked processes too.
    pub json_version_2: bool,
    /// `nftables`: the name of the daemon's tables.
    pub nftables: Option<String>,
    /// `nftables_priority`: the priority of their chains; -1 by default.
    pub nftables_priority: Option<i32>,
    /// `nftables_counters`
    pub nftables_counters: bool,
    /// `log_unknown_vrids`: log adverts of unknown VRIDs.
    pub log_unknown_vrids: bool,
    /// `rs_init_notifies`: notify real servers that are up after the start.
    pub rs_init_notifies: bool,
    /// The maximum number of concurrent probes (an extension of evenkeel).
    pub checker_concurrency: Option<u32>,
    /// The settings that IPVS has sysctls for, and `lvs_timeouts`.
    pub tuning: Tuning,
    /// `name_refresh`: the interval of lookups of real servers in seconds; 10 by default (an extension of evenkeel).
    pub name_refresh: Option<u32>,
    /// `dataplane`: which data plane forwards packets (an extension of evenkeel).
    pub dataplane: DataPlaneMode,
    /// `hand_changes`: what the daemon does with drift (an extension of evenkeel).
    pub drift_policy: DriftPolicy,
    /// `lvs_flush`: services that exist at the first start are removed.
    pub flush_on_start: bool,
    /// `lvs_flush_on_stop`
    pub flush_on_stop: FlushScope,
    /// `lvs_sync_daemon`
    pub sync: Option<SyncConfig>,
    /// `dataplane_interface`: devices for which the operator decides about the packet path (an extension of evenkeel).
    pub dataplane_interfaces: AttachOverrides,
    /// `serve_any_address`: services whose address this host does not hold are active too (an extension of evenkeel).
    pub serve_any_address: bool,
    /// `local_clients off`: processes of this host are not balanced (an extension of evenkeel).
    pub ignores_local_clients: bool,
}
