//! Names: of hosts and services by the system's resolver, of interfaces by the kernel.

use std::ffi::{CStr, CString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use socket2::SockAddr;

/// The host name and the service name of an address and a port (getnameinfo(3)); numbers where there is no name.
pub fn reverse_lookup(addr: IpAddr, port: u16, udp: bool) -> (String, String) {
    let flags = if udp { libc::NI_DGRAM } else { 0 };
    // If the host's name cannot be looked up, the port may have a name nevertheless.
    getnameinfo(addr, port, flags)
        .or_else(|| getnameinfo(addr, port, flags | libc::NI_NUMERICHOST))
        .unwrap_or_else(|| (addr.to_string(), port.to_string()))
}

fn getnameinfo(addr: IpAddr, port: u16, flags: i32) -> Option<(String, String)> {
    let sa = SockAddr::from(SocketAddr::new(addr, port));
    let mut host = [0 as libc::c_char; 1025];
    let mut service = [0 as libc::c_char; 32];
    // SAFETY: The address is valid, and both buffers have the passed lengths.
    let ret = unsafe {
        libc::getnameinfo(
            sa.as_ptr().cast(),
            sa.len(),
            host.as_mut_ptr(),
            host.len() as u32,
            service.as_mut_ptr(),
            service.len() as u32,
            flags,
        )
    };
    // SAFETY: On success getnameinfo terminates both strings with a zero byte.
    let text = |b: &[libc::c_char]| unsafe { CStr::from_ptr(b.as_ptr()) }.to_string_lossy().into_owned();
    (ret == 0).then(|| (text(&host), text(&service)))
}

/// Parses `HOST`, `HOST:PORT`, `[HOST6]:PORT` or an IPv6 address, as ipvsadm(8) does. HOST is an IPv4 address or a
/// name, HOST6 an IPv6 address or a name. PORT is a number, or a name in services(5) for the protocol.
pub fn parse_endpoint(text: &str, protocol: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Some(inside) = text.strip_prefix('[') {
        let (host, port) = inside.split_once("]:")?;
        let addr = host.parse::<Ipv6Addr>().ok().map(IpAddr::V6).or_else(|| lookup_host(host, IpAddr::is_ipv6))?;
        return Some((addr, Some(lookup_port(port, protocol)?)));
    }
    if let Ok(addr) = text.parse::<Ipv6Addr>() {
        return Some((addr.into(), None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(lookup_port(port, protocol)?)),
        None => (text, None),
    };
    let addr = match host.parse::<Ipv4Addr>() {
        Ok(addr) => addr.into(),
        // The resolver would parse 80 as 0.0.0.80.
        Err(_) if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') => return None,
        Err(_) => lookup_host(host, IpAddr::is_ipv4)?,
    };
    Some((addr, port))
}

fn lookup_host(host: &str, wanted: fn(&IpAddr) -> bool) -> Option<IpAddr> {
    (host, 0).to_socket_addrs().ok()?.map(|a| a.ip()).find(wanted)
}

fn lookup_port(text: &str, protocol: &str) -> Option<u16> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    let (name, protocol) = (CString::new(text).ok()?, CString::new(protocol).ok()?);
    // SAFETY: Both strings are C strings. The result is valid until the next call, and no other code in this process
    // calls getservbyname.
    let entry = unsafe { libc::getservbyname(name.as_ptr(), protocol.as_ptr()).as_ref() }?;
    Some(u16::from_be(entry.s_port as u16))
}

/// The host name of this machine; empty if it has none (gethostname(2)).
pub fn host_name() -> String {
    nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()
}

/// The name of the interface with this index, if it exists.
pub fn interface_name(ifindex: u32) -> Option<String> {
    nix::net::if_::if_indextoname(ifindex).ok()?.into_string().ok()
}
