//! The state of a director, as in the reply to `status` and in `evenkeel status -o json`. Histories are newest first.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Finding;
use crate::bfd;
use crate::health::{Phase, ProbeResult};
use crate::model::{TrackResult, TrackedObject};
use crate::vrrp::{Counters, State};

/// A director.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// `router_id`, or the host name.
    pub router_id: String,
    /// The version of evenkeel.
    pub version: String,
    /// The process ID of the daemon.
    pub pid: u32,
    /// How long the daemon has been running, in ms.
    pub uptime_ms: u64,
    /// The path of the configuration file in force.
    pub config_file: String,
    /// Why the last reload was rejected.
    pub config_error: Option<String>,
    /// Which blocks of the file in force were skipped at the start, and why.
    pub skipped_at_start: Option<String>,
    /// VRRP instances.
    pub instances: Vec<InstanceStatus>,
    /// Adverts of unknown VRIDs that the instances' interfaces have received.
    pub unknown_vrid_adverts: u64,
    /// BFD sessions.
    pub bfd_sessions: Vec<BfdStatus>,
    /// Tracked scripts.
    pub scripts: Vec<ScriptStatus>,
    /// Tracked files and processes.
    pub tracked_objects: Vec<TrackedStatus>,
    /// The last run of each notify script.
    pub notifications: Vec<NotificationStatus>,
    /// A sentence for each override.
    pub overrides: Vec<String>,
    /// Virtual services.
    pub services: Vec<ServiceStatus>,
    /// The load of health checks.
    pub check_load: CheckLoad,
    /// The data plane.
    pub dataplane: DataPlaneStatus,
    /// Descriptions of what the daemon has added to the system and removes at a stop.
    pub installed: Vec<String>,
    /// What is wrong, the most severe first.
    pub findings: Vec<Finding>,
}

/// A VRRP instance.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// The instance's name.
    pub name: String,
    /// The instance's interface.
    pub interface: String,
    /// The virtual router ID.
    pub vrid: u8,
    /// The protocol version.
    pub version: u8,
    /// The state.
    pub state: State,
    /// How long the instance has been in this state, in ms.
    pub since_ms: u64,
    /// The reason of the last transition.
    pub reason: String,
    /// The configured priority.
    pub base_priority: u8,
    /// The effective priority, which adverts have.
    pub priority: u8,
    /// The master that the instance knows.
    pub master: Option<IpAddr>,
    /// The master's priority.
    pub master_priority: Option<u8>,
    /// The source address of adverts.
    pub source_address: Option<IpAddr>,
    /// The master's advertisement interval, in ms.
    pub master_interval_ms: u64,
    /// The master-down interval, in ms: the instance becomes master after this time without an advert.
    pub master_down_ms: u64,
    /// One sentence about each sender of adverts in the last master-down interval: accepted or rejected, and why.
    pub senders: Vec<String>,
    /// The interface with the virtual MAC address that has the addresses.
    pub vmac: Option<String>,
    /// Whether a master that does not own the addresses accepts packets to them.
    pub accept_mode: bool,
    /// The addresses, as in `ip addr`.
    pub vips: Vec<String>,
    /// The counters.
    pub counters: Counters,
}

/// A BFD session.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BfdStatus {
    /// The session's name.
    pub name: String,
    /// The neighbour's address.
    pub neighbour: IpAddr,
    /// The state.
    pub state: bfd::State,
    /// How long the session has been in this state, in ms.
    pub since_ms: u64,
    /// Why the session last went down.
    pub last_down_reason: Option<String>,
    /// The interval of sent packets, in us.
    pub interval_us: u64,
    /// The detection time, in us: the neighbour is down after this time without a packet.
    pub detection_time_us: u64,
    /// The number of packets sent.
    pub sent: u64,
    /// The number of packets accepted.
    pub received: u64,
    /// The number of packets rejected, by reason.
    pub rejected: BTreeMap<String, u64>,
}

/// A tracked script.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ScriptStatus {
    /// The script's name.
    pub name: String,
    /// Good or bad; `None` before the first result.
    pub good: Option<bool>,
    /// How the last run ended.
    pub last_result: String,
    /// The number of runs.
    pub runs: u64,
}

/// The last run of a notify script.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NotificationStatus {
    /// The object that was notified: `INSTANCE V`, `GROUP G`, `RS …`.
    pub object: String,
    /// The object's new state.
    pub state: String,
    /// The program.
    pub program: String,
    /// How the program ended, or why it could not run.
    pub result: String,
    /// Whether the program ended with status 0.
    pub ok: bool,
    /// How long the program ran, in ms.
    pub duration_ms: u64,
}

/// A tracked file or process.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TrackedStatus {
    /// The kind of the object and its name.
    pub object: TrackedObject,
    /// The result; `None` before the first one.
    pub result: Option<TrackResult>,
    /// Details: the number in a file, how many processes run, or why there is no result.
    pub detail: String,
}

