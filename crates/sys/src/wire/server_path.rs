//! The path of a health check to one real server: packets to a virtual address are sent as the packet path forwards
//! them, and the replies are received.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use evenkeel_core::health::{SynProbe, is_forwarded};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::filter;
use super::link_address::{bind, link_address, link_address_of_mac, own_mac, receive_from, send_to};
use crate::netlink::Netlink;
use crate::resolver::interface_name;
use crate::{Context, Result};

/// The path to one real server.
pub enum ServerPath {
    /// The real server is this host.
    Local,
    /// The real server is another host.
    Remote(ProbeSockets),
}

/// The sockets of one probe.
pub struct ProbeSockets {
    /// Receives the replies only.
    receiver: Socket,
    sender: Socket,
    target: Target,
    arp: Option<ArpProbe>,
    /// The MAC address of a real server on a link of this host.
    on_link: Option<[u8; 6]>,
}

/// For direct routing over IPv4: detects a real server that answers ARP requests for the virtual address.
struct ArpProbe {
    socket: Socket,
    server_mac: [u8; 6],
    vip: Ipv4Addr,
}

enum Target {
    /// Frames to a MAC address.
    Link(libc::sockaddr_ll),
    /// Packets that the kernel routes to the real server.
    Routed(SocketAddr),
}

impl ServerPath {
    /// The path by the MAC address of the real server, or of its gateway. Never blocks. Fails if there is no route, or
    /// if the kernel does not know the MAC address.
    pub fn to_neighbour(server: IpAddr, probe: &SynProbe) -> Result<ServerPath> {
        ServerPath::by_neighbour(server, probe, false)
    }

    /// As [`ServerPath::to_neighbour`], for a real server behind NAT: replies may arrive at any device.
    pub fn behind_nat(server: IpAddr, probe: &SynProbe) -> Result<ServerPath> {
        ServerPath::by_neighbour(server, probe, true)
    }

    fn by_neighbour(server: IpAddr, probe: &SynProbe, nat: bool) -> Result<ServerPath> {
        let mut netlink = Netlink::new()?;
        let route = netlink.lookup_route(server)?.ok_or_else(|| io::Error::from(io::ErrorKind::NetworkUnreachable));
        let route = route.context(|| format!("look up the route to {server}"))?;
        if route.local {
            return Ok(ServerPath::Local);
        }
        let hop = route.gateway.unwrap_or(server);
        let device = || interface_name(route.oif).unwrap_or_default();
        let mac = netlink.lookup_neighbour(route.oif, hop)?;
        let mac = mac.ok_or_else(|| io::Error::from(io::ErrorKind::HostUnreachable));
        let server_mac = mac.context(|| format!("look up the MAC address of {hop} on {}", device()))?;
        let open = || -> io::Result<ServerPath> {
            let receiver = reply_socket(if nat { 0 } else { route.oif }, probe)?;
            let on_link = route.gateway.is_none().then_some(server_mac);
            let arp = match probe.remote.ip() {
                // Nobody sends ARP requests behind a gateway, and the gateway would answer ours.
                IpAddr::V4(vip) if on_link.is_some() && !nat => {
                    let filter = filter::arp_reply_filter(vip);
                    let socket = packet_socket(route.oif, libc::ETH_P_ARP as u16, &filter)?;
                    Some(ArpProbe { socket, server_mac, vip })
                }
                _ => None,
            };
            let sender = receiver.try_clone()?;
            let target = Target::Link(link_address_of_mac(route.oif, ethertype(probe.remote.ip()), &server_mac));
            Ok(ServerPath::Remote(ProbeSockets { receiver, sender, target, arp, on_link }))
        };
        open().context(|| format!("open a packet socket on {}", device()))
    }

