//! The settings that a daemon writes when it loads the packet path: defaults, sizes and the calibration of the clock.

use std::fs;
use std::io;
use std::time::Duration;

use super::abi::*;
use super::maps::Maps;
use super::object::BpfObject;
use crate::{Context, Result};

/// The expiry timer scans the whole connection table in this many turns, at this interval: once a second.
const EXPIRY_TURNS: u32 = 16;
const EXPIRY_TURN_INTERVAL: Duration = Duration::from_micros(62_500);

/// The TCP timeouts in seconds, by state (ip_vs_proto_tcp.c, tcp_timeouts[]).
const TCP_TIMEOUTS_S: [u32; TCP_STATES as usize] = {
    let mut t = [0; TCP_STATES as usize];
    t[TCP_NONE as usize] = 2;
    t[TCP_ESTABLISHED as usize] = 15 * 60;
    t[TCP_SYN_SENT as usize] = 2 * 60;
    t[TCP_SYN_RECV as usize] = 60;
    t[TCP_FIN_WAIT as usize] = 2 * 60;
    t[TCP_TIME_WAIT as usize] = 2 * 60;
    t[TCP_CLOSE as usize] = 10;
    t[TCP_CLOSE_WAIT as usize] = 60;
    t[TCP_LAST_ACK as usize] = 30;
    t[TCP_LISTEN as usize] = 2 * 60;
    t[TCP_SYNACK as usize] = 120;
    t
};
/// The SCTP timeouts in seconds, by state (ip_vs_proto_sctp.c, sctp_timeouts[]).
const SCTP_TIMEOUTS_S: [u32; SCTP_STATES as usize] = {
    let mut t = [60; SCTP_STATES as usize];
    t[SCTP_NONE as usize] = 2;
    t[SCTP_INIT1 as usize] = 4;
    t[SCTP_ESTABLISHED as usize] = 15 * 60;
    t[SCTP_REJECTED as usize] = 4;
    t
};
/// The UDP timeout in seconds (ip_vs_proto_udp.c, udp_timeouts[]).
const UDP_TIMEOUT_S: u32 = 5 * 60;
/// How long an entry for later fragments of a packet lives, in seconds: the kernel's ipfrag_time.
const FRAGMENT_TIMEOUT_S: u32 = 30;
/// The default of the sysctls lblc_expiration and lblcr_expiration, in seconds.
const LBLC_EXPIRATION_S: u32 = 24 * 60 * 60;
/// The limit for ICMP errors that the packet path sends, per second and CPU.
const ICMP_ERROR_LIMIT: u32 = 1000;
/// How much longer an expired template lives while it controls connections, in seconds (ip_vs_conn_expire()).
const CONTROL_REARM_S: u32 = 60;

/// Writes the settings. Values that an operator may have changed, and values that existing connections depend on, stay
/// if the maps were `reused`.
pub(super) fn write_settings(object: &BpfObject, maps: &Maps, reused: bool) -> Result<()> {
    let (jiffies, ns) = read_kernel_clocks(object)?;
    let mut s = maps.settings.read(0);
    if !reused {
        s.hz = measure_hz(object, (jiffies, ns))?;
        s.secret = random_secret()?;
        set_defaults(&mut s);
    }
    s.abi = EK_ABI;
    s.conn_mask = maps.conns.len() as u32 - 1;
    s.control_rearm = CONTROL_REARM_S * s.hz;
    s.grace = s.hz / 10;
    s.no_dest = u32::MAX;
    s.error_limit = ICMP_ERROR_LIMIT;
    s.second_shift = s.hz.next_power_of_two().ilog2();
    s.epoch_shift = s.second_shift + 2;
    s.flow_cache_bits = maps.flow_cache.len().ilog2();
    s.flow_cache_mask = maps.flow_cache.len() as u32 - 1;
    s.expire_lines = (maps.conns.len() as u32).div_ceil(EXPIRY_TURNS);
    s.expire_interval_ns = EXPIRY_TURN_INTERVAL.as_nanos() as u64;
    (s.clock_jiffies, s.clock_ns) = (jiffies, ns);
    maps.settings.write(0, s);
    Ok(())
}

/// The defaults of the kernel's IPVS.
fn set_defaults(s: &mut settings) {
    for (to, seconds) in s.timeout_tcp.iter_mut().zip(TCP_TIMEOUTS_S) {
        *to = seconds * s.hz;
    }
    for (to, seconds) in s.timeout_sctp.iter_mut().zip(SCTP_TIMEOUTS_S) {
        *to = seconds * s.hz;
    }
    s.timeout_udp = UDP_TIMEOUT_S * s.hz;
    s.timeout_fragment = FRAGMENT_TIMEOUT_S * s.hz;
    s.lblc_expiration = LBLC_EXPIRATION_S * s.hz;
    s.lblcr_expiration = LBLC_EXPIRATION_S * s.hz;
    s.conn_reuse_mode = 1;
}

/// The secret of the connection table's hash function.
fn random_secret() -> Result<[u64; 2]> {
    let mut secret = [0u8; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut f| io::Read::read_exact(&mut f, &mut secret))
        .context(|| "read /dev/urandom".into())?;
    let (a, b) = secret.split_at(8);
    Ok([a, b].map(|h| u64::from_ne_bytes(h.try_into().unwrap_or_default())))
}

/// The number of jiffies in a second, measured over 100 ms from the moment `start`.
fn measure_hz(object: &BpfObject, start: (u64, u64)) -> Result<u32> {
    std::thread::sleep(Duration::from_millis(100));
    let end = read_kernel_clocks(object)?;
    let measured = (end.0 - start.0) as f64 * 1e9 / (end.1 - start.1).max(1) as f64;
    // The values that CONFIG_HZ can have.
    let nearest = [100u32, 250, 300, 1000].into_iter().min_by_key(|&hz| (f64::from(hz) - measured).abs() as u64);
    Ok(nearest.unwrap_or(250))
}

/// The kernel's jiffies and its CLOCK_MONOTONIC in nanoseconds, at one moment.
fn read_kernel_clocks(object: &BpfObject) -> Result<(u64, u64)> {
    let (_, out) = object.test_run("evenkeel_read_clocks", &[0; 64])?;
    let word = |i: usize| out.get(i..i + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes);
    Ok((word(0), word(8)))
}
