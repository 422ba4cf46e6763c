//! `vrrp_instance` to virtual routers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::super::value::{AddressLine, Broadcast, Entry, Line, Section, Value};
use super::{DefaultWeights, LoweringContext};
use crate::model::{
    AdvertDestination, AnnounceIntervals, Auth, AuthPass, Family, GarpGroup, GarpTiming, HmacKey, InitialState,
    NotifyConfig, OldUnicastChecksum, ReleaseIntervals, Signing, SigningMode, Statics, SyncGroup, Track, TrackedObject,
    UnicastConfig, UnicastPeer, VipSpec, Vrid, VrrpInstance, VrrpVersion,
};
use crate::vrrp::packet::{MULTICAST_GROUP, MULTICAST_GROUP6};

/// `sync_group_tracking_weight`, or the keyword that it replaces.
pub(in crate::config) fn counts_member_weights(group: &Section) -> bool {
    group.has("sync_group_tracking_weight") || group.has("global_tracking")
}

impl LoweringContext<'_> {
    /// Sync groups, and who is in them. An instance stays in the first that names it.
    ///
    /// What a group tracks, each member tracks. Weights of what a member tracks itself count only with
    /// `sync_group_tracking_weight`; keepalived takes such trackers out, but not processes.
    pub(super) fn lower_sync_groups(
        &mut self,
        instances: &mut [VrrpInstance],
        usual: &DefaultWeights,
    ) -> Vec<SyncGroup> {
        let mut out: Vec<SyncGroup> = Vec::new();
        let mut names = HashSet::new();
        let mut free: HashMap<String, &mut VrrpInstance> = instances.iter_mut().map(|i| (i.name.clone(), i)).collect();
        for s in self.root.sections("vrrp_sync_group") {
            if !names.insert(s.name()) {
                continue;
            }
            let named = s.lines("group").filter_map(|(_, l)| if let Line::Name(n) = l { Some(n) } else { None });
            let members: Vec<&mut VrrpInstance> = named.filter_map(|n| free.remove(n)).collect();
            if members.is_empty() {
                continue;
            }
            let own = tracked_objects(s, usual);
            for m in members {
                let counts = |t: &Track| t.weight == 0 || matches!(t.object, TrackedObject::Process(_));
                m.tracks.retain(|t| counts(t) || counts_member_weights(s));
                let there =
                    |t: &Track| t.object == m.tracked_interface() || m.tracks.iter().any(|o| o.object == t.object);
                let new = own.iter().filter(|t| !there(t));
                let new: Vec<_> = new.cloned().collect();
                m.tracks.extend(new);
                m.sync_group = Some(s.name().to_owned());
            }
            out.push(SyncGroup { name: s.name().to_owned(), notify: self.notify_scripts(s) });
        }
        out
    }

    pub(super) fn lower_instances(&mut self, usual: &DefaultWeights) -> Vec<VrrpInstance> {
        let mut out: Vec<VrrpInstance> = Vec::new();
        let (mut names, mut identities) = (HashSet::new(), HashSet::new());
        for s in self.root.sections("vrrp_instance") {
            let Some(i) = self.lower_instance(s, usual) else { continue };
            let identity = (i.interface.clone(), i.family, i.vrid);
            if !names.contains(&i.name) && !identities.contains(&identity) {
                names.insert(i.name.clone());
                identities.insert(identity);
                out.push(i);
            }
        }
        out
    }

    fn lower_instance(&mut self, s: &Section, usual: &DefaultWeights) -> Option<VrrpInstance> {
        let vrid = Vrid::new(s.uint("virtual_router_id")? as u8)?;
        let first = s.lines("virtual_ipaddress").find_map(|(_, l)| match l {
            Line::Address(a) => Some(a.addr),
            _ => None,
        });
        let family = if s.has("native_ipv6") {
            Family::V6
        } else {
            first.or_else(|| family_hint(s)).map_or(Family::V4, Family::from_addr)
        };
        let Some(interface) = s.text("interface") else {
            if s.has("unicast_peer") {
                let what = format!("vrrp_instance `{}` has no interface, which is not supported yet", s.name());
                self.report_unsupported(s.span, what, "expected `interface`");
            }
            return None;
        };
        let master = s.text("state") == Some("MASTER");
        // keepalived: `state MASTER` without a priority means the owner's.
        let priority = s.uint("priority").unwrap_or(if master { 255 } else { 100 }) as u8;
        let initial = if master || (priority == 255 && s.text("state").is_none()) {
            InitialState::Master
        } else {
            InitialState::Backup
        };
        let version = match s.uint("version").or(self.global_setting(|g| g.uint("vrrp_version"))) {
            // RFC 9568 is the first to know IPv6.
            Some(3) => VrrpVersion::V3,
            _ if family == Family::V6 => VrrpVersion::V3,
            _ => VrrpVersion::V2,
        };
        let destination = self.advert_destination(s, family);
        let unicast = matches!(destination, AdvertDestination::Unicast(_));
        let own_name = |e: &&Entry| e.keyword.name == "timer_expired_backup";
        let expired = s.get("timer_expired_backup").filter(own_name).map(|e| match e.value {
            Value::Uint(n) => n as u8,
            _ => 254,
        });
        let nopreempt = s.get("nopreempt").filter(|n| s.get("preempt").is_none_or(|p| p.keyword_span < n.keyword_span));
        let preempt = nopreempt.is_none() || priority == 255 || master;
        let strict = s.flag("strict_mode").or(self.global_setting(|g| g.flag("vrrp_strict"))).unwrap_or(false);
        let delay = s.time("preempt_delay").filter(|_| !master && preempt).unwrap_or_default();
        let global = |own: &str, name: &'static str| s.uint(own).or(self.global_setting(|g| g.uint(name)));
        let flag =
            |own: &str, name: &'static str| s.flag(own).or(self.global_setting(|g| g.flag(name))).unwrap_or(false);
        let mut i = VrrpInstance {
            name: s.name().to_owned(),
            interface: interface.to_owned(),
            vrid,
            initial_state: initial,
            priority,
            advert_int: advert_interval(s.time("advert_int"), version),
            version,
            family,
            auth: authentication(s, version),
            signing: signing(s, advert_interval(s.time("advert_int"), version)),
            preempt,
            preempt_delay: delay,
            down_timer_adverts: global("down_timer_adverts", "vrrp_down_timer_adverts").unwrap_or(3) as u8,
            release_intervals: release_interval(s),
            timer_expired_backup: expired.filter(|_| !preempt),
            advert_destination: destination,
            source_address: s
                .address("unicast_src_ip")
                .or(s.address("mcast_src_ip"))
                .filter(|a| Family::from_addr(*a) == family),
            v3_checksum_as_v2: flag("v3_checksum_as_v2", "v3_checksum_as_v2"),
            old_unicast_checksum: match (s.get("old_unicast_checksum"), s.text("old_unicast_checksum")) {
                (_, Some("never")) => OldUnicastChecksum::Never,
                (Some(_), _) if unicast => OldUnicastChecksum::Always,
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
            fault_without_peer: s.has("unicast_fault_no_peer") && is_unicast(s),
            startup_delay: self.global_setting(|g| g.time("vrrp_startup_delay")).unwrap_or_default(),
            boot_delay: self.global_setting(|g| g.time("vrrp_delay_after_boot")).unwrap_or_default(),
            hold_until_frame: self.global_setting(|g| g.time("vrrp_hold_until_frame")).unwrap_or_default(),
            garp_extra_if_interval: Duration::ZERO,
            garp_extra_if_vips: Vec::new(),
            promote_secondaries: s.has("promote_secondaries"),
            vmac: None,
            accept_mode: accept_mode(s, priority, strict, version),
            strict_mode: strict,
            notify: self.notify_scripts(s),
            sync_group: None,
        };
        if strict {
            apply_strict_mode(&mut i, self.multicast_group(s, family));
        }
        i.vmac = self.lower_vmac(s, interface, family, vrid).or_else(|| self.lower_ipvlan(s, interface, family, vrid));
        i.source_address = i.source_address.or_else(|| self.ipvlan_source(i.vmac.as_ref()?));
        let xmit_base = i.vmac.as_mut().map(|v| &mut v.xmit_base);
        xmit_base.into_iter().for_each(|x| *x &= !strict);
        let on = i.vmac.as_ref().map_or(interface, |v| &v.name).to_owned();
        i.routes = self.lower_routes(s, "virtual_routes");
        i.rules = self.lower_rules(s, "virtual_rules");
        i.tracks = tracked_objects(s, usual);
        let own = i.tracked_interface();
        i.tracks.retain(|t| t.object != own);
        i.vips = self.virtual_addresses(s, "virtual_ipaddress", &on, vrid);
        i.vips.retain(|v| Family::from_addr(v.addr) == family); // what is of another family was told already
        i.vips_excluded = self.virtual_addresses(s, "virtual_ipaddress_excluded", &on, vrid);
        self.set_extra_garp(s, &mut i, &on);
        Some(i)
    }

    /// `vrrp_min_garp` takes the place of what global_defs says, and of the defaults.
    fn garp_timing(&self, s: &Section) -> GarpTiming {
        let least = self.global_setting(|g| g.flag("vrrp_min_garp")).unwrap_or(false);
        let number = |own: &str, name: &'static str, usual: u64| {
            let global = || if least { None } else { self.global_setting(|g| g.uint(name)) };
            s.uint(own).or_else(global).unwrap_or(usual)
        };
        // What follows an advert of lower priority is what global_defs has for a new master, not what this instance has.
        let usual = |name: &'static str| match (least, name) {
            (true, "vrrp_garp_master_delay") => 0,
            (true, _) => 1,
            (false, _) => self.global_setting(|g| g.uint(name)).unwrap_or(5),
        };
        let (all_delay, all_repeat) = (usual("vrrp_garp_master_delay"), usual("vrrp_garp_master_repeat"));
        let delay = number("garp_master_delay", "vrrp_garp_master_delay", all_delay);
        let repeat = number("garp_master_repeat", "vrrp_garp_master_repeat", all_repeat);
        let refresh = number("garp_master_refresh", "vrrp_garp_master_refresh", 0);
        let refresh_repeat = number("garp_master_refresh_repeat", "vrrp_garp_master_refresh_repeat", 1);
        let lower_delay = number("garp_lower_prio_delay", "vrrp_garp_lower_prio_delay", all_delay);
        let lower_repeat = number("garp_lower_prio_repeat", "vrrp_garp_lower_prio_repeat", all_repeat);
        GarpTiming {
            master_delay: Duration::from_secs(delay),
            master_repeat: repeat as u32,
            master_refresh: Duration::from_secs(refresh),
            master_refresh_repeat: refresh_repeat as u32,
            lower_prio_delay: Duration::from_secs(lower_delay),
            lower_prio_repeat: lower_repeat as u32,
        }
    }

    /// `garp_extra_if`: which of its addresses are on other interfaces than its own, and how often they are announced.
    fn set_extra_garp(&self, s: &Section, i: &mut VrrpInstance, own: &str) {
        let words = |s: &'_ Section, k: &str| match &s.get(k)?.value {
            Value::Words(w) => Some(w.clone()),
            _ => None,
        };
        let here = words(s, "garp_extra_if").or_else(|| words(s, "vmac_garp_intvl"));
        let global =
            || self.global_setting(|g| words(g, "vrrp_garp_extra_if").or_else(|| words(g, "vrrp_vmac_garp_intvl")));
        let Some(given) = here.or_else(global) else { return };
        let all = given.first().is_some_and(|w| w == "all");
        let is_vmac = |dev: &str| self.vmacs.iter().any(|v| v.name == dev);
        let seconds = given.last().and_then(|n| n.parse().ok()).unwrap_or(0);
        let elsewhere = |v: &&VipSpec| v.dev != own && (all || is_vmac(&v.dev));
        i.garp_extra_if_vips = i.all_vips().filter(elsewhere).map(|v| (v.dev.clone(), v.addr)).collect();
        if !i.garp_extra_if_vips.is_empty() {
            i.garp_extra_if_interval = Duration::from_secs(seconds);
        }
    }

    /// `track_group`: instances that stand still while something static is not there.
    pub(super) fn apply_track_groups(&self, instances: &mut [VrrpInstance], statics: &Statics) {
        for (object, name) in
            self.tracked_static_addresses(statics).chain(self.tracked_static_routes_and_rules(statics))
        {
            let groups = self.root.sections("track_group").filter(|g| g.name() == name);
            let named = |l: &Line| if let Line::Name(n) = l { Some(n.clone()) } else { None };
            let members: HashSet<String> =
                groups.flat_map(|g| g.lines("group")).filter_map(|(_, l)| named(l)).collect();
            for i in instances.iter_mut().filter(|i| members.contains(&i.name)) {
                i.tracks.push(Track { object: object.clone(), weight: 0, reverse: false });
            }
        }
    }

    /// Static addresses that a group tracks, and its name.
    fn tracked_static_addresses(&self, statics: &Statics) -> impl Iterator<Item = (TrackedObject, &str)> {
        self.root.lines("static_ipaddress").filter_map(|(_, line)| {
            let Line::Address(a) = line else { return None };
            let (_, group) = a.options.iter().find(|(word, _)| word == "track_group")?;
            let same = |v: &&VipSpec| v.addr == a.addr && a.dev.as_ref().is_none_or(|d| *d == v.dev);
            let v = statics.addresses.iter().find(same)?;
            Some((TrackedObject::Address(v.to_string()), group.as_deref()?))
        })
    }

    /// `interface_up_down_delays`
    pub(super) fn link_delays(&self) -> BTreeMap<String, (Duration, Duration)> {
        let seconds = |o: Option<&(String, Option<String>)>| {
            let text = o.and_then(|(_, v)| v.as_deref());
            text.and_then(|t| Duration::try_from_secs_f64(t.parse().ok()?).ok())
        };
        let line = |l: &Line| match l {
            Line::Options(o) => {
                let down = seconds(o.get(1)).unwrap_or_default();
                Some((o.first()?.0.clone(), (down, seconds(o.get(2)).unwrap_or(down))))
            }
            _ => None,
        };
        self.root.lines("interface_up_down_delays").filter_map(|(_, l)| line(l)).collect()
    }

    /// `vrrp_garp_interval`, `vrrp_gna_interval` and `garp_group`.
    pub(super) fn announcement_intervals(&self) -> AnnounceIntervals {
        let time = |name: &'static str| self.global_setting(|g| g.time(name)).unwrap_or_default();
        let mut gaps =
            AnnounceIntervals { garp: time("vrrp_garp_interval"), gna: time("vrrp_gna_interval"), groups: Vec::new() };
        for s in self.root.sections("garp_group") {
            let mut interfaces: Vec<String> = s.text("interface").map(str::to_owned).into_iter().collect();
            interfaces.extend(s.lines("interfaces").filter_map(|(_, l)| match l {
                Line::Name(n) => Some(n.clone()),
                _ => None,
            }));
            let [garp, gna] = ["garp_interval", "gna_interval"].map(|k| s.time(k).unwrap_or_default());
            gaps.groups.push(GarpGroup { interfaces, garp, gna });
        }
        gaps
    }

    /// `notify…` of an instance or a sync group.
    fn notify_scripts(&self, s: &Section) -> NotifyConfig {
        let global = || self.global_setting(|g| g.flag("vrrp_notify_priority_changes"));
        // Two of them an instance has and a group has not.
        let known = |keyword: &'static str| s.block.keyword(keyword).map(|_| keyword);
        NotifyConfig {
            master: self.script_command(s, "notify_master"),
            backup: self.script_command(s, "notify_backup"),
            fault: self.script_command(s, "notify_fault"),
            stop: self.script_command(s, "notify_stop"),
            any: self.script_command(s, "notify"),
            deleted: known("notify_deleted").filter(|k| s.has(k)).map(|k| self.script_command(s, k)),
            lower_priority: known("notify_master_rx_lower_pri").and_then(|k| self.script_command(s, k)),
            mail: self.sends_mail_alerts(s, "smtp_alert_vrrp", false),
            priority_changes: s.flag("notify_priority_changes").or_else(global).unwrap_or(false),
        }
    }

    /// keepalived: unicast without a peer is multicast.
    fn advert_destination(&self, s: &Section, family: Family) -> AdvertDestination {
        let ttl_of = |options: &[(String, Option<String>)], name: &str| {
            options.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.as_deref()?.parse::<u8>().ok())
        };
        let mut check_source = s.has("check_unicast_src")
            || self.global_setting(|g| g.get("vrrp_check_unicast_src").map(|_| ())).is_some();
        let mut peers = Vec::new();
        for (_, line) in s.lines("unicast_peer") {
            let Line::Options(o) = line else { continue };
            let Some(addr) = o.first().and_then(|(a, _)| a.parse::<IpAddr>().ok()) else { continue };
            if Family::from_addr(addr) != family {
                continue;
            }
            let (min, max) = (ttl_of(o, "min_ttl"), ttl_of(o, "max_ttl"));
            check_source |= min.or(max).is_some();
            peers.push(UnicastPeer { addr, min_ttl: min.unwrap_or(0), max_ttl: max.unwrap_or(255) });
        }
        if !peers.is_empty() {
            // keepalived leaves IPv6's hop limit to the kernel.
            let usual = if family == Family::V6 { 64 } else { 255 };
            let ttl = s.uint("unicast_ttl").unwrap_or(usual) as u8;
            return AdvertDestination::Unicast(UnicastConfig { peers, ttl, known_peers_only: check_source });
        }
        AdvertDestination::Multicast(self.multicast_group(s, family))
    }

    /// The group that adverts go to.
    fn multicast_group(&self, s: &Section, family: Family) -> IpAddr {
        let (global, usual) = match family {
            Family::V4 => ("vrrp_mcast_group4", IpAddr::V4(MULTICAST_GROUP)),
            Family::V6 => ("vrrp_mcast_group6", IpAddr::V6(MULTICAST_GROUP6)),
        };
        let given = s.address("mcast_dst_ip").or_else(|| self.global_setting(|g| g.address(global)));
        given.filter(|g| Family::from_addr(*g) == family).unwrap_or(usual)
    }

    /// Virtual addresses, on interfaces of their own where they are to have some.
    fn virtual_addresses(&mut self, s: &Section, keyword: &str, interface: &str, vrid: Vrid) -> Vec<VipSpec> {
        let mut vips = self.address_specs(s, keyword, interface);
        let on_own = vips.iter().any(|v| v.addr.is_ipv6() && v.dev == interface);
        self.vmacs.iter_mut().filter(|v| v.name == interface).for_each(|v| v.ipv6 |= on_own);
        for (_, line) in s.lines(keyword) {
            let Line::Address(a) = line else { continue };
            let Some(dev) = a.dev.as_deref() else { continue };
            let Some(vmac) = self.vmac_for_address(s, a, dev, vrid) else { continue };
            vips.iter_mut().filter(|v| v.addr == a.addr && v.dev == dev).for_each(|v| v.dev.clone_from(&vmac));
        }
        vips
    }

    pub(super) fn address_specs(&mut self, s: &Section, keyword: &str, interface: &str) -> Vec<VipSpec> {
        let mut out = Vec::new();
        for (_, line) in s.lines(keyword) {
            let Line::Address(a) = line else { continue };
            let dev = a.dev.clone().unwrap_or_else(|| interface.to_owned());
            if !out.iter().any(|v: &VipSpec| v.addr == a.addr && v.dev == dev) {
                out.push(vip_spec(dev, a));
            }
        }
        out
    }
}

