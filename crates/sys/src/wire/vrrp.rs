//! The raw socket of IP protocol 112 on one interface.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};

use crate::{Context, Result};

/// IP protocol 112 (RFC 9568, 5.1.1.4).
const PROTOCOL: i32 = 112;
/// Internetwork control, as routers mark such packets.
const TOS: u32 = 0xc0;

/// Sends and hears adverts on one interface.
pub struct VrrpSocket {
    socket: Socket,
    groups: Vec<Ipv4Addr>,
    ifindex: u32,
    /// The TTL of unicast packets that the socket is set to.
    ttl: Cell<u8>,
}

impl VrrpSocket {
    /// Opens it, bound to the interface and a member of the groups. What is sent to an address of the host's own comes in
    /// by it as well.
    pub fn new(interface: &str, ifindex: u32, groups: &[Ipv4Addr]) -> Result<Self> {
        let open = || {
            let s = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(PROTOCOL)))?;
            s.bind_device(Some(interface.as_bytes()))?;
            for group in groups {
                s.join_multicast_v4_n(group, &InterfaceIndexOrAddress::Index(ifindex))?;
            }
            s.set_ttl_v4(255)?;
            s.set_multicast_ttl_v4(255)?;
            s.set_multicast_loop_v4(false)?;
            s.set_tos_v4(TOS)?;
            s.set_nonblocking(true)?;
            set_priority(&s)?;
            Ok::<_, io::Error>(s)
        };
        let socket = open().context(|| format!("open a VRRP socket on {interface}"))?;
        Ok(VrrpSocket { socket, groups: groups.to_vec(), ifindex, ttl: Cell::new(255) })
    }

    /// The groups that it is a member of.
    pub fn groups(&self) -> &[Ipv4Addr] {
        &self.groups
    }

    /// Sends a VRRP message from an address of the interface to a group (with TTL 255) or a peer. The kernel makes the IP
    /// header, with TOS 0xc0.
    pub fn send(&self, from: Ipv4Addr, to: Ipv4Addr, ttl: u8, message: &[u8]) -> io::Result<()> {
        if !to.is_multicast() && self.ttl.get() != ttl {
            self.socket.set_ttl_v4(u32::from(ttl))?;
            self.ttl.set(ttl);
        }
        let to: SockAddr = SocketAddrV4::new(to, 0).into();
        send_from(&self.socket, (self.ifindex, from), &to, message)
    }

    /// One IP packet that has come, header included.
    pub fn recv<'b>(&self, buf: &'b mut [u8]) -> io::Result<&'b [u8]> {
        // SAFETY: u8 and MaybeUninit<u8> have one layout, and recv only writes initialised bytes.
        let uninit = unsafe { &mut *(std::ptr::from_mut::<[u8]>(buf) as *mut [MaybeUninit<u8>]) };
        let n = self.socket.recv(uninit)?;
        Ok(&buf[..n])
    }
}

/// TC_PRIO_CONTROL: ahead of other traffic in the device's queue.
fn set_priority(s: &Socket) -> io::Result<()> {
    let prio: libc::c_int = 7;
    // SAFETY: a valid socket, and an int of its true size.
    let ret =
        unsafe { libc::setsockopt(s.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PRIORITY, (&raw const prio).cast(), 4) };
    // Priorities above 6 need CAP_NET_ADMIN, which is there whenever a raw socket could be opened by root.
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// sendmsg with IP_PKTINFO, so that device and source address are the instance's and not the route's.
fn send_from(s: &Socket, (ifindex, from): (u32, Ipv4Addr), to: &SockAddr, message: &[u8]) -> io::Result<()> {
    use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
    let info = libc::in_pktinfo {
        ipi_ifindex: ifindex as i32,
        ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let to = to.as_socket_ipv4().map(SockaddrIn::from);
    let iov = [io::IoSlice::new(message)];
    let control = [ControlMessage::Ipv4PacketInfo(&info)];
    sendmsg(s.as_raw_fd(), &iov, &control, MsgFlags::empty(), to.as_ref())?;
    Ok(())
}

impl AsFd for VrrpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
