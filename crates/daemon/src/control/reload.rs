//! Reloads: the file is read again and its configuration applied. A rejected reload changes nothing: the configuration
//! in force stays, and `status` shows why.

use std::path::Path;

use evenkeel_core::config::Severity;
use evenkeel_core::ipc::Reply;
use evenkeel_core::model::Config;
use evenkeel_core::plan::{Services, config_changes, diff};
use evenkeel_sys::netlink::require_link;

use super::controller::Controller;
use super::network::required_interfaces;
use super::reload_files::ReloadMarker;
use crate::config_file::read_config;

impl Controller {
    /// Reads the file and applies it.
    pub(super) fn reload(&mut self) -> Reply {
        match self.try_reload() {
            Ok(steps) => {
                (self.configuration.error, self.configuration.skipped) = (None, None);
                Reply::Reloaded { steps }
            }
            Err(error) => {
                tracing::error!("reload rejected, the old configuration stays in force:\n{error}");
                self.configuration.error = Some(error.clone());
                Reply::Rejected { error }
            }
        }
    }

    /// Returns the steps that were applied, or why nothing was.
    fn try_reload(&mut self) -> Result<Vec<String>, String> {
        let marker = self.configuration.active.global.reload_file.as_deref();
        let _marker = ReloadMarker::create(marker, &self.args.run_dir());
        let path = self.configuration.path.clone();
        let parsed = read_config(&path, &self.args.options()).map_err(|e| format!("read {}: {e}", path.display()))?;
        for d in parsed.diagnostics.iter().filter(|d| d.severity == Severity::Warning) {
            tracing::warn!("{}", d.render(&parsed.sources, false));
        }
        let Some(config) = parsed.valid_config().cloned() else { return Err(parsed.render(false)) };
        let config = self.args.restrict_config(config);
        if config == Config::default() {
            // An editor that truncates the file before it writes leaves it empty for a moment.
            return Err(format!("{} configures nothing", path.display()));
        }
        for name in required_interfaces(&config) {
            require_link(&mut self.network.netlink, &name).map_err(|e| e.to_string())?;
        }
        self.drop_until_reload();
        let unchanged = config == self.configuration.file;
        if unchanged && self.configuration.with_file(&config) == self.configuration.active {
            tracing::info!(config = %path.display(), "reloaded: the configuration has not changed");
            return Ok(Vec::new());
        }
        let other_changes = config_changes(&self.configuration.file, &config);
        let mut steps = self.apply_file(config).map_err(|e| format!("{e:#}"))?;
        steps.extend(other_changes.iter().map(ToString::to_string));
        tracing::info!(config = %path.display(), steps = steps.len(), "reloaded");
        Ok(steps)
    }

    /// Computes what a reload with this file would change, and changes nothing.
    pub(super) fn plan_reload(&mut self, file: &Path) -> Reply {
        match self.try_plan(file) {
            Ok(steps) => Reply::Plan { steps },
            Err(error) => Reply::Rejected { error },
        }
    }

    fn try_plan(&mut self, file: &Path) -> Result<Vec<String>, String> {
        let parsed = read_config(file, &self.args.options()).map_err(|e| format!("read {}: {e}", file.display()))?;
        let Some(config) = parsed.valid_config().cloned() else { return Err(parsed.render(false)) };
        let mut overrides = self.configuration.overrides.clone();
        overrides.drop_until_reload();
        let file = self.args.restrict_config(config);
        let config = overrides.apply(&self.configuration.discovery.apply(&file));
        let desired = self.health.services.desired_with_config(&self.configuration.active, &config);
        let observed = match &mut self.reconciler.plane {
            Some(plane) => plane.observe(&desired).map_err(|e| e.to_string())?.services,
            None => Services::new(),
        };
        let mut steps: Vec<String> = diff(&desired, &observed).iter().map(ToString::to_string).collect();
        steps.extend(config_changes(&self.configuration.active, &config).iter().map(ToString::to_string));
        Ok(steps)
    }
}