/// A virtual service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// The service: `TCP 192.0.2.1:80`, `FWM 5`.
    pub name: String,
    /// The firewall mark; 0 for a service by address.
    pub fwmark: u32,
    /// The protocol: TCP, UDP or SCTP.
    pub protocol: String,
    /// The virtual address; unspecified for a service on a firewall mark.
    pub addr: IpAddr,
    /// The virtual port.
    pub port: u16,
    /// The scheduler.
    pub scheduler: String,
    /// The persistence timeout, in seconds.
    pub persistence_s: Option<u32>,
    /// The number of connections.
    pub conns: u64,
    /// The number of packets to real servers.
    pub in_packets: u64,
    /// The number of bytes in these packets.
    pub in_bytes: u64,
    /// The virtual server group that the address belongs to.
    pub group: Option<String>,
    /// Whether the quorum is reached.
    pub up: bool,
    /// How long that has been so, in ms.
    pub since_ms: u64,
    /// The sum of the weights of the healthy servers.
    pub healthy_weight: u64,
    /// The quorum and its hysteresis.
    pub quorum: (u32, u32),
    /// The sorry server.
    pub sorry_server: Option<SorryServerStatus>,
    /// Whether the checks are suspended because this director does not have the address (`ha_suspend`).
    pub suspended: bool,
    /// Why this host does not balance the service's packets now: another director holds its address.
    pub inactive: Option<String>,
    /// The transitions.
    pub history: Vec<HealthTransition>,
    /// The real servers, in the order of the configuration.
    pub servers: Vec<ServerStatus>,
}

/// A sorry server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SorryServerStatus {
    /// The address.
    pub addr: IpAddr,
    /// The port.
    pub port: u16,
    /// Whether the sorry server gets the connections now.
    pub in_use: bool,
}

/// A transition of a service or a real server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HealthTransition {
    /// How long ago the transition was, in ms.
    pub ago_ms: u64,
    /// The new state: up or down.
    pub up: bool,
    /// The reason.
    pub reason: String,
    /// The phase in which the probe failed.
    pub phase: Option<Phase>,
}

/// The load of health checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CheckLoad {
    /// The number of checks that send probes.
    pub checks: usize,
    /// The number of different probes of these checks. Equal probes are sent once.
    pub probes: usize,
    /// The number of probes that are running.
    pub running: usize,
    /// The number of probes started.
    pub started: u64,
    /// How long the probes that are due have been waiting, in ms.
    pub queue_delay_ms: u64,
}

/// A real server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The name that resolved to the address, if the configuration has a name.
    pub name: Option<String>,
    /// The address.
    pub addr: IpAddr,
    /// The port.
    pub port: u16,
    /// The configured weight.
    pub weight: u32,
    /// The effective weight; `None` while the server is removed from the service.
    pub effective_weight: Option<u32>,
    /// Whether the checks pass.
    pub up: bool,
    /// How long that has been so, in ms.
    pub since_ms: u64,
    /// The transitions.
    pub history: Vec<HealthTransition>,
    /// The checks.
    pub checks: Vec<CheckStatus>,
    /// The number of active connections.
    pub active: u32,
    /// The number of inactive connections.
    pub inactive: u32,
    /// The number of new connections within the last minute. This and the next two: of TCP and SCTP, on the packet path.
    pub new_last_minute: u32,
    /// The number of connections whose handshake went on within the last minute.
    pub answered_last_minute: u32,
    /// The number of connections that the client tried again within the last minute, before an answer.
    pub retried_last_minute: u32,
    /// The number of connections since the start.
    pub conns: u64,
    /// The number of packets to the server.
    pub in_packets: u64,
    /// The number of bytes in these packets.
    pub in_bytes: u64,
    /// The next hop of packets to the server, or why there is none.
    pub next_hop: String,
}

/// A check of a real server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CheckStatus {
    /// The check's keyword.
    pub kind: String,
    /// Whether the check passes.
    pub up: bool,
    /// How many retries the check has used since the last successful probe.
    pub retries_used: u32,
    /// How many checks share the same probe.
    pub shared_by: usize,
    /// The last probe.
    pub last_probe: Option<ProbeResult>,
}

/// The data plane.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct DataPlaneStatus {
    /// `xdp` or `ipvs`; empty if there is none.
    pub kind: String,
    /// Details of the data plane.
    pub detail: String,
    /// External services: those that are not configured. The daemon does not change them.
    pub external_services: Vec<String>,
    /// Drift that is not repaired: the steps that would revert the external changes of configured services.
    pub drift: Vec<String>,
    /// How many external changes have been reverted.
    pub repaired: u64,
    /// The devices that the packet path is attached to.
    pub attachments: Vec<AttachmentStatus>,
    /// The devices that might have an attachment and have none.
    pub devices_left_alone: Vec<DeviceLeftAlone>,
    /// Whether the packet path balances processes of this host; empty without a packet path.
    pub local_clients: String,
    /// Packets by what the packet path did with them and why: (counter, packets).
    pub packet_counters: Vec<(String, u64)>,
    /// The number of entries of the connection table.
    pub conn_capacity: u64,
    /// Whether the daemon uses the maps of an earlier daemon.
    pub maps_reused: bool,
    /// Why there is no data plane.
    pub error: Option<String>,
}

/// An attachment of the packet path to a device.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AttachmentStatus {
    /// The device.
    pub device: String,
    /// How the program is attached: `native XDP`, `generic XDP`, `tc (tcx)` or `tc (clsact)`.
    pub mode: String,
    /// Why the device has an attachment.
    pub reason: String,
    /// What is wrong with it now.
    pub fault: Option<String>,
}

/// A device that the packet path is not attached to, although packets might come in by it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceLeftAlone {
    /// The device.
    pub device: String,
    /// Why it has no attachment.
    pub reason: String,
}
