//! Network namespaces.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sched::{CloneFlags, setns};

use crate::{Context, Error, Result};

/// Moves the calling thread into the network namespace that `path` names, for good.
pub fn enter(path: &Path) -> Result<()> {
    let file = File::open(path).context(|| format!("open network namespace {}", path.display()))?;
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET).context(|| format!("enter network namespace {}", path.display()))
}

/// Does something in another network namespace, or in this thread's if none is named. This thread's stays as it is.
pub fn run_in<T: Send>(path: Option<&Path>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let Some(path) = path else { return work() };
    std::thread::scope(|s| {
        let done = s.spawn(|| {
            enter(path)?;
            work()
        });
        done.join().unwrap_or_else(|_| Err(Error::new(format!("work in {}", path.display()), "the thread died")))
    })
}

/// Does a device of this thread's namespace forward IPv6 packets? Not, if it cannot be read.
pub fn is_ipv6_forwarding(device: &str) -> bool {
    // The name comes from the kernel, which lets no slash into it.
    std::fs::read(format!("/proc/sys/net/ipv6/conf/{device}/forwarding")).is_ok_and(|v| v.first() == Some(&b'1'))
}
