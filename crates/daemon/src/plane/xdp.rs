//! The packet path as a data plane: its maps, its attachments to devices, and the next hops of real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use evenkeel_core::answers::AnswerCounts;
use evenkeel_core::attachments::{AttachDecision, AttachReason, LeftAloneReason, derive};
use evenkeel_core::ipc::{AttachmentStatus, DataPlaneStatus, Finding, Severity};
use evenkeel_core::ipvs::Connection;
use evenkeel_core::model::{AttachChoice, Config, ServerKey, ServiceKey};
use evenkeel_core::packet_filter::FilterVerdict;
use evenkeel_core::plan::{Services, Step};
use evenkeel_sys::bpf::conn_table::ConnEntry;
use evenkeel_sys::bpf::packet_path::DEFAULT_CONNS;
use evenkeel_sys::bpf::{
    AttachMode, AttachmentFault, Attachments, ServeAll, ServiceRecord, XdpPlane, prefers_native_xdp,
};
use evenkeel_sys::netlink::{Link, Netlink};
use evenkeel_sys::nexthop::NextHopResolver;
use evenkeel_sys::packet_filter::PacketFilter;
use evenkeel_sys::topology::read_topology;
use evenkeel_sys::{Error, Result};

use super::attachments::{DecisionSummary, filtered_services, traffic, vlan_tag_errors};
use super::data_plane::{DataPlane, PlaneKind, PlaneObservation, PlanePaths, UpdateReason};
use super::local_clients::LocalClientsState;

fn rp_filter_finding(device: &str) -> Finding {
    let reason = "its strict rp_filter drops replies of NAT servers that XDP leaves to the kernel: to clients behind a \
                  device without XDP, or whose MAC address is not known yet";
    let remedy = format!("set net.ipv4.conf.{device}.rp_filter=2 (and conf.all), or `dataplane_interface {device} tc`");
    Finding::new("strict-rp-filter", Severity::Warning, device, reason).with_remedy(remedy)
}

/// The loaded packet path.
pub struct XdpDataPlane {
    plane: XdpPlane,
    attachments: Attachments,
    /// Why devices are attached or not, as decided last.
    decision: DecisionSummary,
    /// NICs whose drivers have rejected XDP, by interface index.
    without_xdp: BTreeSet<u32>,
    next_hops: NextHopResolver,
    local_clients: LocalClientsState,
    serve_all: Arc<ServeAll>,
    /// The rules that packets would pass without the packet path.
    filter: PacketFilter,
}

impl XdpDataPlane {
    /// Loads the packet path, or takes over the one that an earlier daemon left.
    pub fn open(config: &Config, paths: &PlanePaths) -> Result<XdpDataPlane> {
        let entries = config.global.connection_table_size.unwrap_or(DEFAULT_CONNS);
        let plane = XdpPlane::load(&paths.bpf_dir, entries)?;
        // A daemon that died while it switched data planes may have left it in standby.
        plane.packet_path.set_standby(false);
        paths.serve_all.set_maps(Some(Arc::clone(&plane.packet_path.maps)));
        Ok(XdpDataPlane {
            plane,
            attachments: Attachments::default(),
            decision: DecisionSummary::default(),
            without_xdp: BTreeSet::new(),
            next_hops: NextHopResolver::default(),
            local_clients: LocalClientsState::default(),
            serve_all: Arc::clone(&paths.serve_all),
            filter: PacketFilter::default(),
        })
    }

    /// The devices to attach to at this moment.
    fn decide(&mut self, netlink: &mut Netlink, links: &[Link], config: &Config) -> Result<AttachDecision> {
        let traffic = traffic(config, &self.plane.maps().observe_by_owner().1);
        if traffic.is_empty() {
            return Ok(AttachDecision::default());
        }
        let topology = read_topology(netlink, links, &traffic, &|i| self.without_xdp.contains(&i))?;
        self.filter.refresh();
        let services = filtered_services(config, self.plane.maps().observe_by_owner().1.keys());
        Ok(derive(&topology, &traffic, &mut |device| {
            self.filter.closes(&device.name, topology.has_default_route(device.index), &services)
        }))
    }

