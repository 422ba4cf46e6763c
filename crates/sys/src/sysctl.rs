//! Network sysctls under /proc/sys/net.

use std::fs;
use std::path::PathBuf;

use evenkeel_core::model::Family;

use crate::{Context, Result};

/// The file of a device's setting.
fn conf_path(family: Family, device: &str, setting: &str) -> PathBuf {
    let family = if family == Family::V4 { "ipv4" } else { "ipv6" };
    // Device names come from the kernel or have been checked, so they contain no slash.
    PathBuf::from(format!("/proc/sys/net/{family}/conf/{device}/{setting}"))
}

/// Reads a numeric setting of a device; `None` if it cannot be read.
pub fn get_conf(family: Family, device: &str, setting: &str) -> Option<i32> {
    fs::read_to_string(conf_path(family, device, setting)).ok()?.trim().parse().ok()
}

/// Writes a numeric setting of a device.
pub fn set_conf(family: Family, device: &str, setting: &str, value: i32) -> Result<()> {
    let path = conf_path(family, device, setting);
    fs::write(&path, value.to_string()).context(|| format!("write {value} to {}", path.display()))
}

/// The disabled sysctl igmp_link_local_mcast_reports: the kernel sends no IGMP reports for link-local multicast groups
/// (ip-sysctl.rst). Keeps the previous value.
pub struct LinkLocalIgmpReports {
    previous: String,
}

impl LinkLocalIgmpReports {
    const PATH: &str = "/proc/sys/net/ipv4/igmp_link_local_mcast_reports";

    /// Disables the reports. Returns `None` if they are disabled already.
    pub fn disable() -> Result<Option<LinkLocalIgmpReports>> {
        let previous = fs::read_to_string(Self::PATH).context(|| format!("read {}", Self::PATH))?.trim().to_owned();
        if previous == "0" {
            return Ok(None);
        }
        fs::write(Self::PATH, "0").context(|| format!("write 0 to {}", Self::PATH))?;
        Ok(Some(LinkLocalIgmpReports { previous }))
    }

    /// Restores the previous value.
    pub fn restore(self) -> Result<()> {
        fs::write(Self::PATH, &self.previous).context(|| format!("write {} to {}", self.previous, Self::PATH))
    }
}