/// `release_interval`, up to the next centisecond; 0: never.
fn release_interval(s: &Section) -> ReleaseIntervals {
    match s.time("release_interval") {
        Some(t) => {
            let said = Some(Duration::from_millis(t.as_millis().div_ceil(10) as u64 * 10)).filter(|t| !t.is_zero());
            ReleaseIntervals { on_stop: said, on_crash: said }
        }
        None => ReleaseIntervals::DEFAULT,
    }
}

/// Does a master take in packets to its addresses? An owner does; others unless they are told not to, and under strict
/// rules only if they are told to, which version 2 cannot be (RFC 9568, 6.1, Accept_Mode; keepalived.conf(5), "accept").
fn accept_mode(s: &Section, priority: u8, strict: bool, version: VrrpVersion) -> bool {
    let said = |k: &str| s.get(k).map(|e| e.keyword_span);
    let told = said("accept") > said("no_accept");
    priority == 255 || if strict { told && version == VrrpVersion::V3 } else { told || !s.has("no_accept") }
}

/// `strict_mode`: without what no RFC knows (keepalived.conf(5), "vrrp_strict").
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

/// Is it meant to speak to peers one by one?
fn is_unicast(s: &Section) -> bool {
    s.has("unicast_src_ip") || s.is_mentioned("unicast_peer")
}

