//! Our own packet path: the maps, the devices that it is on, the ways to real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use evenkeel_core::ipc::DataPlaneStatus;
use evenkeel_core::ipvs::Connection;
use evenkeel_core::model::{Config, HookChoice, Member};
use evenkeel_core::plan::{Services, Step};
use evenkeel_sys::bpf::conns::ConnView;
use evenkeel_sys::bpf::hook::takes_tags_off;
use evenkeel_sys::bpf::load::DEFAULT_CONNS;
use evenkeel_sys::bpf::{Hook, Hooks, ServiceView, XdpPlane};
use evenkeel_sys::netlink::{Link, Netlink};
use evenkeel_sys::nexthop::NextHops;
use evenkeel_sys::{Error, Result};

use super::{DataPlane, Kind, Observed, Occasion, Places};

/// The packet path with what belongs to it.
pub struct Xdp {
    plane: XdpPlane,
    hooks: Hooks,
    hops: NextHops,
}

impl Xdp {
    /// Loads it, or takes over what an earlier daemon has left.
    pub fn open(config: &Config, places: &Places) -> Result<Xdp> {
        let entries = config.global.connection_table_size.unwrap_or(DEFAULT_CONNS);
        let plane = XdpPlane::load(&places.bpf_dir, entries)?;
        // A daemon that died while the planes changed may have left it so.
        plane.loaded.stand_by(false);
        Ok(Xdp { plane, hooks: Hooks::default(), hops: NextHops::default() })
    }

    /// The devices that a service's packets may come in by, and how each is to be hooked.
    fn devices(&self, netlink: &mut Netlink, config: &Config, links: &[Link]) -> BTreeMap<u32, HookChoice> {
        let mut served: BTreeSet<IpAddr> = config.virtual_servers.iter().map(|v| v.key.addr).collect();
        served.extend(self.plane.maps().by_hand().iter().map(|k| k.addr));
        if served.is_empty() {
            return BTreeMap::new();
        }
        let index = |name: &str| links.iter().find(|l| l.name == name).map(|l| l.index);
        let vips = config.instances.iter().flat_map(|i| i.all_vips());
        let mut wanted: BTreeMap<u32, HookChoice> =
            vips.filter_map(|v| Some((index(&v.dev)?, HookChoice::Auto))).collect();
        // A service whose address no instance holds: the devices that hold it.
        let members: Vec<Member> = config.virtual_servers.iter().flat_map(|v| v.members.iter().copied()).collect();
        let marked = |addr: IpAddr| members.iter().any(|m| m.first <= addr && addr <= m.last);
        for a in netlink.addresses().unwrap_or_default() {
            if (served.contains(&a.addr) || marked(a.addr)) && links.iter().any(|l| l.index == a.ifindex && !l.loopback)
            {
                wanted.insert(a.ifindex, HookChoice::Auto);
            }
        }
        let named = &config.global.dataplane_interfaces;
        wanted.extend(named.iter().filter_map(|(name, choice)| Some((index(name)?, *choice))));
        wanted
    }
}

impl DataPlane for Xdp {
    fn kind(&self) -> Kind {
        Kind::Xdp
    }

    fn adopted(&self) -> bool {
        self.plane.loaded.adopted
    }

    fn observe(&mut self, desired: &Services) -> Result<Observed> {
        let (mut services, by_hand) = self.plane.maps().observe_by_maker();
        let (wanted, foreign): (Services, Services) = by_hand.into_iter().partition(|(k, _)| desired.contains_key(k));
        services.extend(wanted);
        Ok(Observed { services, foreign: foreign.into_keys().collect() })
    }

    fn claim(&mut self, desired: &Services) {
        for key in self.plane.maps().by_hand() {
            if desired.contains_key(&key) {
                self.plane.claim(key);
            }
        }
    }

    fn apply(&mut self, steps: &[Step]) -> Vec<Error> {
        self.plane.apply(steps)
    }

    fn flush(&mut self) -> Vec<Error> {
        let all: Vec<Step> = self.plane.maps().observe().into_keys().map(Step::RemoveService).collect();
        self.plane.apply(&all)
    }

    fn tune(&mut self, config: &Config) -> Vec<Error> {
        self.plane.tune(&config.global.tuning);
        let marks = config.virtual_servers.iter().flat_map(|v| v.members.iter().map(|m| (v.key.mark, *m)));
        self.plane.loaded.maps.set_members(&marks.collect::<Vec<_>>()).err().into_iter().collect()
    }

    fn views(&mut self) -> Vec<ServiceView> {
        self.plane.maps().view()
    }

