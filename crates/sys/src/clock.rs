//! The clocks.

use std::time::Duration;

use evenkeel_core::reload_time::ReloadTime;
use evenkeel_core::time::Instant;
use nix::time::{ClockId, clock_gettime};

fn read_clock(id: ClockId) -> Duration {
    // Both clocks exist on every kernel that this program runs on.
    clock_gettime(id).map(Duration::from).unwrap_or_default()
}

/// CLOCK_BOOTTIME: goes on while the machine sleeps, and no operator sets it.
pub fn now() -> Instant {
    Instant::from_nanos(read_clock(ClockId::CLOCK_BOOTTIME).as_nanos() as u64)
}

/// CLOCK_MONOTONIC in nanoseconds, as the kernel's jiffies count.
pub fn monotonic_ns() -> u64 {
    read_clock(ClockId::CLOCK_MONOTONIC).as_nanos() as u64
}

/// The time of day, since 1970; an operator may set it.
pub fn time_of_day() -> Duration {
    read_clock(ClockId::CLOCK_REALTIME)
}

/// The moment of a date and time, in seconds since 1970; without a date the next time that it is that late. `None` if the
/// calendar has no such day.
pub fn to_unix_seconds(when: &ReloadTime) -> Option<i64> {
    // SAFETY: a zeroed tm is valid.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    let now = time_of_day().as_secs() as libc::time_t;
    // SAFETY: two valid pointers.
    let today = unsafe { if when.utc { libc::gmtime_r(&now, &mut tm) } else { libc::localtime_r(&now, &mut tm) } };
    if today.is_null() {
        return None;
    }
    if let Some((year, month, day)) = when.date {
        (tm.tm_year, tm.tm_mon, tm.tm_mday) = (year - 1900, month as i32 - 1, day as i32);
    }
    let (hour, minute, second) = when.time;
    (tm.tm_hour, tm.tm_min, tm.tm_sec, tm.tm_isdst) = (hour as i32, minute as i32, second as i32, -1);
    let wanted = tm.tm_mday;
    // SAFETY: a valid pointer to a structure that it may normalise.
    let make = |tm: &mut libc::tm| unsafe { if when.utc { libc::timegm(tm) } else { libc::mktime(tm) } };
    let mut at = make(&mut tm);
    if at == -1 || tm.tm_mday != wanted {
        return None;
    }
    if when.date.is_none() && at <= now {
        tm.tm_mday += 1;
        tm.tm_isdst = -1;
        at = make(&mut tm);
    }
    Some(at)
}

/// Seconds since 1970, for what has to go on counting over a restart.
pub fn unix_seconds() -> u32 {
    read_clock(ClockId::CLOCK_REALTIME).as_secs() as u32
}
