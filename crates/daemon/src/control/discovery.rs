//! Real servers by name: what the resolver says becomes part of the configuration in force.

use std::fs;
use std::path::Path;

use evenkeel_core::discovery::{Discovery, NameQuery, ResolvedServer};
use evenkeel_sys::fsutil;

use super::Controller;

/// What an earlier daemon knew: its servers stay until the names are looked up again.
pub fn load(path: &Path) -> Discovery {
    let known = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    known.map_or_else(Discovery::default, Discovery::from_snapshot)
}

impl Controller {
    /// A name was looked up.
    pub(super) fn apply_resolution(&mut self, asked: NameQuery, result: Result<Vec<ResolvedServer>, String>) {
        let name = asked.name.clone();
        if !self.discovery.update(asked, result) {
            return;
        }
        tracing::info!("{name} stands for other servers now");
        let config = self.overrides.apply(&self.discovery.apply(&self.file));
        if let Err(e) = self.apply_config(config) {
            tracing::error!("{e:#}");
        }
        let text = serde_json::to_vec(&self.discovery.snapshot()).unwrap_or_default();
        if let Err(e) = fsutil::write_atomically(&self.args.all.resolved_servers_file(), &text) {
            tracing::warn!("{e}; the next daemon will have to look names up first");
        }
    }
}
