//! Sync daemons: the kernel threads that synchronise connections between directors.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

/// The role of a sync daemon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncRole {
    /// The daemon sends.
    Master,
    /// The daemon receives.
    Backup,
}

impl SyncRole {
    /// IP_VS_STATE_MASTER, IP_VS_STATE_BACKUP
    pub const fn number(self) -> u32 {
        match self {
            SyncRole::Master => 1,
            SyncRole::Backup => 2,
        }
    }
}

impl fmt::Display for SyncRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SyncRole::Master => "master",
            SyncRole::Backup => "backup",
        })
    }
}

/// A sync daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SyncDaemon {
    /// The role.
    pub role: SyncRole,
    /// The interface.
    pub interface: String,
    /// The sync ID, 0 to 255, which separates groups of directors. A backup with 0 accepts all.
    pub syncid: u32,
    /// The maximum length of a datagram in bytes; `None`: by the interface's MTU.
    pub maxlen: Option<u16>,
    /// The multicast group; `None`: [`SYNC_GROUP`].
    pub group: Option<IpAddr>,
    /// The UDP port; `None`: [`SYNC_PORT`].
    pub port: Option<u16>,
    /// The TTL of the datagrams; `None`: 1.
    pub ttl: Option<u8>,
}

/// The default multicast group.
pub const SYNC_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 81);
/// The default port.
pub const SYNC_PORT: u16 = 8848;
