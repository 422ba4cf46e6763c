//! The clocks.

use std::time::Duration;

use evenkeel_core::time::Instant;
use nix::time::{ClockId, clock_gettime};

fn read(id: ClockId) -> Duration {
    // Both clocks exist on every kernel that this program runs on.
    clock_gettime(id).map(Duration::from).unwrap_or_default()
}

/// CLOCK_BOOTTIME: goes on while the machine sleeps, and no operator sets it.
pub fn now() -> Instant {
    Instant::from_nanos(read(ClockId::CLOCK_BOOTTIME).as_nanos() as u64)
}

/// CLOCK_MONOTONIC in nanoseconds, as the kernel's jiffies count.
pub fn monotonic_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC).as_nanos() as u64
}

/// The time of day, since 1970; an operator may set it.
pub fn time_of_day() -> Duration {
    read(ClockId::CLOCK_REALTIME)
}

/// Seconds since 1970, for what has to go on counting over a restart.
pub fn unix_seconds() -> u32 {
    read(ClockId::CLOCK_REALTIME).as_secs() as u32
}
