//! Hooks: on which device, and how, the program sees packets.
//!
//! Native XDP wins on NICs. On devices that sockets feed (veth, bridges, virtual ones) tc is cheaper and keeps offloads.
//! A hook is attached once; the next daemon replaces the program in its pinned link, which loses no packet.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use evenkeel_core::model::{AttachChoice, Family};
use libbpf_rs::libbpf_sys as raw;
use libbpf_rs::{MapCore, MapFlags, TC_INGRESS, TcHookBuilder};

use super::abi::*;
use super::object::bpf_error;
use super::packet_path::{Maps, PacketPath};
use crate::netlink::Link;
use crate::{Context, Error, Result, sysctl};

/// How a device is hooked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachMode {
    /// In the driver.
    NativeXdp,
    /// In the stack.
    GenericXdp,
    /// The tcx ingress hook (Linux 6.6).
    Tcx,
    /// A clsact filter, where there is no tcx.
    Clsact,
}

impl fmt::Display for AttachMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            AttachMode::NativeXdp => "native XDP",
            AttachMode::GenericXdp => "generic XDP",
            AttachMode::Tcx => "tc (tcx)",
            AttachMode::Clsact => "tc (clsact)",
        })
    }
}

/// Devices that sockets feed, by the name of their driver.
const SOCKET_FED_DRIVERS: &[&str] = &[
    "veth",
    "bridge",
    "macvlan",
    "macvtap",
    "ipvlan",
    "tun",
    "dummy",
    "bonding",
    "team",
    "802.1Q VLAN Support",
    "vlan",
    "vxlan",
    "virtio_net",
    "ifb",
];
/// Handle and priority of our clsact filter, so that the next daemon finds it.
const CLSACT_HANDLE: u32 = 1;
const CLSACT_PRIORITY: u32 = 0xe4;
/// The same of the program that unwraps tunnels, which comes first.
pub(super) const DECAP_PRIORITY: u32 = 0xe3;

const XDP_MODES: [AttachMode; 2] = [AttachMode::NativeXdp, AttachMode::GenericXdp];

/// Where packets are caught by XDP, an answer of NAT whose way is not known is translated and goes to the kernel, which asks
/// for the next hop and sends it. Its source is a virtual address that this host may hold itself: a martian, unless the device
/// takes such (ip-sysctl.rst, accept_local; fib_validate_source() in the kernel).
fn accept_local_replies<'a>(maps: &Maps, devices: impl Iterator<Item = &'a str>) {
    if maps.settings.read(0).has_nat == 0 {
        return;
    }
    for dev in devices.filter(|d| sysctl::get_conf(Family::V4, d, "accept_local") == Some(0)) {
        sysctl::set_conf(Family::V4, dev, "accept_local", 1).unwrap_or_else(|e| tracing::warn!("{e}"));
    }
}

/// The same for what is attached to these devices, whoever has done it.
pub(super) fn accept_local_replies_of_pinned(dir: &Path, maps: &Maps, links: &[Link]) {
    let by_xdp = |l: &&Link| XDP_MODES.iter().any(|h| pin_path(dir, *h, l.index).exists());
    accept_local_replies(maps, links.iter().filter(by_xdp).map(|l| l.name.as_str()));
}

/// What is attached.
#[derive(Debug, Default)]
pub struct Attachments {
    attached: Vec<Attachment>,
}

#[derive(Debug)]
struct Attachment {
    ifindex: u32,
    name: String,
    mode: AttachMode,
    choice: AttachChoice,
}

impl Attachments {
    /// Devices and how they are hooked.
    pub fn iter(&self) -> impl Iterator<Item = (&str, AttachMode)> {
        self.attached.iter().map(|a| (a.name.as_str(), a.mode))
    }

    /// Is this device hooked, as it was asked for?
    pub fn is_attached(&self, ifindex: u32, choice: AttachChoice) -> bool {
        self.attached.iter().any(|a| (a.ifindex, a.choice) == (ifindex, choice))
    }

