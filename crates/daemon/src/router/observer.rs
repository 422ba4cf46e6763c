//! Devices, addresses, and the end of routes and rules, observed for the router thread by a thread of its own: listing them
//! takes the kernel's network lock, and somebody else may hold that for seconds. An observation may be a moment old; whoever
//! acts on it is told by the kernel if it came too late, and the event that his own change causes brings the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use evenkeel_core::model::VipSpec;
use evenkeel_sys::Result;
use evenkeel_sys::netlink::{DeletionSubscription, InterfaceAddr, Link, Monitor, Netlink};
use evenkeel_sys::netns;

use super::{Command, Handle};

/// What was there.
#[derive(Default)]
pub struct Observation {
    /// Devices by name.
    pub links: BTreeMap<String, Link>,
    /// Addresses, by device, address and prefix length.
    pub addresses: BTreeMap<(u32, IpAddr, u8), InterfaceAddr>,
    /// The numbers of the devices that forward IPv6 packets.
    pub ipv6_forwarding: BTreeSet<u32>,
}

impl Observation {
    /// Is this address on its device?
    pub fn has_address(&self, v: &VipSpec) -> bool {
        let index = self.links.get(&v.dev).map(|l| l.index);
        index.is_some_and(|i| self.addresses.contains_key(&(i, v.addr, v.prefix)))
    }
}

/// Lists everything.
fn observe(netlink: &mut Netlink) -> Result<Observation> {
    let links: BTreeMap<String, Link> = netlink.links()?.into_iter().map(|l| (l.name.clone(), l)).collect();
    let routers = links.values().filter(|l| netns::is_ipv6_forwarding(&l.name)).map(|l| l.index).collect();
    let addresses = netlink.addresses()?.into_iter().map(|a| ((a.ifindex, a.addr, a.prefix_len), a)).collect();
    Ok(Observation { links, addresses, ipv6_forwarding: routers })
}

/// Looks once, and goes on looking after every event, for whoever holds the other end. Routes and rules that somebody
/// else than `by` takes out are told while there is an interest in them.
pub fn start(to: Handle, by: &Netlink) -> anyhow::Result<(Observation, DeletionSubscription)> {
    // Listening begins before the first look, so that nothing falls in between.
    let mut monitor = Monitor::new(false)?;
    monitor.ignore_changes_of(by);
    let interest = DeletionSubscription::new(&monitor)?;
    let mut netlink = Netlink::new()?;
    let first = observe(&mut netlink)?;
    std::thread::Builder::new().name("observer".into()).spawn(move || {
        while monitor.wait().is_ok() {
            let changes = monitor.read_events();
            let vanished = monitor.take_deletions();
            if !vanished.is_empty() {
                to.send(Command::RoutesRemoved(vanished));
            }
            if !changes.links && !changes.addresses {
                continue;
            }
            match observe(&mut netlink) {
                Ok(seen) => to.send(Command::Observed(seen)),
                Err(e) => tracing::error!("{e}"),
            }
        }
    })?;
    Ok((first, interest))
}