/// The address by which an instance without virtual addresses shows what it speaks.
fn family_hint(s: &Section) -> Option<IpAddr> {
    let peer = || {
        s.lines("unicast_peer").find_map(|(_, l)| match l {
            Line::Options(o) => o.first().and_then(|(a, _)| a.parse().ok()),
            _ => None,
        })
    };
    s.address("unicast_src_ip").or(s.address("mcast_src_ip")).or_else(peer).or(s.address("mcast_dst_ip"))
}

/// RFC 9568, 9: version 3 has no authentication. Eight bytes of a password count, padded with zeros.
fn authentication(s: &Section, version: VrrpVersion) -> Auth {
    let Some(a) = s.sections("authentication").last().filter(|_| version == VrrpVersion::V2) else { return Auth::None };
    let Some(text) = a.text("auth_pass") else { return Auth::None };
    let mut pass = [0; 8];
    for (to, from) in pass.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    if a.text("auth_type") == Some("AH") { Auth::Ah(AuthPass(pass)) } else { Auth::Pass(AuthPass(pass)) }
}

/// `auth_hmac`; without the key that signs there is none, as in keepalived. A window is three adverts, or five seconds,
/// unless it is written.
fn signing(s: &Section, advert_int: Duration) -> Option<Signing> {
    let a = s.sections("auth_hmac").last()?;
    let key = |e: &Entry| match &e.value {
        Value::Bytes(b) => b.split_first().map(|(id, secret)| HmacKey { id: *id, secret: secret.to_vec() }),
        _ => None,
    };
    let mut keys: Vec<HmacKey> = Vec::new();
    for k in a.get_all("key").filter_map(key) {
        keys.retain(|known| known.id != k.id);
        keys.push(k);
    }
    let active = a.uint("active_key")? as u8;
    let usual = (advert_int * 3).max(Duration::from_secs(5));
    let window = a.uint("time_window").map_or(usual, Duration::from_secs);
    let signing = Signing {
        keys,
        active,
        window: (a.text("anti_replay") != Some("monotonic")).then_some(window),
        mode: match a.text("mode") {
            Some("permissive") => SigningMode::Permissive,
            Some("receive-only") => SigningMode::ReceiveOnly,
            _ => SigningMode::Enforce,
        },
    };
    signing.keys.iter().any(|k| k.id == active).then_some(signing)
}

