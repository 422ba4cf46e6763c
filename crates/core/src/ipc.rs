//! What is said over the control socket: one JSON object a line, a request and its reply.
//!
//! The same structures are what `evenkeel status -o json` prints, so their field names are an interface.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::bfd;
use crate::health::{Phase, ProbeResult};
use crate::model::{TrackResult, TrackedObject};
use crate::overrides::Override;
use crate::vrrp::{Counters, State};

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Everything that `status` shows.
    Status,
    /// Read the configuration file again; the reply says whether it was taken.
    Reload,
    /// A change by hand.
    Override {
        /// Which.
        change: Override,
    },
    /// Somebody has changed the data plane by hand: look at it now.
    Observe,
    /// What would a reload with this file change? Nothing is changed.
    Plan {
        /// An absolute path.
        file: String,
    },
}

/// What it gets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Reload`], when the new configuration is in force.
    Reloaded {
        /// The steps that it took.
        steps: Vec<String>,
    },
    /// To [`Request::Order`], when it is in force.
    Overridden {
        /// The steps that it took.
        steps: Vec<String>,
    },
    /// To [`Request::Look`].
    Observed,
    /// To [`Request::Plan`].
    Plan {
        /// The steps that a reload would take.
        steps: Vec<String>,
    },
    /// The request was refused; nothing changed.
    Rejected {
        /// Why.
        error: String,
    },
}

/// A director at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// `router_id`, or the host name.
    pub router_id: String,
    /// evenkeel's version.
    pub version: String,
    /// The daemon's process id.
    pub pid: u32,
    /// How long the daemon has run, ms.
    pub uptime_ms: u64,
    /// The configuration file in force.
    pub config_file: String,
    /// Why the last reload was refused, or what was left out at the start, if so.
    pub config_error: Option<String>,
    /// VRRP instances.
    pub instances: Vec<InstanceStatus>,
    /// Adverts on our interfaces for virtual routers that nobody here knows.
    pub unknown_vrid_adverts: u64,
    /// BFD sessions.
    pub bfd_sessions: Vec<BfdStatus>,
    /// Tracked scripts.
    pub scripts: Vec<ScriptStatus>,
    /// Tracked files and processes.
    pub tracked_objects: Vec<TrackedStatus>,
    /// How programs that were told of something fared, the last run of each.
    pub notifications: Vec<NotificationStatus>,
    /// What an operator has ordered that the file does not say, in words.
    #[serde(default)]
    pub overrides: Vec<String>,
    /// Virtual services.
    pub services: Vec<ServiceStatus>,
    /// What health checks cost.
    #[serde(default)]
    pub check_load: CheckLoad,
    /// The packet path.
    pub dataplane: DataPlaneStatus,
    /// What was put into the system and will be taken away at stop, in words.
    pub installed: Vec<String>,
    /// What does not work as it should, in words.
    pub warnings: Vec<String>,
}

/// A VRRP instance at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// Its virtual router number.
    pub vrid: u8,
    /// Protocol version.
    pub version: u8,
    /// Where it stands.
    pub state: State,
    /// How long it has been there, ms.
    pub since_ms: u64,
    /// Why it is there.
    pub reason: String,
    /// Priority in the configuration.
    pub base_priority: u8,
    /// Priority that it advertises.
    pub priority: u8,
    /// The master as it knows it.
    pub master: Option<IpAddr>,
    /// The master's priority.
    pub master_priority: Option<u8>,
    /// The address that it sends from.
    pub source_address: Option<IpAddr>,
    /// The interval of the master's adverts, ms.
    pub master_interval_ms: u64,
    /// Silence for this long makes it master, ms.
    pub master_down_ms: u64,
    /// Whom it hears, in words.
    pub accepted_senders: Vec<String>,
    /// The interface with the virtual MAC address that they are on.
    pub vmac: Option<String>,
    /// Are packets to them taken in by a master that does not own them?
    pub accept_mode: bool,
    /// Its addresses, as `ip addr` writes them.
    pub vips: Vec<String>,
    /// Its numbers.
    pub counters: Counters,
}

/// A BFD session at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BfdStatus {
    /// Its name.
    pub name: String,
    /// The neighbour.
    pub neighbour: IpAddr,
    /// Where it stands.
    pub state: bfd::State,
    /// How long it has been there, ms.
    pub since_ms: u64,
    /// Why it went down last, in words.
    pub last_down_reason: Option<String>,
    /// Our packets are so far apart, us.
    pub interval_us: u64,
    /// Silence for so long means that the neighbour is gone, us.
    pub detection_time_us: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets accepted.
    pub received: u64,
    /// Packets refused, by cause.
    pub rejected: BTreeMap<String, u64>,
}

/// A tracked script at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ScriptStatus {
    /// Its name.
    pub name: String,
    /// Good, bad, or not known yet.
    pub good: Option<bool>,
    /// How its last run ended.
    pub last_result: String,
    /// Runs so far.
    pub runs: u64,
}

/// How a program fared that was told of something.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NotificationStatus {
    /// Of what: `INSTANCE V`, `GROUP G`, `RS …`.
    pub object: String,
    /// What happened to it: its new state.
    pub state: String,
    /// The program.
    pub program: String,
    /// How it ended, or why it could not be run.
    pub result: String,
    /// Did it end with status 0?
    pub ok: bool,
    /// How long it ran, ms.
    pub duration_ms: u64,
}

