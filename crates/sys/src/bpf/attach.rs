//! Attachments: the programs attached to devices, by XDP or tc.
//!
//! Native XDP is the fastest mode on NICs. On devices that sockets feed (veth, bridges, virtual devices) tc is cheaper
//! and keeps offloads. An attachment is a pinned BPF link, so it outlives the process. The next daemon replaces the
//! program of the link, and no packet is lost.

use std::fmt;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use evenkeel_core::model::{AttachChoice, Family};
use libbpf_rs::libbpf_sys as raw;
use libbpf_rs::{TC_INGRESS, TcHookBuilder};

use super::bpf_link::{BpfLink, device_program, xdp_program};
use super::ethtool::driver_name;
use super::maps::Maps;
use super::packet_path::PacketPath;
use crate::netlink::Link;
use crate::{Error, Result, sysctl};

/// How a program is attached to a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachMode {
    /// XDP in the device's driver.
    NativeXdp,
    /// XDP in the network stack.
    GenericXdp,
    /// The tcx ingress hook (Linux 6.6).
    Tcx,
    /// A filter of the clsact qdisc, for kernels without tcx.
    Clsact,
}

impl AttachMode {
    /// The modes whose attachments are pinned links.
    const PINNED: [AttachMode; 3] = [AttachMode::NativeXdp, AttachMode::GenericXdp, AttachMode::Tcx];

    pub(super) fn is_xdp(self) -> bool {
        matches!(self, AttachMode::NativeXdp | AttachMode::GenericXdp)
    }
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

/// The drivers of devices that sockets feed although they look like NICs: those of virtual machines.
const SOCKET_FED_DRIVERS: &[&str] = &["virtio_net"];
/// The handle and the priority of the clsact filter. The next daemon finds the filter by them.
pub(super) const CLSACT_HANDLE: u32 = 1;
pub(super) const CLSACT_PRIORITY: u32 = 0xe4;
/// The priority of the decapsulation program's filter, which runs first.
pub(super) const DECAP_PRIORITY: u32 = 0xe3;

/// Whether [`AttachChoice::Auto`] attaches by native XDP if the driver supports it: to NICs, and not to software devices
/// (veth, bridge, VLAN, bond, …), which sockets feed.
pub fn prefers_native_xdp(link: &Link) -> bool {
    link.kind.is_empty() && !link.loopback && !SOCKET_FED_DRIVERS.contains(&driver_name(&link.name).as_str())
}

/// Sets accept_local on devices with an XDP attachment, if there are real servers behind NAT.
///
/// The XDP program translates a reply and passes it to the kernel if it does not know the next hop's MAC address; the
/// kernel resolves the next hop and sends the reply. The reply's source is a virtual address, which may be an address
/// of this host. Without accept_local the kernel drops it as a martian (ip-sysctl.rst; fib_validate_source() in the
/// kernel).
fn accept_local_replies<'a>(maps: &Maps, devices: impl Iterator<Item = &'a str>) {
    if maps.settings.read(0).has_nat == 0 {
        return;
    }
    for dev in devices.filter(|d| sysctl::get_conf(Family::V4, d, "accept_local") == Some(0)) {
        sysctl::set_conf(Family::V4, dev, "accept_local", 1).unwrap_or_else(|e| tracing::warn!("{e}"));
    }
}

/// Sets accept_local on those of the devices that have a pinned XDP attachment, of any process.
pub(super) fn accept_local_replies_of_pinned(dir: &Path, maps: &Maps, links: &[Link]) {
    let has_xdp =
        |l: &&Link| AttachMode::PINNED.iter().any(|mode| mode.is_xdp() && pin_path(dir, *mode, l.index).exists());
    accept_local_replies(maps, links.iter().filter(has_xdp).map(|l| l.name.as_str()));
}

/// Writes to the maps which devices exist, and which of them XDP programs can send by: those with a native XDP
/// attachment, of any process. Generic XDP can send by every device (generic_xdp_tx() in the kernel), but native XDP
/// not by one with generic XDP.
pub(super) fn record_devices(dir: &Path, maps: &Maps, links: &[Link]) {
    let pinned = |mode, ifindex| pin_path(dir, mode, ifindex).exists();
    let has_native = links.iter().any(|l| pinned(AttachMode::NativeXdp, l.index));
    let mode = if has_native { AttachMode::NativeXdp } else { AttachMode::GenericXdp };
    maps.sync_devices(links, |ifindex| pinned(mode, ifindex));
}

/// The attachments that this process has made or taken over.
#[derive(Debug, Default)]
pub struct Attachments {
    pub(super) attached: Vec<Attachment>,
}

#[derive(Debug)]
pub(super) struct Attachment {
    pub ifindex: u32,
    pub name: String,
    pub mode: AttachMode,
    pub choice: AttachChoice,
    /// Its link; `None` for clsact. The descriptor keeps it attached if the pin is removed.
    pub link: Option<BpfLink>,
}