    /// Attaches to a device, or takes an earlier daemon's hook over. Returns how.
    pub fn attach(&mut self, loaded: &PacketPath, link: &Link, choice: AttachChoice) -> Result<AttachMode> {
        record_device(loaded, link)?;
        let order: &[AttachMode] = match choice {
            AttachChoice::Auto if SOCKET_FED_DRIVERS.contains(&driver_name(&link.name).as_str()) => {
                &[AttachMode::Tcx, AttachMode::Clsact]
            }
            AttachChoice::Auto => &[AttachMode::NativeXdp, AttachMode::Tcx, AttachMode::Clsact, AttachMode::GenericXdp],
            AttachChoice::NativeXdp => &[AttachMode::NativeXdp],
            AttachChoice::Tc => &[AttachMode::Tcx, AttachMode::Clsact],
            AttachChoice::GenericXdp => &[AttachMode::GenericXdp],
        };
        // A hook of another kind that an earlier daemon left would handle every packet twice.
        for other in
            [AttachMode::NativeXdp, AttachMode::GenericXdp, AttachMode::Tcx].into_iter().filter(|h| !order.contains(h))
        {
            let _ = fs::remove_file(pin_path(&loaded.dir, other, link.index));
        }
        let mut first_error = None;
        for &hook in order {
            match attach_with_mode(loaded, link, hook) {
                Ok(()) => {
                    let (ifindex, name) = (link.index, link.name.clone());
                    if hook != AttachMode::Clsact
                        && self.attached.iter().any(|a| a.ifindex == ifindex && a.mode == AttachMode::Clsact)
                    {
                        detach_clsact(ifindex, CLSACT_PRIORITY);
                    }
                    self.attached.retain(|a| a.ifindex != ifindex);
                    self.attached.push(Attachment { ifindex, name, mode: hook, choice });
                    return Ok(hook);
                }
                Err(e) => {
                    if e.hint.is_some() && order.len() > 1 {
                        tracing::warn!("{e}");
                    }
                    tracing::debug!("{e}");
                    first_error = first_error.or(Some(e));
                }
            }
        }
        Err(first_error.unwrap_or_else(|| Error::new(format!("hook {}", link.name), "no hook is possible")))
    }

    /// Lets the kernel send answers of NAT whose way the program does not know, on devices that are hooked by XDP.
    pub fn accept_local_replies(&self, maps: &Maps) {
        let by_xdp = self.attached.iter().filter(|a| XDP_MODES.contains(&a.mode));
        accept_local_replies(maps, by_xdp.map(|a| a.name.as_str()));
    }

    /// Forgets devices that are gone, and follows the addresses of those that are there.
    pub fn sync_links(&mut self, loaded: &PacketPath, links: &[Link]) {
        let here: Vec<u32> = links.iter().map(|l| l.index).collect();
        self.detach_except(loaded, &here);
        for link in links.iter().filter(|l| self.attached.iter().any(|a| a.ifindex == l.index)) {
            if let Err(e) = record_device(loaded, link) {
                tracing::warn!("{e}");
            }
        }
    }

    /// Detaches from every device but these, an earlier daemon's hooks included.
    pub fn detach_except(&mut self, loaded: &PacketPath, ifindices: &[u32]) {
        let (kept, dropped): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.attached).into_iter().partition(|a| ifindices.contains(&a.ifindex));
        self.attached = kept;
        for a in dropped.iter().filter(|a| a.mode == AttachMode::Clsact) {
            detach_clsact(a.ifindex, CLSACT_PRIORITY);
        }
        for entry in fs::read_dir(&loaded.dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ifindex = name.strip_prefix("link-").and_then(|n| n.rsplit('-').next()?.parse().ok());
            if ifindex.is_some_and(|i| !ifindices.contains(&i)) {
                let _ = fs::remove_file(entry.path()); // the last reference to a link is its pin
            }
        }
    }
}

