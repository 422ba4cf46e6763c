//! Connections: when one is created, reused and expired, and how a packet changes its state.

use super::states::{Direction, RST, SCTP_ABORT, SCTP_INIT, SYN, next_state};
use super::{DestRef, Endpoint, Oracle, Packet, PacketVerdict};
use crate::model::{ForwardingMethod, Protocol, ServiceKey};

/// The key of a connection: protocol, client, virtual address and port.
pub type ConnKey = (Protocol, Endpoint, Endpoint);

/// A connection.
#[derive(Clone, Debug)]
pub struct Conn {
    /// The connection's service, and the index of its destination there.
    pub dest: DestRef,
    /// The kernel's number of the connection's state.
    pub state: u32,
    active: bool,
    /// When the connection expires, in seconds.
    expires: u64,
    /// The number of the persistence template that the connection belongs to.
    template: Option<u64>,
}

/// The kernel's numbers of states: FIN_WAIT, TIME_WAIT and CLOSE of TCP, CLOSED of SCTP.
const TCP_FIN_WAIT: u32 = 4;
const TCP_TIME_WAIT: u32 = 5;
const TCP_CLOSE: u32 = 6;
const SCTP_CLOSED: u32 = 13;

impl Oracle {
    /// Whether a packet may create a connection: tcp_conn_schedule(), udp_conn_schedule(), sctp_conn_schedule().
    pub(super) fn may_create(&self, p: &Packet) -> bool {
        // Port 20: a data connection of an FTP server towards the client.
        p.src.1 != 20
            && match p.protocol {
                Protocol::Tcp => (p.event & SYN != 0 || self.tuning.sloppy_tcp) && p.event & RST == 0,
                Protocol::Udp => true,
                Protocol::Sctp => p.event == SCTP_INIT || (self.tuning.sloppy_sctp && p.event != SCTP_ABORT),
            }
    }

    /// Whether a packet ends this connection and starts a new one with the same key: is_new_conn_expected() under
    /// conn_reuse_mode, and a SYN to a quiesced server under expire_nodest_conn.
    pub(super) fn is_reuse(&mut self, p: &Packet, conn: &Conn) -> bool {
        let is_first_packet = match p.protocol {
            Protocol::Tcp => p.event & SYN != 0,
            Protocol::Udp => false,
            Protocol::Sctp => p.event == SCTP_INIT,
        };
        let (expire_nodest, mode) = (self.tuning.expire_nodest_conn, self.tuning.conn_reuse_mode);
        let dest = self.dest_mut(conn.dest);
        let is_quiesced = dest.as_ref().is_some_and(|d| d.spec.weight.get() == 0);
        let is_reply_seen = dest.is_none_or(|d| d.spec.method == ForwardingMethod::Nat);
        let is_over = match p.protocol {
            Protocol::Tcp => {
                matches!(conn.state, TCP_TIME_WAIT | TCP_CLOSE)
                    || (mode & 2 != 0 && conn.state == TCP_FIN_WAIT && !is_reply_seen)
            }
            _ => conn.state == SCTP_CLOSED,
        };
        is_first_packet && ((expire_nodest && is_quiesced) || (mode != 0 && conn.template.is_none() && is_over))
    }

    /// Creates a connection to the server of the client's template, or to the one that the scheduler selects.
    pub(super) fn create_conn(&mut self, service: ServiceKey, p: &Packet, now: u64) -> PacketVerdict {
        let Some(spec) = self.services.get(&service).map(|s| s.spec) else { return PacketVerdict::Pass };
        let (dest, template) = match self.template_dest(service, p) {
            Some((dest, template)) => (dest, Some(template)),
            None => {
                let Some(n) = self.services.get_mut(&service).and_then(|s| s.schedule(p)) else {
                    // ip_vs_leave()
                    let may_bypass = service.fwmark != 0 && self.tuning.cache_bypass;
                    return if may_bypass { PacketVerdict::Pass } else { PacketVerdict::Unreachable };
                };
                ((service, n), self.create_template((service, n), p))
            }
        };
        let Some((server, method)) = self.dest_mut(dest).map(|d| (d.key, d.spec.method)) else {
            return PacketVerdict::Unreachable;
        };
        let is_one_packet = spec.one_packet && p.protocol == Protocol::Udp;
        if let Some(t) = template.and_then(|t| self.templates.get_mut(&t)) {
            t.expires = now + u64::from(spec.persistence.map_or(0, |p| p.timeout_s));
            t.controls += u32::from(!is_one_packet);
        }
        if is_one_packet {
            return PacketVerdict::Forward(server);
        }
        let direction = if method == ForwardingMethod::Nat { Direction::Input } else { Direction::InputOnly };
        let first = next_state(&self.tuning, p.protocol, direction, 0, p.event);
        let expires = now + u64::from(first.timeout_s);
        let conn = Conn { dest, state: first.state, active: first.active, expires, template };
        self.conns.insert((p.protocol, p.src, p.dst), conn);
        let by_tuple = service.fwmark != 0 || self.dest_mut(dest).is_some_and(|d| d.by_tuple);
        if by_tuple && method == ForwardingMethod::Nat {
            let is_own = if service.fwmark != 0 { spec.persistence.is_none() } else { service.port == p.dst.1 };
            let port = if server.port != 0 && is_own { server.port } else { p.dst.1 };
            self.reply_tuples.insert((p.protocol, p.src, (server.addr, port)), (p.protocol, p.src, p.dst));
        }
        if let Some(d) = self.dest_mut(dest) {
            d.count_conn(first.active, 1);
        }
        PacketVerdict::Forward(server)
    }

    /// Moves a connection to the state that a packet leads to, and restarts its timer.
    pub(super) fn update_state(&mut self, key: &ConnKey, direction: Direction, event: u8, now: u64) {
        let Some(conn) = self.conns.get(key).cloned() else { return };
        let is_nat = self.dest_mut(conn.dest).is_some_and(|d| d.spec.method == ForwardingMethod::Nat);
        let direction = if is_nat { direction } else { Direction::InputOnly };
        let next = next_state(&self.tuning, key.0, direction, conn.state, event);
        if next.active != conn.active
            && let Some(d) = self.dest_mut(conn.dest)
        {
            d.set_active(next.active);
        }
        if let Some(c) = self.conns.get_mut(key) {
            (c.state, c.active, c.expires) = (next.state, next.active, now + u64::from(next.timeout_s));
        }
    }

    /// Removes a connection, and counts it out at its destination and its template.
    pub(super) fn remove_conn(&mut self, key: &ConnKey) {
        let Some(conn) = self.conns.remove(key) else { return };
        if let Some(t) = conn.template.and_then(|t| self.templates.get_mut(&t)) {
            t.controls -= 1;
        }
        if let Some(d) = self.dest_mut(conn.dest) {
            d.count_conn(conn.active, -1);
        }
    }

    pub(super) fn expire_conns(&mut self, now: u64) {
        let expired: Vec<ConnKey> = self.conns.iter().filter(|(_, c)| c.expires <= now).map(|(k, _)| *k).collect();
        expired.iter().for_each(|k| self.remove_conn(k));
    }

    /// Whether a connection has expired at `now` that had not expired `seconds` before.
    pub fn has_just_expired(&self, now: u64, seconds: u64) -> bool {
        self.conns.values().any(|c| c.expires <= now && now <= c.expires + seconds)
    }
}
