//! The configuration part: the configuration in force and where it comes from.
//!
//! Three layers make the configuration in force: the file; on top of it the real servers that discovery resolved from
//! names; on top of these the overrides that an operator made with `evenkeel server`. The file is kept apart so that
//! each layer can change alone.

use std::path::PathBuf;

use evenkeel_core::discovery::Discovery;
use evenkeel_core::model::Config;
use evenkeel_core::overrides::Overrides;
use evenkeel_sys::resolver::host_name;

use super::persisted;
use super::reload_files::ReloadSchedule;
use crate::args::Args;

/// The configuration of this daemon.
pub struct Configuration {
    /// The file that reloads read.
    pub path: PathBuf,
    /// The configuration in force: the file, resolved servers and overrides.
    pub active: Config,
    /// The file alone, as it was when it was last applied.
    pub file: Config,
    /// Changes by an operator.
    pub overrides: Overrides,
    /// Real servers that are configured by name, with the addresses they resolved to.
    pub discovery: Discovery,
    /// Why the last reload was rejected. Shown by `status`.
    pub error: Option<String>,
    /// Which part of the file in force was skipped at the start. Shown by `status`.
    pub skipped: Option<String>,
    /// The next reload of `reload_time_file`.
    schedule: ReloadSchedule,
}

impl Configuration {
    /// An empty configuration with the overrides and resolved servers of an earlier daemon. `skipped` describes the
    /// blocks of the file that were skipped.
    pub fn new(args: &Args, path: PathBuf, skipped: Option<String>) -> Configuration {
        Configuration {
            path,
            active: Config::default(),
            file: Config::default(),
            overrides: persisted::load_overrides(&args.overrides_file()),
            discovery: persisted::load_discovery(&args.resolved_servers_file()),
            error: None,
            skipped,
            schedule: ReloadSchedule::default(),
        }
    }

    /// The configuration that a file gives with the present resolved servers and overrides.
    pub fn with_file(&self, file: &Config) -> Config {
        self.overrides.apply(&self.discovery.apply(file))
    }

    /// Whether `reload_time_file` asks for a reload now.
    pub fn is_reload_due(&mut self) -> bool {
        self.schedule.is_due(self.active.global.reload_time.as_ref())
    }
}

/// The director's name: `router_id`, or the host name.
pub fn router_id(config: &Config) -> String {
    config.global.router_id.clone().unwrap_or_else(host_name)
}
