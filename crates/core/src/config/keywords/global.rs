//! `global_defs`

use std::time::Duration;

use super::{Cx, Keyword, block};
use crate::config::args::{choice, first, no_more, number, one, seconds};
use crate::config::tree::Statement;
use crate::model::{GlobalDefs, HookChoice, VrrpVersion};

/// `global_defs` and the defaults that it sets for instances.
#[derive(Default)]
pub(crate) struct Globals {
    pub defs: GlobalDefs,
    pub version: Option<VrrpVersion>,
    pub garp_master_delay: Option<Duration>,
    pub garp_master_repeat: Option<u32>,
    pub garp_master_refresh: Option<Duration>,
    pub garp_master_refresh_repeat: Option<u32>,
    pub down_timer_adverts: Option<u8>,
    pub lower_prio_no_advert: bool,
    pub higher_prio_send_advert: bool,
    pub v3_checksum_as_v2: bool,
}

/// `garp_master_delay`: whole seconds up to 4294.
pub(crate) fn whole_seconds(cx: &mut Cx<'_>, st: &Statement) -> Option<Duration> {
    let w = one(cx, st)?;
    number(cx, w, 0, 4294).map(Duration::from_secs)
}

/// `garp_master_refresh`: whole seconds, as many as 32 bits count.
pub(crate) fn refresh_seconds(cx: &mut Cx<'_>, st: &Statement) -> Option<Duration> {
    let w = one(cx, st)?;
    number(cx, w, 0, u64::from(u32::MAX)).map(Duration::from_secs)
}

/// A repetition count.
pub(crate) fn repeat(cx: &mut Cx<'_>, st: &Statement) -> Option<u32> {
    let w = one(cx, st)?;
    number(cx, w, 1, u64::from(u32::MAX)).map(|n| n as u32)
}

/// `USER [GROUP]`
pub(crate) fn user_group(cx: &mut Cx<'_>, st: &Statement) -> Option<(String, Option<String>)> {
    let user = first(cx, st)?;
    let group = st.args().get(1).map(|g| g.text.trim_start_matches(':').to_owned());
    no_more(cx, st.args().get(2..).unwrap_or_default(), st);
    Some((user.text.clone(), group))
}

