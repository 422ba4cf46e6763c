//! The pin directory on the BPF file system: the names of the pinned maps.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::fsutil::create_private_dir;
use crate::{Context, Result};

/// All maps of the packet path, by their names in the program and in the pin directory.
pub(super) const PINNED_MAPS: &[&str] = &[
    "settings",
    "endpoints",
    "nat_dests",
    "mark_rules",
    "reply_routes",
    "route_cache",
    "flow_classes",
    "services",
    "dests",
    "lists",
    "blocks",
    "block_refs",
    "conns",
    "conn_overflow",
    "flow_cache",
    "devices",
    "vlans",
    "service_stats",
    "dest_stats",
    "packet_counters",
    "expiry",
];

/// The storage of local clients' sockets, which the packet path does not use.
pub(super) const LOCAL_SOCKETS: &str = "local_sockets";

/// The name of a map. libbpf calls a static table by its section, `.bss.NAME` (`TABLE` in bpf/maps.h).
pub(super) fn map_name(name: &OsStr) -> &str {
    let name = name.to_str().unwrap_or_default();
    name.strip_prefix(".bss.").unwrap_or(name)
}

/// The name of a map in [`PINNED_MAPS`]; `None` for maps that are not pinned.
pub(super) fn pinned_name(name: &OsStr) -> Option<&'static str> {
    PINNED_MAPS.iter().find(|m| **m == map_name(name)).copied()
}

/// Creates the pin directory. Mounts the BPF file system first if it is not mounted, as `tc` and `bpftool` do, but for root alone.
pub(super) fn create_pin_dir(dir: &Path) -> Result<()> {
    let root = Path::new("/sys/fs/bpf");
    if dir.starts_with(root) && statfs(root).is_ok_and(|s| s.filesystem_type() != BPF_FS_MAGIC) {
        mount(Some("bpf"), root, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .context(|| format!("mount the BPF file system on {}", root.display()))?;
    }
    create_private_dir(dir)
}

/// Removes the pins of maps that another version had and this version does not have.
pub(super) fn remove_unknown_maps(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !PINNED_MAPS.contains(&name.as_str()) && name != LOCAL_SOCKETS && !name.starts_with("link-") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes the pins of all maps, and the directory if it is empty then. The kernel frees maps that no program uses.
pub(super) fn remove_all_maps(dir: &Path) {
    for name in PINNED_MAPS {
        let _ = fs::remove_file(dir.join(name));
    }
    let _ = fs::remove_dir(dir);
}
