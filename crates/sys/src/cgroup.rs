//! The root of the cgroup2 hierarchy, which has all processes that this one can see.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::{Context, Error, Result};

/// The mount point of the cgroup2 file system in a mountinfo file (proc_pid_mountinfo(5)), if its root is mounted.
fn cgroup2_mount(mountinfo: &str) -> Option<&str> {
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (kind.starts_with("cgroup2 ") && root == "/").then_some(point)
    })
}

/// Opens the root of the hierarchy: where it is mounted, or else by a mount that only the descriptor refers to. A command
/// of `ip netns exec` sees no mounts below /sys, for example.
pub fn open_cgroup_root() -> Result<OwnedFd> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if let Some(root) = cgroup2_mount(&mountinfo).and_then(|point| File::open(point).ok()) {
        return Ok(root.into());
    }
    mount_detached()
        .context(|| "open the root of the cgroup2 hierarchy".into())
        .map_err(|e: Error| e.with_hint("mount it: mount -t cgroup2 none /sys/fs/cgroup/unified"))
}

fn check_descriptor(ret: libc::c_long) -> io::Result<OwnedFd> {
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: The descriptor is new and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(ret as i32) })
}

/// Mounts the file system without a mount point (fsmount(2), Linux 5.2).
fn mount_detached() -> io::Result<OwnedFd> {
    const FSCONFIG_CMD_CREATE: libc::c_long = 6;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: The name is a C string.
    let fs = check_descriptor(unsafe { libc::syscall(libc::SYS_fsopen, c"cgroup2".as_ptr(), 1 as libc::c_long) })?;
    // SAFETY: The descriptor is valid, and the command takes no other arguments.
    let ret = unsafe {
        libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0 as libc::c_long)
    };
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: The descriptor is valid.
    let mount = check_descriptor(unsafe {
        libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), 1 as libc::c_long, 0 as libc::c_long)
    })?;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: The descriptor is valid, and the path is a C string.
    check_descriptor(unsafe { libc::openat(mount.as_raw_fd(), c".".as_ptr(), flags) }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_where_it_is_mounted() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            40 31 0:36 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_mount(hybrid), Some("/sys/fs/cgroup/unified"));
        assert_eq!(cgroup2_mount("41 31 0:38 /system.slice /mnt rw - cgroup2 cgroup2 rw\n"), None);
    }
}
