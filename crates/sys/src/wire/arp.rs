//! Gratuitous ARP (RFC 5227, 3; RFC 826): a broadcast request in which sender and target are the address announced.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

use crate::{Context, Result};

const ETH_P_ARP: u16 = 0x0806;

/// Announces addresses on any device.
pub struct ArpSocket {
    socket: Socket,
}

impl ArpSocket {
    /// Opens a packet socket that only sends.
    pub fn new() -> Result<Self> {
        // Protocol 0: nothing is ever received.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)));
        Ok(ArpSocket { socket: socket.context(|| "open a packet socket".into())? })
    }

    /// Announces that `addr` is at `mac` on a device.
    pub fn announce(&self, ifindex: u32, mac: [u8; 6], addr: Ipv4Addr) -> io::Result<()> {
        let mut frame = [0u8; 42];
        frame[..6].fill(0xff);
        frame[6..12].copy_from_slice(&mac);
        frame[12..14].copy_from_slice(&ETH_P_ARP.to_be_bytes());
        // Ethernet, IPv4, address lengths 6 and 4, operation 1 (request)
        frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
        frame[22..28].copy_from_slice(&mac);
        frame[28..32].copy_from_slice(&addr.octets());
        frame[32..38].fill(0xff);
        frame[38..42].copy_from_slice(&addr.octets());
        // SAFETY: a zeroed sockaddr_ll is valid.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_protocol = ETH_P_ARP.to_be();
        to.sll_ifindex = ifindex as i32;
        to.sll_halen = 6;
        to.sll_addr[..6].fill(0xff);
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
