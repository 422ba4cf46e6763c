//! Real time: a thread that nothing makes late.

use std::io;

use crate::{Context, Result};

/// Gives the calling thread SCHED_RR with this priority (1 to 99); children it forks are ordinary again.
pub fn make_realtime(priority: u8) -> Result<()> {
    let param = libc::sched_param { sched_priority: i32::from(priority) };
    // SAFETY: 0 is the calling thread; the parameter is valid.
    let ret = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &param) };
    let done = if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    done.context(|| format!("set real-time priority {priority}"))
}

/// Keeps the process's memory from being paged out, what it has and what it gets.
pub fn lock_memory() -> Result<()> {
    // Only what is touched is locked: the connection table may be far larger than what is in use.
    // SAFETY: no pointers are involved.
    let ret = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }.context(|| "lock memory".into())
}
