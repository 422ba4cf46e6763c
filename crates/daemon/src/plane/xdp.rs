//! Our own packet path: the maps, the devices that it is on, the ways to real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use evenkeel_core::ipc::DataPlaneStatus;
use evenkeel_core::ipvs::Connection;
use evenkeel_core::model::{AttachChoice, Config, MarkRule};
use evenkeel_core::plan::{Services, Step};
use evenkeel_sys::bpf::conn_table::ConnEntry;
use evenkeel_sys::bpf::ethtool::strips_vlan_tags;
use evenkeel_sys::bpf::packet_path::DEFAULT_CONNS;
use evenkeel_sys::bpf::{AttachMode, Attachments, ServiceRecord, XdpPlane};
use evenkeel_sys::netlink::{Link, Netlink};
use evenkeel_sys::nexthop::NextHopResolver;
use evenkeel_sys::{Error, Result};

use super::{DataPlane, PlaneKind, PlaneObservation, PlanePaths, UpdateReason};

/// The packet path with what belongs to it.
pub struct XdpDataPlane {
    plane: XdpPlane,
    attachments: Attachments,
    next_hops: NextHopResolver,
}

impl XdpDataPlane {
    /// Loads it, or takes over what an earlier daemon has left.
    pub fn open(config: &Config, places: &PlanePaths) -> Result<XdpDataPlane> {
        let entries = config.global.connection_table_size.unwrap_or(DEFAULT_CONNS);
        let plane = XdpPlane::load(&places.bpf_dir, entries)?;
        // A daemon that died while the planes changed may have left it so.
        plane.packet_path.set_standby(false);
        Ok(XdpDataPlane { plane, attachments: Attachments::default(), next_hops: NextHopResolver::default() })
    }

    /// The devices that a service's packets may come in by, and how each is to be hooked.
    fn wanted_attachments(
        &self,
        netlink: &mut Netlink,
        config: &Config,
        links: &[Link],
    ) -> BTreeMap<u32, AttachChoice> {
        let mut served: BTreeSet<IpAddr> = config.virtual_servers.iter().map(|v| v.key.addr).collect();
        served.extend(self.plane.maps().external_services().iter().map(|k| k.addr));
        if served.is_empty() {
            return BTreeMap::new();
        }
        let index = |name: &str| links.iter().find(|l| l.name == name).map(|l| l.index);
        let vips = config.instances.iter().flat_map(|i| i.all_vips());
        let mut wanted: BTreeMap<u32, AttachChoice> =
            vips.filter_map(|v| Some((index(&v.dev)?, AttachChoice::Auto))).collect();
        // A service whose address no instance holds: the devices that hold it.
        let members: Vec<MarkRule> = config.virtual_servers.iter().flat_map(|v| v.mark_rules.iter().copied()).collect();
        let marked = |addr: IpAddr| members.iter().any(|m| m.first <= addr && addr <= m.last);
        for a in netlink.addresses().unwrap_or_default() {
            if (served.contains(&a.addr) || marked(a.addr)) && links.iter().any(|l| l.index == a.ifindex && !l.loopback)
            {
                wanted.insert(a.ifindex, AttachChoice::Auto);
            }
        }
        let named = &config.global.dataplane_interfaces;
        wanted.extend(named.iter().filter_map(|(name, choice)| Some((index(name)?, *choice))));
        wanted
    }
}

impl DataPlane for XdpDataPlane {
    fn kind(&self) -> PlaneKind {
        PlaneKind::Xdp
    }

    fn adopted(&self) -> bool {
        self.plane.packet_path.reused_maps
    }