    /// Detaches from devices that somebody has closed to clients since.
    fn detach_closed(&mut self, decision: &AttachDecision, links: &[Link]) {
        let is_closed = |i: &u32| {
            let left = decision.left_alone.get(i);
            left.is_some_and(|l| matches!(l.reason, LeftAloneReason::WouldOpen(_))) && self.attachments.contains(*i)
        };
        if links.iter().any(|l| is_closed(&l.index)) {
            let kept: Vec<u32> = links.iter().map(|l| l.index).filter(|i| !is_closed(i)).collect();
            self.attachments.detach_except(&self.plane.packet_path, &kept);
        }
    }

    /// Rules that would drop the connections of a service on a device that is attached all the same, because it holds the
    /// address or is configured: one finding for each device and rule.
    fn bypassed_rules(&self, config: &Config) -> Vec<Finding> {
        let mut rules: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for (device, reason) in &self.decision.reasons {
            for v in config.virtual_servers.iter().filter(|v| v.key.fwmark == 0) {
                let holds = match reason {
                    AttachReason::HoldsAddress(_) | AttachReason::VrrpAddress(_) => {
                        config.instances.iter().any(|i| i.all_vips().any(|a| a.addr == v.key.addr && a.dev == *device))
                            || matches!(reason, AttachReason::HoldsAddress(a) if a == &v.key.addr)
                    }
                    AttachReason::Configured => true,
                    _ => false,
                };
                if holds && let FilterVerdict::Drop(rule) = self.filter.verdict(device, v.key) {
                    rules.entry((device.clone(), rule)).or_default().push(v.key.to_string());
                }
            }
        }
        let finding = |((device, rule), services): ((String, String), Vec<String>)| {
            let more = services.len() - 1;
            let more = if more > 0 { format!(" and {more} more services") } else { String::new() };
            let service = services.first().map_or("", String::as_str);
            let reason = format!("{rule} would drop {service}{more}, but the packet path forwards before it");
            Finding::new("bypassed-rule", Severity::Warning, format_args!("packet path on {device}"), reason)
                .with_remedy("accept the service in the rules, or keep clients out before this host")
        };
        rules.into_iter().map(finding).collect()
    }

    /// Attaches to the devices of a decision. An event keeps the modes of attachments, as a change of mode loses packets,
    /// unless XDP would lose more.
    fn attach(&mut self, decision: &AttachDecision, links: &[Link], reason: UpdateReason) -> Vec<String> {
        let mut errors = Vec::new();
        for (ifindex, (choice, why)) in &decision.attached {
            let Some(link) = links.iter().find(|l| l.index == *ifindex) else { continue };
            let keeps_mode = reason == UpdateReason::NetworkEvent && !decision.is_xdp_ruled_out;
            let stays = keeps_mode && self.attachments.contains(*ifindex);
            if stays || self.attachments.is_attached(*ifindex, *choice) {
                continue;
            }
            match self.attachments.attach(&self.plane.packet_path, link, *choice) {
                Ok(mode) => {
                    let name = &link.name;
                    tracing::info!(device = %name, "attached the packet path to {name} by {mode}: {why}");
                    if *choice == AttachChoice::Auto && mode != AttachMode::NativeXdp && prefers_native_xdp(link) {
                        self.without_xdp.insert(*ifindex);
                    }
                }
                Err(e) => {
                    tracing::error!(device = %link.name, "{e}");
                    errors.push(e.to_string());
                }
            }
        }
        errors
    }

    /// The attachments as the kernel has them at this moment.
    fn attachment_statuses(&self) -> Vec<AttachmentStatus> {
        let faults = self.attachments.faults(&self.plane.packet_path);
        let status = |(device, mode): (&str, AttachMode)| AttachmentStatus {
            device: device.to_owned(),
            mode: mode.to_string(),
            reason: self.decision.reason(device),
            fault: faults.iter().find(|(d, _)| *d == device).map(|(_, fault)| fault.to_string()),
        };
        self.attachments.iter().map(status).collect()
    }
}

impl DataPlane for XdpDataPlane {
    fn kind(&self) -> PlaneKind {
        PlaneKind::Xdp
    }

    fn is_inherited(&self) -> bool {
        self.plane.packet_path.reused_maps
    }

    fn observe(&mut self, desired: &Services) -> Result<PlaneObservation> {
        let (mut services, others) = self.plane.maps().observe_by_owner();
        let (wanted, external): (Services, Services) = others.into_iter().partition(|(k, _)| desired.contains_key(k));
        services.extend(wanted);
        Ok(PlaneObservation { services, external: external.into_keys().collect() })
    }

