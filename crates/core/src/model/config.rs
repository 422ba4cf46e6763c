//! A whole configuration, typed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Tuning;
use super::{
    AnnounceIntervals, BfdInstance, ScriptCommand, Statics, SyncGroup, TrackFile, TrackProcess, VirtualServer, Vmac,
    VrrpInstance, VrrpScript,
};

/// How a device's packets are caught.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachChoice {
    /// The best for the device: native XDP on a NIC, tc on what sockets feed.
    Auto,
    /// XDP in the driver.
    NativeXdp,
    /// The tc ingress hook.
    Tc,
    /// XDP in the stack; for tests and odd drivers.
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

/// Which data plane forwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DataPlaneMode {
    /// Our own where it can be had, unless something is configured that only the kernel's has.
    #[default]
    Auto,
    /// Our own.
    Xdp,
    /// The kernel's IPVS.
    Ipvs,
}

/// What becomes of what somebody else changes in a configured service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DriftPolicy {
    /// It is set back.
    #[default]
    Repair,
    /// It stays, and is shown, until what is configured or alive changes there.
    Leave,
}

/// Which services go at stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FlushScope {
    /// Those of the configuration.
    #[default]
    Configured,
    /// All that are there.
    All,
}

/// `lvs_sync_daemon`: connections are told to the other director by the kernel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SyncConfig {
    /// By this interface.
    pub interface: String,
    /// The instance whose state says who tells and who listens; without one both.
    pub instance: Option<String>,
    /// Tells groups of directors apart.
    pub syncid: Option<u8>,
    /// The longest datagram, bytes.
    pub maxlen: Option<u16>,
    /// UDP port.
    pub port: Option<u16>,
    /// The datagrams' time to live.
    pub ttl: Option<u8>,
    /// The multicast group.
    pub group: Option<IpAddr>,
}

/// A FIFO that is told of events, one a line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fifo {
    /// Its path; it is made if it is not there.
    pub path: String,
    /// Who owns it.
    pub user: Option<(String, Option<String>)>,
    /// Is it told of VRRP?
    pub vrrp: bool,
    /// Is it told of real servers?
    pub servers: bool,
    /// Programs that read it, with its path as their last argument.
    pub readers: Vec<ScriptCommand>,
}

/// How mail is encrypted on its way to the relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum MailTls {
    /// Not at all.
    #[default]
    Off,
    /// After STARTTLS (RFC 3207), or not sent.
    StartTls,
    /// From the start (RFC 8314).
    On,
}

/// Who we are to a mail relay.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({}, …)", self.user)
    }
}

/// Where mail goes, and how: `smtp_server` and what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mail {
    /// The relay's name or address.
    pub relay: String,
    /// Its port.
    pub port: u16,
    /// What we call ourselves there; the host name if nothing.
    pub helo: Option<String>,
    /// The sender; keepalived@HOST if none.
    pub from: Option<String>,
    /// Who gets it.
    pub to: Vec<String>,
    /// The relay must answer within this.
    pub timeout: Duration,
    /// It tells of FAULT as well (not with `no_email_faults`).
    pub faults: bool,
    /// Encryption (an addition of ours).
    pub tls: MailTls,
    /// User and password (an addition of ours).
    pub login: Option<Login>,
}

/// How the kernel is to treat a process among others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ProcessScheduling {
    /// Its nice value, -20 to 19.
    pub nice: Option<i8>,
    /// SCHED_RR with this priority, 1 to 99.
    pub rt_priority: Option<u8>,
    /// How long it may run in real time without a pause, microseconds (RLIMIT_RTTIME).
    pub rttime_limit_us: Option<u32>,
    /// Its memory is never paged out.
    pub lock_memory: bool,
}

