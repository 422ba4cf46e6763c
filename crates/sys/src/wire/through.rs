//! Packets for a virtual address that go to one real server, as forwarded ones do, and what comes back from there.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use evenkeel_core::health::Attempt;
use socket2::{Domain, Protocol, Socket, Type};

use super::filter;
use crate::names::interface_name;
use crate::netlink::Netlink;
use crate::{Context, Result};

/// A packet socket that hears only the answers to one attempt.
pub struct Through {
    socket: Socket,
    to: libc::sockaddr_ll,
}

impl Through {
    /// Opens it for a real server on the link, whose hardware address the kernel knows. Never blocks. Errors: the server is
    /// not on a link, or its hardware address is not known.
    pub fn open(server: Ipv4Addr, attempt: &Attempt) -> Result<Through> {
        let route = Netlink::new()?.route_to(server.into())?;
        let route = route.ok_or_else(|| io::Error::from(io::ErrorKind::NetworkUnreachable));
        let route = route.context(|| format!("find the way to {server}"))?;
        let device = interface_name(route.oif).unwrap_or_default();
        let hop =
            route.gateway.and_then(|g| if let std::net::IpAddr::V4(g) = g { Some(g) } else { None }).unwrap_or(server);
        let mac =
            hardware_address(hop, &device).context(|| format!("find the hardware address of {hop} on {device}"))?;
        let open = || {
            // Deaf until its filter stands.
            let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), Some(Protocol::from(0)))?;
            socket.attach_filter(&filter::answers(attempt.to, attempt.from.port()))?;
            let mut to = link_address(route.oif);
            to.sll_halen = 6;
            to.sll_addr[..6].copy_from_slice(&mac);
            let local = link_address(route.oif);
            // SAFETY: a valid socket, and an address of its true size.
            let ret = unsafe {
                let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
                libc::bind(socket.as_raw_fd(), (&raw const local).cast(), size)
            };
            if ret == 0 { Ok(Through { socket, to }) } else { Err(io::Error::last_os_error()) }
        };
        open().context(|| format!("open a packet socket on {device}"))
    }

    /// Sends an IPv4 packet to the real server.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        // SAFETY: a valid socket, a buffer and an address of their true sizes.
        let n = unsafe {
            let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            let (fd, to) = (self.socket.as_raw_fd(), (&raw const self.to).cast());
            libc::sendto(fd, packet.as_ptr().cast(), packet.len(), libc::MSG_NOSIGNAL, to, size)
        };
        if n >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Another descriptor of it, to wait for answers and read them: IPv4 packets.
    pub fn answers(&self) -> io::Result<OwnedFd> {
        Ok(self.socket.try_clone()?.into())
    }
}

fn link_address(ifindex: u32) -> libc::sockaddr_ll {
    // SAFETY: all zeros is a sockaddr_ll.
    let mut a: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    a.sll_family = libc::AF_PACKET as u16;
    a.sll_protocol = (libc::ETH_P_IP as u16).to_be();
    a.sll_ifindex = ifindex as i32;
    a
}

/// The hardware address of a neighbour (arp(7), SIOCGARP).
fn hardware_address(of: Ipv4Addr, device: &str) -> io::Result<[u8; 6]> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // SAFETY: all zeros is an arpreq.
    let mut request: libc::arpreq = unsafe { std::mem::zeroed() };
    request.arp_pa.sa_family = libc::AF_INET as u16;
    // A sockaddr_in has its port in the first two bytes, its address in the next four.
    for (to, from) in request.arp_pa.sa_data[2..6].iter_mut().zip(of.octets()) {
        *to = from as libc::c_char;
    }
    for (to, from) in request.arp_dev.iter_mut().take(15).zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: a valid socket, and a request of its true size.
    let ret = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGARP, &raw mut request) };
    if ret != 0 {
        return Err(io::Error::last_os_error());
    }
    if request.arp_flags & libc::ATF_COM == 0 {
        return Err(io::Error::from(io::ErrorKind::HostUnreachable));
    }
    let mut mac = [0; 6];
    for (to, from) in mac.iter_mut().zip(request.arp_ha.sa_data) {
        *to = from as u8;
    }
    Ok(mac)
}
