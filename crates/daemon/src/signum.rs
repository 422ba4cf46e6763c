//! Signal numbers by keepalived's names, for the option `--signum` (keepalived(8)).

use evenkeel_sys::signals;

/// The number of the signal that requests an action: `STOP`, `RELOAD`, `DATA`, `STATS`, `STATS_CLEAR` or `JSON`. `None`
/// for another name.
pub fn signal_number(name: &str) -> Option<i32> {
    Some(match name {
        "STOP" => nix::libc::SIGTERM,
        "RELOAD" => nix::libc::SIGHUP,
        "DATA" => nix::libc::SIGUSR1,
        "STATS" => nix::libc::SIGUSR2,
        "STATS_CLEAR" => signals::sig_stats_clear(),
        "JSON" => signals::sig_json(),
        _ => return None,
    })
}
