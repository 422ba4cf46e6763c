//! Changes by hand: taken while the daemon runs, and remembered over its restarts until the machine's.

use std::fs;
use std::path::Path;

use evenkeel_core::ipc::Reply;
use evenkeel_core::overrides::{Override, Overrides};

use super::Controller;

/// What an earlier daemon was ordered.
pub fn load(path: &Path) -> Overrides {
    let Ok(text) = fs::read(path) else { return Overrides::default() };
    match serde_json::from_slice(&text) {
        Ok(orders) => orders,
        Err(e) => {
            tracing::error!("{}: {e}; what was ordered by hand is forgotten", path.display());
            Overrides::default()
        }
    }
}

impl Controller {
    /// Does what is ordered, and remembers it.
    pub(super) fn apply_override(&mut self, order: Override) -> Reply {
        let mut orders = self.overrides.clone();
        let file = self.discovery.apply(&self.file);
        if let Err(error) = orders.add(&file, order.clone()) {
            return Reply::Rejected { error };
        }
        match self.apply_config(orders.apply(&file)) {
            Ok(steps) => {
                tracing::info!("by hand: {order}");
                self.overrides = orders;
                self.save_overrides();
                Reply::Overridden { steps }
            }
            Err(e) => Reply::Rejected { error: format!("{e:#}") },
        }
    }

    /// A reload ends what was to hold until then.
    pub(super) fn drop_until_reload(&mut self) {
        let before = self.overrides.clone();
        self.overrides.drop_until_reload();
        if self.overrides != before {
            self.save_overrides();
        }
    }

    fn save_overrides(&self) {
        let path = self.args.all.overrides_file();
        let done = if self.overrides.is_empty() {
            fs::remove_file(&path).or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
        } else {
            // At once, or not at all.
            let new = path.with_extension("new");
            let text = serde_json::to_vec(&self.overrides).unwrap_or_default();
            fs::write(&new, text).and_then(|()| fs::rename(&new, &path))
        };
        if let Err(e) = done {
            tracing::error!("{}: {e}; a restart of the daemon will forget what was ordered by hand", path.display());
        }
    }
}