/// Is a hook pinned for this device? (A clsact filter is not, and is put there anew.)
pub(super) fn is_pinned(dir: &Path, ifindex: u32) -> bool {
    [AttachMode::NativeXdp, AttachMode::GenericXdp, AttachMode::Tcx]
        .into_iter()
        .any(|h| pin_path(dir, h, ifindex).exists())
}

/// Takes a clsact filter of this priority off.
pub(super) fn detach_clsact(ifindex: u32, priority: u32) {
    // The builder wants a program, which taking off does not need.
    let Ok(nothing) = fs::File::open("/dev/null") else { return };
    let mut tc = TcHookBuilder::new(nothing.as_fd());
    let mut tc = tc.ifindex(ifindex as i32).handle(CLSACT_HANDLE).priority(priority).hook(TC_INGRESS);
    if let Err(e) = tc.detach() {
        tracing::debug!("detach from device {ifindex}: {e}");
    }
}

/// Attaches a tc program by what this kernel has, its link pinned in `dir`.
pub(super) fn attach_tc(dir: &Path, program: BorrowedFd<'_>, link: &Link, priority: u32) -> Result<AttachMode> {
    let path = pin_path(dir, AttachMode::Tcx, link.index);
    attach_link(program, &path, link, AttachMode::Tcx)
        .map(|()| AttachMode::Tcx)
        .or_else(|_| attach_clsact(program, link, priority).map(|()| AttachMode::Clsact))
}

fn pin_path(dir: &Path, hook: AttachMode, ifindex: u32) -> PathBuf {
    let kind = match hook {
        AttachMode::NativeXdp => "xdp",
        AttachMode::GenericXdp => "generic",
        AttachMode::Tcx | AttachMode::Clsact => "tc",
    };
    dir.join(format!("link-{kind}-{ifindex}"))
}

fn check_return<T>(ret: i64, what: impl FnOnce() -> String, ok: impl FnOnce() -> T) -> Result<T> {
    if ret >= 0 { Ok(ok()) } else { Err(io::Error::from_raw_os_error(-ret as i32)).context(what) }
}

fn attach_with_mode(loaded: &PacketPath, link: &Link, hook: AttachMode) -> Result<()> {
    let program =
        if matches!(hook, AttachMode::NativeXdp | AttachMode::GenericXdp) { "evenkeel_xdp" } else { "evenkeel_tc" };
    let prog = loaded.program_fd(program)?;
    match hook {
        AttachMode::Clsact => attach_clsact(prog, link, CLSACT_PRIORITY),
        _ => attach_link(prog, &pin_path(&loaded.dir, hook, link.index), link, hook),
    }
}

fn attach_clsact(program: BorrowedFd<'_>, link: &Link, priority: u32) -> Result<()> {
    let mut tc = TcHookBuilder::new(program)
        .ifindex(link.index as i32)
        .replace(true)
        .handle(CLSACT_HANDLE)
        .priority(priority)
        .hook(TC_INGRESS);
    let done = tc.create().and_then(|mut t| t.attach());
    let what = || format!("attach {} to {}", AttachMode::Clsact, link.name);
    done.map(|_| ()).map_err(|e| Error::new(what(), format!("{e:#}")))
}

