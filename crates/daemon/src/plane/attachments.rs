//! The attachments of the packet path: the inputs of the decision about them, and what it leaves undone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use evenkeel_core::attachments::{AttachDecision, AttachReason, LeftAloneReason, Traffic};
use evenkeel_core::ipc::{DeviceLeftAlone, Finding, Severity};
use evenkeel_core::model::{Config, Protocol, ServiceKey};
use evenkeel_core::plan::Services;
use evenkeel_sys::bpf::ethtool::strips_vlan_tags;
use evenkeel_sys::bpf::{AttachMode, Attachments};
use evenkeel_sys::netlink::Link;

/// What is balanced: the services of the configuration, and those of others.
pub fn traffic(config: &Config, external: &Services) -> Traffic {
    let mut traffic = Traffic::from_config(config);
    for (key, state) in external {
        traffic.add_service(*key, &[]);
        for (server, spec) in &state.dests {
            traffic.add_server(server.addr, spec.method);
        }
    }
    traffic
}

/// The services whose connections the rules of a packet filter are asked about. A rule of `member` stands for its first
/// address and port.
pub fn filtered_services<'s>(
    config: &'s Config,
    external: impl IntoIterator<Item = &'s ServiceKey>,
) -> Vec<ServiceKey> {
    let by_address = config.virtual_servers.iter().map(|v| &v.key).chain(external).copied();
    let by_mark = config
        .virtual_servers
        .iter()
        .flat_map(|v| &v.mark_rules)
        .map(|r| ServiceKey::new(r.protocol.unwrap_or(Protocol::Tcp), r.first, r.ports.0));
    by_address.filter(|k| k.fwmark == 0).chain(by_mark).collect()
}

/// The last decision, by the names of the devices.
#[derive(Default)]
pub struct DecisionSummary {
    /// Why devices have an attachment.
    pub reasons: BTreeMap<String, AttachReason>,
    /// Devices that the decision has. Others keep their attachment until the next configuration, and their reason.
    attached: BTreeSet<String>,
    /// The devices without an attachment.
    pub left_alone: Vec<DeviceLeftAlone>,
    /// What does not work because of them.
    pub findings: Vec<Finding>,
}

impl DecisionSummary {
    /// Why a device has an attachment, as text.
    pub fn reason(&self, device: &str) -> String {
        match self.reasons.get(device) {
            Some(reason) if self.attached.contains(device) => reason.to_string(),
            Some(reason) => format!("{reason} (no longer; the attachment stays until the next reload)"),
            None => "an earlier daemon's".to_owned(),
        }
    }

    /// Takes over a new decision.
    pub fn update(&mut self, decision: &AttachDecision, links: &[Link]) {
        let names: BTreeMap<u32, &str> = links.iter().map(|l| (l.index, l.name.as_str())).collect();
        let name = |index: &u32| names.get(index).copied().unwrap_or_default().to_owned();
        self.reasons.retain(|device, _| links.iter().any(|l| l.name == *device));
        self.reasons.extend(decision.attached.iter().map(|(i, (_, reason))| (name(i), reason.clone())));
        self.attached = decision.attached.keys().map(name).collect();
        let left = |(i, l): (&u32, &evenkeel_core::attachments::LeftAlone)| DeviceLeftAlone {
            device: name(i),
            reason: l.reason.to_string(),
        };
        self.left_alone = decision.left_alone.iter().map(left).collect();
        let needed = decision.left_alone.iter().filter_map(|(i, l)| Some((name(i), &l.reason, l.needed.as_ref()?)));
        let left_alone = needed.map(|(device, why_not, needed)| left_alone_finding(&device, why_not, needed));
        let unreachable = decision.unreachable_by_xdp.iter().map(|(server, i)| unreachable_finding(*server, &name(i)));
        self.findings = left_alone.chain(unreachable).collect();
    }
}

fn unreachable_finding(server: IpAddr, device: &str) -> Finding {
    let reason =
        format!("XDP programs cannot send by {device}, which leads to it: packets from other devices are lost");
    Finding::new("xdp-cannot-send", Severity::Critical, server, reason)
        .with_remedy("remove `dataplane_interface … xdp`, or set it to tc")
}

/// A device is left alone that packets of a service certainly need.
fn left_alone_finding(device: &str, why_not: &LeftAloneReason, needed: &AttachReason) -> Finding {
    let (severity, consequence) = match needed {
        AttachReason::NatServer(_) => (Severity::Critical, "its replies are not translated back"),
        _ => (Severity::Warning, "clients that come in by the device are not balanced"),
    };
    let remedy = match why_not {
        LeftAloneReason::Off => format!("remove `dataplane_interface {device} off`"),
        LeftAloneReason::NoEthernetHeader => "set `dataplane ipvs`".to_owned(),
        _ => format!("set `dataplane_interface {device} auto`"),
    };
    let reason = format!("{needed}, and has no attachment ({why_not}): {consequence}");
    Finding::new("device-left-alone", severity, device, reason).with_remedy(remedy)
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