    fn claim(&mut self, desired: &Services) {
        for key in self.plane.maps().external_services() {
            if desired.contains_key(&key) {
                self.plane.claim_service(key);
            }
        }
    }

    fn apply(&mut self, steps: &[Step]) -> Vec<Error> {
        self.plane.apply_steps(steps)
    }

    fn flush(&mut self) -> Vec<Error> {
        let all: Vec<Step> = self.plane.maps().observe_services().into_keys().map(Step::RemoveService).collect();
        self.plane.apply_steps(&all)
    }

    fn set_active_services(&mut self, active: &BTreeMap<ServiceKey, bool>) -> Result<Vec<(ServiceKey, bool)>> {
        self.plane.set_active_services(active)
    }

    fn tune(&mut self, config: &Config) -> Vec<Error> {
        self.plane.apply_tuning(&config.global.tuning);
        let rules = config.virtual_servers.iter().flat_map(|v| v.mark_rules.iter().map(|m| (v.key.fwmark, *m)));
        self.plane.packet_path.maps.write_mark_rules(&rules.collect::<Vec<_>>()).err().into_iter().collect()
    }

    fn service_records(&mut self) -> Vec<ServiceRecord> {
        self.plane.maps().service_records()
    }

    fn answer_counts(&mut self) -> Vec<((ServiceKey, ServerKey), AnswerCounts)> {
        self.plane.maps().answer_counts()
    }

    fn connections(&mut self) -> Result<Vec<Connection>> {
        Ok(self.plane.maps().connections().iter().map(ConnEntry::to_ipvs).collect())
    }

    fn set_standby(&mut self, standby: bool) {
        self.plane.packet_path.set_standby(standby);
    }

    fn import_connections(&mut self, connections: &[Connection]) -> Result<usize> {
        let result = self.plane.packet_path.import_connections(connections)?;
        Ok(result.unknown + result.table_full)
    }

    /// A new configuration detaches the program from all other devices. An event does not: an address may be gone for a
    /// moment.
    fn update_attachments(&mut self, netlink: &mut Netlink, config: &Config, reason: UpdateReason) -> Vec<String> {
        let mut errors = Vec::new();
        let Ok(links) = netlink.links() else { return errors };
        self.attachments.sync_links(&self.plane.packet_path, &links);
        let has_services = !config.virtual_servers.is_empty() || !self.plane.maps().external_services().is_empty();
        let balances_local = !config.global.ignores_local_clients && has_services;
        self.local_clients.update(&self.plane.packet_path, balances_local, reason);
        let mut decision = match self.decide(netlink, &links, config) {
            Ok(decision) => decision,
            Err(e) => return vec![e.to_string()],
        };
        if reason == UpdateReason::NewConfig {
            let all: Vec<u32> = decision.attached.keys().copied().collect();
            self.attachments.detach_except(&self.plane.packet_path, &all);
        }
        self.detach_closed(&decision, &links);
        // Next hops in new VLANs become usable when next hops are refreshed, which callers do afterwards.
        errors.extend(self.plane.maps().record_vlans(&links).err().map(|e| e.to_string()));
        let known = self.without_xdp.len();
        errors.extend(self.attach(&decision, &links, reason));
        if self.without_xdp.len() > known
            && let Ok(again) = self.decide(netlink, &links, config)
        {
            // XDP programs cannot send by that NIC, which may rule out XDP on the others.
            decision = again;
            errors.extend(self.attach(&decision, &links, UpdateReason::NewConfig));
        }
        self.attachments.record_devices(&self.plane.packet_path, &links);
        if decision.attached.is_empty() && !config.virtual_servers.is_empty() {
            errors.push("no device leads to clients: set `dataplane_interface`".into());
        }
        self.decision.update(&decision, &links);
        self.decision.findings.extend(self.bypassed_rules(config));
        errors.extend(vlan_tag_errors(&self.attachments, &links));
        errors
    }

    fn has_new_filter_rules(&mut self) -> bool {
        self.filter.refresh()
    }

