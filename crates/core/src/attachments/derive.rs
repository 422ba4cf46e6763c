//! The rules of the decision, in the order in which they apply.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{AttachDecision, AttachReason, Device, GatewayRoute, LeftAlone, LeftAloneReason, Topology, Traffic};
use crate::model::{AttachChoice, AttachOverride};

/// At most so many devices are attached only because clients may come in by them. The program's device table has
/// 1,024 entries.
pub const MAX_CLIENT_DEVICES: usize = 256;

/// Kinds of devices that receive no frames from outside: a dummy has no other end, packets of a VRF come in by its
/// devices, and those of an ifb are redirected to it from another device, which has them first.
const RECEIVES_NOTHING: &[&str] = &["dummy", "vrf", "ifb", "nlmon", "vsockmon"];

/// Kinds of devices without ndo_xdp_xmit().
const NEVER_SEND_XDP: &[&str] = &["bridge", "macvlan", "ipvlan", "vxlan", "geneve", "openvswitch", "gretap", "dummy"];

/// Decides to which devices the packet path is attached.
///
/// `may_open` is asked about devices that are attached for clients only: why an attachment would let in what is closed
/// now, if it would.
pub fn derive(
    topology: &Topology,
    traffic: &Traffic,
    may_open: &mut dyn FnMut(&Device) -> Option<String>,
) -> AttachDecision {
    if traffic.is_empty() {
        return AttachDecision::default();
    }
    let devices: BTreeMap<u32, &Device> = topology.devices.iter().map(|d| (d.index, d)).collect();
    let mut d = Derivation { topology, traffic, devices, decision: AttachDecision::default() };
    d.apply_overrides();
    d.attach_address_holders();
    let holds_all = d.holds_all_addresses();
    d.attach_nat_server_devices();
    d.attach_client_devices(holds_all, may_open);
    d.rule_out_xdp();
    d.decision
}

struct Derivation<'a> {
    topology: &'a Topology,
    traffic: &'a Traffic,
    devices: BTreeMap<u32, &'a Device>,
    decision: AttachDecision,
}

