//! The record of this daemon's services in IPVS: a JSON file that outlives the daemon.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_core::model::ServiceKey;
use evenkeel_sys::fsutil;

/// The keys of this daemon's services. The file is written after every change.
pub struct OwnServices {
    keys: BTreeSet<ServiceKey>,
    path: PathBuf,
}

impl OwnServices {
    /// Reads the record of an earlier daemon.
    pub fn load(path: &Path) -> OwnServices {
        let text = fs::read(path).ok();
        let keys = text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        OwnServices { keys, path: path.to_owned() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a service is this daemon's.
    pub fn contains(&self, key: &ServiceKey) -> bool {
        self.keys.contains(key)
    }

    /// Adds services.
    pub fn add<'a>(&mut self, keys: impl Iterator<Item = &'a ServiceKey>) {
        self.change(|own| own.extend(keys));
    }

    /// Keeps the services that match.
    pub fn retain(&mut self, keep: impl FnMut(&ServiceKey) -> bool) {
        self.change(|own| own.retain(keep));
    }

    /// Removes all services.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.save();
    }

    fn change(&mut self, change: impl FnOnce(&mut BTreeSet<ServiceKey>)) {
        let before = self.keys.len();
        change(&mut self.keys);
        if self.keys.len() != before {
            self.save();
        }
    }

    fn save(&self) {
        let text = serde_json::to_vec(&self.keys).unwrap_or_default();
        if let Err(e) = fsutil::write_or_remove(&self.path, (!self.is_empty()).then_some(text.as_slice())) {
            tracing::warn!("{e}; after a crash, services that are no longer configured would stay in IPVS");
        }
    }
}
