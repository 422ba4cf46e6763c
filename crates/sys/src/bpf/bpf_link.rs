//! BPF links and the programs of devices: made, pinned, and read back from the kernel.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use libbpf_rs::libbpf_sys as raw;

use crate::{Context, Result};

/// At most so many programs on one hook are read.
const MAX_PROGRAMS: usize = 64;

/// A link: an attachment that lasts while a descriptor or a pin refers to it.
#[derive(Debug)]
pub(super) struct BpfLink(OwnedFd);

/// What the kernel says about a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LinkInfo {
    /// The link's number.
    pub id: u32,
    /// The number of its program.
    pub program: u32,
    /// The index of its device; 0 if it was detached, or the device is gone.
    pub ifindex: u32,
}

/// What the kernel says about a link of a cgroup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CgroupLinkInfo {
    /// The link's number.
    pub id: u32,
    /// The number of its program.
    pub program: u32,
    /// False if it was detached.
    pub is_attached: bool,
}

/// A program that somebody has attached to a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceProgram {
    /// Its number, as `bpftool prog` shows it.
    pub id: u32,
    /// Its name; empty if it is not known.
    pub name: String,
}

impl std::fmt::Display for DeviceProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (id {})", if self.name.is_empty() { "a program" } else { &self.name }, self.id)
    }
}

fn c_path(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_encoded_bytes()).ok()
}

/// The result of a libbpf function that returns a negative error number on failure.
fn check_return(ret: i32, operation: impl FnOnce() -> String) -> Result<()> {
    if ret >= 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-ret)).context(operation) }
}

/// Pins a link or a map.
pub(super) fn pin_object(fd: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let operation = || format!("pin {}", path.display());
    let path = CString::new(path.as_os_str().as_encoded_bytes()).context(operation)?;
    // SAFETY: The descriptor is valid, and the path is a C string.
    check_return(unsafe { raw::bpf_obj_pin(fd.as_raw_fd(), path.as_ptr()) }, operation)
}

