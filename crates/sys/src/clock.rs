//! The system's clocks.

use std::time::Duration;

use evenkeel_core::reload_time::ReloadTime;
use evenkeel_core::time::Instant;
use nix::time::{ClockId, clock_gettime};

fn read_clock(id: ClockId) -> Duration {
    // Cannot fail: all supported kernels have these clocks.
    clock_gettime(id).map(Duration::from).unwrap_or_default()
}

/// The time of CLOCK_BOOTTIME. It runs during suspend, and cannot be set.
pub fn now() -> Instant {
    Instant::from_nanos(read_clock(ClockId::CLOCK_BOOTTIME).as_nanos() as u64)
}

/// The time of CLOCK_MONOTONIC in nanoseconds. Like the kernel's jiffies it stops during suspend.
pub fn monotonic_ns() -> u64 {
    read_clock(ClockId::CLOCK_MONOTONIC).as_nanos() as u64
}

/// The time since 1970 (CLOCK_REALTIME). It may be set.
pub fn time_of_day() -> Duration {
    read_clock(ClockId::CLOCK_REALTIME)
}

/// Converts a date and time to seconds since 1970. Without a date it is the next occurrence of the time. `None` if the
/// date does not exist.
pub fn to_unix_seconds(when: &ReloadTime) -> Option<i64> {
    // SAFETY: All zeros is a valid tm.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    let now = time_of_day().as_secs() as libc::time_t;
    // SAFETY: Both pointers are valid.
    let today = unsafe { if when.utc { libc::gmtime_r(&now, &mut tm) } else { libc::localtime_r(&now, &mut tm) } };
    if today.is_null() {
        return None;
    }
    if let Some((year, month, day)) = when.date {
        (tm.tm_year, tm.tm_mon, tm.tm_mday) = (year - 1900, month as i32 - 1, day as i32);
    }
    let (hour, minute, second) = when.time;
    (tm.tm_hour, tm.tm_min, tm.tm_sec, tm.tm_isdst) = (hour as i32, minute as i32, second as i32, -1);
    let day = tm.tm_mday;
    // SAFETY: The pointer is valid. The functions may normalise the structure.
    let make = |tm: &mut libc::tm| unsafe { if when.utc { libc::timegm(tm) } else { libc::mktime(tm) } };
    let mut seconds = make(&mut tm);
    if seconds == -1 || tm.tm_mday != day {
        return None;
    }
    if when.date.is_none() && seconds <= now {
        tm.tm_mday += 1;
        tm.tm_isdst = -1;
        seconds = make(&mut tm);
    }
    Some(seconds)
}

/// Seconds since 1970, for numbers that must increase across restarts.
pub fn unix_seconds() -> u32 {
    read_clock(ClockId::CLOCK_REALTIME).as_secs() as u32
}