impl Attachments {
    /// The names of the devices, and the modes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, AttachMode)> {
        self.attached.iter().map(|a| (a.name.as_str(), a.mode))
    }

    /// True if the device has an attachment that was made for this choice.
    pub fn is_attached(&self, ifindex: u32, choice: AttachChoice) -> bool {
        self.attached.iter().any(|a| (a.ifindex, a.choice) == (ifindex, choice))
    }

    /// True if the device has an attachment, for whatever choice.
    pub fn contains(&self, ifindex: u32) -> bool {
        self.attached.iter().any(|a| a.ifindex == ifindex)
    }

    /// Attaches to a device, or takes over the attachment of an earlier process. Tries the modes of the choice in their
    /// order. Returns the mode.
    pub fn attach(&mut self, path: &PacketPath, link: &Link, choice: AttachChoice) -> Result<AttachMode> {
        path.maps.record_device(link)?;
        let modes: &[AttachMode] = match choice {
            AttachChoice::Auto if prefers_native_xdp(link) => {
                &[AttachMode::NativeXdp, AttachMode::Tcx, AttachMode::Clsact, AttachMode::GenericXdp]
            }
            AttachChoice::Auto => &[AttachMode::Tcx, AttachMode::Clsact, AttachMode::GenericXdp],
            AttachChoice::NativeXdp => &[AttachMode::NativeXdp],
            AttachChoice::Tc => &[AttachMode::Tcx, AttachMode::Clsact],
            AttachChoice::GenericXdp => &[AttachMode::GenericXdp],
        };
        // With two attachments of different modes every packet would be handled twice.
        for other in AttachMode::PINNED.into_iter().filter(|mode| !modes.contains(mode)) {
            detach_link(&pin_path(&path.dir, other, link.index));
        }
        let mut first_error = None;
        for &mode in modes {
            match attach_with_mode(path, link, mode) {
                Ok(attached) => {
                    for other in AttachMode::PINNED.into_iter().filter(|m| m.is_xdp() != mode.is_xdp()) {
                        detach_link(&pin_path(&path.dir, other, link.index));
                    }
                    self.record_attachment(link, mode, choice, attached);
                    return Ok(mode);
                }
                Err(e) => {
                    if e.hint.is_some() && modes.len() > 1 {
                        tracing::warn!("{e}");
                    }
                    tracing::debug!("{e}");
                    first_error = first_error.or(Some(e));
                }
            }
        }
        Err(first_error.unwrap_or_else(|| Error::new(format!("attach to {}", link.name), "no mode is possible")))
    }

    /// Replaces the device's attachment in the list. A former clsact filter is removed.
    fn record_attachment(&mut self, link: &Link, mode: AttachMode, choice: AttachChoice, attached: Option<BpfLink>) {
        let (ifindex, name) = (link.index, link.name.clone());
        let had_clsact = self.attached.iter().any(|a| a.ifindex == ifindex && a.mode == AttachMode::Clsact);
        if had_clsact && mode != AttachMode::Clsact {
            detach_clsact(ifindex, CLSACT_PRIORITY);
        }
        self.attached.retain(|a| a.ifindex != ifindex);
        self.attached.push(Attachment { ifindex, name, mode, choice, link: attached });
    }

    /// Sets accept_local on devices with an XDP attachment, so that the kernel sends replies that XDP passes to it.
    pub fn accept_local_replies(&self, maps: &Maps) {
        let xdp = self.attached.iter().filter(|a| a.mode.is_xdp());
        accept_local_replies(maps, xdp.map(|a| a.name.as_str()));
    }

    /// Devices where the kernel drops the IPv4 replies that XDP passes to it: their source is an address of this host,
    /// whose route does not lead to the device (rp_filter=1 in ip-sysctl.rst; fib_validate_source() in the kernel).
    pub fn devices_that_drop_replies(&self, maps: &Maps) -> Vec<&str> {
        if maps.settings.read(0).has_nat == 0 {
            return Vec::new();
        }
        let mode = |device: &str| sysctl::get_conf(Family::V4, device, "rp_filter").unwrap_or(0);
        let all = mode("all");
        let xdp = self.attached.iter().filter(|a| a.mode.is_xdp()).map(|a| a.name.as_str());
        xdp.filter(|device| mode(device).max(all) == 1).collect()
    }

    /// Writes to the maps which devices exist, and which of them XDP programs can send by.
    pub fn record_devices(&self, path: &PacketPath, links: &[Link]) {
        record_devices(&path.dir, &path.maps, links);
    }

    /// Forgets devices that do not exist any more, and writes the MAC addresses of the others to the maps.
    pub fn sync_links(&mut self, path: &PacketPath, links: &[Link]) {
        let existing: Vec<u32> = links.iter().map(|l| l.index).collect();
        self.detach_except(path, &existing);
        for link in links.iter().filter(|l| self.attached.iter().any(|a| a.ifindex == l.index)) {
            if let Err(e) = path.maps.record_device(link) {
                tracing::warn!("{e}");
            }
        }
    }

    /// Detaches from all devices except these, also where an earlier process has attached.
    pub fn detach_except(&mut self, path: &PacketPath, ifindices: &[u32]) {
        let (kept, dropped): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.attached).into_iter().partition(|a| ifindices.contains(&a.ifindex));
        self.attached = kept;
        for a in dropped.iter().filter(|a| a.mode == AttachMode::Clsact) {
            detach_clsact(a.ifindex, CLSACT_PRIORITY);
        }
        for entry in fs::read_dir(&path.dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ifindex = name.strip_prefix("link-").and_then(|n| n.rsplit('-').next()?.parse().ok());
            if ifindex.is_some_and(|i| !ifindices.contains(&i)) {
                detach_link(&entry.path());
            }
        }
    }
}

