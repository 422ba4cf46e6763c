//! The changes that `evenkeel real-server up` made, kept in a file in the instance's run directory for `down`.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use evenkeel_sys::fsutil::create_private_dir;
use evenkeel_sys::paths;
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
pub struct AppliedChanges {
    /// Addresses that were added to `lo`.
    pub addresses: Vec<IpAddr>,
    /// Sysctls below net.ipv4.conf.all, with their values before.
    pub sysctls: Vec<(String, i32)>,
    /// The device on which tunnels are decapsulated.
    pub decap_ifindex: Option<u32>,
}

pub fn state_file(instance: &str) -> PathBuf {
    paths::run_dir(instance).join("real-server.json")
}

/// Where the decapsulation program is pinned.
pub fn pin_dir(instance: &str) -> PathBuf {
    paths::bpf_dir(&format!("{instance}-real-server"))
}

impl AppliedChanges {
    pub fn save(&self, instance: &str) -> Result<()> {
        let file = state_file(instance);
        let dir = paths::run_dir(instance);
        create_private_dir(&dir)?;
        fs::write(&file, serde_json::to_vec(self)?).with_context(|| format!("write {}", file.display()))
    }

    /// `None` if `up` has changed nothing.
    pub fn load(instance: &str) -> Result<Option<AppliedChanges>> {
        let file = state_file(instance);
        match fs::read(&file) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))?)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("read {}", file.display())),
        }
    }
}
