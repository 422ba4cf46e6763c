//! The kernel's IPVS, as its generic-netlink interface and `/proc` show it: values, and their encoding in messages.
//!
//! Source: `include/uapi/linux/ip_vs.h` and `net/netfilter/ipvs/ip_vs_ctl.c` of Linux 6.1. The messages that the tests
//! compare with were recorded from such a kernel. This module opens no socket; `evenkeel_sys::ipvs` does.
//!
//! A service or destination has the same fields as in `ip_vs.h` here; `convert.rs` converts from and to
//! [`crate::plan`]. `ipvsadm` works on these types for both data planes.

mod attr;
mod change;
mod connection;
mod convert;
mod dest;
pub mod message;
mod proc;
mod service;
mod states;
pub mod sync;
mod sync_daemon;
mod table_model;

pub use change::Change;
pub use connection::Connection;
pub use dest::{
    Dest, DestEntry, FwdMethod, TUNNEL_FLAG_CSUM, TUNNEL_FLAG_REMCSUM, TUNNEL_TYPE_GRE, TUNNEL_TYPE_GUE,
    TUNNEL_TYPE_IPIP,
};
pub use proc::parse_connections;
pub use service::{
    SVC_F_HASHED, SVC_F_ONEPACKET, SVC_F_PERSISTENT, SVC_F_SCHED1, SVC_F_SCHED2, SVC_F_SCHED3, Service, ServiceEntry,
    ServiceId,
};
pub use states::{is_active, state_name, state_number};
pub use sync_daemon::{SYNC_GROUP, SYNC_PORT, SyncDaemon, SyncRole};
pub use table_model::TableModel;

use serde::Serialize;

/// Statistics since the start or since they were last reset.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Stats {
    /// Connections scheduled.
    pub conns: u64,
    /// Packets to real servers.
    pub in_packets: u64,
    /// Packets from real servers.
    pub out_packets: u64,
    /// Bytes to real servers.
    pub in_bytes: u64,
    /// Bytes from real servers.
    pub out_bytes: u64,
}

/// Rates per second, averaged by the kernel's estimator.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Rates {
    /// Connections scheduled.
    pub cps: u64,
    /// Packets to real servers.
    pub in_pps: u64,
    /// Packets from real servers.
    pub out_pps: u64,
    /// Bytes to real servers.
    pub in_bps: u64,
    /// Bytes from real servers.
    pub out_bps: u64,
}

/// The timeouts of idle connections in seconds. In a change, 0 leaves a timeout as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Timeouts {
    /// Established TCP connections.
    pub tcp_s: u32,
    /// TCP connections after a FIN.
    pub tcpfin_s: u32,
    /// UDP.
    pub udp_s: u32,
}

/// IPVS's description of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct IpvsInfo {
    /// The version, a byte for each number: 0x010201 is 1.2.1.
    pub version: u32,
    /// The number of buckets of the connection table; for a table without buckets, the number of entries.
    pub conn_tab_size: u32,
}
