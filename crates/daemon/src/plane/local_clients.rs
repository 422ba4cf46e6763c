//! Local clients of the packet path: when their programs are attached, and how that is reported.

use std::path::Path;

use evenkeel_core::ipc::{Finding, Severity};
use evenkeel_sys::bpf::{LocalClients, PacketPath, detach_local_clients};

use super::data_plane::UpdateReason;

/// The programs for local clients, and why they are not attached.
#[derive(Default)]
pub struct LocalClientsState {
    attached: Option<LocalClients>,
    error: Option<String>,
    is_wanted: bool,
}

impl LocalClientsState {
    /// Attaches the programs if they are wanted, detaches them if not. What failed is tried again with a new configuration.
    pub fn update(&mut self, path: &PacketPath, is_wanted: bool, reason: UpdateReason) {
        self.is_wanted = is_wanted;
        if !is_wanted {
            self.detach(&path.dir);
        } else if self.attached.is_none() && (self.error.is_none() || reason == UpdateReason::NewConfig) {
            match LocalClients::attach(path) {
                Ok(attached) => {
                    tracing::info!("local clients are balanced: attached to the root of the cgroup2 hierarchy");
                    self.attached = Some(attached);
                    self.error = None;
                }
                Err(e) => {
                    tracing::warn!("local clients are not balanced: {e}");
                    self.error = Some(e.to_string());
                }
            }
        }
    }

    /// Attaches again what somebody has detached.
    pub fn repair(&mut self) {
        match self.attached.as_mut().map(LocalClients::repair) {
            Some(Ok(repaired)) => {
                for fault in repaired {
                    tracing::warn!("local clients: {fault}: attached again");
                }
            }
            Some(Err(e)) => tracing::error!("local clients: {e}"),
            None => {}
        }
    }

    /// Detaches the programs, also those of an earlier daemon.
    pub fn detach(&mut self, dir: &Path) {
        detach_local_clients(dir);
        self.attached = None;
        self.error = None;
    }

    /// Whether local clients are balanced, for `status`; empty if there is nothing to say.
    pub fn status(&self) -> String {
        match (&self.attached, &self.error) {
            (Some(_), _) => "balanced".to_owned(),
            (None, Some(e)) => format!("not balanced: {e}"),
            (None, None) if self.is_wanted => String::new(),
            (None, None) => "not balanced: `local_clients off`, or there is no service".to_owned(),
        }
    }

    /// What is wrong at this moment.
    pub fn findings(&self) -> Vec<Finding> {
        const REMEDY: &str = "mend that, or set `local_clients off` if no process of this host uses a virtual service";
        let faults = self.attached.iter().flat_map(LocalClients::faults);
        let reasons = self.error.iter().map(|e| format!("they are not balanced: {e}")).chain(faults);
        let finding = |r| Finding::new("local-clients", Severity::Warning, "local clients", r).with_remedy(REMEDY);
        reasons.map(finding).collect()
    }

    /// What is attached, for `status`.
    pub fn installed(&self) -> Option<String> {
        self.attached.is_some().then(|| "programs for local clients on the root of the cgroup2 hierarchy".to_owned())
    }
}
