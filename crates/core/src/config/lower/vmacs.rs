//! `use_vmac`, `use_ipvlan` and what goes with them: interfaces of a virtual router's own.

use std::net::IpAddr;

use super::super::value::{AddressLine, Section, Value};
use super::LoweringContext;
use crate::model::{Family, Vmac, VmacKind, VmacUse, Vrid};

/// What the words behind `use_vmac` say.
#[derive(Default)]
struct VmacArgs<'w> {
    name: Option<&'w str>,
    mac: Option<Vec<u8>>,
    group: Option<u32>,
}

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

/// RFC 9568, 7.3: 00-00-5E-00-01-VRID over IPv4, 00-00-5E-00-02-VRID over IPv6.
fn virtual_mac(family: Family, vrid: Vrid) -> [u8; 6] {
    let kind = if family == Family::V4 { 1 } else { 2 };
    [0, 0, 0x5e, 0, kind, vrid.get()]
}

impl LoweringContext<'_> {
    /// The interface that an instance's addresses are put on.
    pub(super) fn lower_vmac(&mut self, s: &Section, interface: &str, family: Family, vrid: Vrid) -> Option<VmacUse> {
        let given: &[String] = if let Value::Words(w) = &s.get("use_vmac")?.value { w } else { &[] };
        let words = parse_vmac_args(given);
        let mac = match words.mac.as_deref() {
            Some(&[a, b, c, d, e, f]) => [a, b, c, d, e, f],
            // keepalived puts the virtual router's number behind five bytes.
            Some(&[a, b, c, d, e]) => [a, b, c, d, e, vrid.get()],
            _ => virtual_mac(family, vrid),
        };
        let prefix = self.global_setting(|g| g.text("vmac_prefix")).unwrap_or("vrrp");
        let name = words.name.map(str::to_owned).unwrap_or_else(|| self.unused_vmac_name(prefix, family, vrid));
        let group = words.group.unwrap_or(0);
        self.vmacs.push(Vmac {
            name: name.clone(),
            kind: VmacKind::Macvlan(mac),
            base: interface.to_owned(),
            group,
            ipv6: family == Family::V6,
        });
        Some(VmacUse { name, xmit_base: s.has("vmac_xmit_base") })
    }

    /// `use_ipvlan`: the interface, and the address that adverts come from.
    pub(super) fn lower_ipvlan(&mut self, s: &Section, interface: &str, family: Family, vrid: Vrid) -> Option<VmacUse> {
        let given: &[String] = if let Value::Words(w) = &s.get("use_ipvlan")?.value { w } else { &[] };
        let (mut flags, mut group, mut name, mut address) = (0, 0, None, None);
        let mut rest = given.iter().map(String::as_str);
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

    /// The address of its ipvlan, which adverts come from.
    pub(super) fn ipvlan_source(&self, vmac: &VmacUse) -> Option<IpAddr> {
        self.vmacs.iter().find(|v| v.name == vmac.name).and_then(|v| match v.kind {
            VmacKind::Ipvlan { address, .. } => address.map(|(a, _)| a),
            VmacKind::Macvlan(_) => None,
        })
    }

    /// The device that an address is put on which has an interface of its own on another device than the instance's.
    pub(super) fn vmac_for_address(&mut self, s: &Section, a: &AddressLine, dev: &str, vrid: Vrid) -> Option<String> {
        let wanted = s.has("use_vmac_addr") || a.options.iter().any(|(word, _)| word == "use_vmac");
        let own = self.vmacs.iter().any(|v| v.name == dev);
        if !wanted || own || a.dev.is_none() {
            return None;
        }
        let family = Family::from_addr(a.addr);
        let kind = VmacKind::Macvlan(virtual_mac(family, vrid));
        if let Some(v) = self.vmacs.iter().find(|v| v.base == dev && v.kind == kind) {
            return Some(v.name.clone());
        }
        let usual = || self.global_setting(|g| g.text("vmac_prefix")).unwrap_or("vrrp");
        let prefix = self.global_setting(|g| g.text("vmac_addr_prefix")).unwrap_or_else(usual);
        let name = self.unused_vmac_name(prefix, family, vrid);
        self.vmacs.push(Vmac { name: name.clone(), kind, base: dev.to_owned(), group: 0, ipv6: family == Family::V6 });
        Some(name)
    }

    /// `vrrp.51` as keepalived has it, or the next of its like that no other instance has.
    fn unused_vmac_name(&self, prefix: &str, family: Family, vrid: Vrid) -> String {
        let number = if family == Family::V6 { "6" } else { "4" };
        let usual = [format!("{prefix}.{vrid}"), format!("{prefix}{number}.{vrid}")];
        let more = (1..=u32::MAX).map(|n| format!("{prefix}{number}.{vrid}.{n}"));
        let taken = |name: &String| self.vmacs.iter().any(|v| v.name == *name);
        usual.into_iter().chain(more).find(|n| !taken(n)).unwrap_or_default()
    }
}
