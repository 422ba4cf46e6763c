//! Output: printing to standard output, colours, durations, lists of counters.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

/// Prints a text. The process exits with status 0 if the reader has closed the pipe.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(e) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && e.kind() == io::ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}

/// Colours are for terminals, unless NO_COLOR is set.
pub fn is_colour_enabled() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// A duration with a unit that suits it: `3.6 s`, `5 min 2 s`, `4 days`.
pub fn format_duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..10 => format!("{}.{} s", s, ms % 1000 / 100),
        10..120 => format!("{s} s"),
        120..7200 => format!("{} min {} s", s / 60, s % 60),
        7200..172_800 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} days", s / 86400),
    }
}

/// Counters by name: `ttl 3, checksum 1`.
pub fn format_counts(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(cause, n)| format!("{cause} {n}")).collect::<Vec<_>>().join(", ")
}
