//! Virtual and static addresses: `virtual_ipaddress`, `virtual_ipaddress_excluded` and `static_ipaddress` to
//! [`VipSpec`].

use std::net::{IpAddr, Ipv4Addr};

use crate::config::lower::LoweringContext;
use crate::config::value::{AddressLine, Broadcast, Line, Section};
use crate::model::{VipSpec, Vrid};

/// IFA_F_… of linux/if_addr.h. `-nodad` is missing because every virtual address is set without duplicate address
/// detection.
const ADDRESS_FLAGS: [(&str, u32); 4] =
    [("home", 0x10), ("mngtmpaddr", 0x100), ("noprefixroute", 0x200), ("autojoin", 0x400)];

impl LoweringContext<'_> {
    /// The virtual addresses of an instance. An address with `use_vmac` on another device moves to a virtual interface
    /// there.
    pub(crate) fn virtual_addresses(
        &mut self,
        s: &Section,
        keyword: &str,
        interface: &str,
        vrid: Vrid,
    ) -> Vec<VipSpec> {
        let mut vips = self.address_specs(s, keyword, interface);
        let needs_ipv6 = vips.iter().any(|v| v.addr.is_ipv6() && v.dev == interface);
        self.vmacs.iter_mut().filter(|v| v.name == interface).for_each(|v| v.ipv6 |= needs_ipv6);
        for (_, line) in s.lines(keyword) {
            let Line::Address(a) = line else { continue };
            let Some(dev) = a.dev.as_deref() else { continue };
            let Some(vmac) = self.vmac_for_address(s, a, dev, vrid) else { continue };
            vips.iter_mut().filter(|v| v.addr == a.addr && v.dev == dev).for_each(|v| v.dev.clone_from(&vmac));
        }
        vips
    }

    /// `static_ipaddress`: addresses that the daemon sets at start, independent of any instance.
    pub(crate) fn static_addresses(&self) -> Vec<VipSpec> {
        self.address_specs(self.root, "static_ipaddress", "")
    }

    /// The addresses of a block, each address of a device once. `interface` is the device where the line gives none.
    fn address_specs(&self, s: &Section, keyword: &str, interface: &str) -> Vec<VipSpec> {
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

/// An address line with its defaults; the scope's default is that of ip(8).
fn vip_spec(dev: String, a: &AddressLine) -> VipSpec {
    let broadcast = match (a.addr, a.broadcast) {
        (_, Broadcast::Given(IpAddr::V4(b))) => Some(b),
        (IpAddr::V4(addr), Broadcast::Computed) => {
            let host_bits = u32::MAX.checked_shr(u32::from(a.prefix)).unwrap_or(0);
            Some(Ipv4Addr::from(u32::from(addr) | host_bits))
        }
        _ => None,
    };
    let default_scope = match a.addr {
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
        scope: a.scope.unwrap_or(default_scope),
        peer: a.peer,
        preferred: preferred.map(|v| if v == "forever" { u32::MAX } else { v.parse().unwrap_or(u32::MAX) }),
        flags: ADDRESS_FLAGS.iter().filter(|(word, _)| has(word)).map(|(_, flag)| flag).sum(),
        no_track: has("no_track"),
    }
}
