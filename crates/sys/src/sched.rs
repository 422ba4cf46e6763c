//! What a process asks for itself: a thread that nothing makes late, memory, core files.

use std::io;

use evenkeel_core::model::ProcessScheduling;

use crate::{Context, Result};

/// Gives the calling thread SCHED_RR with this priority (1 to 99); children it forks are ordinary again.
pub fn set_realtime_priority(priority: u8) -> Result<()> {
    let param = libc::sched_param { sched_priority: i32::from(priority) };
    // SAFETY: 0 is the calling thread; the parameter is valid.
    let ret = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &param) };
    let done = if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    done.context(|| format!("set real-time priority {priority}"))
}

/// Has the kernel treat the calling thread so among others; what it starts is ordinary again, but for a nice value above 0
/// (sched(7), setpriority(2), getrlimit(2)). Memory that is locked once stays so.
pub fn set_scheduling(wanted: &ProcessScheduling) -> Result<()> {
    use nix::sys::resource::{Resource, setrlimit};
    let limit = wanted.rttime_limit_us.map_or(libc::RLIM_INFINITY, u64::from);
    let limited = setrlimit(Resource::RLIMIT_RTTIME, limit, limit).map_err(io::Error::from);
    limited.context(|| format!("limit time in real time to {limit} µs"))?;
    let nice = libc::c_int::from(wanted.nice.unwrap_or(0));
    // SAFETY: no pointers are involved; 0 is the calling thread.
    let ret = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    let done = if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    done.context(|| format!("set nice value {nice}"))?;
    match wanted.rt_priority {
        Some(priority) => set_realtime_priority(priority)?,
        None => {
            let param = libc::sched_param { sched_priority: 0 };
            // SAFETY: 0 is the calling thread; the parameter is valid.
            let ret = unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, &param) };
            let done = if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
            done.context(|| "leave real time".into())?;
        }
    }
    if wanted.lock_memory { lock_memory() } else { Ok(()) }
}

/// Lets the calling thread run on these processors only, and what it starts; on all if there are none
/// (sched_setaffinity(2)).
pub fn set_cpu_affinity(cpus: &[u16]) -> Result<()> {
    use nix::sched::{CpuSet, sched_setaffinity};
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    let done = cpus.iter().try_for_each(|c| set.set(usize::from(*c)));
    let done = done.and_then(|()| sched_setaffinity(nix::unistd::Pid::from_raw(0), &set));
    done.map_err(io::Error::from).context(|| format!("run on processors {cpus:?}"))
}

/// Keeps the process's memory from being paged out, what it has and what it gets.
pub fn lock_memory() -> Result<()> {
    // Only what is touched is locked: the connection table may be far larger than what is in use.
    // SAFETY: no pointers are involved.
    let ret = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }.context(|| "lock memory".into())
}

/// What others may not do with files that are made from now on.
pub fn set_umask(mask: u32) {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
}

/// A crash leaves a core file, however large.
pub fn allow_core_dumps() -> Result<()> {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    let done = setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY);
    done.map_err(io::Error::from).context(|| "allow core files".into())
}

/// Takes no notice of SIGINT. Only before any thread is started.
pub fn ignore_sigint() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: no handler of ours is involved.
    let _ = unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) };
}

/// Does this process take no notice of SIGINT?
pub fn is_sigint_ignored() -> bool {
    // SAFETY: a zeroed sigaction is valid, and is only written to.
    unsafe {
        let mut is: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGINT, std::ptr::null(), &raw mut is) == 0 && is.sa_sigaction == libc::SIG_IGN
    }
}

/// Gives memory back to the system that was needed for a moment (malloc_trim(3)).
pub fn trim_heap() {
    // SAFETY: no pointers are involved.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets the process have so many descriptors open, if its hard limit allows that (setrlimit(2), RLIMIT_NOFILE). Returns how
/// many it may have.
pub fn raise_fd_limit(wanted: u64) -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let new = wanted.min(hard).max(soft);
    if new == soft || setrlimit(Resource::RLIMIT_NOFILE, new, hard).is_err() { soft } else { new }
}
