//! `vrrp_instance` to [`VrrpInstance`].

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use super::adverts::{advert_interval, authentication, family_hint, release_intervals, signing};
use super::tracked::DefaultWeights;
use super::tracking::tracked_objects;
use crate::config::lower::LoweringContext;
use crate::config::value::{Entry, Line, Section, Value};
use crate::model::{
    AdvertDestination, Auth, Family, InitialState, OldUnicastChecksum, Vrid, VrrpInstance, VrrpVersion,
};

/// How an instance starts and when it takes over.
struct Preemption {
    initial_state: InitialState,
    priority: u8,
    preempt: bool,
    preempt_delay: Duration,
    timer_expired_backup: Option<u8>,
}

impl LoweringContext<'_> {
    /// All instances. Of two with the same name, or the same interface, family and VRID, the first one stays.
    pub(crate) fn lower_instances(&mut self, weights: &DefaultWeights) -> Vec<VrrpInstance> {
        let mut out: Vec<VrrpInstance> = Vec::new();
        let (mut names, mut identities) = (HashSet::new(), HashSet::new());
        for s in self.root.sections("vrrp_instance") {
            let Some(i) = self.lower_instance(s, weights) else { continue };
            let identity = (i.interface.clone(), i.family, i.vrid);
            if !names.contains(&i.name) && !identities.contains(&identity) {
                names.insert(i.name.clone());
                identities.insert(identity);
                out.push(i);
            }
        }
        out
    }

    /// One instance; `None` without a valid VRID or without an interface.
    fn lower_instance(&mut self, s: &Section, weights: &DefaultWeights) -> Option<VrrpInstance> {
        let vrid = Vrid::new(s.uint("virtual_router_id")? as u8)?;
        let family = instance_family(s);
        let Some(interface) = s.text("interface") else {
            if s.has("unicast_peer") {
                let message = format!("vrrp_instance `{}` has no interface, which is not supported yet", s.name());
                self.report_unsupported(s.span, message, "expected `interface`");
            }
            return None;
        };
        let version = match s.uint("version").or(self.global_setting(|g| g.uint("vrrp_version"))) {
            Some(3) => VrrpVersion::V3,
            // RFC 9568 is the first version of VRRP with IPv6.
            _ if family == Family::V6 => VrrpVersion::V3,
            _ => VrrpVersion::V2,
        };
        let advert_int = advert_interval(s.time("advert_int"), version);
        let advert_destination = self.advert_destination(s, family);
        let is_unicast = matches!(advert_destination, AdvertDestination::Unicast(_));
        let Preemption { initial_state, priority, preempt, preempt_delay, timer_expired_backup } = preemption(s);
        let strict_mode = s.flag("strict_mode").or(self.global_setting(|g| g.flag("vrrp_strict"))).unwrap_or(false);
        let source_address = s.address("unicast_src_ip").or(s.address("mcast_src_ip"));
        let number = |own: &str, name: &'static str| s.uint(own).or(self.global_setting(|g| g.uint(name)));
        let flag =
            |own: &str, name: &'static str| s.flag(own).or(self.global_setting(|g| g.flag(name))).unwrap_or(false);
        let global_time = |name: &'static str| self.global_setting(|g| g.time(name)).unwrap_or_default();
        let mut i = VrrpInstance {
            name: s.name().to_owned(),
            interface: interface.to_owned(),
            vrid,
            initial_state,
            priority,
            advert_int,
            version,
            family,
            auth: authentication(s, version),
            signing: signing(s, advert_int),
            preempt,
            preempt_delay,
            down_timer_adverts: number("down_timer_adverts", "vrrp_down_timer_adverts").unwrap_or(3) as u8,
            release_intervals: release_intervals(s),
            timer_expired_backup,
            advert_destination,
            source_address: source_address.filter(|a| Family::from_addr(*a) == family),
            v3_checksum_as_v2: flag("v3_checksum_as_v2", "v3_checksum_as_v2"),
            old_unicast_checksum: match (s.get("old_unicast_checksum"), s.text("old_unicast_checksum")) {
                (_, Some("never")) => OldUnicastChecksum::Never,
                (Some(_), _) if is_unicast => OldUnicastChecksum::Always,
                _ => OldUnicastChecksum::Detected,
            },
            lower_prio_no_advert: flag("lower_prio_no_advert", "vrrp_lower_prio_no_advert"),
            higher_prio_send_advert: flag("higher_prio_send_advert", "vrrp_higher_prio_send_advert"),
            garp: self.garp_timing(s),
            vips: Vec::new(),
            vips_excluded: Vec::new(),
            routes: Vec::new(),
            rules: Vec::new(),
            tracks: Vec::new(),
            dont_track_primary: s.has("dont_track_primary"),
            bfd_takeover_session: s.text("bfd_takeover").map(str::to_owned),
            track_source: s.has("track_src_ip"),
            owner_ignores_adverts: flag("owner_ignore_adverts", "vrrp_owner_ignore_adverts"),
            skip_check_addresses: flag("skip_check_adv_addr", "vrrp_skip_check_adv_addr"),
            fault_without_peer: s.has("unicast_fault_no_peer") && asks_for_unicast(s),
            startup_delay: global_time("vrrp_startup_delay"),
            boot_delay: global_time("vrrp_delay_after_boot"),
            hold_until_frame: global_time("vrrp_hold_until_frame"),
            garp_extra_if_interval: Duration::ZERO,
            garp_extra_if_vips: Vec::new(),
            promote_secondaries: s.has("promote_secondaries"),
            vmac: None,
            accept_mode: accept_mode(s, priority, strict_mode, version),
            strict_mode,
            notify: self.notify_scripts(s),
            sync_group: None,
        };
        if strict_mode {
            apply_strict_mode(&mut i, self.multicast_group(s, family));
        }
        self.add_interface_and_addresses(s, &mut i);
        i.routes = self.lower_routes(s, "virtual_routes");
        i.rules = self.lower_rules(s, "virtual_rules");
        i.tracks = tracked_objects(s, weights);
        let own = i.tracked_interface();
        i.tracks.retain(|t| t.object != own);
        Some(i)
    }

    /// Adds the virtual interface of an instance, if it has one, and its virtual addresses.
    fn add_interface_and_addresses(&mut self, s: &Section, i: &mut VrrpInstance) {
        let interface = i.interface.clone();
        i.vmac = self
            .lower_vmac(s, &interface, i.family, i.vrid)
            .or_else(|| self.lower_ipvlan(s, &interface, i.family, i.vrid));
        if let Some(vmac) = &mut i.vmac {
            i.source_address = i.source_address.or_else(|| self.ipvlan_source(vmac));
            vmac.xmit_base &= !i.strict_mode;
        }
        let device = i.vmac.as_ref().map_or(interface, |v| v.name.clone());
        i.vips = self.virtual_addresses(s, "virtual_ipaddress", &device, i.vrid);
        i.vips.retain(|v| Family::from_addr(v.addr) == i.family); // `check` has reported those of the other family
        i.vips_excluded = self.virtual_addresses(s, "virtual_ipaddress_excluded", &device, i.vrid);
        self.set_extra_garp(s, i, &device);
    }
}

