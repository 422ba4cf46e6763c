//! Packets for a virtual address that go to one real server, as forwarded ones do, and what comes back from there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use evenkeel_core::health::SynProbe;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::filter;
use crate::netlink::Netlink;
use crate::resolver::interface_name;
use crate::{Context, Result};

/// The way to one real server.
pub enum ServerPath {
    /// It is this host.
    Local,
    /// Another host.
    Remote(ProbeSockets),
}

/// Sockets for one attempt.
pub struct ProbeSockets {
    /// Hears only what answers.
    receiver: Socket,
    sender: Socket,
    target: Target,
    /// Direct routing over IPv4: who says to have the virtual address.
    arp: Option<(Socket, Mac, Ipv4Addr)>,
}

type Mac = [u8; 6];

enum Target {
    /// A frame by a device.
    Link(libc::sockaddr_ll),
    /// A packet by the kernel's routes.
    Routed(SocketAddr),
}

impl ServerPath {
    /// The way to a real server by its hardware address, which the kernel knows. Never blocks. Errors: there is no route to
    /// it, or its hardware address is not known.
    pub fn to_neighbour(server: IpAddr, attempt: &SynProbe) -> Result<ServerPath> {
        let mut netlink = Netlink::new()?;
        let route = netlink.lookup_route(server)?.ok_or_else(|| io::Error::from(io::ErrorKind::NetworkUnreachable));
        let route = route.context(|| format!("find the way to {server}"))?;
        if route.local {
            return Ok(ServerPath::Local);
        }
        let hop = route.gateway.unwrap_or(server);
        let device = || interface_name(route.oif).unwrap_or_default();
        let mac =
            netlink.lookup_neighbour(route.oif, hop)?.ok_or_else(|| io::Error::from(io::ErrorKind::HostUnreachable));
        let mac = mac.context(|| format!("find the hardware address of {hop} on {}", device()))?;
        let open = || -> io::Result<ServerPath> {
            let kind = ethertype(attempt.remote.ip());
            let ear = packet_socket(route.oif, kind, &filter::tcp_reply_filter(attempt.remote, attempt.local.port()))?;
            let arp = match attempt.remote.ip() {
                // Behind a gateway nobody asks for it, and it is the gateway that would answer.
                IpAddr::V4(vip) if route.gateway.is_none() => {
                    Some((packet_socket(route.oif, libc::ETH_P_ARP as u16, &filter::arp_reply_filter(vip))?, mac, vip))
                }
                _ => None,
            };
            let mouth = ear.try_clone()?;
            let mut to = link_address(route.oif, kind);
            to.sll_halen = 6;
            to.sll_addr[..6].copy_from_slice(&mac);
            Ok(ServerPath::Remote(ProbeSockets { receiver: ear, sender: mouth, target: Target::Link(to), arp }))
        };
        open().context(|| format!("open a packet socket on {}", device()))
    }

    /// The way to a real server by the kernel's routes, for packets that are wrapped already. Answers may come in by any
    /// device. Never blocks.
    pub fn by_route(server: IpAddr, attempt: &SynProbe) -> Result<ServerPath> {
        let route = Netlink::new()?.lookup_route(server)?;
        if route.is_some_and(|r| r.local) {
            return Ok(ServerPath::Local);
        }
        let open = || -> io::Result<ServerPath> {
            let ear = packet_socket(
                0,
                ethertype(attempt.remote.ip()),
                &filter::tcp_reply_filter(attempt.remote, attempt.local.port()),
            )?;
            let domain = if server.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
            // Packets of this protocol bring their own header (raw(7), ipv6(7)).
            let mouth = Socket::new(domain, Type::RAW.nonblocking(), Some(Protocol::from(libc::IPPROTO_RAW)))?;
            Ok(ServerPath::Remote(ProbeSockets {
                receiver: ear,
                sender: mouth,
                target: Target::Routed(SocketAddr::new(server, 0)),
                arp: None,
            }))
        };
        open().context(|| format!("open raw sockets for {server}"))
    }
}