/// IFA_F_… of if_addr.h. `-nodad` says what is done in any case.
const ADDRESS_FLAGS: [(&str, u32); 4] =
    [("home", 0x10), ("mngtmpaddr", 0x100), ("noprefixroute", 0x200), ("autojoin", 0x400)];

/// An address with its device, scope and broadcast address; the scope's default is ip(8)'s.
fn vip_spec(dev: String, a: &AddressLine) -> VipSpec {
    let broadcast = match (a.addr, a.broadcast) {
        (_, Broadcast::Given(IpAddr::V4(b))) => Some(b),
        (IpAddr::V4(addr), Broadcast::Computed) => {
            let host_bits = u32::MAX.checked_shr(u32::from(a.prefix)).unwrap_or(0);
            Some(Ipv4Addr::from(u32::from(addr) | host_bits))
        }
        _ => None,
    };
    let usual = match a.addr {
        IpAddr::V4(v4) if v4.is_loopback() => 254,
        IpAddr::V4(v4) if v4.is_link_local() => 253,
        _ => 0,
    };
    let has = |word: &str| a.options.iter().any(|(w, _)| w == word);
    let preferred = a.options.iter().find(|(w, _)| w == "preferred_lft").and_then(|(_, v)| v.as_deref());
    VipSpec {
        addr: a.addr,
        prefix: a.prefix,
        dev,
        label: a.label.clone(),
        broadcast,
        scope: a.scope.unwrap_or(usual),
        peer: a.peer,
        preferred: preferred.map(|v| if v == "forever" { u32::MAX } else { v.parse().unwrap_or(u32::MAX) }),
        flags: ADDRESS_FLAGS.iter().filter(|(word, _)| has(word)).map(|(_, flag)| flag).sum(),
        no_track: has("no_track"),
    }
}

