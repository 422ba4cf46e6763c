//! Settings of a network device, under /proc/sys/net.

use std::fs;
use std::path::PathBuf;

use evenkeel_core::model::Family;

use crate::{Context, Result};

fn conf_path(family: Family, device: &str, setting: &str) -> PathBuf {
    let family = if family == Family::V4 { "ipv4" } else { "ipv6" };
    // The name comes from the kernel or was checked as an interface's: there is no slash in it.
    PathBuf::from(format!("/proc/sys/net/{family}/conf/{device}/{setting}"))
}

/// A number as it is; `None` if it cannot be read.
pub fn get_conf(family: Family, device: &str, setting: &str) -> Option<i32> {
    fs::read_to_string(conf_path(family, device, setting)).ok()?.trim().parse().ok()
}

/// Writes a number.
pub fn set_conf(family: Family, device: &str, setting: &str, value: i32) -> Result<()> {
    let path = conf_path(family, device, setting);
    fs::write(&path, value.to_string()).context(|| format!("write {value} to {}", path.display()))
}

/// The kernel's reports of link-local multicast groups (ip-sysctl.rst, igmp_link_local_mcast_reports), as they were before this
/// daemon turned them off.
pub struct LinkLocalIgmpReports {
    previous: String,
}

impl LinkLocalIgmpReports {
    const PATH: &str = "/proc/sys/net/ipv4/igmp_link_local_mcast_reports";

    /// Turns them off. `None` if they are.
    pub fn disable() -> Result<Option<LinkLocalIgmpReports>> {
        let was = fs::read_to_string(Self::PATH).context(|| format!("read {}", Self::PATH))?.trim().to_owned();
        if was == "0" {
            return Ok(None);
        }
        fs::write(Self::PATH, "0").context(|| format!("write 0 to {}", Self::PATH))?;
        Ok(Some(LinkLocalIgmpReports { previous: was }))
    }

    /// Sets them back.
    pub fn restore(self) -> Result<()> {
        fs::write(Self::PATH, &self.previous).context(|| format!("write {} to {}", self.previous, Self::PATH))
    }
}
