//! rtnetlink: links, addresses, routes, neighbours. One module, so that a breaking release of the message crates touches
//! one place.

mod deletions;
mod encap;
mod links;
mod rules;

pub use deletions::{Deletion, DeletionSubscription};
pub use links::{Link, require_link};

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use evenkeel_core::model::VipSpec;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteVia};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::{Context, Result};

/// An address on a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceAddr {
    /// The device's number.
    pub ifindex: u32,
    /// The address.
    pub addr: IpAddr,
    /// Its prefix length.
    pub prefix_len: u8,
    /// Its label.
    pub label: Option<String>,
    /// Packets can be sent from it: it is not being tried for a duplicate, and none was found (RFC 4862, 5.4).
    pub usable: bool,
}

/// The way to a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// The device it leaves by.
    pub oif: u32,
    /// The router, if it is not on the link.
    pub gateway: Option<IpAddr>,
    /// The destination is an address of this machine.
    pub local: bool,
    /// The address that this machine sends from on this way.
    pub source: Option<IpAddr>,
    /// The way's own MTU, bytes, if it has one.
    pub mtu: Option<u32>,
}

/// A neighbour whose hardware address the kernel knows and believes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// On which device.
    pub ifindex: u32,
    /// Its address.
    pub addr: IpAddr,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Somebody has written it down for good (`ip neigh … nud permanent`).
    pub permanent: bool,
}

/// A socket for requests.
pub struct Netlink {
    socket: Socket,
    seq: u32,
    buf: Vec<u8>,
}

