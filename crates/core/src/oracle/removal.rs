//! Packets of a connection whose real server has been removed from its service: dest_unavailable() of the packet path.
//!
//! The service's [`RemovalPolicy`] decides:
//!
//! | policy | a packet that may create a connection | any other packet |
//! | --- | --- | --- |
//! | `Drop` (IPVS) | dropped | dropped |
//! | `Drop` with expire_nodest_conn | rescheduled | passed to the kernel |
//! | `Drain(s)`, within `s` seconds | forwarded | forwarded |
//! | `Drain(s)` afterwards, `Reject` | rejected | rejected |
//! | `Reschedule` | rescheduled | rejected |
//!
//! Rescheduled: the connection is removed and the packet creates a new one, to another server. Rejected: the connection is
//! removed and the client gets a RST for TCP, port unreachable for UDP and SCTP. A RST is never answered with a RST.
//!
//! A removed server keeps its counts, and gets them back if it is added again ([`super::services`]). Its persistence
//! templates are dead ([`super::templates`]).

use super::states::RST;
use super::{Conn, ConnKey, Oracle, Packet, PacketVerdict};
use crate::model::{Protocol, RemovalPolicy, ServerKey};

impl Oracle {
    fn removal_policy(&self, conn: &Conn) -> RemovalPolicy {
        self.services.get(&conn.dest.0).map_or(RemovalPolicy::Drop, |s| s.spec.removal_policy)
    }

    /// The server that packets of a connection are forwarded to: one that is in its service, or that is draining.
    pub(super) fn usable_server(&mut self, conn: &Conn, now: u64) -> Option<ServerKey> {
        let policy = self.removal_policy(conn);
        let dest = self.dest_mut(conn.dest)?;
        let is_draining = matches!(policy, RemovalPolicy::Drain(s) if now < dest.removed_at + u64::from(s));
        (dest.available || is_draining).then_some(dest.key)
    }

    /// The verdict on a packet of a connection whose server is not usable; `None` if the packet is rescheduled.
    pub(super) fn dest_unavailable(&mut self, key: &ConnKey, conn: &Conn, p: &Packet) -> Option<PacketVerdict> {
        let policy = self.removal_policy(conn);
        if policy == RemovalPolicy::Drop && !self.tuning.expire_nodest_conn {
            return Some(PacketVerdict::Drop);
        }
        self.remove_conn(key);
        let may_reschedule = matches!(policy, RemovalPolicy::Drop | RemovalPolicy::Reschedule);
        if may_reschedule && self.may_create(p) {
            return None;
        }
        Some(match policy {
            RemovalPolicy::Drop => PacketVerdict::Pass,
            _ if p.protocol != Protocol::Tcp => PacketVerdict::Unreachable,
            _ if p.event & RST != 0 => PacketVerdict::Drop,
            _ => PacketVerdict::Reset,
        })
    }
}
