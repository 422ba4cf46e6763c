//! Gratuitous ARPs and unsolicited neighbour advertisements: when and how often a master announces its addresses.

use std::time::Duration;

use crate::config::lower::LoweringContext;
use crate::config::value::{Line, Section, Value};
use crate::model::{AnnounceIntervals, GarpGroup, GarpTiming, VipSpec, VrrpInstance};

impl LoweringContext<'_> {
    /// The `garp_…` settings of an instance. `vrrp_min_garp` replaces the global settings and the defaults.
    pub(crate) fn garp_timing(&self, s: &Section) -> GarpTiming {
        let min_garp = self.global_setting(|g| g.flag("vrrp_min_garp")).unwrap_or(false);
        let number = |own: &str, name: &'static str, default: u64| {
            let global = || if min_garp { None } else { self.global_setting(|g| g.uint(name)) };
            s.uint(own).or_else(global).unwrap_or(default)
        };
        // After an advert of lower priority, the default is the global setting for a new master, not that of this
        // instance.
        let default = |name: &'static str| match (min_garp, name) {
            (true, "vrrp_garp_master_delay") => 0,
            (true, _) => 1,
            (false, _) => self.global_setting(|g| g.uint(name)).unwrap_or(5),
        };
        let (all_delay, all_repeat) = (default("vrrp_garp_master_delay"), default("vrrp_garp_master_repeat"));
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

    /// `garp_extra_if`: the addresses of an instance on interfaces other than `own`, and how often they are announced.
    pub(crate) fn set_extra_garp(&self, s: &Section, i: &mut VrrpInstance, own: &str) {
        let words = |s: &'_ Section, k: &str| match &s.get(k)?.value {
            Value::Words(w) => Some(w.clone()),
            _ => None,
        };
        let own_words = words(s, "garp_extra_if").or_else(|| words(s, "vmac_garp_intvl"));
        let global =
            || self.global_setting(|g| words(g, "vrrp_garp_extra_if").or_else(|| words(g, "vrrp_vmac_garp_intvl")));
        let Some(words_given) = own_words.or_else(global) else { return };
        let all = words_given.first().is_some_and(|w| w == "all");
        let is_vmac = |dev: &str| self.vmacs.iter().any(|v| v.name == dev);
        let seconds = words_given.last().and_then(|n| n.parse().ok()).unwrap_or(0);
        let is_elsewhere = |v: &&VipSpec| v.dev != own && (all || is_vmac(&v.dev));
        i.garp_extra_if_vips = i.all_vips().filter(is_elsewhere).map(|v| (v.dev.clone(), v.addr)).collect();
        if !i.garp_extra_if_vips.is_empty() {
            i.garp_extra_if_interval = Duration::from_secs(seconds);
        }
    }

    /// The gaps between announcements on one interface: `vrrp_garp_interval`, `vrrp_gna_interval` and `garp_group`.
    pub(crate) fn announce_intervals(&self) -> AnnounceIntervals {
        let time = |name: &'static str| self.global_setting(|g| g.time(name)).unwrap_or_default();
        let mut intervals =
            AnnounceIntervals { garp: time("vrrp_garp_interval"), gna: time("vrrp_gna_interval"), groups: Vec::new() };
        for s in self.root.sections("garp_group") {
            let mut interfaces: Vec<String> = s.text("interface").map(str::to_owned).into_iter().collect();
            interfaces.extend(s.lines("interfaces").filter_map(|(_, l)| match l {
                Line::Name(n) => Some(n.clone()),
                _ => None,
            }));
            let [garp, gna] = ["garp_interval", "gna_interval"].map(|k| s.time(k).unwrap_or_default());
            intervals.groups.push(GarpGroup { interfaces, garp, gna });
        }
        intervals
    }
}
