//! The scheduling of threads: real-time priority, nice value and CPU affinity; and locked memory, so that page faults
//! delay no thread.

use std::io;

use evenkeel_core::model::ProcessScheduling;

use crate::{Context, Result};

/// Schedules the calling thread by SCHED_RR with a priority from 1 to 99. Child processes are scheduled normally.
pub fn set_realtime_priority(priority: u8) -> Result<()> {
    let param = libc::sched_param { sched_priority: i32::from(priority) };
    // SAFETY: The parameter is valid, and thread ID 0 is the calling thread.
    let ret = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &param) };
    let done = if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    done.context(|| format!("set real-time priority {priority}"))
}

/// Applies scheduling attributes to the calling thread (sched(7), setpriority(2), getrlimit(2)). Child processes
/// inherit only a nice value above 0. Locked memory is never unlocked.
pub fn set_scheduling(wanted: &ProcessScheduling) -> Result<()> {
    use nix::sys::resource::{Resource, setrlimit};
    let limit = wanted.rttime_limit_us.map_or(libc::RLIM_INFINITY, u64::from);
    let limited = setrlimit(Resource::RLIMIT_RTTIME, limit, limit).map_err(io::Error::from);
    limited.context(|| format!("set RLIMIT_RTTIME to {limit} µs"))?;
    let nice = libc::c_int::from(wanted.nice.unwrap_or(0));
    // SAFETY: setpriority takes no pointers; 0 is the calling thread.
    let ret = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    let done = if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    done.context(|| format!("set nice value {nice}"))?;
    match wanted.rt_priority {
        Some(priority) => set_realtime_priority(priority)?,
        None => {
            let param = libc::sched_param { sched_priority: 0 };
            // SAFETY: The parameter is valid, and thread ID 0 is the calling thread.
            let ret = unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, &param) };
            let done = if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
            done.context(|| "end real-time scheduling".into())?;
        }
    }
    if wanted.lock_memory { lock_memory() } else { Ok(()) }
}

/// Binds the calling thread and its children to these CPUs (sched_setaffinity(2)). Without CPUs nothing changes.
pub fn set_cpu_affinity(cpus: &[u16]) -> Result<()> {
    use nix::sched::{CpuSet, sched_setaffinity};
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    let done = cpus.iter().try_for_each(|c| set.set(usize::from(*c)));
    let done = done.and_then(|()| sched_setaffinity(nix::unistd::Pid::from_raw(0), &set));
    done.map_err(io::Error::from).context(|| format!("set the CPU affinity to {cpus:?}"))
}

/// Locks all current and future memory of the process, so that it is not paged out.
pub fn lock_memory() -> Result<()> {
    // Pages are locked when they are touched: the mapped connection table may be far larger than its used part.
    // SAFETY: mlockall takes no pointers.
    let ret = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }.context(|| "lock memory".into())
}