    /// The path by the kernel's routes, for packets that are encapsulated already. Replies may arrive at any device.
    /// Never blocks.
    pub fn by_route(server: IpAddr, probe: &SynProbe) -> Result<ServerPath> {
        let route = Netlink::new()?.lookup_route(server)?;
        if route.is_some_and(|r| r.local) {
            return Ok(ServerPath::Local);
        }
        let open = || -> io::Result<ServerPath> {
            let receiver = reply_socket(0, probe)?;
            let domain = if server.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
            // Packets sent through an IPPROTO_RAW socket have their own IP header (raw(7), ipv6(7)).
            let sender = Socket::new(domain, Type::RAW.nonblocking(), Some(Protocol::from(libc::IPPROTO_RAW)))?;
            let target = Target::Routed(SocketAddr::new(server, 0));
            Ok(ServerPath::Remote(ProbeSockets { receiver, sender, target, arp: None, on_link: None }))
        };
        open().context(|| format!("open raw sockets for {server}"))
    }
}

impl ProbeSockets {
    /// Sends a packet to the real server.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        match &self.target {
            Target::Link(to) => send_to(&self.sender, packet, to),
            Target::Routed(to) => self.sender.send_to(packet, &(*to).into()).map(drop),
        }
    }

    /// A descriptor to wait for replies and to read them: IP packets.
    pub fn reply_fd(&self) -> io::Result<OwnedFd> {
        Ok(self.receiver.try_clone()?.into())
    }

    /// Receives a reply without blocking, and whether it came without a router in between. A real server on a link of
    /// this host is known by its MAC address and its TTL.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<(&'a [u8], bool)> {
        let (length, mac) = receive_from(&self.receiver, buffer)?;
        let packet = &buffer[..length];
        let is_direct = mac.is_some() && self.on_link.is_none_or(|own| mac == Some(own) || !is_forwarded(packet));
        Ok((packet, is_direct))
    }

    /// Sends an ARP probe for the virtual address to the real server (RFC 5227, section 2.1.1). The probe is a unicast
    /// frame without a sender address, so it changes no ARP cache. Does nothing on paths without ARP.
    pub fn send_arp_probe(&self) -> io::Result<()> {
        let (Some(arp), Target::Link(to)) = (&self.arp, &self.target) else { return Ok(()) };
        let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1]; // Ethernet, IPv4, request
        request.extend_from_slice(&own_mac(&arp.socket)?);
        request.extend_from_slice(&[0; 4 + 6]);
        request.extend_from_slice(&arp.vip.octets());
        let mut to = *to;
        to.sll_protocol = (libc::ETH_P_ARP as u16).to_be();
        send_to(&arp.socket, &request, &to)
    }

    /// True if the real server has answered the ARP probe. Such a real server takes packets of clients from the
    /// director.
    pub fn claims_virtual_address(&self) -> bool {
        let Some(arp) = &self.arp else { return false };
        let mut reply = [0; 64];
        // The sender's MAC address is in the bytes 8 to 13.
        while let Ok(n) = nix::unistd::read(&arp.socket, &mut reply) {
            if n >= 28 && reply[8..14] == arp.server_mac {
                return true;
            }
        }
        false
    }
}

fn ethertype(of: IpAddr) -> u16 {
    if of.is_ipv4() { libc::ETH_P_IP as u16 } else { libc::ETH_P_IPV6 as u16 }
}

/// A packet socket on a device, or on all devices (0), that receives the replies to a probe.
fn reply_socket(ifindex: u32, probe: &SynProbe) -> io::Result<Socket> {
    packet_socket(ifindex, ethertype(probe.remote.ip()), &filter::tcp_reply_filter(probe.remote, probe.local.port()))
}

/// A packet socket on a device, or on all devices (0), with a filter.
fn packet_socket(ifindex: u32, ethertype: u16, filter: &[SockFilter]) -> io::Result<Socket> {
    // With protocol 0 the socket receives nothing until the filter is attached.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), Some(Protocol::from(0)))?;
    socket.attach_filter(filter)?;
    bind(&socket, &link_address(ifindex, ethertype))?;
    Ok(socket)
}
