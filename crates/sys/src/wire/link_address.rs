//! Link-layer addresses of packet sockets (`struct sockaddr_ll`, packet(7)): made, bound, sent to, and read back.

use std::io;
use std::os::fd::AsRawFd;

use socket2::Socket;

const SIZE: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

/// The address of a device and an Ethertype, without a MAC address. `ifindex` 0 means all devices.
pub(super) fn link_address(ifindex: u32, ethertype: u16) -> libc::sockaddr_ll {
    // SAFETY: All zeros is a valid sockaddr_ll.
    let mut a: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    a.sll_family = libc::AF_PACKET as u16;
    a.sll_protocol = ethertype.to_be();
    a.sll_ifindex = ifindex as i32;
    a
}

/// As [`link_address`], with a destination MAC address.
pub(super) fn link_address_of_mac(ifindex: u32, ethertype: u16, mac: &[u8; 6]) -> libc::sockaddr_ll {
    let mut a = link_address(ifindex, ethertype);
    a.sll_halen = 6;
    a.sll_addr[..6].copy_from_slice(mac);
    a
}

/// Binds a packet socket to a device and an Ethertype.
pub(super) fn bind(socket: &Socket, address: &libc::sockaddr_ll) -> io::Result<()> {
    // SAFETY: The descriptor is valid, and the address has `SIZE` bytes.
    let ret = unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(address).cast(), SIZE) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a packet or a frame without blocking.
pub(super) fn send_to(socket: &Socket, packet: &[u8], to: &libc::sockaddr_ll) -> io::Result<()> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let to = std::ptr::from_ref(to).cast();
    // SAFETY: The descriptor is valid, the packet has `packet.len()` bytes, and the address has `SIZE` bytes.
    let n = unsafe { libc::sendto(socket.as_raw_fd(), packet.as_ptr().cast(), packet.len(), flags, to, SIZE) };
    if n >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives a packet, without blocking, and the MAC address of its sender; `None` if its frame was not addressed to this
/// host alone.
pub(super) fn receive_from(socket: &Socket, packet: &mut [u8]) -> io::Result<(usize, Option<[u8; 6]>)> {
    let mut from = link_address(0, 0);
    let mut size = SIZE;
    let (data, room, sender) = (packet.as_mut_ptr().cast(), packet.len(), (&raw mut from).cast());
    // SAFETY: The descriptor is valid, the packet has `room` bytes, and `from` has room for an address of `size` bytes.
    let n = unsafe { libc::recvfrom(socket.as_raw_fd(), data, room, libc::MSG_DONTWAIT, sender, &raw mut size) };
    let length = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    let mac = from.sll_addr.first_chunk().copied();
    Ok((length, mac.filter(|_| from.sll_pkttype == libc::PACKET_HOST)))
}

/// The MAC address of the device that a packet socket is bound to.
pub(super) fn own_mac(socket: &Socket) -> io::Result<[u8; 6]> {
    let mut own = link_address(0, 0);
    let mut size = SIZE;
    // SAFETY: The descriptor is valid, and `own` has room for an address of `size` bytes.
    let ret = unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut own).cast(), &raw mut size) };
    if ret != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut mac = [0; 6];
    mac.copy_from_slice(&own.sll_addr[..6]);
    Ok(mac)
}
