//! rtnetlink: links, addresses, routes, rules and neighbours; and their changes.
//!
//! All uses of the netlink message crates are in this module, so that a breaking release of them affects one place.

mod addresses;
mod deletions;
mod encap;
mod gateways;
mod links;
mod monitor;
mod neighbours;
mod routes;
mod rules;

pub use addresses::InterfaceAddr;
pub use deletions::{Deletion, DeletionSubscription};
pub use links::{Link, require_link};
pub use monitor::{Monitor, NetworkChanges};
pub use neighbours::Neighbour;
pub use routes::Route;

use evenkeel_core::model::Family;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::netlink_socket::{self, MessageKind};
use crate::{Context, Result};

/// A socket for rtnetlink requests.
pub struct Netlink {
    socket: Socket,
    seq: u32,
    buf: Vec<u8>,
}

impl Netlink {
    /// Opens a socket in this thread's network namespace.
    pub fn new() -> Result<Self> {
        let socket = netlink_socket::open(NETLINK_ROUTE).context(|| "open an rtnetlink socket".into())?;
        Ok(Netlink { socket, seq: 0, buf: vec![0; 64 * 1024] })
    }

    /// The port ID of the socket. Events contain the port ID of the socket whose request caused them.
    pub fn port_id(&self) -> u32 {
        let mut address = SocketAddr::new(0, 0);
        self.socket.get_address(&mut address).map_or(0, |()| address.port_number())
    }

    /// Sends a request and receives its whole response.
    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        operation: impl Fn() -> String,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        self.seq = self.seq.wrapping_add(1);
        let mut m = NetlinkMessage::from(message);
        m.header.flags = NLM_F_REQUEST | flags;
        m.header.sequence_number = self.seq;
        m.finalize();
        let mut out = vec![0; m.buffer_len()];
        m.serialize(&mut out);
        self.socket.send(&out, 0).context(&operation)?;
        let mut response = Vec::new();
        loop {
            let n = self.socket.recv(&mut &mut self.buf[..], 0).context(&operation)?;
            let messages = netlink_socket::messages(self.buf.get(..n).unwrap_or_default());
            for message in messages.filter(|m| m.seq == self.seq) {
                if let MessageKind::End(result) = message.classify() {
                    return result.map(|()| response).map_err(|e| e.into_error(operation()));
                }
                // The message crate may not know the type of a message; such a message is skipped.
                let Ok(m) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message.bytes) else { continue };
                if let NetlinkPayload::InnerMessage(inner) = m.payload {
                    response.push(inner);
                    if flags & (NLM_F_DUMP | NLM_F_ACK) == 0 {
                        return Ok(response);
                    }
                }
            }
        }
    }
}

fn address_family(f: Family) -> AddressFamily {
    match f {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}
