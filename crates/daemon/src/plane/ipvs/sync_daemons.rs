//! Connection synchronisation (`lvs_sync_daemon`): the kernel's daemons that send connections to another director, or
//! receive them.

use evenkeel_core::ipvs::{Change, SyncDaemon, SyncRole};
use evenkeel_core::model::SyncConfig;
use evenkeel_sys::Error;
use evenkeel_sys::ipvs::Ipvs;
use evenkeel_sys::ipvs_backend::IpvsBackend;

use super::errors::explain_error;

/// The daemons that this data plane started.
#[derive(Default)]
pub struct SyncDaemons(Vec<SyncDaemon>);

impl SyncDaemons {
    /// Starts and stops daemons. `is_master`: the state of the instance that they are bound to; `None`: both roles.
    pub fn configure(&mut self, ipvs: &mut Ipvs, config: Option<&SyncConfig>, is_master: Option<bool>) -> Vec<Error> {
        let wanted = config.map_or_else(Vec::new, |c| wanted_daemons(c, is_master));
        if wanted == self.0 {
            return Vec::new();
        }
        let mut errors = Vec::new();
        let (kept, unwanted): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|d| wanted.contains(d));
        for d in unwanted {
            errors.extend(ipvs.apply_change(&Change::StopDaemon(d)).err());
        }
        self.0 = kept;
        for d in wanted {
            if self.0.contains(&d) {
                continue;
            }
            // An earlier daemon may have left one with another interface or id, which would make the start fail.
            let _ = ipvs.apply_change(&Change::StopDaemon(d.clone()));
            match ipvs.apply_change(&Change::StartDaemon(d.clone())) {
                Ok(()) => {
                    let (role, device) = (d.role, &d.interface);
                    tracing::info!(%role, %device, "connections are synchronised as {role} on {device}");
                    self.0.push(d);
                }
                Err(e) => errors.push(explain_error(e)),
            }
        }
        errors
    }

    /// Stops all daemons.
    pub fn stop(&mut self, ipvs: &mut Ipvs) {
        for d in std::mem::take(&mut self.0) {
            let _ = ipvs.apply_change(&Change::StopDaemon(d));
        }
    }

    /// Descriptions for `status`.
    pub fn installed(&self) -> Vec<String> {
        let text = |d: &SyncDaemon| format!("connection synchronisation as {} on {}", d.role, d.interface);
        self.0.iter().map(text).collect()
    }
}

fn wanted_daemons(config: &SyncConfig, is_master: Option<bool>) -> Vec<SyncDaemon> {
    let daemon = |role| SyncDaemon {
        role,
        interface: config.interface.clone(),
        syncid: config.syncid.unwrap_or(0).into(),
        maxlen: config.maxlen,
        group: config.group,
        port: config.port,
        ttl: config.ttl,
    };
    match is_master {
        Some(true) => vec![daemon(SyncRole::Master)],
        Some(false) => vec![daemon(SyncRole::Backup)],
        None => vec![daemon(SyncRole::Master), daemon(SyncRole::Backup)],
    }
}
