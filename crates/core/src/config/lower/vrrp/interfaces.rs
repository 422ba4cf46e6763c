//! Virtual interfaces: `use_vmac`, `use_ipvlan` and `use_vmac_addr`; and delays of link events.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::lower::LoweringContext;
use crate::config::value::{AddressLine, Line, Section, Value};
use crate::model::{Family, Vmac, VmacKind, VmacUse, Vrid};

/// The arguments of `use_vmac`.
#[derive(Default)]
struct VmacArgs<'w> {
    name: Option<&'w str>,
    /// Six bytes, or five that the VRID completes.
    mac: Option<Vec<u8>>,
    group: Option<u32>,
}

/// `[[name] IFNAME] [MAC] [netlink_notify_msg] [group N]`; `read` has checked them.
fn parse_vmac_args(words: &[String]) -> VmacArgs<'_> {
    let mut out = VmacArgs::default();
    let mut rest = words.iter().map(String::as_str);
    while let Some(w) = rest.next() {
        match w {
            "netlink_notify_msg" => {}
            "group" => out.group = rest.next().and_then(|n| n.parse().ok()),
            "name" => out.name = rest.next(),
            w if w.contains(':') => out.mac = w.split(':').map(|b| u8::from_str_radix(b, 16).ok()).collect(),
            w => out.name = Some(w),
        }
    }
    out
}

/// The virtual MAC address of RFC 9568, 7.3: 00-00-5E-00-01-VRID for IPv4, 00-00-5E-00-02-VRID for IPv6.
fn virtual_mac(family: Family, vrid: Vrid) -> [u8; 6] {
    let kind = if family == Family::V4 { 1 } else { 2 };
    [0, 0, 0x5e, 0, kind, vrid.get()]
}

impl LoweringContext<'_> {
    /// `use_vmac`: the macvlan interface that holds the addresses of an instance.
    pub(crate) fn lower_vmac(&mut self, s: &Section, interface: &str, family: Family, vrid: Vrid) -> Option<VmacUse> {
        let words: &[String] = if let Value::Words(w) = &s.get("use_vmac")?.value { w } else { &[] };
        let args = parse_vmac_args(words);
        let mac = match args.mac.as_deref() {
            Some(&[a, b, c, d, e, f]) => [a, b, c, d, e, f],
            // As in keepalived, the VRID is the sixth byte of an address of five.
            Some(&[a, b, c, d, e]) => [a, b, c, d, e, vrid.get()],
            _ => virtual_mac(family, vrid),
        };
        let prefix = self.global_setting(|g| g.text("vmac_prefix")).unwrap_or("vrrp");
        let name = args.name.map(str::to_owned).unwrap_or_else(|| self.unused_vmac_name(prefix, family, vrid));
        let group = args.group.unwrap_or(0);
        self.vmacs.push(Vmac {
            name: name.clone(),
            kind: VmacKind::Macvlan(mac),
            base: interface.to_owned(),
            group,
            ipv6: family == Family::V6,
        });
        Some(VmacUse { name, xmit_base: s.has("vmac_xmit_base") })
    }

    /// `use_ipvlan [[name] IFNAME] [ADDRESS[/PREFIX]] [bridge|private|vepa] [group N]`: an ipvlan interface. Its
    /// address is the source of adverts.
    pub(crate) fn lower_ipvlan(&mut self, s: &Section, interface: &str, family: Family, vrid: Vrid) -> Option<VmacUse> {
        let words: &[String] = if let Value::Words(w) = &s.get("use_ipvlan")?.value { w } else { &[] };
        let (mut flags, mut group, mut name, mut address) = (0, 0, None, None);
        let mut rest = words.iter().map(String::as_str);
        while let Some(w) = rest.next() {
            let (addr, length) = w.split_once('/').map_or((w, None), |(a, l)| (a, l.parse().ok()));
            match (w, addr.parse::<IpAddr>()) {
                ("bridge", _) => flags = 0,
                ("private", _) => flags = 1,
                ("vepa", _) => flags = 2,
                ("group", _) => group = rest.next().and_then(|n| n.parse().ok()).unwrap_or(0),
                ("name", _) => name = rest.next(),
                (_, Ok(a)) => address = Some((a, length.unwrap_or(if a.is_ipv6() { 128 } else { 32 }))),
                (w, Err(_)) => name = Some(w),
            }
        }
        let prefix = self.global_setting(|g| g.text("vmac_prefix")).unwrap_or("vrrp");
        let name = name.map_or_else(|| self.unused_vmac_name(prefix, family, vrid), str::to_owned);
        let address = address.filter(|(a, _)| Family::from_addr(*a) == family);
        let kind = VmacKind::Ipvlan { flags, address };
        self.vmacs.push(Vmac {
            name: name.clone(),
            kind,
            base: interface.to_owned(),
            group,
            ipv6: family == Family::V6,
        });
        Some(VmacUse { name, xmit_base: false })
    }

    /// The source address of adverts that an ipvlan interface gives.
    pub(crate) fn ipvlan_source(&self, vmac: &VmacUse) -> Option<IpAddr> {
        self.vmacs.iter().find(|v| v.name == vmac.name).and_then(|v| match v.kind {
            VmacKind::Ipvlan { address, .. } => address.map(|(a, _)| a),
            VmacKind::Macvlan(_) => None,
        })
    }

    /// The virtual interface of an address with `use_vmac` that is on another device than its instance; `None` for
    /// others.
    pub(crate) fn vmac_for_address(&mut self, s: &Section, a: &AddressLine, dev: &str, vrid: Vrid) -> Option<String> {
        let is_requested = s.has("use_vmac_addr") || a.options.iter().any(|(word, _)| word == "use_vmac");
        let is_virtual = self.vmacs.iter().any(|v| v.name == dev);
        if !is_requested || is_virtual || a.dev.is_none() {
            return None;
        }
        let family = Family::from_addr(a.addr);
        let kind = VmacKind::Macvlan(virtual_mac(family, vrid));
        if let Some(v) = self.vmacs.iter().find(|v| v.base == dev && v.kind == kind) {
            return Some(v.name.clone());
        }
        let default = || self.global_setting(|g| g.text("vmac_prefix")).unwrap_or("vrrp");
        let prefix = self.global_setting(|g| g.text("vmac_addr_prefix")).unwrap_or_else(default);
        let name = self.unused_vmac_name(prefix, family, vrid);
        self.vmacs.push(Vmac { name: name.clone(), kind, base: dev.to_owned(), group: 0, ipv6: family == Family::V6 });
        Some(name)
    }

    /// A name that no other virtual interface has: `vrrp.51` as in keepalived, then `vrrp4.51`, then `vrrp4.51.1` and
    /// so on.
    fn unused_vmac_name(&self, prefix: &str, family: Family, vrid: Vrid) -> String {
        let number = if family == Family::V6 { "6" } else { "4" };
        let first_choices = [format!("{prefix}.{vrid}"), format!("{prefix}{number}.{vrid}")];
        let numbered = (1..=u32::MAX).map(|n| format!("{prefix}{number}.{vrid}.{n}"));
        let taken = |name: &String| self.vmacs.iter().any(|v| v.name == *name);
        first_choices.into_iter().chain(numbered).find(|n| !taken(n)).unwrap_or_default()
    }

    /// `interface_up_down_delays`: how long a link must be down, and up, before the change counts.
    pub(crate) fn link_delays(&self) -> BTreeMap<String, (Duration, Duration)> {
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
}
