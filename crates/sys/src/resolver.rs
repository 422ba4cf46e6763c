//! Names of addresses and ports, by the system's resolver; of interfaces, by the kernel.

use std::ffi::{CStr, CString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use socket2::SockAddr;

/// Host name and service name, as getnameinfo(3) gives them; numbers where there is no name.
pub fn reverse_lookup(addr: IpAddr, port: u16, udp: bool) -> (String, String) {
    let flags = if udp { libc::NI_DGRAM } else { 0 };
    // Without a resolver the port may have a name all the same.
    getnameinfo(addr, port, flags)
        .or_else(|| getnameinfo(addr, port, flags | libc::NI_NUMERICHOST))
        .unwrap_or_else(|| (addr.to_string(), port.to_string()))
}

fn getnameinfo(addr: IpAddr, port: u16, flags: i32) -> Option<(String, String)> {
    let sa = SockAddr::from(SocketAddr::new(addr, port));
    let mut host = [0 as libc::c_char; 1025];
    let mut service = [0 as libc::c_char; 32];
    // SAFETY: a valid address and two buffers of their true lengths.
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
    // SAFETY: getnameinfo ends both with a zero on success.
    let text = |b: &[libc::c_char]| unsafe { CStr::from_ptr(b.as_ptr()) }.to_string_lossy().into_owned();
    (ret == 0).then(|| (text(&host), text(&service)))
}

/// `HOST`, `HOST:PORT`, `[HOST6]:PORT` or a bare IPv6 address, as ipvsadm(8) takes them: by number or, of IPv4 and in
/// brackets of IPv6, by name; the port by number or by its name in services(5) for this protocol.
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
        // The resolver would take 80 for 0.0.0.80.
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
    // SAFETY: two strings that end with a zero; the answer, if there is one, stands until the next call, and nothing else
    // in this process calls.
    let entry = unsafe { libc::getservbyname(name.as_ptr(), protocol.as_ptr()).as_ref() }?;
    Some(u16::from_be(entry.s_port as u16))
}

/// This machine's name, empty if it has none (gethostname(2)).
pub fn host_name() -> String {
    nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()
}

/// The interface of this number, if there is one.
pub fn interface_name(ifindex: u32) -> Option<String> {
    nix::net::if_::if_indextoname(ifindex).ok()?.into_string().ok()
}