    fn repair_attachments(&mut self, netlink: &mut Netlink) {
        let path = &self.plane.packet_path;
        match path.restore_map_pins(&path.dir) {
            Ok(restored) if restored.is_empty() => {}
            Ok(restored) => tracing::warn!("somebody removed the pins of {}: made again", restored.join(", ")),
            Err(e) => tracing::error!("{e}"),
        }
        self.local_clients.repair();
        if !self.attachments.faults(path).iter().any(|(_, fault)| fault.is_repairable()) {
            return;
        }
        let Ok(links) = netlink.links() else { return };
        for (device, fault, repaired) in self.attachments.repair(path, &links) {
            match repaired {
                Ok(()) => tracing::warn!(%device, "{device}: {fault}: attached again"),
                Err(e) => tracing::error!(%device, "{device}: {fault}: {e}"),
            }
        }
    }

    fn refresh_next_hops(&mut self, netlink: &mut Netlink) -> bool {
        self.attachments.accept_local_replies(self.plane.maps());
        match self.next_hops.refresh(netlink, &self.plane) {
            Ok(0) => {}
            Ok(n) => tracing::debug!("{n} next hops changed"),
            Err(e) => tracing::warn!("cannot look up the next hops of real servers: {e}"),
        }
        !self.next_hops.is_pending()
    }

    fn unreachable_reason(&self, addr: IpAddr) -> Option<String> {
        self.next_hops.error(addr).map(str::to_owned)
    }

    fn status(&mut self) -> DataPlaneStatus {
        let maps = self.plane.maps();
        DataPlaneStatus {
            kind: PlaneKind::Xdp.name().to_owned(),
            attachments: self.attachment_statuses(),
            devices_left_alone: self.decision.left_alone.clone(),
            local_clients: self.local_clients.status(),
            packet_counters: maps.packet_counters().into_iter().map(|(n, c)| (n.to_owned(), c)).collect(),
            conn_capacity: maps.conn_capacity(),
            maps_reused: self.plane.packet_path.reused_maps,
            ..DataPlaneStatus::default()
        }
    }

    fn findings(&mut self) -> Vec<Finding> {
        let faults = self.attachments.faults(&self.plane.packet_path);
        let faults = faults.into_iter().map(|(device, fault)| fault_finding(device, &fault));
        let strict = self.attachments.devices_that_drop_replies(self.plane.maps()).into_iter().map(rp_filter_finding);
        self.decision
            .findings
            .iter()
            .cloned()
            .chain(strict)
            .chain(faults)
            .chain(self.local_clients.findings())
            .collect()
    }

    fn installed(&self) -> Vec<String> {
        let devices = self.attachments.iter().map(|(dev, mode)| format!("{mode} on {dev}"));
        devices.chain(self.local_clients.installed()).collect()
    }

    fn update_connection_sync(&mut self, _: &Config, _: Option<bool>) -> Vec<Error> {
        Vec::new() // `lvs_sync_daemon` makes the configuration an IPVS one
    }

    /// Unless `all`, external services stay, and the packet path with them.
    fn release(mut self: Box<Self>, netlink: &mut Netlink, all: bool) {
        let (own, external) = self.plane.maps().observe_by_owner();
        let stays = !all && !external.is_empty();
        if !stays {
            self.attachments.detach_except(&self.plane.packet_path, &[]);
            self.local_clients.detach(&self.plane.packet_path.dir);
        }
        let removed = if stays { own } else { self.plane.maps().observe_services() };
        let steps: Vec<Step> = removed.into_keys().map(Step::RemoveService).collect();
        self.plane.apply_steps(&steps);
        if stays {
            let services = external.len();
            tracing::info!(services, "{services} external services stay, and the packet path with them");
            return;
        }
        self.next_hops.release_neighbours(netlink);
        self.serve_all.set_maps(None);
        self.plane.packet_path.unpin();
    }
}

/// An attachment that is not as it should be.
fn fault_finding(device: &str, fault: &AttachmentFault) -> Finding {
    let severity = match fault {
        AttachmentFault::Detached | AttachmentFault::Replaced(_) => Severity::Critical,
        AttachmentFault::PinRemoved | AttachmentFault::InFront(_) => Severity::Warning,
    };
    let finding = Finding::new("attachment", severity, format_args!("packet path on {device}"), fault);
    match fault {
        AttachmentFault::InFront(_) => finding.with_remedy("detach it if it does not belong there (`bpftool net`)"),
        _ => finding,
    }
}