impl Derivation<'_> {
    /// The operator knows better. A pattern does not mean devices that nothing comes in by.
    fn apply_overrides(&mut self) {
        for device in &self.topology.devices {
            let is_named = self.traffic.overrides.find_named(&device.name).is_some();
            let is_port = self.receiver(device.index) != Some(device.index);
            if !is_named && (is_port || device.loopback || exclusion(device).is_some()) {
                continue;
            }
            match self.traffic.overrides.find(&device.name) {
                Some(AttachOverride::Attach(choice)) => {
                    self.decision.attached.insert(device.index, (choice, AttachReason::Configured));
                }
                Some(AttachOverride::Off) => self.leave_alone(device.index, LeftAloneReason::Off, None),
                None => {}
            }
        }
    }

    /// Devices with an address of a service or of an instance. An address of a port counts for its master.
    fn attach_address_holders(&mut self) {
        for device in &self.topology.devices {
            if let Some((_, addr)) = self.traffic.vrrp_addresses.iter().find(|(name, _)| *name == device.name) {
                self.attach(device.index, AttachReason::VrrpAddress(*addr));
            }
        }
        for (ifindex, addr, _) in &self.topology.addresses {
            if self.traffic.is_served(*addr) {
                self.attach(*ifindex, AttachReason::HoldsAddress(*addr));
            }
        }
    }

    /// Whether each address that is balanced is on a device with an attachment, or will be: VRRP devices may not exist
    /// yet.
    fn holds_all_addresses(&self) -> bool {
        let attached = |i: u32| self.receiver(i).is_some_and(|r| self.decision.attached.contains_key(&r));
        let by_name = |name: &str| self.topology.devices.iter().find(|d| d.name == name);
        let has_it = self.topology.addresses.iter().filter(|(i, ..)| attached(*i)).map(|(_, a, _)| *a);
        let gets_it = self.traffic.vrrp_addresses.iter();
        let gets_it = gets_it.filter(|(name, _)| by_name(name).is_none_or(|d| attached(d.index))).map(|(_, a)| *a);
        let held: BTreeSet<IpAddr> = has_it.chain(gets_it).collect();
        self.traffic.ranges.is_empty() && !self.traffic.any_address && self.traffic.addresses.is_subset(&held)
    }

    /// Devices that replies of real servers behind NAT come in by. A server may reply by any device that its network is
    /// on.
    fn attach_nat_server_devices(&mut self) {
        // A host may have thousands of virtual addresses, and thousands of servers.
        let networks: Vec<_> = self.topology.addresses.iter().filter(|(_, a, len)| is_network(*a, *len)).collect();
        for (addr, _) in self.traffic.servers.iter().filter(|(_, nat)| **nat) {
            let on_network = networks.iter().filter(|(_, a, len)| is_in_network(*addr, *a, *len));
            let on_route = self.topology.server_devices.get(addr).copied();
            for ifindex in on_network.map(|(i, ..)| *i).chain(on_route) {
                self.attach(ifindex, AttachReason::NatServer(*addr));
            }
        }
    }

    /// Devices that only clients come in by.
    fn attach_client_devices(&mut self, holds_all: bool, may_open: &mut dyn FnMut(&Device) -> Option<String>) {
        let leads_to_server = |i: &u32| self.topology.server_devices.values().any(|d| self.receiver(*d) == Some(*i));
        let mut candidates = self.client_devices();
        candidates.retain(|(i, _)| !self.is_decided(*i));
        let auto: Vec<bool> = candidates.iter().map(|(i, _)| !holds_all || leads_to_server(i)).collect();
        let mut count = 0;
        for ((ifindex, reason), auto) in candidates.into_iter().zip(auto) {
            let Some(device) = self.devices.get(&ifindex).copied().filter(|d| !d.loopback) else { continue };
            if let Some(why_not) = exclusion(device) {
                self.leave_alone(ifindex, why_not, None);
            } else if count >= MAX_CLIENT_DEVICES {
                self.leave_alone(ifindex, LeftAloneReason::TooMany, None);
            } else if let Some(rule) = may_open(device) {
                self.leave_alone(ifindex, LeftAloneReason::WouldOpen(rule), None);
            } else {
                let choice = if auto { AttachChoice::Auto } else { AttachChoice::Tc };
                self.decision.attached.insert(ifindex, (choice, reason));
                count += 1;
            }
        }
        for device in self.topology.devices.iter().filter(|d| d.up && !d.loopback && exclusion(d).is_none()) {
            if self.receiver(device.index) == Some(device.index) && !self.is_decided(device.index) {
                self.leave_alone(device.index, LeftAloneReason::NoClients, None);
            }
        }
    }

    /// The devices that clients may come in by, in the order of their importance: default routes, gateways, networks.
    fn client_devices(&self) -> Vec<(u32, AttachReason)> {
        let mut gateways = self.topology.gateways.clone();
        gateways.sort_by_key(|g| !g.default);
        let by_router = gateways.iter().map(|g| (g.ifindex, gateway_reason(g)));
        let networks = self.topology.addresses.iter().filter(|(_, addr, len)| is_network(*addr, *len));
        let by_network = networks.map(|(i, addr, len)| (*i, AttachReason::Network(network_of(*addr, *len), *len)));
        let mut seen = BTreeSet::new();
        let all = by_router.chain(by_network).filter_map(|(i, reason)| Some((self.receiver(i)?, reason)));
        all.filter(|(i, _)| seen.insert(*i)).collect()
    }

    /// Attaches to the device that receives what is sent to this one. An earlier reason stays.
    fn attach(&mut self, ifindex: u32, reason: AttachReason) {
        let Some(device) = self.receiver(ifindex).and_then(|i| self.devices.get(&i).copied()) else { return };
        if device.loopback || self.decision.attached.contains_key(&device.index) {
            return;
        }
        if let Some(left) = self.decision.left_alone.get_mut(&device.index) {
            left.needed.get_or_insert(reason);
            return;
        }
        match exclusion(device) {
            // A dummy with the address: packets for it come in by other devices.
            Some(why_not @ LeftAloneReason::ReceivesNothing(_)) => self.leave_alone(device.index, why_not, None),
            Some(why_not) => self.leave_alone(device.index, why_not, Some(reason)),
            None => {
                self.decision.attached.insert(device.index, (AttachChoice::Auto, reason));
            }
        }
    }

    fn leave_alone(&mut self, ifindex: u32, reason: LeftAloneReason, needed: Option<AttachReason>) {
        self.decision.left_alone.insert(ifindex, LeftAlone { reason, needed });
    }

    fn is_decided(&self, ifindex: u32) -> bool {
        self.decision.attached.contains_key(&ifindex) || self.decision.left_alone.contains_key(&ifindex)
    }

    /// The device itself, or the uppermost master that its frames come in by. Devices of a VRF are no ports.
    fn receiver(&self, ifindex: u32) -> Option<u32> {
        let mut device = *self.devices.get(&ifindex)?;
        for _ in 0..self.devices.len() {
            let master = device.master.and_then(|m| self.devices.get(&m).copied());
            match master {
                Some(m) if m.kind != "vrf" => device = m,
                _ => break,
            }
        }
        Some(device.index)
    }

    /// Whether an XDP program can send by every device that leads to a real server. Frames for a VLAN get their tag from
    /// the program and leave by the lower device. Replies to clients need no such device: the program passes them to the
    /// kernel.
    fn can_send_by_xdp(&self) -> bool {
        self.topology.server_devices.values().all(|i| {
            self.lowest(*i).is_none_or(|d| {
                d.loopback || d.native_xdp && self.decision.attached.get(&d.index).is_some_and(|(c, _)| is_xdp(*c))
            })
        })
    }

    /// The lowest device of a VLAN, or the device itself.
    fn lowest(&self, ifindex: u32) -> Option<&Device> {
        let mut device = *self.devices.get(&ifindex)?;
        for _ in 0..self.devices.len() {
            match device.lower.and_then(|l| self.devices.get(&l).copied()) {
                Some(lower) if device.kind == "vlan" => device = lower,
                _ => break,
            }
        }
        Some(device)
    }

    /// Replaces Auto by tc where XDP programs would lose packets: they see no marks of others, and cannot send to every
    /// server.
    fn rule_out_xdp(&mut self) {
        let ruled_out = self.traffic.any_address || !self.can_send_by_xdp();
        self.decision.is_xdp_ruled_out = ruled_out;
        for (ifindex, (choice, _)) in &mut self.decision.attached {
            let prefers_tc = self.devices.get(ifindex).is_some_and(|d| !d.native_xdp);
            if *choice == AttachChoice::Auto && (ruled_out || prefers_tc) {
                *choice = AttachChoice::Tc;
            }
        }
        let named = |i: &u32| matches!(self.decision.attached.get(i), Some((AttachChoice::NativeXdp, _)));
        let xdp: BTreeSet<u32> = self.devices.keys().copied().filter(named).collect();
        let is_unreachable = |i: &u32| {
            let never_sends = self.lowest(*i).is_some_and(|d| NEVER_SEND_XDP.contains(&d.kind.as_str()));
            never_sends && xdp.iter().any(|x| x != i)
        };
        let servers = self.topology.server_devices.iter().filter(|(_, i)| is_unreachable(i));
        self.decision.unreachable_by_xdp = servers.map(|(addr, i)| (*addr, *i)).collect();
    }
}

