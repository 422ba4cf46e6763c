//! Adverts: where they go, how often, and how they are authenticated.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::lower::LoweringContext;
use crate::config::value::{Entry, Line, Section, Value};
use crate::model::{
    AdvertDestination, Auth, AuthPass, Family, HmacKey, ReleaseIntervals, Signing, SigningMode, UnicastConfig,
    UnicastPeer, VrrpVersion,
};
use crate::vrrp::packet::{MULTICAST_GROUP, MULTICAST_GROUP6};

impl LoweringContext<'_> {
    /// The unicast peers, or the multicast group. As in keepalived, unicast without a peer becomes multicast.
    pub(crate) fn advert_destination(&self, s: &Section, family: Family) -> AdvertDestination {
        let ttl_of = |options: &[(String, Option<String>)], name: &str| {
            options.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.as_deref()?.parse::<u8>().ok())
        };
        let mut known_peers_only = s.has("check_unicast_src")
            || self.global_setting(|g| g.get("vrrp_check_unicast_src").map(|_| ())).is_some();
        let mut peers = Vec::new();
        for (_, line) in s.lines("unicast_peer") {
            let Line::Options(o) = line else { continue };
            let Some(addr) = o.first().and_then(|(a, _)| a.parse::<IpAddr>().ok()) else { continue };
            if Family::from_addr(addr) != family {
                continue;
            }
            let (min, max) = (ttl_of(o, "min_ttl"), ttl_of(o, "max_ttl"));
            known_peers_only |= min.or(max).is_some();
            peers.push(UnicastPeer { addr, min_ttl: min.unwrap_or(0), max_ttl: max.unwrap_or(255) });
        }
        if !peers.is_empty() {
            // For IPv6 keepalived leaves the hop limit to the kernel, whose default is 64.
            let default = if family == Family::V6 { 64 } else { 255 };
            let ttl = s.uint("unicast_ttl").unwrap_or(default) as u8;
            return AdvertDestination::Unicast(UnicastConfig { peers, ttl, known_peers_only });
        }
        AdvertDestination::Multicast(self.multicast_group(s, family))
    }

    /// The multicast group: of the instance, the global one, or that of the RFC.
    pub(crate) fn multicast_group(&self, s: &Section, family: Family) -> IpAddr {
        let (global, default) = match family {
            Family::V4 => ("vrrp_mcast_group4", IpAddr::V4(MULTICAST_GROUP)),
            Family::V6 => ("vrrp_mcast_group6", IpAddr::V6(MULTICAST_GROUP6)),
        };
        let configured = s.address("mcast_dst_ip").or_else(|| self.global_setting(|g| g.address(global)));
        configured.filter(|g| Family::from_addr(*g) == family).unwrap_or(default)
    }
}

/// The interval between adverts, 1 s by default: whole seconds, at least one, in version 2 (RFC 3768, 5.3.7);
/// centiseconds, 1 to 4095, in version 3 (RFC 9568, 5.2.7).
pub(super) fn advert_interval(configured: Option<Duration>, version: VrrpVersion) -> Duration {
    let Some(t) = configured else { return Duration::from_secs(1) };
    match version {
        // As in keepalived, times are rounded to the nearest unit.
        VrrpVersion::V2 => Duration::from_secs(((t.as_millis() + 500) / 1000).max(1) as u64),
        VrrpVersion::V3 => Duration::from_millis((((t.as_millis() + 5) / 10).clamp(1, 4095) * 10) as u64),
    }
}

/// `release_interval`, rounded up to centiseconds; 0 switches it off.
pub(super) fn release_intervals(s: &Section) -> ReleaseIntervals {
    match s.time("release_interval") {
        Some(t) => {
            let interval = Some(Duration::from_millis(t.as_millis().div_ceil(10) as u64 * 10)).filter(|t| !t.is_zero());
            ReleaseIntervals { on_stop: interval, on_crash: interval }
        }
        None => ReleaseIntervals::DEFAULT,
    }
}

/// An address that tells the family of an instance without virtual addresses.
pub(super) fn family_hint(s: &Section) -> Option<IpAddr> {
    let peer = || {
        s.lines("unicast_peer").find_map(|(_, l)| match l {
            Line::Options(o) => o.first().and_then(|(a, _)| a.parse().ok()),
            _ => None,
        })
    };
    s.address("unicast_src_ip").or(s.address("mcast_src_ip")).or_else(peer).or(s.address("mcast_dst_ip"))
}

/// `authentication`, in version 2 only (RFC 9568, 9: version 3 has none). The first eight bytes of the password count;
/// a shorter one is padded with zeros.
pub(super) fn authentication(s: &Section, version: VrrpVersion) -> Auth {
    let Some(a) = s.sections("authentication").last().filter(|_| version == VrrpVersion::V2) else { return Auth::None };
    let Some(text) = a.text("auth_pass") else { return Auth::None };
    let mut pass = [0; 8];
    for (to, from) in pass.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    if a.text("auth_type") == Some("AH") { Auth::Ah(AuthPass(pass)) } else { Auth::Pass(AuthPass(pass)) }
}

/// `auth_hmac`. As in keepalived, it has no effect if the active key is missing. The default of `time_window` is three
/// advert intervals, but at least 5 s.
pub(super) fn signing(s: &Section, advert_int: Duration) -> Option<Signing> {
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
    let default = (advert_int * 3).max(Duration::from_secs(5));
    let window = a.uint("time_window").map_or(default, Duration::from_secs);
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
