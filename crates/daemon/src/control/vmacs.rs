//! Virtual MAC interfaces: the macvlan and ipvlan devices of `use_vmac` and `use_ipvlan`, created on a base device and
//! removed at stop.
//!
//! The alias of a device names the instance of evenkeel that created it: devices of an earlier daemon are recognised by
//! it. A device that matches the configuration is kept, so that a hand-over moves no address. If the base device
//! vanishes and comes back, its virtual MAC interfaces are created again.
//!
//! Some sysctls of the base device must change as well. Their former values are saved in a file, because a daemon that
//! was killed restores nothing: the next one does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use evenkeel_core::model::{Family, VipSpec, Vmac, VmacKind};
use evenkeel_sys::netlink::{Link, Netlink};
use evenkeel_sys::{Error, Result, fsutil, sysctl};

/// Sysctls of a base device, and their minimum values.
const BASE_SYSCTLS: [(&str, i32); 2] = [("arp_ignore", 1), ("arp_announce", 2)];

/// The configured interfaces, and the sysctls to restore.
pub struct Vmacs {
    wanted: Vec<Vmac>,
    /// Interfaces of an earlier daemon have been looked for.
    leftovers_checked: bool,
    /// The alias of interfaces of this instance.
    alias: String,
    /// Former values of sysctls of base devices, by device and name.
    saved_sysctls: BTreeMap<(String, String), i32>,
    saved_file: PathBuf,
    /// Interfaces whose error was logged: each is logged once.
    logged_errors: BTreeSet<String>,
}

/// Whether a device is of the configured kind; its base device is not compared.
fn matches_config(link: &Link, v: &Vmac) -> bool {
    match v.kind {
        VmacKind::Macvlan(mac) => link.macvlan && link.mac == mac,
        VmacKind::Ipvlan { .. } => link.ipvlan,
    }
}

impl Vmacs {
    /// No interface is configured. `saved_file` holds the sysctls that an earlier daemon changed, one a line: device,
    /// name, value.
    pub fn new(instance: &str, saved_file: PathBuf) -> Self {
        let text = fs::read_to_string(&saved_file).unwrap_or_default();
        let line = |l: &str| match l.split(' ').collect::<Vec<_>>()[..] {
            [dev, setting, was] => Some(((dev.to_owned(), setting.to_owned()), was.parse().ok()?)),
            _ => None,
        };
        let saved_sysctls = text.lines().filter_map(line).collect();
        let alias = format!("evenkeel {instance}");
        Vmacs {
            wanted: Vec::new(),
            leftovers_checked: false,
            alias,
            saved_sysctls,
            saved_file,
            logged_errors: BTreeSet::new(),
        }
    }

    /// Removes interfaces that are not configured any more, creates the others, and restores sysctls of base devices
    /// that have none left.
    pub fn configure(&mut self, netlink: &mut Netlink, wanted: &[Vmac]) {
        let before = std::mem::replace(&mut self.wanted, wanted.to_vec());
        let first = !std::mem::replace(&mut self.leftovers_checked, true);
        if before.is_empty() && wanted.is_empty() && self.saved_sysctls.is_empty() && !first {
            return;
        }
        self.logged_errors.clear();
        for link in netlink.links().unwrap_or_default() {
            if self.is_ours(&link) && !wanted.iter().any(|v| v.name == link.name) {
                self.remove(netlink, &link);
            }
        }
        self.create_missing(netlink);
        let bases: BTreeSet<&str> = wanted.iter().map(|v| v.base.as_str()).collect();
        let idle: Vec<_> =
            self.saved_sysctls.keys().filter(|(dev, _)| !bases.contains(dev.as_str())).cloned().collect();
        idle.iter().for_each(|key| self.restore_sysctl(key));
    }

    /// Creates the interfaces that are missing and whose base device exists.
    pub fn create_missing(&mut self, netlink: &mut Netlink) {
        if self.wanted.is_empty() {
            return;
        }
        let Ok(links) = netlink.links() else { return };
        for v in self.wanted.clone() {
            let Some(base) = links.iter().find(|l| l.name == v.base) else { continue };
            let there = links.iter().find(|l| l.name == v.name);
            if let Err(e) = self.create(netlink, &v, base, there)
                && self.logged_errors.insert(v.name.clone())
            {
                tracing::error!(device = %v.name, "{e}");
            }
        }
    }