/// The family of an instance: that of its first virtual address, or else of the addresses that it sends from or to.
fn instance_family(s: &Section) -> Family {
    if s.has("native_ipv6") {
        return Family::V6;
    }
    let first = s.lines("virtual_ipaddress").find_map(|(_, l)| match l {
        Line::Address(a) => Some(a.addr),
        _ => None,
    });
    first.or_else(|| family_hint(s)).map_or(Family::V4, Family::from_addr)
}

/// `state`, `priority`, `nopreempt`, `preempt_delay` and `timer_expired_backup`, which depend on each other.
fn preemption(s: &Section) -> Preemption {
    let master = s.text("state") == Some("MASTER");
    // As in keepalived, `state MASTER` without a priority means the priority of the address owner.
    let priority = s.uint("priority").unwrap_or(if master { 255 } else { 100 }) as u8;
    let is_master = master || (priority == 255 && s.text("state").is_none());
    // Of `preempt` and `nopreempt` the last one decides.
    let nopreempt = s.get("nopreempt").filter(|n| s.get("preempt").is_none_or(|p| p.keyword_span < n.keyword_span));
    let preempt = nopreempt.is_none() || priority == 255 || master;
    let current_name = |e: &&Entry| e.keyword.name == "timer_expired_backup";
    let timer_expired = s.get("timer_expired_backup").filter(current_name).map(|e| match e.value {
        Value::Uint(n) => n as u8,
        _ => 254,
    });
    Preemption {
        initial_state: if is_master { InitialState::Master } else { InitialState::Backup },
        priority,
        preempt,
        preempt_delay: s.time("preempt_delay").filter(|_| !master && preempt).unwrap_or_default(),
        timer_expired_backup: timer_expired.filter(|_| !preempt),
    }
}

/// Whether a master accepts packets to its virtual addresses (RFC 9568, 6.1, Accept_Mode; keepalived.conf(5),
/// "accept").
///
/// The address owner does. Others do unless `no_accept` is set; in strict mode they do only if `accept` is set, which
/// needs version 3.
fn accept_mode(s: &Section, priority: u8, strict: bool, version: VrrpVersion) -> bool {
    let span = |k: &str| s.get(k).map(|e| e.keyword_span);
    let accept = span("accept") > span("no_accept");
    priority == 255 || if strict { accept && version == VrrpVersion::V3 } else { accept || !s.has("no_accept") }
}

/// `strict_mode`: removes what no RFC of VRRP defines (keepalived.conf(5), "vrrp_strict").
fn apply_strict_mode(i: &mut VrrpInstance, group: IpAddr) {
    i.auth = Auth::None;
    i.preempt_delay = Duration::ZERO;
    i.advert_destination = AdvertDestination::Multicast(group);
    i.fault_without_peer = false;
    i.garp.lower_prio_repeat = 0;
    i.lower_prio_no_advert = true;
    i.higher_prio_send_advert = false;
    i.owner_ignores_adverts = true;
    i.initial_state = if i.priority == 255 { InitialState::Master } else { InitialState::Backup };
}

/// Whether the file asks for unicast, even if no peer is valid.
fn asks_for_unicast(s: &Section) -> bool {
    s.has("unicast_src_ip") || s.is_mentioned("unicast_peer")
}