/// Detaches a pinned link, and removes its pin.
fn detach_link(path: &Path) {
    if let Some(link) = BpfLink::open(path) {
        link.detach();
    }
    let _ = fs::remove_file(path);
}

/// True if an attachment to the device is pinned. A clsact filter is not pinned; attaching again replaces it.
pub(super) fn is_pinned(dir: &Path, ifindex: u32) -> bool {
    AttachMode::PINNED.into_iter().any(|mode| pin_path(dir, mode, ifindex).exists())
}

/// Removes the clsact filter with this priority from a device.
pub(super) fn detach_clsact(ifindex: u32, priority: u32) {
    // The builder requires a descriptor, which detaching does not use.
    let Ok(unused) = fs::File::open("/dev/null") else { return };
    let mut tc = TcHookBuilder::new(unused.as_fd());
    let mut tc = tc.ifindex(ifindex as i32).handle(CLSACT_HANDLE).priority(priority).hook(TC_INGRESS);
    if let Err(e) = tc.detach() {
        tracing::debug!("cannot detach the clsact filter from device {ifindex}: {e}");
    }
}

/// Attaches a tc program: by tcx with a link pinned in `dir`, or else by clsact.
pub(super) fn attach_tc(dir: &Path, program: BorrowedFd<'_>, link: &Link, priority: u32) -> Result<AttachMode> {
    let path = pin_path(dir, AttachMode::Tcx, link.index);
    attach_link(program, &path, link, AttachMode::Tcx)
        .map(|_| AttachMode::Tcx)
        .or_else(|_| attach_clsact(program, link, priority).map(|()| AttachMode::Clsact))
}

pub(super) fn pin_path(dir: &Path, mode: AttachMode, ifindex: u32) -> PathBuf {
    let kind = match mode {
        AttachMode::NativeXdp => "xdp",
        AttachMode::GenericXdp => "generic",
        AttachMode::Tcx | AttachMode::Clsact => "tc",
    };
    dir.join(format!("link-{kind}-{ifindex}"))
}

fn attach_with_mode(path: &PacketPath, link: &Link, mode: AttachMode) -> Result<Option<BpfLink>> {
    let program = path.program_fd(if mode.is_xdp() { "evenkeel_xdp" } else { "evenkeel_tc" })?;
    match mode {
        AttachMode::Clsact => attach_clsact(program, link, CLSACT_PRIORITY).map(|()| None),
        _ => attach_link(program, &pin_path(&path.dir, mode, link.index), link, mode).map(Some),
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
    let operation = || format!("attach {} to {}", AttachMode::Clsact, link.name);
    done.map(|_| ()).map_err(|e| Error::new(operation(), format!("{e:#}")))
}

/// Attaches a program by a link that is pinned at `path`. If a link is pinned there, its program is replaced.
fn attach_link(program: BorrowedFd<'_>, path: &Path, link: &Link, mode: AttachMode) -> Result<BpfLink> {
    if let Some(pinned) = BpfLink::open(path)
        && pinned.info().is_none_or(|i| i.ifindex == link.index)
        && pinned.replace_program(program)
    {
        return Ok(pinned);
    }
    let _ = fs::remove_file(path);
    let kind = match mode {
        AttachMode::NativeXdp => (raw::BPF_XDP, raw::XDP_FLAGS_DRV_MODE),
        AttachMode::GenericXdp => (raw::BPF_XDP, raw::XDP_FLAGS_SKB_MODE),
        AttachMode::Tcx | AttachMode::Clsact => (raw::BPF_TCX_INGRESS, 0),
    };
    let new = BpfLink::create(program, link.index, kind, || format!("attach {mode} to {}", link.name));
    let new = new.map_err(|e| match (e.errno(), kind.0) {
        (Some(libc::EBUSY | libc::EEXIST), raw::BPF_XDP) => {
            let other =
                xdp_program(link.index).map(|id| format!("another XDP program is attached: {}", device_program(id)));
            e.with_extack(other)
                .with_hint("it stays: detach it (`ip link set DEVICE xdp off`), or choose tc by `dataplane_interface`")
        }
        _ => e,
    })?;
    new.pin(path)?;
    Ok(new)
}
