//! Real servers by name: what the resolver says becomes part of the configuration in force.

use std::fs;
use std::path::Path;

use evenkeel_core::names::{Asked, Found, Names};
use evenkeel_sys::fsutil;

use super::Control;

/// What an earlier daemon knew: its servers stay until the names are looked up again.
pub fn load(path: &Path) -> Names {
    let known = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    known.map_or_else(Names::default, Names::known)
}

impl Control {
    /// A name was looked up.
    pub(super) fn named(&mut self, asked: Asked, result: Result<Vec<Found>, String>) {
        let name = asked.name.clone();
        if !self.names.update(asked, result) {
            return;
        }
        tracing::info!("{name} stands for other servers now");
        let config = self.orders.apply(&self.names.apply(&self.file));
        if let Err(e) = self.enforce(config) {
            tracing::error!("{e:#}");
        }
        let text = serde_json::to_vec(&self.names.to_remember()).unwrap_or_default();
        if let Err(e) = fsutil::replace(&self.args.all.names_file(), &text) {
            tracing::warn!("{e}; the next daemon will have to look names up first");
        }
    }
}
