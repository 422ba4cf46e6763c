//! Limits and attributes of the process: core files, file descriptors, the umask, the heap.

use std::io;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use crate::{Context, Result};

/// Removes the limit for the size of core files.
pub fn allow_core_dumps() -> Result<()> {
    let done = setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY);
    done.map_err(io::Error::from).context(|| "set RLIMIT_CORE".into())
}

/// Raises the limit for open file descriptors to `wanted`, at most to the hard limit (setrlimit(2), RLIMIT_NOFILE).
/// Returns the limit.
pub fn raise_fd_limit(wanted: u64) -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let new = wanted.min(hard).max(soft);
    if new == soft || setrlimit(Resource::RLIMIT_NOFILE, new, hard).is_err() { soft } else { new }
}

/// Sets the file mode creation mask (umask(2)).
pub fn set_umask(mask: u32) {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
}

/// Returns free heap memory to the kernel (malloc_trim(3)).
pub fn trim_heap() {
    // SAFETY: malloc_trim takes no pointers.
    unsafe {
        libc::malloc_trim(0);
    }
}
