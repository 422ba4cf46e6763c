//! Makes the interfaces that have a virtual router's MAC address, and takes them away.
//!
//! Those that this daemon, or one before it, has made carry its name as their alias. One that is as it should be is left
//! alone, so that a hand-over moves no address. If the device underneath goes and comes back, they are made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use evenkeel_core::model::{Family, VipSpec, Vmac, VmacKind};
use evenkeel_sys::netlink::{Link, Netlink};
use evenkeel_sys::{Error, Result, sysctl};

/// Settings of a device underneath, and what they must be at least.
const BASE_SYSCTLS: [(&str, i32); 2] = [("arp_ignore", 1), ("arp_announce", 2)];

/// The interfaces that are wanted, and what was changed for their sake.
pub struct Vmacs {
    wanted: Vec<Vmac>,
    /// What an earlier daemon left was looked for.
    leftovers_checked: bool,
    /// What stands on those of ours.
    alias: String,
    /// Settings of the devices underneath, before they were changed; kept in a file, for a daemon that died restores nothing.
    saved_sysctls: BTreeMap<(String, String), i32>,
    saved_file: PathBuf,
    /// What was told already, so that it is told once.
    logged_errors: BTreeSet<String>,
}

/// Is this device what is wanted, whatever it stands on?
fn matches_config(link: &Link, v: &Vmac) -> bool {
    match v.kind {
        VmacKind::Macvlan(mac) => link.macvlan && link.mac == mac,
        VmacKind::Ipvlan { .. } => link.ipvlan,
    }
}

impl Vmacs {
    /// Nothing is wanted yet. `file` holds what an earlier daemon changed.
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

    /// Takes away what is not wanted any more, and makes what is.
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
        idle.iter().for_each(|b| self.restore_sysctl(b));
    }

    /// Makes what is missing.
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
                tracing::error!("{e}");
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
                let why = "there is one of this name, and it is another one";
                let e = Error::new(format!("make the interface {} on {}", v.name, v.base), why);
                return Err(e.with_hint("remove it, or write another name behind `use_vmac` or `use_ipvlan`"));
            }
            None => None,
        };
        if there.is_none() {
            netlink.add_vmac(v, base.index, &self.alias)?;
            let kind = if v.mac().is_some() { "with the virtual router's MAC address" } else { "an ipvlan" };
            tracing::info!("made the interface {} on {}, {kind}", v.name, v.base);
        }
        self.set_sysctls(v);
        let index = there.map_or_else(|| netlink.link_by_name(&v.name).map(|l| l.map(|l| l.index)), |i| Ok(Some(i)))?;
        let Some(index) = index else { return Ok(()) };
        if let VmacKind::Ipvlan { address: Some((addr, prefix)), .. } = v.kind {
            netlink.add_address(index, &VipSpec::new(addr, prefix, v.name.clone()))?;
        }
        netlink.set_link_up(index, &v.name)
    }

    /// The kernel's ip-sysctl: each of the two answers ARP for its own addresses only, and asks for others in the name of
    /// its own only, or peers would learn the virtual address at the wrong one; what comes in by the one and is answered
    /// by the other is no forgery; and nothing is said under the virtual MAC address that nobody asked for.
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
            // IPv6 may be off.
            if sysctl::get_conf(family, &v.name, setting).is_some_and(|is| is != value) {
                sysctl::set_conf(family, &v.name, setting, value).unwrap_or_else(|e| tracing::warn!("{e}"));
            }
        }
        // An ipvlan has no other MAC address that peers could take for it.
        for (setting, least) in BASE_SYSCTLS.into_iter().filter(|_| v.mac().is_some()) {
            let Some(was) = sysctl::get_conf(Family::V4, &v.base, setting).filter(|is| *is < least) else { continue };
            self.saved_sysctls.entry((v.base.clone(), setting.to_owned())).or_insert(was);
            self.save_sysctls();
            sysctl::set_conf(Family::V4, &v.base, setting, least).unwrap_or_else(|e| tracing::warn!("{e}"));
        }
    }

    /// Takes all of ours away, and sets everything to what it was.
    pub fn release(&mut self, netlink: &mut Netlink) {
        self.configure(netlink, &[]);
    }

    /// Each with a MAC address of its own, and the device underneath if that is there.
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
            Ok(_) => tracing::info!("removed the interface {}", link.name),
            Err(e) => tracing::error!("{e}"),
        }
    }

    fn restore_sysctl(&mut self, what: &(String, String)) {
        let Some(was) = self.saved_sysctls.remove(what) else { return };
        let (base, setting) = what;
        let ours = BASE_SYSCTLS.iter().find(|(s, _)| s == setting).map(|(_, n)| *n);
        if sysctl::get_conf(Family::V4, base, setting) == ours
            && let Err(e) = sysctl::set_conf(Family::V4, base, setting, was)
        {
            tracing::warn!("{e}");
        }
        self.save_sysctls();
    }

    fn save_sysctls(&self) {
        let written = if self.saved_sysctls.is_empty() {
            fs::remove_file(&self.saved_file)
        } else {
            let lines: String =
                self.saved_sysctls.iter().map(|((dev, setting), n)| format!("{dev} {setting} {n}\n")).collect();
            fs::write(&self.saved_file, lines)
        };
        if let Err(e) = written.or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) }) {
            tracing::warn!("write {}: {e}", self.saved_file.display());
        }
    }
}
