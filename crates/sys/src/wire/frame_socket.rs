//! Sends whole frames by any device: gratuitous ARP and neighbour advertisements.

use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

use crate::{Context, Result};

/// A packet socket that only sends.
pub struct FrameSocket {
    socket: Socket,
}

impl FrameSocket {
    /// Opens it.
    pub fn new() -> Result<Self> {
        // Protocol 0: nothing is ever received.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)));
        Ok(FrameSocket { socket: socket.context(|| "open a packet socket".into())? })
    }

    /// Sends an Ethernet frame by a device; never waits. A frame shorter than its header is an error.
    pub fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        let (Some(to_mac), Some(kind)) = (frame.first_chunk::<6>(), frame.get(12..14)) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // SAFETY: a zeroed sockaddr_ll is valid.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_protocol = u16::from_ne_bytes([kind[0], kind[1]]);
        to.sll_ifindex = ifindex as i32;
        to.sll_halen = 6;
        to.sll_addr[..6].copy_from_slice(to_mac);
        // SAFETY: a valid socket, frame and address with their true lengths.
        let n = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
                (&raw const to).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
