//! The choice of recordings: tests that replay recordings of keepalived or IPVS ask here which of them to run.

/// Whether a recording is to be replayed: all are, unless `EVENKEEL_RECORDING` holds a part of the names that are.
pub fn is_selected(name: &str) -> bool {
    std::env::var("EVENKEEL_RECORDING").map_or(true, |part| name.contains(&part))
}