impl Netlink {
    /// Opens a socket in this thread's network namespace.
    pub fn new() -> Result<Self> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok::<_, io::Error>(socket)
        };
        let socket = open().context(|| "open a netlink socket".into())?;
        Ok(Netlink { socket, seq: 0, buf: vec![0; 64 * 1024] })
    }

    /// The number by which events name whoever caused them.
    pub fn port_id(&self) -> u32 {
        let mut address = SocketAddr::new(0, 0);
        self.socket.get_address(&mut address).map_or(0, |()| address.port_number())
    }

    /// Sends a request and reads its whole answer.
    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        what: impl Fn() -> String,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        self.seq = self.seq.wrapping_add(1);
        let mut m = NetlinkMessage::from(message);
        m.header.flags = NLM_F_REQUEST | flags;
        m.header.sequence_number = self.seq;
        m.finalize();
        let mut out = vec![0; m.buffer_len()];
        m.serialize(&mut out);
        self.socket.send(&out, 0).context(&what)?;
        let mut answers = Vec::new();
        loop {
            let n = self.socket.recv(&mut &mut self.buf[..], 0).context(&what)?;
            let mut rest = &self.buf[..n];
            while rest.len() >= 16 {
                let len = u32::from_ne_bytes(rest[..4].try_into().unwrap_or_default()) as usize;
                if len < 16 || len > rest.len() {
                    break;
                }
                let parsed = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&rest[..len]);
                rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
                let Ok(m) = parsed else { continue }; // a message of a kind that the crate does not know yet
                if m.header.sequence_number != self.seq {
                    continue;
                }
                match m.payload {
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(e) => {
                        return match e.code {
                            None => Ok(answers),
                            Some(code) => Err(io::Error::from_raw_os_error(code.get().abs())).context(what),
                        };
                    }
                    NetlinkPayload::InnerMessage(inner) => {
                        answers.push(inner);
                        if flags & (NLM_F_DUMP | NLM_F_ACK) == 0 {
                            return Ok(answers);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// All addresses.
    pub fn addresses(&mut self) -> Result<Vec<InterfaceAddr>> {
        let get = AddressMessage::default(); // of no family in particular
        let answers = self.request(RouteNetlinkMessage::GetAddress(get), NLM_F_DUMP, || "list addresses".into())?;
        let addrs = answers.into_iter().filter_map(|m| match m {
            RouteNetlinkMessage::NewAddress(a) => parse_address(&a),
            _ => None,
        });
        Ok(addrs.collect())
    }

    /// Puts an address on a device. False if it was there.
    pub fn add_address(&mut self, ifindex: u32, vip: &VipSpec) -> Result<bool> {
        let message = address_message(ifindex, vip, true);
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.request(RouteNetlinkMessage::NewAddress(message), flags, || format!("add address {vip}")) {
            Err(e) if e.errno() == Some(libc::EEXIST) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Takes an address from a device. False if it was not there.
    pub fn remove_address(&mut self, ifindex: u32, vip: &VipSpec) -> Result<bool> {
        let message = address_message(ifindex, vip, false);
        match self.request(RouteNetlinkMessage::DelAddress(message), NLM_F_ACK, || format!("remove address {vip}")) {
            Err(e) if e.errno() == Some(libc::EADDRNOTAVAIL) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Takes an address from a device whose other end nobody knows any more. False if it was not there.
    pub fn remove_address_any_peer(&mut self, ifindex: u32, vip: &VipSpec) -> Result<bool> {
        let mut message = address_message(ifindex, vip, false);
        message.attributes.retain(|a| matches!(a, AddressAttribute::Local(_)));
        match self.request(RouteNetlinkMessage::DelAddress(message), NLM_F_ACK, || format!("remove address {vip}")) {
            Err(e) if e.errno() == Some(libc::EADDRNOTAVAIL) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// The way to an address; `None` if there is none.
    pub fn lookup_route(&mut self, addr: IpAddr) -> Result<Option<Route>> {
        let mut get = RouteMessage::default();
        let (family, prefix, to) = match addr {
            IpAddr::V4(a) => (AddressFamily::Inet, 32, RouteAddress::Inet(a)),
            IpAddr::V6(a) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(a)),
        };
        get.header.address_family = family;
        get.header.destination_prefix_length = prefix;
        get.attributes.push(RouteAttribute::Destination(to));
        let answers = match self.request(RouteNetlinkMessage::GetRoute(get), 0, || format!("find the way to {addr}")) {
            Err(e) if e.errno().is_some() => return Ok(None),
            other => other?,
        };
        let route = answers.into_iter().find_map(|m| match m {
            RouteNetlinkMessage::NewRoute(r) => Some(r),
            _ => None,
        });
        let Some(r) = route else { return Ok(None) };
        let ip = |a: &RouteAddress| match a {
            RouteAddress::Inet(a) => Some(IpAddr::V4(*a)),
            RouteAddress::Inet6(a) => Some(IpAddr::V6(*a)),
            _ => None,
        };
        let (mut oif, mut gateway, mut source, mut mtu) = (None, None, None, None);
        for a in &r.attributes {
            match a {
                RouteAttribute::Oif(i) => oif = Some(*i),
                RouteAttribute::Gateway(g) => gateway = ip(g),
                RouteAttribute::Via(RouteVia::Inet6(g)) => gateway = Some(IpAddr::V6(*g)),
                RouteAttribute::PrefSource(p) => source = ip(p),
                RouteAttribute::Metrics(all) => {
                    mtu = all.iter().find_map(|m| if let RouteMetric::Mtu(n) = m { Some(*n) } else { None }).or(mtu);
                }
                _ => {}
            }
        }
        use netlink_packet_route::route::RouteType;
        let local = r.header.kind == RouteType::Local;
        let usable = local || r.header.kind == RouteType::Unicast;
        Ok(oif.filter(|_| usable).map(|oif| Route { oif, gateway, local, source, mtu }))
    }

    /// Every neighbour of both families whose hardware address can be used.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut get = NeighbourMessage::default();
            get.header.family = family;
            let answers =
                self.request(RouteNetlinkMessage::GetNeighbour(get), NLM_F_DUMP, || "list neighbours".into())?;
            all.extend(answers.into_iter().filter_map(|m| match m {
                RouteNetlinkMessage::NewNeighbour(n) => parse_neighbour(&n),
                _ => None,
            }));
        }
        Ok(all)
    }

    /// The hardware address of one neighbour; `None` if it is not known, or not known to be right.
    pub fn lookup_neighbour(&mut self, ifindex: u32, addr: IpAddr) -> Result<Option<[u8; 6]>> {
        let get = RouteNetlinkMessage::GetNeighbour(neighbour_message(ifindex, addr));
        let answers = match self.request(get, 0, || format!("look neighbour {addr} up")) {
            Err(e) if e.errno().is_some() => return Ok(None),
            other => other?,
        };
        Ok(answers.iter().find_map(|m| match m {
            RouteNetlinkMessage::NewNeighbour(n) => parse_neighbour(n).map(|n| n.mac),
            _ => None,
        }))
    }

    /// Asks the kernel to resolve a neighbour and to keep it resolved (a managed neighbour, Linux 5.16).
    pub fn manage_neighbour(&mut self, ifindex: u32, addr: IpAddr) -> Result<()> {
        let mut m = neighbour_message(ifindex, addr);
        m.header.flags = NeighbourFlags::Use;
        m.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.request(RouteNetlinkMessage::NewNeighbour(m), flags, || format!("keep neighbour {addr} resolved"))?;
        Ok(())
    }

    /// The kernel may forget the neighbour again.
    pub fn unmanage_neighbour(&mut self, ifindex: u32, addr: IpAddr) -> Result<()> {
        let m = neighbour_message(ifindex, addr);
        self.request(RouteNetlinkMessage::DelNeighbour(m), NLM_F_ACK, || format!("release neighbour {addr}"))?;
        Ok(())
    }
}

fn neighbour_message(ifindex: u32, addr: IpAddr) -> NeighbourMessage {
    let mut m = NeighbourMessage::default();
    let (family, to) = match addr {
        IpAddr::V4(a) => (AddressFamily::Inet, NeighbourAddress::Inet(a)),
        IpAddr::V6(a) => (AddressFamily::Inet6, NeighbourAddress::Inet6(a)),
    };
    m.header.family = family;
    m.header.ifindex = ifindex;
    m.attributes.push(NeighbourAttribute::Destination(to));
    m
}

/// `whole` for an address that is added.
///
/// An IPv6 address is in force at once, without duplicate address detection: the former master may still have it, and
/// an address that was found twice would never be used again. One that stands alone (/128) is deprecated from the
/// start, so that no connection of the host's own is made from it (RFC 6724, 5, rule 3). Both as keepalived does.
fn address_message(ifindex: u32, vip: &VipSpec, whole: bool) -> AddressMessage {
    let mut m = AddressMessage::default();
    m.header.family = if vip.addr.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    m.header.prefix_len = vip.prefix;
    m.header.scope = AddressScope::from(vip.scope);
    m.header.index = ifindex;
    m.attributes.push(AddressAttribute::Local(vip.addr));
    m.attributes.push(AddressAttribute::Address(vip.peer.unwrap_or(vip.addr)));
    if !whole {
        return m;
    }
    let mut flags = AddressFlags::from_bits_retain(vip.flags);
    let mut preferred = vip.preferred;
    if vip.addr.is_ipv6() {
        flags |= AddressFlags::Nodad;
        if vip.prefix == 128 {
            preferred = preferred.or(Some(0));
        }
    } else {
        m.attributes.extend(vip.broadcast.map(AddressAttribute::Broadcast));
        m.attributes.extend(vip.label.clone().map(AddressAttribute::Label));
    }
    if !flags.is_empty() {
        m.attributes.push(AddressAttribute::Flags(flags));
    }
    if let Some(seconds) = preferred.filter(|s| *s != u32::MAX) {
        let mut lifetimes = CacheInfo::default();
        lifetimes.ifa_valid = u32::MAX;
        lifetimes.ifa_preferred = seconds;
        m.attributes.push(AddressAttribute::CacheInfo(lifetimes));
    }
    m
}

fn parse_address(a: &AddressMessage) -> Option<InterfaceAddr> {
    let (mut local, mut addr, mut label) = (None, None, None);
    let mut flags = AddressFlags::from_bits_retain(u32::from(a.header.flags.bits()));
    for attr in &a.attributes {
        match attr {
            AddressAttribute::Local(l) => local = Some(*l),
            AddressAttribute::Address(a) => addr = Some(*a),
            AddressAttribute::Label(l) => label = Some(l.clone()),
            AddressAttribute::Flags(f) => flags = *f,
            _ => {}
        }
    }
    let tried = flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    let usable = !tried && !flags.contains(AddressFlags::Dadfailed);
    Some(InterfaceAddr {
        ifindex: a.header.index,
        addr: local.or(addr)?,
        prefix_len: a.header.prefix_len,
        label,
        usable,
    })
}

fn parse_neighbour(n: &NeighbourMessage) -> Option<Neighbour> {
    if !matches!(
        n.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    ) {
        return None;
    }
    let mut addr = None;
    let mut mac = None;
    for a in &n.attributes {
        match a {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => addr = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => addr = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(m) => mac = m.as_slice().try_into().ok(),
            _ => {}
        }
    }
    let fixed = matches!(n.header.state, NeighbourState::Permanent | NeighbourState::Noarp);
    Some(Neighbour { ifindex: n.header.ifindex, addr: addr?, mac: mac?, permanent: fixed })
}

/// What changed, as far as anybody here asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetworkChanges {
    /// Devices.
    pub links: bool,
    /// Addresses.
    pub addresses: bool,
    /// Routes or neighbours.
    pub routes_or_neighbours: bool,
}

impl NetworkChanges {
    /// What either of two says.
    pub fn merge(self, more: NetworkChanges) -> NetworkChanges {
        NetworkChanges {
            links: self.links || more.links,
            addresses: self.addresses || more.addresses,
            routes_or_neighbours: self.routes_or_neighbours || more.routes_or_neighbours,
        }
    }
}

/// Hears of changes in this thread's network namespace.
pub struct Monitor {
    socket: Socket,
    /// Routes and rules that somebody took out, since it was last asked.
    deletions: Vec<Deletion>,
    /// Who does not count as somebody.
    own_port: u32,
}

impl Monitor {
    /// Subscribes to links and addresses, and to routes and neighbours if `paths`.
    pub fn new(paths: bool) -> Result<Self> {
        // RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR; RTMGRP_NEIGH, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE
        let groups = 0x1 | 0x10 | 0x100 | if paths { 0x4 | 0x40 | 0x400 } else { 0 };
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, groups))?;
            socket.set_non_blocking(true)?;
            let _ = socket.set_rx_buf_sz(1u32 << 20);
            Ok::<_, io::Error>(socket)
        };
        let socket = open().context(|| "listen to netlink events".into())?;
        Ok(Monitor { socket, deletions: Vec::new(), own_port: 0 })
    }

    /// Routes and rules that vanish by the hand of this one are no news.
    pub fn ignore_changes_of(&mut self, netlink: &Netlink) {
        self.own_port = netlink.port_id();
    }

    /// The routes and rules that somebody took out, of those that have been read since the last call. An [`Interest`] has
    /// to be there for any to come.
    pub fn take_deletions(&mut self) -> Vec<Deletion> {
        std::mem::take(&mut self.deletions)
    }

    /// Waits until something has come.
    pub fn wait(&self) -> Result<()> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let done = poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
        match done {
            Err(nix::errno::Errno::EINTR) => Ok(()),
            other => other.map(|_| ()).context(|| "wait for netlink events".into()),
        }
    }

    /// Reads everything that has come, and says which kinds it was. A lost event counts as every kind.
    pub fn read_events(&mut self) -> NetworkChanges {
        let mut changes = NetworkChanges::default();
        let mut buf = [0u8; 32 * 1024];
        loop {
            match self.socket.recv(&mut &mut buf[..], 0) {
                Ok(n) if n >= 16 => {
                    let mut rest = &buf[..n];
                    while rest.len() >= 16 {
                        let len = u32::from_ne_bytes(rest[..4].try_into().unwrap_or_default()) as usize;
                        let kind = u16::from_ne_bytes([rest[4], rest[5]]);
                        let message = rest.get(..len).unwrap_or_default();
                        self.deletions.extend(deletions::parse_deletion(message, kind, self.own_port));
                        match kind {
                            16 | 17 => changes.links = true,
                            20 | 21 => changes.addresses = true,
                            _ => changes.routes_or_neighbours = true,
                        }
                        if len < 16 {
                            break;
                        }
                        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
                    }
                }
                Ok(_) => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    changes = NetworkChanges { links: true, addresses: true, routes_or_neighbours: true };
                    self.deletions.push(Deletion::EventsLost);
                }
                Err(_) => return changes,
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket lives as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}
