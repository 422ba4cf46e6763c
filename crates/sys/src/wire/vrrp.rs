//! The raw sockets of VRRP: one for each interface and transport.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use evenkeel_core::model::Transport;
use evenkeel_core::vrrp::packet::{IPPROTO_VRRP, IpHeader, ah, split_ipv4};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, recvmsg, sendmsg};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::{PRIORITY_CONTROL, TRAFFIC_CLASS, filter};
use crate::sockopt::{as_uninit, set_int_option};
use crate::{Context, Result};

/// Sends and receives the adverts of one transport on one interface.
pub struct VrrpSocket {
    socket: Socket,
    transport: Transport,
    groups: Vec<IpAddr>,
    ifindex: u32,
    /// The current hop limit of the socket for IPv6 unicast.
    unicast_hop_limit: Cell<u8>,
}

impl VrrpSocket {
    /// Opens a socket that is bound to the interface and has joined the groups. It also receives unicast adverts.
    pub fn new(transport: Transport, interface: &str, ifindex: u32, groups: &[IpAddr]) -> Result<Self> {
        let open = || {
            let s = match transport {
                Transport::Ipv4 => open_ipv4(IPPROTO_VRRP)?,
                Transport::Ipv4Ah => open_ipv4(ah::IPPROTO_AH)?,
                Transport::Ipv6 => open_ipv6(ifindex)?,
            };
            s.bind_device(Some(interface.as_bytes()))?;
            for group in groups {
                match group {
                    IpAddr::V4(g) => s.join_multicast_v4_n(g, &InterfaceIndexOrAddress::Index(ifindex))?,
                    IpAddr::V6(g) => s.join_multicast_v6(g, ifindex)?,
                }
            }
            s.set_nonblocking(true)?;
            set_int_option(&s, libc::SOL_SOCKET, libc::SO_PRIORITY, PRIORITY_CONTROL)?;
            Ok::<_, io::Error>(s)
        };
        let socket = open().context(|| format!("open a VRRP socket on {interface}"))?;
        Ok(VrrpSocket { socket, transport, groups: groups.to_vec(), ifindex, unicast_hop_limit: Cell::new(255) })
    }

    /// From now on the socket receives only adverts of the VRIDs in `sorted`, or if `others` only adverts of all other
    /// VRIDs. `sorted` is in ascending order without duplicates.
    pub fn set_vrid_filter(&self, sorted: &[u8], others: bool) -> Result<()> {
        let program = filter::vrid_filter(self.transport, sorted, others);
        self.socket.attach_filter(&program).context(|| "attach the VRID filter to a VRRP socket".into())
    }

    /// Sets the size of the receive buffer in bytes. Adverts that do not fit are dropped.
    pub fn set_receive_buffer(&self, bytes: usize) {
        let _ = self.socket.set_recv_buffer_size(bytes);
    }

    /// The multicast groups that the socket has joined.
    pub fn groups(&self) -> &[IpAddr] {
        &self.groups
    }

    /// Sends an advert from an address of the interface to a group or a unicast peer. Over IPv4 `packet` is an IP
    /// packet, over IPv6 a VRRP message. The hop limit over IPv6 is 255 to a group and `hop_limit` to a peer.
    pub fn send(&self, from: IpAddr, to: IpAddr, hop_limit: u8, packet: &[u8]) -> io::Result<()> {
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => self.send_v4(from, to, packet),
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                if !to.is_multicast() && self.unicast_hop_limit.get() != hop_limit {
                    self.socket.set_unicast_hops_v6(u32::from(hop_limit))?;
                    self.unicast_hop_limit.set(hop_limit);
                }
                self.send_v6(from, to, packet)
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The device and the source address are those of the VRRP instance, not those of the route.
    fn send_v4(&self, from: Ipv4Addr, to: Ipv4Addr, packet: &[u8]) -> io::Result<()> {
        let info = libc::in_pktinfo {
            ipi_ifindex: self.ifindex as i32,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        sendmsg(self.socket.as_raw_fd(), &[io::IoSlice::new(packet)], &control, MsgFlags::empty(), Some(&to))?;
        Ok(())
    }

    fn send_v6(&self, from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> io::Result<()> {
        let info =
            libc::in6_pktinfo { ipi6_ifindex: self.ifindex, ipi6_addr: libc::in6_addr { s6_addr: from.octets() } };
        let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, self.ifindex));
        let control = [ControlMessage::Ipv6PacketInfo(&info)];
        sendmsg(self.socket.as_raw_fd(), &[io::IoSlice::new(message)], &control, MsgFlags::empty(), Some(&to))?;
        Ok(())
    }

    /// Receives a packet, split into IP header and payload; `None` if it is invalid.
    pub fn recv<'b>(&self, buf: &'b mut [u8]) -> io::Result<Option<(IpHeader, &'b [u8])>> {
        if self.transport == Transport::Ipv6 {
            return self.recv_v6(buf);
        }
        let n = self.socket.recv(as_uninit(buf))?;
        Ok(split_ipv4(&buf[..n]))
    }

    /// A raw IPv6 socket receives no IP header. Its fields are in the control messages.
    fn recv_v6<'b>(&self, buf: &'b mut [u8]) -> io::Result<Option<(IpHeader, &'b [u8])>> {
        let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
        let (src, dst, ttl, n) = {
            let mut iov = [io::IoSliceMut::new(buf)];
            let received =
                recvmsg::<SockaddrIn6>(self.socket.as_raw_fd(), &mut iov, Some(&mut control), MsgFlags::empty())?;
            let (mut dst, mut ttl) = (None, None);
            for c in received.cmsgs()? {
                match c {
                    ControlMessageOwned::Ipv6PacketInfo(i) => dst = Some(Ipv6Addr::from(i.ipi6_addr.s6_addr)),
                    ControlMessageOwned::Ipv6HopLimit(h) => ttl = u8::try_from(h).ok(),
                    _ => {}
                }
            }
            (received.address.map(|a| a.ip()), dst, ttl, received.bytes)
        };
        let (Some(src), Some(dst), Some(ttl)) = (src, dst, ttl) else { return Ok(None) };
        let header = IpHeader { src: src.into(), dst: dst.into(), ttl, protocol: IPPROTO_VRRP, id: 0 };
        Ok(Some((header, &buf[..n])))
    }
}

/// The packets are sent with their IP header (IP_HDRINCL), because an authentication header covers its fields.
fn open_ipv4(protocol: u8) -> io::Result<Socket> {
    let s = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(i32::from(protocol))))?;
    s.set_header_included_v4(true)?;
    s.set_multicast_loop_v4(false)?;
    Ok(s)
}

fn open_ipv6(ifindex: u32) -> io::Result<Socket> {
    let s = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(i32::from(IPPROTO_VRRP))))?;
    s.set_multicast_hops_v6(255)?;
    s.set_unicast_hops_v6(255)?;
    s.set_multicast_loop_v6(false)?;
    s.set_multicast_if_v6(ifindex)?;
    s.set_tclass_v6(TRAFFIC_CLASS)?;
    for option in [libc::IPV6_RECVPKTINFO, libc::IPV6_RECVHOPLIMIT] {
        set_int_option(&s, libc::IPPROTO_IPV6, option, 1)?;
    }
    Ok(s)
}

impl AsFd for VrrpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
