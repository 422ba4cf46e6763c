//! The network part: changes of the system's network outside the data plane: interfaces with virtual MAC addresses,
//! firewall rules for them, and IGMP reports of link-local groups.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::thread::JoinHandle;

use evenkeel_core::firewall::FirewallRules;
use evenkeel_core::model::Config;
use evenkeel_sys::netlink::{Monitor, Netlink, NetworkChanges, require_link};
use evenkeel_sys::sysctl::LinkLocalIgmpReports;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::vmacs::Vmacs;
use crate::args::Args;
use crate::firewall;

/// nftables priority of the rules unless `nftables_priority` names another: before the filters of others, which are at
/// 0.
const DEFAULT_PRIORITY: i32 = -1;

/// Devices and firewall rules of this daemon.
pub struct Network {
    /// The control thread's netlink socket.
    pub netlink: Netlink,
    /// The firewall thread.
    pub firewall: firewall::Handle,
    firewall_thread: Option<JoinHandle<()>>,
    vmacs: Vmacs,
    /// The setting to restore while `disable_local_igmp` is in force.
    local_igmp: Option<LinkLocalIgmpReports>,
}

impl Network {
    /// Creates the interfaces of a configuration and starts the firewall thread. An interface that is missing is an
    /// error with `--strict` only.
    pub fn start(args: &Args, config: &Config) -> anyhow::Result<Network> {
        let mut netlink = Netlink::new()?;
        for name in required_interfaces(config) {
            if let Err(e) = require_link(&mut netlink, &name) {
                anyhow::ensure!(!args.strict, e);
                tracing::warn!(device = %name, "{e}; instances and services on it wait until it appears");
            }
        }
        let mut vmacs = Vmacs::new(&args.instance, args.saved_sysctls_file());
        vmacs.configure(&mut netlink, &config.vmacs);
        let table = config.global.nftables.clone().unwrap_or_else(|| args.nft_table_name());
        let (firewall, thread) = firewall::start(table)?;
        // Before the router thread joins a multicast group.
        let local_igmp = if config.global.disable_local_igmp { LinkLocalIgmpReports::disable() } else { Ok(None) };
        let local_igmp = local_igmp.unwrap_or_else(|e| {
            tracing::error!("disable_local_igmp has no effect: {e}");
            None
        });
        Ok(Network { netlink, firewall, firewall_thread: Some(thread), vmacs, local_igmp })
    }

    /// Applies a configuration.
    pub fn configure(&mut self, config: &Config) {
        self.vmacs.configure(&mut self.netlink, &config.vmacs);
        self.update_firewall(config);
        if !config.vmacs.is_empty() {
            // Before the router thread joins a group there: an IGMP report from a backup would draw the address to it.
            self.firewall.flush();
        }
    }

    /// A device appeared, changed or vanished: creates the missing interfaces again.
    pub fn handle_link_change(&mut self, config: &Config) {
        self.vmacs.create_missing(&mut self.netlink);
        self.update_firewall(config);
    }

    fn update_firewall(&mut self, config: &Config) {
        let priority = config.global.nftables_priority.unwrap_or(DEFAULT_PRIORITY);
        let counters = config.global.nftables_counters;
        let vmacs = if config.vmacs.is_empty() {
            BTreeMap::new()
        } else {
            self.vmacs.with_mac(&self.netlink.links().unwrap_or_default())
        };
        self.firewall.update(move |f| (f.vmacs, f.priority, f.counters) = (vmacs, priority, counters));
    }

    /// All addresses of this director; `None` if the kernel does not list them.
    pub fn addresses(&mut self) -> Option<BTreeSet<IpAddr>> {
        Some(self.netlink.addresses().ok()?.into_iter().map(|a| a.addr).collect())
    }

    /// Ends the firewall thread; with `release`, removes the interfaces and the firewall rules first.
    pub fn stop(&mut self, release: bool) {
        if release {
            self.vmacs.release(&mut self.netlink);
            self.firewall.update(|f| *f = FirewallRules::default());
        }
        self.firewall.close();
        if let Some(thread) = self.firewall_thread.take() {
            let _ = thread.join();
        }
    }

    /// Ends `disable_local_igmp`.
    pub fn restore_local_igmp(&mut self) {
        if let Some(Err(e)) = self.local_igmp.take().map(LinkLocalIgmpReports::restore) {
            tracing::warn!("cannot end disable_local_igmp: {e}");
        }
    }
}

/// Receives changes of links, addresses, routes and neighbours on a thread of its own, which only waits and forwards.
pub fn watch_network() -> anyhow::Result<UnboundedReceiver<NetworkChanges>> {
    let mut monitor = Monitor::new(true)?;
    let (tx, rx) = unbounded_channel();
    std::thread::Builder::new()
        .name("netlink".into())
        .spawn(move || while monitor.wait().is_ok() && tx.send(monitor.read_events()).is_ok() {})?;
    Ok(rx)
}

/// The interfaces that a configuration needs and does not create itself; none with `dynamic_interfaces`.
pub fn required_interfaces(config: &Config) -> Vec<String> {
    if config.dynamic_interfaces {
        return Vec::new();
    }
    let mut names: Vec<String> = config.instances.iter().map(|i| i.interface.clone()).collect();
    names.extend(config.instances.iter().flat_map(|i| i.all_vips().map(|v| v.dev.clone())));
    names.extend(config.vmacs.iter().map(|v| v.base.clone()));
    names.retain(|n| !config.vmacs.iter().any(|v| v.name == *n));
    names.extend(config.global.dataplane_interfaces.required_devices().map(str::to_owned));
    names.sort();
    names.dedup();
    names
}