impl BpfLink {
    /// Attaches a program to a device, or to the cgroup with a descriptor. `kind` is a BPF_XDP, BPF_TCX_… or BPF_CGROUP_…
    /// of linux/bpf.h.
    pub fn create(
        program: BorrowedFd<'_>,
        target: u32,
        (kind, flags): (raw::bpf_attach_type, u32),
        operation: impl FnOnce() -> String,
    ) -> Result<BpfLink> {
        let opts =
            raw::bpf_link_create_opts { sz: size_of::<raw::bpf_link_create_opts>() as _, flags, ..Default::default() };
        // SAFETY: The program descriptor is valid, and `opts` contains its own size.
        let fd = unsafe { raw::bpf_link_create(program.as_raw_fd(), target as i32, kind, &opts) };
        check_return(fd, operation)?;
        // SAFETY: The descriptor is new and has no other owner.
        Ok(BpfLink(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The link that is pinned at a path.
    pub fn open(path: &Path) -> Option<BpfLink> {
        let path = c_path(path)?;
        // SAFETY: The path is a C string, and the result is checked.
        let fd = unsafe { raw::bpf_obj_get(path.as_ptr()) };
        // SAFETY: The descriptor is new and has no other owner.
        (fd >= 0).then(|| BpfLink(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Pins the link.
    pub fn pin(&self, path: &Path) -> Result<()> {
        // SAFETY: The descriptor lives as long as this value.
        pin_object(unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }, path)
    }

    /// Replaces the program. Returns false if that is not possible.
    pub fn replace_program(&self, program: BorrowedFd<'_>) -> bool {
        // SAFETY: Both descriptors are valid, and null means no options.
        (unsafe { raw::bpf_link_update(self.0.as_raw_fd(), program.as_raw_fd(), std::ptr::null()) }) == 0
    }

    /// Detaches the program at once. When the last reference of a link goes, the program stays for a moment
    /// (bpf_link_put() defers the work), and rejects an attachment by another mode.
    pub fn detach(&self) {
        // SAFETY: The descriptor is valid.
        unsafe { raw::bpf_link_detach(self.0.as_raw_fd()) };
    }

    fn read_info(&self) -> Option<raw::bpf_link_info> {
        let mut info = raw::bpf_link_info::default();
        let mut len = size_of_val(&info) as u32;
        // SAFETY: The descriptor is valid, and `len` is the size of `info`.
        let ret = unsafe { raw::bpf_link_get_info_by_fd(self.0.as_raw_fd(), &mut info, &mut len) };
        (ret == 0).then_some(info)
    }

    /// Reads the state of a link of a cgroup; `None` if it is none.
    pub fn cgroup_info(&self) -> Option<CgroupLinkInfo> {
        let info = self.read_info().filter(|i| i.type_ == raw::BPF_LINK_TYPE_CGROUP)?;
        // SAFETY: The kernel has written this member of the union for this type.
        let is_attached = unsafe { info.__bindgen_anon_1.cgroup.cgroup_id } != 0;
        Some(CgroupLinkInfo { id: info.id, program: info.prog_id, is_attached })
    }

    /// Reads the link's state; `None` if it is no link of a device.
    pub fn info(&self) -> Option<LinkInfo> {
        let info = self.read_info()?;
        let ifindex = match info.type_ {
            // SAFETY: The kernel has written this member of the union for this type.
            raw::BPF_LINK_TYPE_XDP => unsafe { info.__bindgen_anon_1.xdp.ifindex },
            // SAFETY: As above.
            raw::BPF_LINK_TYPE_TCX => unsafe { info.__bindgen_anon_1.tcx.ifindex },
            _ => return None,
        };
        Some(LinkInfo { id: info.id, program: info.prog_id, ifindex })
    }
}

fn program_info(fd: BorrowedFd<'_>) -> Option<raw::bpf_prog_info> {
    let mut info = raw::bpf_prog_info::default();
    let mut len = size_of_val(&info) as u32;
    // SAFETY: The descriptor is valid, and `len` is the size of `info`.
    let ret = unsafe { raw::bpf_prog_get_info_by_fd(fd.as_raw_fd(), &mut info, &mut len) };
    (ret == 0).then_some(info)
}

/// The number of a program.
pub(super) fn program_id(fd: BorrowedFd<'_>) -> Option<u32> {
    program_info(fd).map(|i| i.id)
}

/// The program with a number, and its name.
pub(super) fn device_program(id: u32) -> DeviceProgram {
    // SAFETY: The call takes no pointer, and its result is checked.
    let fd = unsafe { raw::bpf_prog_get_fd_by_id(id) };
    // SAFETY: The descriptor is new and has no other owner.
    let fd = (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) });
    // SAFETY: The descriptor lives longer than the borrow.
    let info = fd.as_ref().and_then(|fd| program_info(unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) }));
    let bytes: Vec<u8> = info.iter().flat_map(|i| i.name).map(|c| c as u8).chain([0]).collect();
    let name = CStr::from_bytes_until_nul(&bytes).map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    DeviceProgram { id, name }
}

/// The numbers of the programs on a device's tcx ingress hook, in their order; empty before Linux 6.6.
pub(super) fn tcx_programs(ifindex: u32) -> Vec<u32> {
    let mut ids = [0u32; MAX_PROGRAMS];
    let mut opts = raw::bpf_prog_query_opts {
        sz: size_of::<raw::bpf_prog_query_opts>() as _,
        prog_ids: ids.as_mut_ptr(),
        ..Default::default()
    };
    opts.__bindgen_anon_1.count = MAX_PROGRAMS as u32;
    // SAFETY: `opts` contains its own size, and the array has as many elements as its count says.
    let ret = unsafe { raw::bpf_prog_query_opts(ifindex as i32, raw::BPF_TCX_INGRESS, &mut opts) };
    // SAFETY: All members of the union are numbers of the same size.
    let count = unsafe { opts.__bindgen_anon_1.count };
    let count = if ret == 0 { count as usize } else { 0 };
    ids.iter().take(count).copied().collect()
}

/// The number of the XDP program on a device.
pub(super) fn xdp_program(ifindex: u32) -> Option<u32> {
    let mut id = 0;
    // SAFETY: The pointer is valid for the call.
    let ret = unsafe { raw::bpf_xdp_query_id(ifindex as i32, 0, &mut id) };
    (ret == 0 && id != 0).then_some(id)
}
