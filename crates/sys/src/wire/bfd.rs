//! The UDP sockets of BFD (RFC 5881, section 4; RFC 5883, section 5).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use evenkeel_core::bfd::MIN_SOURCE_PORT;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::{PRIORITY_CONTROL, TRAFFIC_CLASS};
use crate::{Context, Result};

/// Receives the packets of all neighbours of one family on one port.
pub struct BfdListener(Socket);

impl BfdListener {
    /// Opens the socket.
    pub fn new(ipv6: bool, port: u16) -> Result<Self> {
        let open = || {
            let (domain, any): (_, IpAddr) = if ipv6 {
                (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into())
            } else {
                (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into())
            };
            let s = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
            if ipv6 {
                s.set_only_v6(true)?;
                setsockopt(&s, sockopt::Ipv6RecvHopLimit, &true)?;
            } else {
                setsockopt(&s, sockopt::Ipv4RecvTtl, &true)?;
            }
            s.set_nonblocking(true)?;
            s.bind(&SocketAddr::new(any, port).into())?;
            Ok::<_, io::Error>(s)
        };
        let socket = open().context(|| format!("listen for BFD on UDP port {port}"));
        Ok(BfdListener(socket.map_err(|e| match e.errno() {
            Some(libc::EADDRINUSE) => {
                e.with_hint("another BFD daemon uses the port: stop that daemon, or use its sessions")
            }
            _ => e,
        })?))
    }

    /// Receives a packet. Returns the sender's address, the TTL or hop limit, and the length. A link-local address has
    /// no scope.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<Option<(IpAddr, u8, usize)>> {
        let mut control = nix::cmsg_space!(libc::c_int, libc::c_int);
        let mut iov = [io::IoSliceMut::new(buf)];
        let received = recvmsg::<SockaddrStorage>(self.0.as_raw_fd(), &mut iov, Some(&mut control), MsgFlags::empty())?;
        let ttl = received.cmsgs()?.find_map(|c| match c {
            ControlMessageOwned::Ipv4Ttl(n) | ControlMessageOwned::Ipv6HopLimit(n) => u8::try_from(n).ok(),
            _ => None,
        });
        let from = received.address.and_then(|a| {
            let v4 = a.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
            v4.or_else(|| a.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
        });
        Ok(from.zip(ttl).map(|(from, ttl)| (from, ttl, received.bytes)))
    }
}

impl AsFd for BfdListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends the packets of one session from one port.
pub struct BfdSender(Socket);

impl BfdSender {
    /// Opens a socket to a neighbour with a TTL or hop limit. Without `source` the kernel selects the source address.
    pub fn new(neighbour: IpAddr, port: u16, source: Option<IpAddr>, ttl: u8) -> Result<Self> {
        let open = || {
            let domain = if neighbour.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
            let s = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
            if neighbour.is_ipv6() {
                s.set_unicast_hops_v6(u32::from(ttl))?;
                s.set_tclass_v6(TRAFFIC_CLASS)?;
            } else {
                s.set_ttl_v4(u32::from(ttl))?;
                s.set_tos_v4(TRAFFIC_CLASS)?;
            }
            setsockopt(&s, sockopt::Priority, &PRIORITY_CONTROL)?;
            s.set_nonblocking(true)?;
            let any: IpAddr =
                if neighbour.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            let source = source.unwrap_or(any);
            // Each session of this process starts its search for a free port at another number.
            let first = MIN_SOURCE_PORT + (s.as_raw_fd() as u16 & 0x0fff);
            let bound = (first..=u16::MAX).find_map(|p| match s.bind(&SocketAddr::new(source, p).into()) {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => None,
                other => Some(other),
            });
            bound.unwrap_or_else(|| Err(io::ErrorKind::AddrInUse.into()))?;
            s.connect(&SocketAddr::new(neighbour, port).into())?;
            Ok::<_, io::Error>(s)
        };
        open().map(BfdSender).context(|| format!("open a BFD socket to {neighbour}"))
    }

    /// Sends a packet without blocking.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.0.send(packet).map(|_| ())
    }
}