fn is_xdp(choice: AttachChoice) -> bool {
    matches!(choice, AttachChoice::Auto | AttachChoice::NativeXdp)
}

fn gateway_reason(g: &GatewayRoute) -> AttachReason {
    match g.gateway {
        gateway if g.default => AttachReason::DefaultRoute(gateway),
        Some(gateway) => AttachReason::Gateway(gateway),
        None => AttachReason::DefaultRoute(None),
    }
}

/// Why a device gets no attachment, whatever it leads to.
fn exclusion(device: &Device) -> Option<LeftAloneReason> {
    if RECEIVES_NOTHING.contains(&device.kind.as_str()) {
        Some(LeftAloneReason::ReceivesNothing(device.kind.clone()))
    } else if !device.ethernet {
        Some(LeftAloneReason::NoEthernetHeader)
    } else {
        None
    }
}

/// True if other hosts have addresses of the same prefix: not a host's address, and not a link-local one, which every
/// device may have (RFC 3927, RFC 4291 2.5.6).
fn is_network(addr: IpAddr, prefix_len: u8) -> bool {
    match addr {
        IpAddr::V4(a) => prefix_len < 32 && !a.is_link_local() && !a.is_loopback(),
        IpAddr::V6(a) => prefix_len < 128 && !a.is_unicast_link_local() && !a.is_loopback(),
    }
}

/// The address of the network.
fn network_of(addr: IpAddr, prefix_len: u8) -> IpAddr {
    match addr {
        IpAddr::V4(a) => {
            IpAddr::V4((a.to_bits() & u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0)).into())
        }
        IpAddr::V6(a) => {
            IpAddr::V6((a.to_bits() & u128::MAX.checked_shl(128 - u32::from(prefix_len)).unwrap_or(0)).into())
        }
    }
}

fn is_in_network(addr: IpAddr, of: IpAddr, prefix_len: u8) -> bool {
    addr.is_ipv4() == of.is_ipv4() && network_of(addr, prefix_len) == network_of(of, prefix_len)
}