    fn connections(&mut self) -> Result<Vec<Connection>> {
        Ok(self.plane.maps().connections().iter().map(ConnView::to_ipvs).collect())
    }

    fn stand_by(&mut self, yes: bool) {
        self.plane.loaded.stand_by(yes);
    }

    fn take(&mut self, connections: &[Connection]) -> Result<usize> {
        let done = self.plane.loaded.adopt(connections)?;
        Ok(done.unknown + done.full)
    }

    /// A new configuration takes the program off all other devices; an event does not, as an address may be gone for a
    /// moment.
    fn follow_network(&mut self, netlink: &mut Netlink, config: &Config, occasion: Occasion) -> Vec<String> {
        let mut errors = Vec::new();
        let Ok(links) = netlink.links() else { return errors };
        let wanted = self.devices(netlink, config, &links);
        self.hooks.follow(&self.plane.loaded, &links);
        if occasion == Occasion::Configured {
            let all: Vec<u32> = wanted.keys().copied().collect();
            self.hooks.keep_only(&self.plane.loaded, &all);
        }
        // Ways by VLANs that are new become what they are when ways are looked up, which follows.
        errors.extend(self.plane.maps().note_vlans(&links).err().map(|e| e.to_string()));
        if wanted.is_empty() && config.virtual_servers.iter().any(|v| v.key.mark != 0) {
            errors.push("no device has an address of what is marked: name one by `dataplane_interface`".into());
        }
        for (ifindex, choice) in wanted {
            let Some(link) = links.iter().find(|l| l.index == ifindex) else { continue };
            if self.hooks.has(ifindex, choice) {
                continue;
            }
            match self.hooks.attach(&self.plane.loaded, link, choice) {
                Ok(hook) => tracing::info!(device = %link.name, "{}: packets are caught by {hook}", link.name),
                Err(e) => {
                    tracing::error!("{e}");
                    errors.push(e.to_string());
                }
            }
        }
        let carries = |l: &Link| links.iter().any(|v| v.vlan.is_some() && v.base == Some(l.index));
        for (name, hook) in self.hooks.list().filter(|(_, h)| matches!(h, Hook::NativeXdp | Hook::GenericXdp)) {
            if links.iter().any(|l| l.name == name && carries(l)) && takes_tags_off(name) {
                errors.push(format!(
                    "{name} takes VLAN tags off before {hook} sees them, so that frames of its VLANs look like its own: \
                     `ethtool -K {name} rxvlan off`, or `dataplane_interface {name} tc`"
                ));
            }
        }
        errors
    }

    fn refresh_ways(&mut self, netlink: &mut Netlink) -> bool {
        self.hooks.let_answers_pass(self.plane.maps());
        match self.hops.refresh(netlink, &self.plane) {
            Ok(0) => {}
            Ok(n) => tracing::debug!("{n} next hops changed"),
            Err(e) => tracing::warn!("{e}"),
        }
        !self.hops.waits()
    }

    fn trouble(&self, addr: IpAddr) -> Option<String> {
        self.hops.trouble(addr).map(str::to_owned)
    }

    fn status(&mut self) -> DataPlaneStatus {
        let maps = self.plane.maps();
        DataPlaneStatus {
            kind: Kind::Xdp.name().to_owned(),
            hooks: self.hooks.list().map(|(d, h)| (d.to_owned(), h.to_string())).collect(),
            reasons: maps.reasons().into_iter().map(|(n, c)| (n.to_owned(), c)).collect(),
            conn_capacity: maps.conn_capacity(),
            adopted: self.plane.loaded.adopted,
            ..DataPlaneStatus::default()
        }
    }

    fn installed(&self) -> Vec<String> {
        self.hooks.list().map(|(dev, hook)| format!("{hook} on {dev}")).collect()
    }

    fn synchronise(&mut self, _: &Config, _: Option<bool>) -> Vec<Error> {
        Vec::new()
    }

    fn release(mut self: Box<Self>, netlink: &mut Netlink, all: bool) {
        let (ours, by_hand) = self.plane.maps().observe_by_maker();
        let keep = !all && !by_hand.is_empty();
        if !keep {
            self.hooks.keep_only(&self.plane.loaded, &[]);
        }
        let go = if keep { ours } else { self.plane.maps().observe() };
        let steps: Vec<Step> = go.into_keys().map(Step::RemoveService).collect();
        self.plane.apply(&steps);
        if keep {
            tracing::info!("{} services made by hand stay, and the packet path with them", by_hand.len());
            return;
        }
        self.hops.release(netlink);
        self.plane.loaded.unpin();
    }
}
