//! The raw sockets that adverts are sent and heard by on one interface.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use evenkeel_core::model::Transport;
use evenkeel_core::vrrp::packet::{IPPROTO_VRRP, IpHeader, ah, split_ipv4};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, recvmsg, sendmsg};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::filter;
use crate::{Context, Result};

/// Internetwork control, as routers mark such packets; over IPv4 the header that is sent says so.
const TRAFFIC_CLASS: u32 = 0xc0;

/// Sends and hears adverts of one transport on one interface.
pub struct VrrpSocket {
    socket: Socket,
    transport: Transport,
    groups: Vec<IpAddr>,
    ifindex: u32,
    /// The hop limit of IPv6 unicast packets that the socket is set to.
    unicast_hop_limit: Cell<u8>,
}

impl VrrpSocket {
    /// Opens it, bound to the interface and a member of the groups. What is sent to an address of the host's own comes in
    /// by it as well.
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
            set_priority(&s)?;
            Ok::<_, io::Error>(s)
        };
        let socket = open().context(|| format!("open a VRRP socket on {interface}"))?;
        Ok(VrrpSocket { socket, transport, groups: groups.to_vec(), ifindex, unicast_hop_limit: Cell::new(255) })
    }

    /// From now on it is given adverts of these virtual routers alone, or, if `others`, of all others. `sorted` has each
    /// once, in order.
    pub fn set_vrid_filter(&self, sorted: &[u8], others: bool) -> Result<()> {
        let program = filter::vrid_filter(self.transport, sorted, others);
        self.socket.attach_filter(&program).context(|| "choose which adverts are heard".into())
    }

    /// Only so many bytes wait to be read; what comes then is lost.
    pub fn set_receive_buffer(&self, bytes: usize) {
        let _ = self.socket.set_recv_buffer_size(bytes);
    }

    /// The groups that it is a member of.
    pub fn groups(&self) -> &[IpAddr] {
        &self.groups
    }

    /// Sends an advert from an address of the interface to a group or a peer: over IPv4 a packet with its header, over
    /// IPv6 a VRRP message, with a group's hop limit of 255 or a peer's of `hops`.
    pub fn send(&self, from: IpAddr, to: IpAddr, hops: u8, packet: &[u8]) -> io::Result<()> {
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => self.send_v4(from, to, packet),
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                if !to.is_multicast() && self.unicast_hop_limit.get() != hops {
                    self.socket.set_unicast_hops_v6(u32::from(hops))?;
                    self.unicast_hop_limit.set(hops);
                }
                self.send_v6(from, to, packet)
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Device and source address are the instance's and not the route's.
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

    /// What has come, split into header and payload; `None` if it was no packet that could be read.
    pub fn recv<'b>(&self, buf: &'b mut [u8]) -> io::Result<Option<(IpHeader, &'b [u8])>> {
        if self.transport == Transport::Ipv6 {
            return self.recv_v6(buf);
        }
        // SAFETY: u8 and MaybeUninit<u8> have one layout, and recv only writes initialised bytes.
        let uninit = unsafe { &mut *(std::ptr::from_mut::<[u8]>(buf) as *mut [MaybeUninit<u8>]) };
        let n = self.socket.recv(uninit)?;
        Ok(split_ipv4(&buf[..n]))
    }

    /// The kernel keeps an IPv6 header to itself, and tells what was in it beside the message.
    fn recv_v6<'b>(&self, buf: &'b mut [u8]) -> io::Result<Option<(IpHeader, &'b [u8])>> {
        let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
        let (src, dst, ttl, n) = {
            let mut iov = [io::IoSliceMut::new(buf)];
            let got = recvmsg::<SockaddrIn6>(self.socket.as_raw_fd(), &mut iov, Some(&mut control), MsgFlags::empty())?;
            let (mut dst, mut ttl) = (None, None);
            for c in got.cmsgs()? {
                match c {
                    ControlMessageOwned::Ipv6PacketInfo(i) => dst = Some(Ipv6Addr::from(i.ipi6_addr.s6_addr)),
                    ControlMessageOwned::Ipv6HopLimit(h) => ttl = u8::try_from(h).ok(),
                    _ => {}
                }
            }
            (got.address.map(|a| a.ip()), dst, ttl, got.bytes)
        };
        let (Some(src), Some(dst), Some(ttl)) = (src, dst, ttl) else { return Ok(None) };
        let header = IpHeader { src: src.into(), dst: dst.into(), ttl, protocol: IPPROTO_VRRP, id: 0 };
        Ok(Some((header, &buf[..n])))
    }
}

/// Packets are sent with their own header, so that an authentication header can cover what is in it.
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

/// TC_PRIO_CONTROL: ahead of other traffic in the device's queue.
fn set_priority(s: &Socket) -> io::Result<()> {
    // Priorities above 6 need CAP_NET_ADMIN, which is there whenever a raw socket could be opened by root.
    set_int_option(s, libc::SOL_SOCKET, libc::SO_PRIORITY, 7)
}

fn set_int_option(s: &Socket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: a valid socket, and an int of its true size.
    let ret = unsafe { libc::setsockopt(s.as_raw_fd(), level, option, (&raw const value).cast(), 4) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl AsFd for VrrpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
