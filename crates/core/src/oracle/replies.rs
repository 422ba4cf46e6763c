//! Replies of real servers behind NAT: which connection a packet of a server belongs to (ip_vs_conn_out_get()).

use super::states::Direction;
use super::{ConnKey, Oracle, Packet, PacketVerdict};

impl Oracle {
    /// A packet to no service: a reply if its source is a NAT server that has a connection with its destination.
    pub(super) fn handle_reply(&mut self, p: &Packet, now: u64) -> PacketVerdict {
        match self.find_conn_of_reply(p) {
            Some(key) => {
                self.update_state(&key, Direction::Output, p.event, now);
                PacketVerdict::Reply(key.2)
            }
            None => PacketVerdict::Pass,
        }
    }

    /// The connection that a packet is a reply of.
    pub(super) fn find_conn_of_reply(&mut self, p: &Packet) -> Option<ConnKey> {
        self.find_by_reply_tuple(p).or_else(|| self.find_by_dest(p))
    }

    /// The source names the destination, the destination names its service, and the service's address completes the key.
    fn find_by_dest(&mut self, p: &Packet) -> Option<ConnKey> {
        let dests_on = |port| self.nat_dests.get(&(p.protocol, p.src.0, port)).cloned().unwrap_or_default();
        for dest in dests_on(p.src.1).into_iter().chain(dests_on(0)) {
            let is_own_port = self.dest_mut(dest).is_some_and(|d| d.key.port == p.src.1);
            let port = if dest.0.port != 0 && is_own_port { dest.0.port } else { p.src.1 };
            let key = (p.protocol, p.dst, (dest.0.addr, port));
            if self.conns.get(&key).is_some_and(|c| c.dest == dest) {
                return Some(key);
            }
        }
        None
    }

    /// A service on a firewall mark has no address, and a server that many services share has too many: their connections
    /// are found by their reply tuples.
    fn find_by_reply_tuple(&mut self, p: &Packet) -> Option<ConnKey> {
        let key = self.reply_tuples.get(&(p.protocol, p.dst, p.src)).copied()?;
        let dest = self.conns.get(&key)?.dest;
        let is_its_server = self.dest_mut(dest).is_some_and(|d| d.key.addr == p.src.0);
        is_its_server.then_some(key)
    }
}