    fn create(&mut self, netlink: &mut Netlink, v: &Vmac, base: &Link, there: Option<&Link>) -> Result<()> {
        let there = match there {
            Some(l) if matches_config(l, v) && l.lower == Some(base.index) => {
                if l.running || !base.running {
                    return Ok(());
                }
                Some(l.index)
            }
            Some(l) if self.is_ours(l) => {
                self.remove(netlink, l);
                None
            }
            Some(_) => {
                let reason = "another device has this name";
                let e = Error::new(format!("create the interface {} on {}", v.name, v.base), reason);
                return Err(e.with_hint("remove it, or set another name in `use_vmac` or `use_ipvlan`"));
            }
            None => None,
        };
        if there.is_none() {
            netlink.add_vmac(v, base.index, &self.alias)?;
            let kind = if v.mac().is_some() { "with the virtual router's MAC address" } else { "an ipvlan" };
            tracing::info!(device = %v.name, base = %v.base, "created the interface {} on {}, {kind}", v.name, v.base);
        }
        self.set_sysctls(v);
        let index = there.map_or_else(|| netlink.link_by_name(&v.name).map(|l| l.map(|l| l.index)), |i| Ok(Some(i)))?;
        let Some(index) = index else { return Ok(()) };
        if let VmacKind::Ipvlan { address: Some((addr, prefix)), .. } = v.kind {
            netlink.add_address(index, &VipSpec::new(addr, prefix, v.name.clone()))?;
        }
        netlink.set_link_up(index, &v.name)
    }

    /// Sets sysctls (the kernel's ip-sysctl) of an interface and its base device.
    ///
    /// - `arp_ignore`, `arp_announce`: each device answers ARP for its own addresses only and asks with its own only.
    ///   Otherwise peers would learn the virtual address at the base device's MAC address.
    /// - `accept_local`, `rp_filter`: packets that arrive on one device and are answered on the other are not dropped
    ///   as spoofed.
    /// - IPv6 sysctls: the kernel sends nothing from the virtual MAC address on its own.
    fn set_sysctls(&mut self, v: &Vmac) {
        let all_filter = sysctl::get_conf(Family::V4, "all", "rp_filter").unwrap_or(0);
        let loose = if all_filter > 0 { 2 } else { 0 };
        let settings = [
            (Family::V4, "arp_ignore", 1),
            (Family::V4, "accept_local", 1),
            (Family::V4, "rp_filter", loose),
            (Family::V6, "disable_ipv6", i32::from(!v.ipv6)),
            (Family::V6, "accept_ra", 0),
            (Family::V6, "autoconf", 0),
        ];
        for (family, setting, value) in settings {
            // A sysctl is missing if IPv6 is disabled in the kernel.
            if sysctl::get_conf(family, &v.name, setting).is_some_and(|is| is != value) {
                sysctl::set_conf(family, &v.name, setting, value).unwrap_or_else(|e| tracing::warn!("{e}"));
            }
        }
        // An ipvlan has the MAC address of its base device: there is no wrong one to learn.
        for (setting, minimum) in BASE_SYSCTLS.into_iter().filter(|_| v.mac().is_some()) {
            let Some(was) = sysctl::get_conf(Family::V4, &v.base, setting).filter(|is| *is < minimum) else { continue };
            self.saved_sysctls.entry((v.base.clone(), setting.to_owned())).or_insert(was);
            self.save_sysctls();
            sysctl::set_conf(Family::V4, &v.base, setting, minimum).unwrap_or_else(|e| tracing::warn!("{e}"));
        }
    }

    /// Removes all interfaces of this instance and restores all sysctls.
    pub fn release(&mut self, netlink: &mut Netlink) {
        self.configure(netlink, &[]);
    }

    /// The interfaces with a MAC address of their own, each with its base device if that exists.
    pub fn with_mac(&self, links: &[Link]) -> BTreeMap<String, Option<String>> {
        let there = |name: &String| links.iter().any(|l| l.name == *name);
        let with_mac = self.wanted.iter().filter(|v| v.mac().is_some());
        with_mac.map(|v| (v.name.clone(), Some(v.base.clone()).filter(there))).collect()
    }

    fn is_ours(&self, link: &Link) -> bool {
        (link.macvlan || link.ipvlan) && link.alias.as_ref() == Some(&self.alias)
    }

    fn remove(&self, netlink: &mut Netlink, link: &Link) {
        match netlink.remove_link(link.index, &link.name) {
            Ok(_) => tracing::info!(device = %link.name, "removed the interface {}", link.name),
            Err(e) => tracing::error!(device = %link.name, "{e}"),
        }
    }

    /// Restores a sysctl, unless somebody else changed it meanwhile.
    fn restore_sysctl(&mut self, key: &(String, String)) {
        let Some(was) = self.saved_sysctls.remove(key) else { return };
        let (base, setting) = key;
        let ours = BASE_SYSCTLS.iter().find(|(s, _)| s == setting).map(|(_, n)| *n);
        if sysctl::get_conf(Family::V4, base, setting) == ours
            && let Err(e) = sysctl::set_conf(Family::V4, base, setting, was)
        {
            tracing::warn!("{e}");
        }
        self.save_sysctls();
    }

    fn save_sysctls(&self) {
        let lines = self.saved_sysctls.iter().map(|((dev, setting), n)| format!("{dev} {setting} {n}\n"));
        let text: String = lines.collect();
        if let Err(e) = fsutil::write_or_remove(&self.saved_file, (!text.is_empty()).then_some(text.as_bytes())) {
            tracing::warn!("{e}; after a crash the sysctls of base devices would stay changed");
        }
    }
}
