//! Names of addresses and ports, by the system's resolver; of interfaces, by the kernel.

use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr};

use socket2::SockAddr;

/// Host name and service name, as getnameinfo(3) gives them; numbers where there is no name.
pub fn of(addr: IpAddr, port: u16, udp: bool) -> (String, String) {
    let sa = SockAddr::from(SocketAddr::new(addr, port));
    let mut host = [0 as libc::c_char; 1025];
    let mut service = [0 as libc::c_char; 32];
    let flags = if udp { libc::NI_DGRAM } else { 0 };
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
    if ret == 0 { (text(&host), text(&service)) } else { (addr.to_string(), port.to_string()) }
}

/// This machine's name, empty if it has none (gethostname(2)).
pub fn host_name() -> String {
    nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()
}

/// The interface of this number, if there is one.
pub fn interface_name(ifindex: u32) -> Option<String> {
    nix::net::if_::if_indextoname(ifindex).ok()?.into_string().ok()
}