/// Attaches by a link that is pinned at `path`; one that is there already gets the new program.
fn attach_link(prog: BorrowedFd<'_>, path: &Path, link: &Link, hook: AttachMode) -> Result<()> {
    let what = || format!("attach {hook} to {}", link.name);
    let cpath = CString::new(path.as_os_str().as_encoded_bytes()).context(what)?;
    if path.exists() {
        // SAFETY: a valid C string; the result is checked.
        let fd = unsafe { raw::bpf_obj_get(cpath.as_ptr()) };
        if fd >= 0 {
            // SAFETY: a descriptor that bpf_obj_get just made.
            let old = unsafe { OwnedFd::from_raw_fd(fd) };
            // SAFETY: two valid descriptors, no options.
            let ret = unsafe { raw::bpf_link_update(old.as_raw_fd(), prog.as_raw_fd(), std::ptr::null()) };
            if ret == 0 {
                return Ok(());
            }
            tracing::debug!("{} does not take a new program ({ret}): made anew", path.display());
        }
        let _ = fs::remove_file(path);
    }
    let (kind, flags) = match hook {
        AttachMode::NativeXdp => (raw::BPF_XDP, raw::XDP_FLAGS_DRV_MODE),
        AttachMode::GenericXdp => (raw::BPF_XDP, raw::XDP_FLAGS_SKB_MODE),
        AttachMode::Tcx | AttachMode::Clsact => (raw::BPF_TCX_INGRESS, 0),
    };
    let opts =
        raw::bpf_link_create_opts { sz: size_of::<raw::bpf_link_create_opts>() as _, flags, ..Default::default() };
    // SAFETY: a valid program, a device number, and options of their true size.
    let fd = unsafe { raw::bpf_link_create(prog.as_raw_fd(), link.index as i32, kind, &opts) };
    check_return(fd.into(), what, || ()).map_err(|e| match (e.errno(), kind) {
        (Some(libc::EBUSY | libc::EEXIST), raw::BPF_XDP) => e.with_hint(
            "another XDP program is there (`ip link` shows it), and stays: take it off, or choose tc by `dataplane_interface`",
        ),
        _ => e,
    })?;
    // SAFETY: a descriptor that bpf_link_create just made.
    let made = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a valid descriptor and a valid C string.
    let ret = unsafe { raw::bpf_obj_pin(made.as_raw_fd(), cpath.as_ptr()) };
    check_return(ret.into(), || format!("pin {}", path.display()), || ())
}

/// An old ethtool request, which works in every namespace; `false` if the device has no answer. `T` begins with the request's
/// number and is as large as what the kernel fills in.
fn ethtool_ioctl<T>(name: &str, request: &mut T) -> bool {
    let Ok(sock) = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None) else {
        return false;
    };
    // SAFETY: a zeroed ifreq is valid.
    let mut req: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in req.ifr_name.iter_mut().zip(name.bytes().take(15)) {
        *to = from as libc::c_char;
    }
    req.ifr_ifru.ifru_data = std::ptr::from_mut(request).cast();
    // SAFETY: the request's structure is as large as what the kernel fills in.
    let ret = unsafe { libc::ioctl(sock.as_raw_fd(), libc::SIOCETHTOOL, &mut req) };
    ret == 0
}

