//! Messages of the generic-netlink family `IPVS`, version 1: what follows the netlink header, from the command on.

mod decode;
mod encode;

pub use decode::{parse_daemon, parse_dest, parse_info, parse_service, parse_timeouts};
pub use encode::{change_request, get_dests_request, get_service_request, request};

/// The name of the family.
pub const FAMILY: &str = "IPVS";
/// The version of the family.
const VERSION: u8 = 1;

/// The commands (IPVS_CMD_*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Command {
    /// Adds a service.
    NewService = 1,
    /// Replaces the settings of a service; its destinations stay.
    SetService = 2,
    /// Removes a service.
    DelService = 3,
    /// Returns one service, or all.
    GetService = 4,
    /// Adds a destination.
    NewDest = 5,
    /// Replaces the settings of a destination.
    SetDest = 6,
    /// Removes a destination.
    DelDest = 7,
    /// Returns all destinations of a service.
    GetDest = 8,
    /// Starts a sync daemon.
    NewDaemon = 9,
    /// Stops a sync daemon.
    DelDaemon = 10,
    /// Returns the sync daemons.
    GetDaemon = 11,
    /// Sets the timeouts.
    SetConfig = 12,
    /// Returns the timeouts.
    GetConfig = 13,
    /// The reply to GetInfo.
    SetInfo = 14,
    /// Returns IPVS's version and the size of its connection table.
    GetInfo = 15,
    /// Resets statistics to 0.
    Zero = 16,
    /// Removes all services.
    Flush = 17,
}

// Top-level attributes (IPVS_CMD_ATTR_*).
const SERVICE: u16 = 1;
const DEST: u16 = 2;
const DAEMON: u16 = 3;
const TIMEOUT_TCP: u16 = 4;
const TIMEOUT_TCP_FIN: u16 = 5;
const TIMEOUT_UDP: u16 = 6;

// Attributes of a service (IPVS_SVC_ATTR_*).
const SVC_AF: u16 = 1;
const SVC_PROTOCOL: u16 = 2;
const SVC_ADDR: u16 = 3;
const SVC_PORT: u16 = 4;
const SVC_FWMARK: u16 = 5;
const SVC_SCHED_NAME: u16 = 6;
const SVC_FLAGS: u16 = 7;
const SVC_TIMEOUT: u16 = 8;
const SVC_NETMASK: u16 = 9;
const SVC_STATS: u16 = 10;
const SVC_PE_NAME: u16 = 11;
const SVC_STATS64: u16 = 12;

// Attributes of a destination (IPVS_DEST_ATTR_*).
const DEST_ADDR: u16 = 1;
const DEST_PORT: u16 = 2;
const DEST_FWD_METHOD: u16 = 3;
const DEST_WEIGHT: u16 = 4;
const DEST_U_THRESH: u16 = 5;
const DEST_L_THRESH: u16 = 6;
const DEST_ACTIVE: u16 = 7;
const DEST_INACT: u16 = 8;
const DEST_PERSIST: u16 = 9;
const DEST_STATS: u16 = 10;
const DEST_AF: u16 = 11;
const DEST_STATS64: u16 = 12;
const DEST_TUN_TYPE: u16 = 13;
const DEST_TUN_PORT: u16 = 14;
const DEST_TUN_FLAGS: u16 = 15;

// Attributes of a sync daemon (IPVS_DAEMON_ATTR_*).
const DAEMON_STATE: u16 = 1;
const DAEMON_MCAST_IFN: u16 = 2;
const DAEMON_SYNC_ID: u16 = 3;
const DAEMON_SYNC_MAXLEN: u16 = 4;
const DAEMON_MCAST_GROUP: u16 = 5;
const DAEMON_MCAST_GROUP6: u16 = 6;
const DAEMON_MCAST_PORT: u16 = 7;
const DAEMON_MCAST_TTL: u16 = 8;

// Attributes of the reply to GetInfo (IPVS_INFO_ATTR_*).
const INFO_VERSION: u16 = 1;
const INFO_CONN_TAB_SIZE: u16 = 2;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