/// What an instance or a sync group tracks, each once.
fn tracked_objects(s: &Section, usual: &DefaultWeights) -> Vec<Track> {
    type Kind = fn(String) -> TrackedObject;
    let kinds: [(&str, Kind); 5] = [
        ("track_script", TrackedObject::Script),
        ("track_interface", TrackedObject::Interface),
        ("track_file", TrackedObject::File),
        ("track_process", TrackedObject::Process),
        ("track_bfd", TrackedObject::Bfd),
    ];
    let mut out: Vec<Track> = Vec::new();
    for (keyword, kind) in kinds {
        for (_, line) in s.lines(keyword) {
            let Line::Track(name, weight) = line else { continue };
            let object = kind(name.clone());
            let usual = match &object {
                TrackedObject::Interface(_) => Some((0, false)),
                other => usual.get(other).copied(),
            };
            let Some(usual) = usual.filter(|_| !out.iter().any(|t| t.object == object)) else { continue };
            let (weight, reverse) = weight.map_or(usual, |(w, r)| (w as i16, r));
            out.push(Track { object, weight, reverse });
        }
    }
    out
}

/// RFC 3768, 5.3.7: whole seconds, at least one; RFC 9568, 5.2.7: centiseconds, 1 to 4095.
fn advert_interval(given: Option<Duration>, version: VrrpVersion) -> Duration {
    let Some(t) = given else { return Duration::from_secs(1) };
    match version {
        // keepalived rounds to the nearest.
        VrrpVersion::V2 => Duration::from_secs(((t.as_millis() + 500) / 1000).max(1) as u64),
        VrrpVersion::V3 => Duration::from_millis((((t.as_millis() + 5) / 10).clamp(1, 4095) * 10) as u64),
    }
}