/// The driver's name; empty if there is none.
pub fn driver_name(name: &str) -> String {
    /// struct ethtool_drvinfo
    #[repr(C)]
    struct DrvInfo {
        cmd: u32,
        driver: [u8; 32],
        rest: [u8; 160],
    }
    const ETHTOOL_GDRVINFO: u32 = 3;
    let mut info = DrvInfo { cmd: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    if !ethtool_ioctl(name, &mut info) {
        return String::new();
    }
    let _ = info.rest;
    let end = info.driver.iter().position(|&b| b == 0).unwrap_or(info.driver.len());
    String::from_utf8_lossy(&info.driver[..end]).into_owned()
}

/// Does the device take VLAN tags off before an XDP program sees the frame (`ethtool -K … rxvlan`)? Of a veth its peer
/// decides (`txvlan`).
pub fn strips_vlan_tags(name: &str) -> bool {
    /// struct ethtool_value
    #[repr(C)]
    struct Flags {
        cmd: u32,
        data: u32,
    }
    const ETHTOOL_GFLAGS: u32 = 0x25;
    const ETH_FLAG_RXVLAN: u32 = 1 << 8;
    let mut flags = Flags { cmd: ETHTOOL_GFLAGS, data: 0 };
    driver_name(name) != "veth" && ethtool_ioctl(name, &mut flags) && flags.data & ETH_FLAG_RXVLAN != 0
}

/// Lets the XDP program know the device's own address, so that it leaves other hosts' frames alone.
fn record_device(loaded: &PacketPath, link: &Link) -> Result<()> {
    write_device(&loaded.maps, link, 0, [0; EK_VLAN_TAGS as usize])
}

fn write_device(maps: &Maps, link: &Link, lower: u32, tags: [u32; EK_VLAN_TAGS as usize]) -> Result<()> {
    let devices = &maps.devices;
    let at = (0..EK_DEVICE_PROBES).map(|i| (link.index.wrapping_add(i) & (EK_DEVICES - 1)) as usize);
    let places: Vec<usize> = at.collect();
    let mine = places.iter().copied().find(|&i| devices.read(i).ifindex == link.index);
    let Some(place) = mine.or_else(|| places.iter().copied().find(|&i| devices.read(i).ifindex == 0)) else {
        return Err(Error::new(format!("hook {}", link.name), "the device table is crowded at its number"));
    };
    // What is known of a VLAN stays: there is a moment between this and the next note_vlans().
    let had = devices.read(place);
    let (lower, tags) = if lower == 0 && link.vlan.is_some() { (had.lower, had.tags) } else { (lower, tags) };
    devices.write(place, device { ifindex: link.index, mac: link.mac, unused: 0, lower, tags });
    Ok(())
}

/// The device at the bottom of a VLAN, or of one within another, and the tags that its frames have there.
fn lower_device(link: &Link, links: &[Link]) -> Option<(u32, [u32; EK_VLAN_TAGS as usize])> {
    let mut tags = Vec::new();
    let mut at = link;
    while let Some((protocol, number)) = at.vlan {
        tags.insert(0, u32::from(protocol) << 16 | u32::from(number));
        at = links.iter().find(|l| Some(l.index) == at.lower)?;
    }
    let fits = !tags.is_empty() && tags.len() <= EK_VLAN_TAGS as usize;
    fits.then(|| (at.index, std::array::from_fn(|i| tags.get(i).copied().unwrap_or(0))))
}

impl Maps {
    /// Is it a VLAN, as far as the XDP program knows?
    pub(super) fn is_vlan(&self, ifindex: u32) -> bool {
        let at = |i| self.devices.read((ifindex.wrapping_add(i) & (EK_DEVICES - 1)) as usize);
        (0..EK_DEVICE_PROBES).map(at).any(|d| d.ifindex == ifindex && d.lower != 0)
    }

    /// Lets the XDP program know the VLANs that there are: frames come with their tags, and leave with them.
    pub fn record_vlans(&self, links: &[Link]) -> Result<()> {
        let mut wanted: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for link in links {
            let Some((lower, tags)) = lower_device(link, links) else { continue };
            write_device(self, link, lower, tags)?;
            wanted.insert([lower, tags[0], tags[1]].iter().flat_map(|w| w.to_ne_bytes()).collect(), link.index);
        }
        let failed = |e| bpf_error("note the VLANs".into(), e);
        for (key, ifindex) in &wanted {
            self.vlans.update(key, &ifindex.to_ne_bytes(), MapFlags::ANY).map_err(failed)?;
        }
        let gone: Vec<Vec<u8>> = self.vlans.keys().filter(|k| !wanted.contains_key(k)).collect();
        for key in gone {
            self.vlans.delete(&key).map_err(failed)?;
        }
        Ok(())
    }
}

impl PacketPath {
    /// Test runs come in by the loopback device, whose address is all zeros.
    pub fn record_test_device(&self) {
        let lo = Link { index: 1, name: "lo".into(), loopback: true, ..Link::default() };
        if let Err(e) = record_device(self, &lo) {
            tracing::warn!("{e}");
        }
    }
}
