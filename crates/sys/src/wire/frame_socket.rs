//! A packet socket that sends whole Ethernet frames: gratuitous ARP and neighbour advertisements.

use std::io;

use socket2::{Domain, Protocol, Socket, Type};

use super::link_address::{link_address_of_mac, send_to};
use crate::{Context, Result};

/// A packet socket that sends and never receives.
pub struct FrameSocket {
    socket: Socket,
}

impl FrameSocket {
    /// Opens the socket.
    pub fn new() -> Result<Self> {
        // A packet socket with protocol 0 receives nothing.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)));
        Ok(FrameSocket { socket: socket.context(|| "open a packet socket".into())? })
    }

    /// Sends an Ethernet frame through a device without blocking. Fails with `InvalidInput` if the frame is shorter
    /// than an Ethernet header.
    pub fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        let (Some(dmac), Some([e0, e1])) = (frame.first_chunk::<6>(), frame.get(12..14)) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        send_to(&self.socket, frame, &link_address_of_mac(ifindex, u16::from_be_bytes([*e0, *e1]), dmac))
    }
}