    fn observe(&mut self, desired: &Services) -> Result<PlaneObservation> {
        let (mut services, by_hand) = self.plane.maps().observe_by_owner();
        let (wanted, foreign): (Services, Services) = by_hand.into_iter().partition(|(k, _)| desired.contains_key(k));
        services.extend(wanted);
        Ok(PlaneObservation { services, external: foreign.into_keys().collect() })
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

    fn tune(&mut self, config: &Config) -> Vec<Error> {
        self.plane.apply_tuning(&config.global.tuning);
        let marks = config.virtual_servers.iter().flat_map(|v| v.mark_rules.iter().map(|m| (v.key.fwmark, *m)));
        self.plane.packet_path.maps.write_mark_members(&marks.collect::<Vec<_>>()).err().into_iter().collect()
    }

    fn views(&mut self) -> Vec<ServiceRecord> {
        self.plane.maps().service_records()
    }

    fn connections(&mut self) -> Result<Vec<Connection>> {
        Ok(self.plane.maps().connections().iter().map(ConnEntry::to_ipvs).collect())
    }

    fn set_standby(&mut self, yes: bool) {
        self.plane.packet_path.set_standby(yes);
    }

    fn import_connections(&mut self, connections: &[Connection]) -> Result<usize> {
        let done = self.plane.packet_path.import_connections(connections)?;
        Ok(done.unknown + done.table_full)
    }

    /// A new configuration takes the program off all other devices; an event does not, as an address may be gone for a
    /// moment.
    fn update_attachments(&mut self, netlink: &mut Netlink, config: &Config, occasion: UpdateReason) -> Vec<String> {
        let mut errors = Vec::new();
        let Ok(links) = netlink.links() else { return errors };
        let wanted = self.wanted_attachments(netlink, config, &links);
        self.attachments.sync_links(&self.plane.packet_path, &links);
        if occasion == UpdateReason::NewConfig {
            let all: Vec<u32> = wanted.keys().copied().collect();
            self.attachments.detach_except(&self.plane.packet_path, &all);
        }
        // Ways by VLANs that are new become what they are when ways are looked up, which follows.
        errors.extend(self.plane.maps().record_vlans(&links).err().map(|e| e.to_string()));
        if wanted.is_empty() && config.virtual_servers.iter().any(|v| v.key.fwmark != 0) {
            errors.push("no device has an address of what is marked: name one by `dataplane_interface`".into());
        }
        for (ifindex, choice) in wanted {
            let Some(link) = links.iter().find(|l| l.index == ifindex) else { continue };
            if self.attachments.is_attached(ifindex, choice) {
                continue;
            }
            match self.attachments.attach(&self.plane.packet_path, link, choice) {
                Ok(hook) => tracing::info!(device = %link.name, "{}: packets are caught by {hook}", link.name),
                Err(e) => {
                    tracing::error!("{e}");
                    errors.push(e.to_string());
                }
            }
        }
        let carries = |l: &Link| links.iter().any(|v| v.vlan.is_some() && v.lower == Some(l.index));
        for (name, hook) in
            self.attachments.iter().filter(|(_, h)| matches!(h, AttachMode::NativeXdp | AttachMode::GenericXdp))
        {
            if links.iter().any(|l| l.name == name && carries(l)) && strips_vlan_tags(name) {
                errors.push(format!(
                    "{name} takes VLAN tags off before {hook} sees them, so that frames of its VLANs look like its own: \
                     `ethtool -K {name} rxvlan off`, or `dataplane_interface {name} tc`"
                ));
            }
        }
        errors
    }

    fn refresh_next_hops(&mut self, netlink: &mut Netlink) -> bool {
        self.attachments.accept_local_replies(self.plane.maps());
        match self.next_hops.refresh(netlink, &self.plane) {
            Ok(0) => {}
            Ok(n) => tracing::debug!("{n} next hops changed"),
            Err(e) => tracing::warn!("{e}"),
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
            attachments: self.attachments.iter().map(|(d, h)| (d.to_owned(), h.to_string())).collect(),
            packet_counters: maps.packet_counters().into_iter().map(|(n, c)| (n.to_owned(), c)).collect(),
            conn_capacity: maps.conn_capacity(),
            maps_reused: self.plane.packet_path.reused_maps,
            ..DataPlaneStatus::default()
        }
    }

    fn installed(&self) -> Vec<String> {
        self.attachments.iter().map(|(dev, hook)| format!("{hook} on {dev}")).collect()
    }

    fn update_connection_sync(&mut self, _: &Config, _: Option<bool>) -> Vec<Error> {
        Vec::new()
    }

    fn release(mut self: Box<Self>, netlink: &mut Netlink, all: bool) {
        let (ours, by_hand) = self.plane.maps().observe_by_owner();
        let keep = !all && !by_hand.is_empty();
        if !keep {
            self.attachments.detach_except(&self.plane.packet_path, &[]);
        }
        let go = if keep { ours } else { self.plane.maps().observe_services() };
        let steps: Vec<Step> = go.into_keys().map(Step::RemoveService).collect();
        self.plane.apply_steps(&steps);
        if keep {
            tracing::info!("{} services made by hand stay, and the packet path with them", by_hand.len());
            return;
        }
        self.next_hops.release_neighbours(netlink);
        self.plane.packet_path.unpin();
    }
}
