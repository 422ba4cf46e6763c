//! Devices: listed, and created and removed for virtual routers (virtual MAC interfaces).

use evenkeel_core::model::{Vmac, VmacKind};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, InfoVrf,
    IpVlanFlags, IpVlanMode, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
    MacVlanMode, VlanProtocol,
};

use super::Netlink;
use crate::{Error, Result};

/// A network device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// The index.
    pub index: u32,
    /// The name.
    pub name: String,
    /// The MAC address; zeros if the device has none.
    pub mac: [u8; 6],
    /// The device is administratively up and has a carrier.
    pub running: bool,
    /// The device is administratively up.
    pub up: bool,
    /// The device is the loopback device.
    pub loopback: bool,
    /// Its frames have an Ethernet header (ARPHRD_ETHER).
    pub ethernet: bool,
    /// The kind of a software device (IFLA_INFO_KIND), for example `bridge`; empty for a NIC.
    pub kind: String,
    /// The index of the master: of the bridge or bond that the device is a port of, or of its VRF.
    pub master: Option<u32>,
    /// The MTU in bytes.
    pub mtu: u32,
    /// The index of the lower device (IFLA_LINK), for example of a VLAN's or a macvlan's device.
    pub lower: Option<u32>,
    /// For a VLAN: the Ethertype and the VLAN ID of its tag.
    pub vlan: Option<(u16, u16)>,
    /// The device is a macvlan.
    pub macvlan: bool,
    /// The device is an ipvlan.
    pub ipvlan: bool,
    /// For a VRF: its routing table.
    pub vrf_table: Option<u32>,
    /// The alias (`ip link set … alias`).
    pub alias: Option<String>,
}

impl Netlink {
    /// All devices of the network namespace.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let mut get = LinkMessage::default();
        get.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let response = self.request(RouteNetlinkMessage::GetLink(get), NLM_F_DUMP, || "list devices".into())?;
        let links = response.into_iter().filter_map(|m| match m {
            RouteNetlinkMessage::NewLink(l) => Some(parse_link(&l)),
            _ => None,
        });
        Ok(links.collect())
    }

    /// The device with a name.
    pub fn link_by_name(&mut self, name: &str) -> Result<Option<Link>> {
        Ok(self.links()?.into_iter().find(|l| l.name == name))
    }

    /// Creates a macvlan in private mode, or an ipvlan, on the device with index `lower`, and sets its alias. The new
    /// device is down, and generates no IPv6 address.
    pub fn add_vmac(&mut self, v: &Vmac, lower: u32, alias: &str) -> Result<()> {
        let mut m = LinkMessage::default();
        m.attributes.extend([
            LinkAttribute::IfName(v.name.clone()),
            LinkAttribute::Link(lower),
            LinkAttribute::Group(v.group),
            LinkAttribute::LinkInfo(match v.kind {
                VmacKind::Macvlan(_) => vec![
                    LinkInfo::Kind(InfoKind::MacVlan),
                    LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Private)])),
                ],
                VmacKind::Ipvlan { flags, .. } => vec![
                    LinkInfo::Kind(InfoKind::IpVlan),
                    LinkInfo::Data(InfoData::IpVlan(vec![
                        InfoIpVlan::Mode(IpVlanMode::L2),
                        InfoIpVlan::Flags(IpVlanFlags::from_bits_retain(flags)),
                    ])),
                ],
            }),
        ]);
        m.attributes.extend(v.mac().map(|mac| LinkAttribute::Address(mac.to_vec())));
        let operation = || format!("create interface {} on {}", v.name, v.base);
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.request(RouteNetlinkMessage::NewLink(m), flags, operation)?;
        let gone = || Error::new(operation(), "another program has removed it");
        let created = self.link_by_name(&v.name)?.ok_or_else(gone)?;
        let mut m = LinkMessage::default();
        m.header.index = created.index;
        m.attributes.extend([
            // Frames of its own from the virtual MAC address would collide with those of the master.
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
                In6AddrGenMode::None,
            )])]),
            LinkAttribute::IfAlias(alias.to_owned()),
        ]);
        self.request(RouteNetlinkMessage::SetLink(m), NLM_F_ACK, operation)?;
        Ok(())
    }

    /// Sets a device administratively up.
    pub fn set_link_up(&mut self, index: u32, name: &str) -> Result<()> {
        let mut m = LinkMessage::default();
        m.header.index = index;
        m.header.flags = LinkFlags::Up;
        m.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(m), NLM_F_ACK, || format!("set {name} up"))?;
        Ok(())
    }

    /// Removes a device. Returns false if it does not exist.
    pub fn remove_link(&mut self, index: u32, name: &str) -> Result<bool> {
        let mut m = LinkMessage::default();
        m.header.index = index;
        match self.request(RouteNetlinkMessage::DelLink(m), NLM_F_ACK, || format!("remove interface {name}")) {
            Err(e) if e.errno() == Some(libc::ENODEV) => Ok(false),
            other => other.map(|_| true),
        }
    }
}

