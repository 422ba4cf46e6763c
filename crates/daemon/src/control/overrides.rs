//! Changes of the configuration in force that do not come from the file: overrides of an operator and names that
//! resolve to other servers.

use evenkeel_core::discovery::{NameQuery, ResolvedServer};
use evenkeel_core::ipc::Reply;
use evenkeel_core::overrides::Override;

use super::controller::Controller;
use super::persisted;

impl Controller {
    /// Applies an override and saves it. Rejects it if it matches no real server, or if its configuration cannot be
    /// applied.
    pub(super) fn apply_override(&mut self, change: Override) -> Reply {
        let mut overrides = self.configuration.overrides.clone();
        let file = self.configuration.discovery.apply(&self.configuration.file);
        if let Err(error) = overrides.add(&file, change.clone()) {
            return Reply::Rejected { error };
        }
        match self.apply_config(overrides.apply(&file)) {
            Ok(steps) => {
                tracing::info!("override applied: {change}");
                self.configuration.overrides = overrides;
                self.save_overrides();
                Reply::Overridden { steps }
            }
            Err(e) => Reply::Rejected { error: format!("{e:#}") },
        }
    }

    /// Drops the overrides that end with a reload.
    pub(super) fn drop_until_reload(&mut self) {
        let before = self.configuration.overrides.clone();
        self.configuration.overrides.drop_until_reload();
        if self.configuration.overrides != before {
            self.save_overrides();
        }
    }

    fn save_overrides(&self) {
        persisted::save_overrides(&self.args.overrides_file(), &self.configuration.overrides);
    }

    /// Applies the result of a name lookup. A lookup that failed, or gave the same servers, changes nothing.
    pub(super) fn apply_resolution(&mut self, query: NameQuery, result: Result<Vec<ResolvedServer>, String>) {
        let name = query.name.clone();
        if !self.configuration.discovery.update(query, result) {
            return;
        }
        tracing::info!(%name, "name {name} resolves to other servers: applying them");
        let config = self.configuration.with_file(&self.configuration.file);
        if let Err(e) = self.apply_config(config) {
            tracing::error!(%name, "cannot apply the servers of {name}: {e:#}");
        }
        persisted::save_discovery(&self.args.resolved_servers_file(), &self.configuration.discovery);
    }
}
