//! What ethtool says of a device: its driver, and whether it strips VLAN tags. The ioctl is used, because it works in
//! every network namespace.

use std::os::fd::AsRawFd;

/// Makes an ethtool request; returns false if the device does not support it. `T` begins with the command and is as
/// large as the structure that the kernel writes.
fn ethtool_ioctl<T>(device: &str, request: &mut T) -> bool {
    let Ok(sock) = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None) else {
        return false;
    };
    // SAFETY: All zeros is a valid ifreq.
    let mut req: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in req.ifr_name.iter_mut().zip(device.bytes().take(15)) {
        *to = from as libc::c_char;
    }
    req.ifr_ifru.ifru_data = std::ptr::from_mut(request).cast();
    // SAFETY: `req` points to `request`, which is as large as the structure that the kernel writes for its command.
    let ret = unsafe { libc::ioctl(sock.as_raw_fd(), libc::SIOCETHTOOL, &mut req) };
    ret == 0
}

/// The name of a device's driver; empty if it has none.
pub(super) fn driver_name(device: &str) -> String {
    /// struct ethtool_drvinfo
    #[repr(C)]
    struct DrvInfo {
        cmd: u32,
        driver: [u8; 32],
        rest: [u8; 160],
    }
    const ETHTOOL_GDRVINFO: u32 = 3;
    let mut info = DrvInfo { cmd: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    if !ethtool_ioctl(device, &mut info) {
        return String::new();
    }
    let _ = info.rest;
    let end = info.driver.iter().position(|&b| b == 0).unwrap_or(info.driver.len());
    String::from_utf8_lossy(&info.driver[..end]).into_owned()
}

/// True if the device strips VLAN tags before an XDP program sees the frame (`ethtool -K … rxvlan`). Never true for
/// veth, where the setting of the peer decides (`txvlan`).
pub fn strips_vlan_tags(device: &str) -> bool {
    /// struct ethtool_value
    #[repr(C)]
    struct Flags {
        cmd: u32,
        data: u32,
    }
    const ETHTOOL_GFLAGS: u32 = 0x25;
    const ETH_FLAG_RXVLAN: u32 = 1 << 8;
    let mut flags = Flags { cmd: ETHTOOL_GFLAGS, data: 0 };
    driver_name(device) != "veth" && ethtool_ioctl(device, &mut flags) && flags.data & ETH_FLAG_RXVLAN != 0
}