/// `global_defs`, as far as something acts on it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GlobalDefs {
    /// This director's name in messages; the host name if none is given.
    pub router_id: Option<String>,
    /// Mail, if it can be sent to anybody.
    pub mail: Option<Mail>,
    /// Programs are told of states in order, each within this time (an addition of ours).
    pub notify_ordered: Option<Duration>,
    /// `child_wait_time`: a stop takes no longer.
    pub child_wait: Option<Duration>,
    /// `reload_time_file`: a file that says when to reload; with `true` (`reload_repeat`) every day.
    pub reload_time: Option<(String, bool)>,
    /// `reload_file`: is there while the configuration is read again; an empty path is the default one.
    pub reload_file: Option<String>,
    /// The kernel does not report link-local multicast groups; from the start on, until a clean stop.
    pub disable_local_igmp: bool,
    /// Default user and group of scripts.
    pub script_user: Option<(String, Option<String>)>,
    /// Never run as root what others may write.
    pub enable_script_security: bool,
    /// `notify_fifo`, `vrrp_notify_fifo`, `lvs_notify_fifo`.
    pub fifos: Vec<Fifo>,
    /// SCHED_RR priority of the router thread, 1 to 99; ours is on by default.
    pub vrrp_rt_priority: Option<u8>,
    /// Processors that the router thread runs on; all if there are none.
    pub vrrp_cpus: Vec<u16>,
    /// How health checks and scripts are scheduled.
    pub checker_scheduling: ProcessScheduling,
    /// Processors that health checks run on; all if there are none.
    pub checker_cpus: Vec<u16>,
    /// Mode bits that files of the daemon's do not get.
    pub umask: Option<u32>,
    /// Entries of the connection table (an addition of ours); a power of two.
    pub connection_table_size: Option<u32>,
    /// `startup_script`, and how long it may take: before anything else starts.
    pub startup_script: Option<(ScriptCommand, Duration)>,
    /// `shutdown_script`, and how long it may take: after everything else has ended.
    pub shutdown_script: Option<(ScriptCommand, Duration)>,
    /// `state_dump_file`: where the state is written when it is asked for.
    pub state_dump_file: Option<String>,
    /// `stats_dump_file`: where numbers are.
    pub stats_dump_file: Option<String>,
    /// `json_dump_file`: where both are, as JSON.
    pub json_dump_file: Option<String>,
    /// `json_version 2`: it is an object, and tells of tracked processes too.
    pub json_version_2: bool,
    /// `nftables`: the name of our tables.
    pub nftables: Option<String>,
    /// `nftables_priority`: of their chains; -1 if nothing is written.
    pub nftables_priority: Option<i32>,
    /// `nftables_counters`
    pub nftables_counters: bool,
    /// `log_unknown_vrids`: adverts for virtual routers that nobody here knows are told of.
    pub log_unknown_vrids: bool,
    /// `rs_init_notifies`: real servers that are up at start are told of.
    pub rs_init_notifies: bool,
    /// Probes that may be under way at a time (an addition of ours).
    pub checker_concurrency: Option<u32>,
    /// What IPVS has sysctls for, and `lvs_timeouts`.
    pub tuning: Tuning,
    /// `name_refresh`: how often names of real servers are looked up, seconds; 10 if nothing is written (an addition of ours).
    pub name_refresh: Option<u32>,
    /// `dataplane`: which data plane forwards (an addition of ours).
    pub dataplane: DataPlaneMode,
    /// `hand_changes`: what becomes of changes by others (an addition of ours).
    pub drift_policy: DriftPolicy,
    /// `lvs_flush`: services that are there at the first start go.
    pub flush_on_start: bool,
    /// `lvs_flush_on_stop`
    pub flush_on_stop: FlushScope,
    /// `lvs_sync_daemon`
    pub sync: Option<SyncConfig>,
    /// Devices that the packet path is put on besides those that the VIPs need, and how (an addition of ours).
    pub dataplane_interfaces: BTreeMap<String, AttachChoice>,
}

/// Everything that a configuration file asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// `global_defs`
    pub global: GlobalDefs,
    /// `vrrp_script`, those that some instance tracks
    pub scripts: Vec<VrrpScript>,
    /// `track_file`, those that some instance tracks
    pub track_files: Vec<TrackFile>,
    /// `vrrp_track_process`, those that some instance tracks
    pub track_processes: Vec<TrackProcess>,
    /// `bfd_instance`
    pub bfd: Vec<BfdInstance>,
    /// `vrrp_instance`
    pub instances: Vec<VrrpInstance>,
    /// `vrrp_sync_group`
    pub sync_groups: Vec<SyncGroup>,
    /// The interfaces that are made for them
    pub vmacs: Vec<Vmac>,
    /// What is there whoever is master
    pub statics: Statics,
    /// `interface_up_down_delays`: down, up
    pub link_delays: BTreeMap<String, (Duration, Duration)>,
    /// `dynamic_interfaces`: interfaces may come and go
    pub dynamic_interfaces: bool,
    /// `garp_group`, `vrrp_garp_interval` and `vrrp_gna_interval`
    pub announce_intervals: AnnounceIntervals,
    /// `net_namespace`: the network namespace that the daemon runs in.
    pub namespace: Option<String>,
    /// `net_namespace_ipvs`: the network namespace whose IPVS is used; empty for that of the first process.
    pub ipvs_namespace: Option<String>,
    /// `virtual_server`
    pub virtual_servers: Vec<VirtualServer>,
}

impl Config {
    /// What is asked for that only the kernel's IPVS has, in words.
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

    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.virtual_servers.is_empty()
    }
}