/// A tracked file or process at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TrackedStatus {
    /// What it is, and its name.
    pub object: TrackedObject,
    /// How it was found; nothing before the first look.
    pub result: Option<TrackResult>,
    /// What there is to say of it: the number, how many processes run, or why nobody knows.
    pub detail: String,
}

/// A virtual service at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// TCP or UDP.
    pub protocol: String,
    /// Virtual address.
    pub addr: IpAddr,
    /// Virtual port.
    pub port: u16,
    /// Scheduler.
    pub scheduler: String,
    /// Persistence, seconds.
    pub persistence_s: Option<u32>,
    /// Connections so far.
    pub conns: u64,
    /// Packets towards real servers so far.
    pub in_packets: u64,
    /// Bytes of them.
    pub in_bytes: u64,
    /// The group that it is an address of.
    #[serde(default)]
    pub group: Option<String>,
    /// Is its quorum there?
    #[serde(default)]
    pub up: bool,
    /// How long that has been so, ms.
    #[serde(default)]
    pub since_ms: u64,
    /// The weights of its healthy servers.
    #[serde(default)]
    pub healthy_weight: u64,
    /// The quorum and its hysteresis.
    #[serde(default)]
    pub quorum: (u32, u32),
    /// Who takes over while the quorum is lost.
    #[serde(default)]
    pub sorry_server: Option<SorryServerStatus>,
    /// Its checks rest, as its address is not on this director (`ha_suspend`).
    #[serde(default)]
    pub suspended: bool,
    /// Its transitions, the last one first.
    #[serde(default)]
    pub history: Vec<HealthTransition>,
    /// Its real servers, in the order of the configuration.
    pub servers: Vec<ServerStatus>,
}

/// A sorry server at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SorryServerStatus {
    /// Address.
    pub addr: IpAddr,
    /// Port.
    pub port: u16,
    /// Does it take the connections?
    pub in_use: bool,
}

/// A transition of a service or a real server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HealthTransition {
    /// How long ago, ms.
    pub ago_ms: u64,
    /// To what.
    pub up: bool,
    /// Why.
    pub reason: String,
    /// The phase in which the probe failed.
    pub phase: Option<Phase>,
}

/// What health checks cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CheckLoad {
    /// Checks that probe.
    pub checks: usize,
    /// Different probes among them: equal ones are made once.
    pub probes: usize,
    /// Probes under way.
    pub running: usize,
    /// Probes begun so far.
    pub started: u64,
    /// How late the probes are that wait for their turn, ms.
    pub queue_delay_ms: u64,
}

/// A real server at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The name that it is an address of, if the file has a name.
    #[serde(default)]
    pub name: Option<String>,
    /// Address.
    pub addr: IpAddr,
    /// Port.
    pub port: u16,
    /// Weight in the configuration.
    pub weight: u32,
    /// Weight in force; `None` while it is out of the service.
    pub effective_weight: Option<u32>,
    /// Do its checks pass?
    pub up: bool,
    /// How long it has been so, ms.
    pub since_ms: u64,
    /// Its transitions, the last one first.
    #[serde(default)]
    pub history: Vec<HealthTransition>,
    /// Its checks.
    pub checks: Vec<CheckStatus>,
    /// Active connections.
    pub active: u32,
    /// Inactive connections.
    pub inactive: u32,
    /// Connections so far.
    pub conns: u64,
    /// Packets so far.
    pub in_packets: u64,
    /// Bytes so far.
    pub in_bytes: u64,
    /// Where its packets go, or why they cannot.
    pub next_hop: String,
}

/// A check at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CheckStatus {
    /// Its keyword.
    pub kind: String,
    /// Does it pass?
    pub up: bool,
    /// Failed probes that it is being forgiven.
    #[serde(default)]
    pub failed_attempts: u32,
    /// How many checks take the result of the same probe.
    #[serde(default)]
    pub shared_by: usize,
    /// Its last probe.
    pub last_probe: Option<ProbeResult>,
}

/// The packet path at one moment.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct DataPlaneStatus {
    /// `xdp` or `ipvs`; empty if there is none.
    #[serde(default)]
    pub kind: String,
    /// What it is besides, in words.
    #[serde(default)]
    pub detail: String,
    /// Services that somebody else has made; they are left alone.
    #[serde(default)]
    pub external_services: Vec<String>,
    /// What somebody else has changed in configured services, and stays so for now: the steps that would set it back.
    #[serde(default)]
    pub drift: Vec<String>,
    /// How many such changes were set back.
    #[serde(default)]
    pub repaired: u64,
    /// Devices and how each is hooked: (device, hook).
    pub attachments: Vec<(String, String)>,
    /// Why packets went where they went: (reason, packets).
    pub packet_counters: Vec<(String, u64)>,
    /// Entries that the connection table can hold.
    pub conn_capacity: u64,
    /// Was the state of an earlier daemon adopted?
    pub maps_reused: bool,
    /// Why there is none.
    pub error: Option<String>,
}
