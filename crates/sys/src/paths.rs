//! The directories and files that the daemon and the tools share.

use std::path::PathBuf;

/// The directory of an instance's sockets, locks and state files. A reboot empties it.
pub fn run_dir(instance: &str) -> PathBuf {
    PathBuf::from("/run/evenkeel").join(instance)
}

/// The directory of an instance's pinned maps and links.
pub fn bpf_dir(instance: &str) -> PathBuf {
    PathBuf::from("/sys/fs/bpf/evenkeel").join(instance)
}

/// The control socket of an instance.
pub fn control_socket(instance: &str) -> PathBuf {
    run_dir(instance).join("control.sock")
}
