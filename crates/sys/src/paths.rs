//! Where daemon and tools meet.

use std::path::PathBuf;

/// Sockets, locks, and what outlives the process until the next boot.
pub fn run_dir(instance: &str) -> PathBuf {
    PathBuf::from("/run/evenkeel").join(instance)
}

/// Where maps and links are pinned.
pub fn bpf_dir(instance: &str) -> PathBuf {
    PathBuf::from("/sys/fs/bpf/evenkeel").join(instance)
}

/// The control socket.
pub fn control_socket(instance: &str) -> PathBuf {
    run_dir(instance).join("control.sock")
}