fn parse_link(l: &LinkMessage) -> Link {
    let mut link = Link {
        index: l.header.index,
        running: l.header.flags.contains(LinkFlags::Up) && l.header.flags.contains(LinkFlags::LowerUp),
        up: l.header.flags.contains(LinkFlags::Up),
        loopback: l.header.flags.contains(LinkFlags::Loopback),
        ethernet: l.header.link_layer_type == LinkLayerType::Ether,
        ..Link::default()
    };
    let mut lower_in_other_netns = false;
    for a in &l.attributes {
        match a {
            // The lower device's index is valid in another network namespace.
            LinkAttribute::LinkNetNsId(_) => lower_in_other_netns = true,
            LinkAttribute::IfName(n) => link.name.clone_from(n),
            LinkAttribute::Address(a) => link.mac = a.as_slice().try_into().unwrap_or_default(),
            LinkAttribute::Mtu(m) => link.mtu = *m,
            LinkAttribute::Link(n) => link.lower = Some(*n),
            LinkAttribute::Controller(n) => link.master = Some(*n).filter(|n| *n != 0),
            LinkAttribute::IfAlias(a) => link.alias = Some(a.clone()),
            LinkAttribute::LinkInfo(i) => {
                let kind = |i: &LinkInfo| if let LinkInfo::Kind(k) = i { Some(k.to_string()) } else { None };
                link.kind = i.iter().find_map(kind).unwrap_or_default();
                link.macvlan = i.contains(&LinkInfo::Kind(InfoKind::MacVlan));
                link.ipvlan = i.contains(&LinkInfo::Kind(InfoKind::IpVlan));
                link.vlan = i.iter().find_map(parse_vlan);
                link.vrf_table = i.iter().find_map(parse_vrf_table);
            }
            _ => {}
        }
    }
    link.vlan = link.vlan.filter(|_| !lower_in_other_netns);
    link
}

fn parse_vrf_table(info: &LinkInfo) -> Option<u32> {
    let LinkInfo::Data(InfoData::Vrf(all)) = info else { return None };
    all.iter().find_map(|i| if let InfoVrf::TableId(n) = i { Some(*n) } else { None })
}

/// The Ethertype and the VLAN ID of a VLAN's tag.
fn parse_vlan(info: &LinkInfo) -> Option<(u16, u16)> {
    let LinkInfo::Data(InfoData::Vlan(all)) = info else { return None };
    let number = all.iter().find_map(|i| if let InfoVlan::Id(n) = i { Some(*n) } else { None })?;
    let stacked = all.contains(&InfoVlan::Protocol(VlanProtocol::Ieee8021Ad));
    Some((if stacked { 0x88a8 } else { 0x8100 }, number))
}

/// The device with a name; an error if it does not exist.
pub fn require_link(netlink: &mut Netlink, name: &str) -> Result<Link> {
    let link = netlink.link_by_name(name)?;
    link.ok_or_else(|| Error::new(format!("find device {name}"), "there is no such device"))
}