pub(crate) const TABLE: &[Keyword<Globals>] = &[
    Keyword {
        name: "router_id",
        args: "NAME",
        doc: "This director's name in messages.",
        since: "v1.1.8",
        parse: |cx, d, st| d.defs.router_id = one(cx, st).map(|w| w.text.clone()),
    },
    Keyword {
        name: "notification_email",
        args: "{ ADDRESS… }",
        doc: "Who is told by mail; without smtp_server nobody is.",
        since: "v1.0.3",
        parse: |cx, d, st| {
            if let Some(b) = block(cx, st) {
                d.defs.notification_email.extend(b.items.iter().flat_map(|i| i.words.iter().map(|w| w.text.clone())));
            }
        },
    },
    Keyword {
        name: "script_user",
        args: "USER [GROUP]",
        doc: "Who runs scripts that name nobody; keepalived_script if it exists, else the daemon's own user.",
        since: "v1.3.0",
        parse: |cx, d, st| d.defs.script_user = user_group(cx, st),
    },
    Keyword {
        name: "enable_script_security",
        args: "",
        doc: "Never run as root a script that somebody else may write.",
        since: "v1.3.0",
        parse: |_, d, _| d.defs.enable_script_security = true,
    },
    Keyword {
        name: "vrrp_rt_priority",
        args: "1..99",
        doc: "Real-time priority of the thread that speaks VRRP.",
        since: "v2.0.0",
        parse: |cx, d, st| {
            if let Some(w) = one(cx, st) {
                d.defs.vrrp_rt_priority = number(cx, w, 1, 99).map(|n| n as u8);
            }
        },
    },
    Keyword {
        name: "vrrp_version",
        args: "2|3",
        doc: "Version of instances that set none.",
        since: "v1.2.20",
        parse: |cx, d, st| {
            if let Some(w) = one(cx, st) {
                d.version = choice(cx, w, "version", &[("2", VrrpVersion::V2), ("3", VrrpVersion::V3)]);
            }
        },
    },
    Keyword {
        name: "vrrp_garp_master_delay",
        args: "SECONDS",
        doc: "Second block of gratuitous ARPs this long after becoming master; 0: none.",
        since: "v1.2.20",
        parse: |cx, d, st| d.garp_master_delay = whole_seconds(cx, st),
    },
    Keyword {
        name: "vrrp_garp_master_repeat",
        args: "N",
        doc: "Gratuitous ARPs for each address in a block.",
        since: "v1.2.20",
        parse: |cx, d, st| d.garp_master_repeat = repeat(cx, st),
    },
    Keyword {
        name: "vrrp_garp_master_refresh",
        args: "SECONDS",
        doc: "Gratuitous ARPs again this often while master; 0: never.",
        since: "v1.2.20",
        parse: |cx, d, st| d.garp_master_refresh = refresh_seconds(cx, st),
    },
    Keyword {
        name: "vrrp_garp_master_refresh_repeat",
        args: "N",
        doc: "Gratuitous ARPs for each address at each refresh.",
        since: "v1.2.20",
        parse: |cx, d, st| d.garp_master_refresh_repeat = repeat(cx, st),
    },
    Keyword {
        name: "vrrp_down_timer_adverts",
        args: "1..100",
        doc: "Adverts missed before a master counts as gone.",
        since: "v2.2.3",
        parse: |cx, d, st| {
            if let Some(w) = one(cx, st) {
                d.down_timer_adverts = number(cx, w, 1, 100).map(|n| n as u8);
            }
        },
    },
    Keyword {
        name: "vrrp_lower_prio_no_advert",
        args: "[on|off]",
        doc: "As master, do not answer an advert of lower priority.",
        since: "v1.2.20",
        parse: |cx, d, st| d.lower_prio_no_advert = crate::config::args::boolean(cx, st).unwrap_or(false),
    },
    Keyword {
        name: "vrrp_higher_prio_send_advert",
        args: "[on|off]",
        doc: "As master, send one advert before yielding to a higher priority.",
        since: "v1.3.5",
        parse: |cx, d, st| d.higher_prio_send_advert = crate::config::args::boolean(cx, st).unwrap_or(false),
    },
    Keyword {
        name: "v3_checksum_as_v2",
        args: "[on|off]",
        doc: "VRRPv3 checksums over IPv4 without the pseudo-header.",
        since: "v2.2.8",
        parse: |cx, d, st| d.v3_checksum_as_v2 = crate::config::args::boolean(cx, st).unwrap_or(false),
    },
    Keyword {
        name: "connection_table_size",
        args: "ENTRIES",
        doc: "Connections that the packet path can hold, 1024 to 67108864; rounded up to a power of two. Read at the first start.",
        since: "evenkeel",
        parse: |cx, d, st| {
            if let Some(w) = one(cx, st) {
                let n = number(cx, w, 1024, 1 << 26);
                d.defs.connection_table_size = n.map(|n| (n as u32).next_power_of_two());
            }
        },
    },
    Keyword {
        name: "dataplane_interface",
        args: "DEVICE [auto|xdp|tc|generic]",
        doc: "Put the packet path on this device, by this hook; the devices of VIPs need no mention.",
        since: "evenkeel",
        parse: |cx, d, st| {
            let Some(dev) = first(cx, st) else { return };
            let hook = match st.args().get(1) {
                None => Some(HookChoice::Auto),
                Some(w) => choice(
                    cx,
                    w,
                    "hook",
                    &[
                        ("auto", HookChoice::Auto),
                        ("xdp", HookChoice::NativeXdp),
                        ("tc", HookChoice::Tc),
                        ("generic", HookChoice::GenericXdp),
                    ],
                ),
            };
            no_more(cx, st.args().get(2..).unwrap_or_default(), st);
            if let Some(h) = hook {
                d.defs.dataplane_interfaces.insert(dev.text.clone(), h);
            }
        },
    },
];

/// A timer in seconds from a statement's only argument; the range is in microseconds.
pub(crate) fn timer(cx: &mut Cx<'_>, st: &Statement, min_us: u64, max_us: u64) -> Option<Duration> {
    let w = one(cx, st)?;
    seconds(cx, w, min_us, max_us)
}
