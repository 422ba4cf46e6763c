//! Devices, addresses, and the end of routes and rules, observed for the router thread by a thread of its own: listing them
//! takes the kernel's network lock, and somebody else may hold that for seconds. An observation may be a moment old; whoever
//! acts on it is told by the kernel if it came too late, and the event that his own change causes brings the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use evenkeel_core::model::VipSpec;
use evenkeel_sys::Result;
use evenkeel_sys::netlink::{Addr, Interest, Link, Monitor, Netlink};
use evenkeel_sys::netns;

use super::{Command, Handle};

/// What was there.
#[derive(Default)]
pub struct Observation {
    /// Devices by name.
    pub links: BTreeMap<String, Link>,
    /// Addresses, by device, address and prefix length.
    pub addresses: BTreeMap<(u32, IpAddr, u8), Addr>,
    /// The numbers of the devices that forward IPv6 packets.
    pub routers: BTreeSet<u32>,
}

impl Observation {
    /// Is this address on its device?
    pub fn holds(&self, v: &VipSpec) -> bool {
        let index = self.links.get(&v.dev).map(|l| l.index);
        index.is_some_and(|i| self.addresses.contains_key(&(i, v.addr, v.prefix)))
    }
}

/// Lists everything.
fn look(netlink: &mut Netlink) -> Result<Observation> {
    let links: BTreeMap<String, Link> = netlink.links()?.into_iter().map(|l| (l.name.clone(), l)).collect();
    let routers = links.values().filter(|l| netns::forwards_ipv6(&l.name)).map(|l| l.index).collect();
    let addresses = netlink.addresses()?.into_iter().map(|a| ((a.ifindex, a.addr, a.prefix), a)).collect();
    Ok(Observation { links, addresses, routers })
}

/// Looks once, and goes on looking after every event, for whoever holds the other end. Routes and rules that somebody
/// else than `by` takes out are told while there is an interest in them.
pub fn start(to: Handle, by: &Netlink) -> anyhow::Result<(Observation, Interest)> {
    // Listening begins before the first look, so that nothing falls in between.
    let mut monitor = Monitor::new(false)?;
    monitor.ignore(by);
    let interest = Interest::of(&monitor)?;
    let mut netlink = Netlink::new()?;
    let first = look(&mut netlink)?;
    std::thread::Builder::new().name("observer".into()).spawn(move || {
        while monitor.wait().is_ok() {
            let changes = monitor.drain();
            let vanished = monitor.vanished();
            if !vanished.is_empty() {
                to.send(Command::Vanished(vanished));
            }
            if !changes.links && !changes.addresses {
                continue;
            }
            match look(&mut netlink) {
                Ok(seen) => to.send(Command::Observed(seen)),
                Err(e) => tracing::error!("{e}"),
            }
        }
    })?;
    Ok((first, interest))
}
