//! Virtual servers as configured.

use std::time::Duration;

use super::{
    MarkRule, NamedServers, Persistence, PersistenceEngine, RealServer, RemovalPolicy, Scheduler, SchedulerFlags,
    ScriptCommand, ServiceKey, SorryServer,
};

/// When a service is up, by the sum of the weights of its healthy real servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quorum {
    /// `quorum`: the sum that is required.
    pub weight: u32,
    /// `hysteresis`: the quorum is reached at this much more, and lost at this much less; less than `weight`.
    pub hysteresis: u32,
}

/// A `virtual_server` of the configuration, or one address of its group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtualServer {
    /// The key of the service.
    pub key: ServiceKey,
    /// The `virtual_server_group` that the address belongs to, and whether this service represents the group in
    /// notifications.
    pub group: Option<(String, bool)>,
    /// For a service on a firewall mark: the rules that give packets the mark. If rules of several services match a packet,
    /// the first service gets it.
    pub mark_rules: Vec<MarkRule>,
    /// When the service is up.
    pub quorum: Quorum,
    /// The server that gets all connections while the service is down.
    pub sorry_server: Option<SorryServer>,
    /// The service counts as down until its first successful check.
    pub alpha: bool,
    /// At a stop, the service is notified as going down.
    pub omega: bool,
    /// The servers are checked only while this director has the service's address.
    pub ha_suspend: bool,
    /// Runs when the quorum is reached.
    pub quorum_up: Option<ScriptCommand>,
    /// Runs when the quorum is lost.
    pub quorum_down: Option<ScriptCommand>,
    /// Both are reported by mail.
    pub mail: bool,
    /// The scheduler.
    pub scheduler: Scheduler,
    /// The scheduler's flags.
    pub scheduler_flags: SchedulerFlags,
    /// `ops`: one-packet scheduling: each UDP packet is a connection of its own.
    pub one_packet: bool,
    /// Persistence, if configured.
    pub persistence: Option<Persistence>,
    /// What identifies a persistent client besides its address.
    pub persistence_engine: Option<PersistenceEngine>,
    /// What happens to the connections of a removed real server.
    pub removal_policy: RemovalPolicy,
    /// The default interval of health checks.
    pub delay_loop: Duration,
    /// The real servers, in the order of the configuration.
    pub servers: Vec<RealServer>,
    /// Real servers by name. They are added to `servers` once they have been looked up.
    pub named_servers: Option<Box<NamedServers>>,
}
