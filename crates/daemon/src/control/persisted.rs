//! State that outlives the daemon until the next boot: overrides and resolved servers, as JSON files in the run
//! directory.
//!
//! A file that cannot be read is not fatal: the daemon starts without the state and logs what is lost.

use std::fs;
use std::path::Path;

use evenkeel_core::discovery::Discovery;
use evenkeel_core::overrides::Overrides;
use evenkeel_sys::fsutil;

/// Reads the overrides that an earlier daemon saved.
pub fn load_overrides(path: &Path) -> Overrides {
    let Ok(text) = fs::read(path) else { return Overrides::default() };
    match serde_json::from_slice(&text) {
        Ok(overrides) => overrides,
        Err(e) => {
            tracing::error!("read {}: {e}; the overrides made before this start are lost", path.display());
            Overrides::default()
        }
    }
}

/// Saves the overrides; removes the file if there are none.
pub fn save_overrides(path: &Path, overrides: &Overrides) {
    let text = serde_json::to_vec(overrides).unwrap_or_default();
    if let Err(e) = fsutil::write_or_remove(path, (!overrides.is_empty()).then_some(text.as_slice())) {
        tracing::error!("{e}; a restart of the daemon will lose the overrides");
    }
}

/// Reads the resolved servers that an earlier daemon saved. They stay in their services until the names resolve again.
pub fn load_discovery(path: &Path) -> Discovery {
    let known = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    known.map_or_else(Discovery::default, Discovery::from_snapshot)
}

/// Saves the resolved servers.
pub fn save_discovery(path: &Path, discovery: &Discovery) {
    let text = serde_json::to_vec(&discovery.snapshot()).unwrap_or_default();
    if let Err(e) = fsutil::write_atomically(path, &text) {
        tracing::warn!("{e}; after a restart the servers of these names are missing until the names resolve");
    }
}
