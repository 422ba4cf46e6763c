//! The directories and files that the daemon and the tools share.

use std::path::PathBuf;

/// The directories that hold one directory for each instance. They are for root alone.
pub(crate) const ROOTS: [&str; 2] = [RUN_ROOT, BPF_ROOT];
const RUN_ROOT: &str = "/run/evenkeel";
const BPF_ROOT: &str = "/sys/fs/bpf/evenkeel";

/// The directory of an instance's sockets, locks and state files. A reboot empties it.
pub fn run_dir(instance: &str) -> PathBuf {
    PathBuf::from(RUN_ROOT).join(instance)
}

/// The directory of an instance's pinned maps and links.
pub fn bpf_dir(instance: &str) -> PathBuf {
    PathBuf::from(BPF_ROOT).join(instance)
}

/// The control socket of an instance.
pub fn control_socket(instance: &str) -> PathBuf {
    run_dir(instance).join("control.sock")
}