impl ProbeSockets {
    /// Sends a packet to the real server.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        match &self.target {
            Target::Link(to) => send_packet(&self.sender, packet, to),
            Target::Routed(to) => self.sender.send_to(packet, &(*to).into()).map(drop),
        }
    }

    /// Another descriptor of the socket that hears, to wait for answers and read them: packets.
    pub fn reply_fd(&self) -> io::Result<OwnedFd> {
        Ok(self.receiver.try_clone()?.into())
    }

    /// Asks the real server by ARP whether it has the virtual address, in a way that nobody else sees and that leaves no
    /// trace: in a frame to it alone, without an address of ours, as a host probes an address that it would like to have
    /// (RFC 5227, 2.1.1). Does nothing where nobody would ask for it.
    pub fn send_arp_probe(&self) -> io::Result<()> {
        let Some((socket, _, vip)) = &self.arp else { return Ok(()) };
        let Target::Link(to) = &self.target else { return Ok(()) };
        let ours = own_mac(socket)?;
        let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1]; // Ethernet, IPv4, a request
        request.extend_from_slice(&ours);
        request.extend_from_slice(&[0; 4 + 6]);
        request.extend_from_slice(&vip.octets());
        let mut to = *to;
        to.sll_protocol = (libc::ETH_P_ARP as u16).to_be();
        send_packet(socket, &request, &to)
    }

    /// Has the real server said that it has the virtual address? Then it takes clients from the director.
    pub fn claims_virtual_address(&self) -> bool {
        let Some((socket, mac, _)) = &self.arp else { return false };
        let mut reply = [0; 64];
        // Its hardware address is in the bytes from 8 to 13.
        while let Ok(n) = nix::unistd::read(socket, &mut reply) {
            if n >= 28 && reply[8..14] == *mac {
                return true;
            }
        }
        false
    }
}

fn ethertype(of: IpAddr) -> u16 {
    if of.is_ipv4() { libc::ETH_P_IP as u16 } else { libc::ETH_P_IPV6 as u16 }
}

/// A packet socket on a device, or on all (0), that hears what a filter lets through.
fn packet_socket(ifindex: u32, kind: u16, filter: &[SockFilter]) -> io::Result<Socket> {
    // Deaf until its filter stands.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), Some(Protocol::from(0)))?;
    socket.attach_filter(filter)?;
    let local = link_address(ifindex, kind);
    // SAFETY: a valid socket, and an address of its true size.
    let ret = unsafe {
        let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        libc::bind(socket.as_raw_fd(), (&raw const local).cast(), size)
    };
    if ret == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

fn link_address(ifindex: u32, kind: u16) -> libc::sockaddr_ll {
    // SAFETY: all zeros is a sockaddr_ll.
    let mut a: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    a.sll_family = libc::AF_PACKET as u16;
    a.sll_protocol = kind.to_be();
    a.sll_ifindex = ifindex as i32;
    a
}

fn send_packet(socket: &Socket, packet: &[u8], to: &libc::sockaddr_ll) -> io::Result<()> {
    // SAFETY: a valid socket, a buffer and an address of their true sizes.
    let n = unsafe {
        let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        let to = std::ptr::from_ref(to).cast();
        libc::sendto(socket.as_raw_fd(), packet.as_ptr().cast(), packet.len(), libc::MSG_NOSIGNAL, to, size)
    };
    if n >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The hardware address of the device that a packet socket is bound to (packet(7)).
fn own_mac(socket: &Socket) -> io::Result<Mac> {
    // SAFETY: all zeros is a sockaddr_ll.
    let mut own: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: a valid socket, and room for an address of the size that is named.
    let ret = unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut own).cast(), &raw mut size) };
    if ret != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut mac = [0; 6];
    mac.copy_from_slice(&own.sll_addr[..6]);
    Ok(mac)
}
