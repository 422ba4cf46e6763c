//! Changes by hand: taken while the daemon runs, and remembered over its restarts until the machine's.

use std::fs;
use std::path::Path;

use evenkeel_core::ipc::Reply;
use evenkeel_core::orders::{Order, Orders};

use super::Control;

/// What an earlier daemon was ordered.
pub fn load(path: &Path) -> Orders {
    let Ok(text) = fs::read(path) else { return Orders::default() };
    match serde_json::from_slice(&text) {
        Ok(orders) => orders,
        Err(e) => {
            tracing::error!("{}: {e}; what was ordered by hand is forgotten", path.display());
            Orders::default()
        }
    }
}

impl Control {
    /// Does what is ordered, and remembers it.
    pub(super) fn order(&mut self, order: Order) -> Reply {
        let mut orders = self.orders.clone();
        let file = self.names.apply(&self.file);
        if let Err(error) = orders.give(&file, order.clone()) {
            return Reply::Refused { error };
        }
        match self.enforce(orders.apply(&file)) {
            Ok(steps) => {
                tracing::info!("by hand: {order}");
                self.orders = orders;
                self.remember_orders();
                Reply::Ordered { steps }
            }
            Err(e) => Reply::Refused { error: format!("{e:#}") },
        }
    }

    /// A reload ends what was to hold until then.
    pub(super) fn forget_until_reload(&mut self) {
        let before = self.orders.clone();
        self.orders.reloaded();
        if self.orders != before {
            self.remember_orders();
        }
    }

    fn remember_orders(&self) {
        let path = self.args.all.orders_file();
        let done = if self.orders.is_empty() {
            fs::remove_file(&path).or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
        } else {
            // At once, or not at all.
            let new = path.with_extension("new");
            let text = serde_json::to_vec(&self.orders).unwrap_or_default();
            fs::write(&new, text).and_then(|()| fs::rename(&new, &path))
        };
        if let Err(e) = done {
            tracing::error!("{}: {e}; a restart of the daemon will forget what was ordered by hand", path.display());
        }
    }
}
