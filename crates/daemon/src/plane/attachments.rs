//! The devices that the packet path must be attached to: those that packets of services may arrive on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use evenkeel_core::model::{AttachChoice, Config, MarkRule, ServiceKey};
use evenkeel_sys::bpf::ethtool::strips_vlan_tags;
use evenkeel_sys::bpf::{AttachMode, Attachments};
use evenkeel_sys::netlink::{Link, Netlink};

/// The devices to attach to by interface index, and how: those with virtual addresses of instances, those with an
/// address of a service, and those of `dataplane_interface`. None if there is no service. `external`: services of
/// others.
pub fn wanted_attachments(
    netlink: &mut Netlink,
    config: &Config,
    links: &[Link],
    external: &[ServiceKey],
) -> BTreeMap<u32, AttachChoice> {
    let mut served: BTreeSet<IpAddr> = config.virtual_servers.iter().map(|v| v.key.addr).collect();
    served.extend(external.iter().map(|k| k.addr));
    if served.is_empty() {
        return BTreeMap::new();
    }
    let index = |name: &str| links.iter().find(|l| l.name == name).map(|l| l.index);
    let vips = config.instances.iter().flat_map(|i| i.all_vips());
    let mut wanted: BTreeMap<u32, AttachChoice> =
        vips.filter_map(|v| Some((index(&v.dev)?, AttachChoice::Auto))).collect();
    let rules: Vec<MarkRule> = config.virtual_servers.iter().flat_map(|v| v.mark_rules.iter().copied()).collect();
    let is_served = |addr: IpAddr| served.contains(&addr) || rules.iter().any(|r| r.first <= addr && addr <= r.last);
    for a in netlink.addresses().unwrap_or_default() {
        if is_served(a.addr) && links.iter().any(|l| l.index == a.ifindex && !l.loopback) {
            wanted.insert(a.ifindex, AttachChoice::Auto);
        }
    }
    let configured = config.global.dataplane_interfaces.iter();
    wanted.extend(configured.filter_map(|(name, choice)| Some((index(name)?, *choice))));
    wanted
}

/// The attachments whose device removes VLAN tags before XDP sees the frame: frames of its VLANs then look like its
/// own.
pub fn vlan_tag_errors(attachments: &Attachments, links: &[Link]) -> Vec<String> {
    let carries_vlans = |l: &Link| links.iter().any(|v| v.vlan.is_some() && v.lower == Some(l.index));
    let is_xdp = |mode: &AttachMode| matches!(mode, AttachMode::NativeXdp | AttachMode::GenericXdp);
    let mut out = Vec::new();
    for (name, mode) in attachments.iter().filter(|(_, mode)| is_xdp(mode)) {
        if links.iter().any(|l| l.name == name && carries_vlans(l)) && strips_vlan_tags(name) {
            out.push(format!(
                "{name} removes VLAN tags before {mode} sees them, so that frames of its VLANs look like its own: run \
                 `ethtool -K {name} rxvlan off`, or set `dataplane_interface {name} tc`"
            ));
        }
    }
    out
}
