//! Network namespaces.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sched::{CloneFlags, setns};

use crate::{Context, Error, Result};

/// Moves the calling thread permanently into the network namespace at `path`.
pub fn enter(path: &Path) -> Result<()> {
    let file = File::open(path).context(|| format!("open network namespace {}", path.display()))?;
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET).context(|| format!("enter network namespace {}", path.display()))
}

/// Calls `work` in the network namespace at `path`, or in the current namespace if there is no path. The namespace of
/// the calling thread does not change, because a thread of its own does the work.
pub fn run_in<T: Send>(path: Option<&Path>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let Some(path) = path else { return work() };
    std::thread::scope(|s| {
        let thread = s.spawn(|| {
            enter(path)?;
            work()
        });
        let panicked = || Error::new(format!("work in network namespace {}", path.display()), "the thread panicked");
        thread.join().unwrap_or_else(|_| Err(panicked()))
    })
}

/// True if a device of this thread's namespace forwards IPv6 packets; false if that cannot be read.
pub fn is_ipv6_forwarding(device: &str) -> bool {
    // The kernel allows no slash in a device's name.
    std::fs::read(format!("/proc/sys/net/ipv6/conf/{device}/forwarding")).is_ok_and(|v| v.first() == Some(&b'1'))
}
