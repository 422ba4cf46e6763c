//! Messages of the generic-netlink family `IPVS`, version 1: what follows the netlink header, from the command on.

use std::net::IpAddr;

use super::attr::{AttrReader, AttrValue, AttrWriter};
use super::{
    Change, Dest, DestEntry, FwdMethod, IpvsInfo, Rates, SVC_F_HASHED, Service, ServiceEntry, ServiceId, Stats,
    SyncDaemon, SyncRole, Timeouts,
};
use crate::model::Protocol;

/// The family's name.
pub const FAMILY: &str = "IPVS";
/// Its version.
const VERSION: u8 = 1;

/// enum of commands (IPVS_CMD_*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Command {
    /// A new service.
    NewService = 1,
    /// All of a service is replaced, its servers apart.
    SetService = 2,
    /// Ends a service.
    DelService = 3,
    /// One service, or all.
    GetService = 4,
    /// A new server.
    NewDest = 5,
    /// All of a server is replaced.
    SetDest = 6,
    /// Ends a server.
    DelDest = 7,
    /// All servers of a service.
    GetDest = 8,
    /// Starts a daemon of connection synchronisation.
    NewDaemon = 9,
    /// Stops it.
    DelDaemon = 10,
    /// Those that run.
    GetDaemon = 11,
    /// Timeouts.
    SetConfig = 12,
    /// Timeouts.
    GetConfig = 13,
    /// The answer to GetInfo.
    SetInfo = 14,
    /// Version and size.
    GetInfo = 15,
    /// Numbers begin from 0 again.
    Zero = 16,
    /// Ends all services.
    Flush = 17,
}

// Attributes at the top.
const SERVICE: u16 = 1;
const DEST: u16 = 2;
const DAEMON: u16 = 3;
const TIMEOUT_TCP: u16 = 4;
const TIMEOUT_TCP_FIN: u16 = 5;
const TIMEOUT_UDP: u16 = 6;

// Of a service.
const SVC_AF: u16 = 1;
const SVC_PROTOCOL: u16 = 2;
const SVC_ADDR: u16 = 3;
const SVC_PORT: u16 = 4;
const SVC_FWMARK: u16 = 5;
const SVC_SCHED_NAME: u16 = 6;
const SVC_FLAGS: u16 = 7;
const SVC_TIMEOUT: u16 = 8;
const SVC_NETMASK: u16 = 9;
const SVC_STATS: u16 = 10;
const SVC_PE_NAME: u16 = 11;
const SVC_STATS64: u16 = 12;

// Of a server.
const DEST_ADDR: u16 = 1;
const DEST_PORT: u16 = 2;
const DEST_FWD_METHOD: u16 = 3;
const DEST_WEIGHT: u16 = 4;
const DEST_U_THRESH: u16 = 5;
const DEST_L_THRESH: u16 = 6;
const DEST_ACTIVE: u16 = 7;
const DEST_INACT: u16 = 8;
const DEST_PERSIST: u16 = 9;
const DEST_STATS: u16 = 10;
const DEST_AF: u16 = 11;
const DEST_STATS64: u16 = 12;
const DEST_TUN_TYPE: u16 = 13;
const DEST_TUN_PORT: u16 = 14;
const DEST_TUN_FLAGS: u16 = 15;

// Of a daemon.
const DAEMON_STATE: u16 = 1;
const DAEMON_MCAST_IFN: u16 = 2;
const DAEMON_SYNC_ID: u16 = 3;
const DAEMON_SYNC_MAXLEN: u16 = 4;
const DAEMON_MCAST_GROUP: u16 = 5;
const DAEMON_MCAST_GROUP6: u16 = 6;
const DAEMON_MCAST_PORT: u16 = 7;
const DAEMON_MCAST_TTL: u16 = 8;

// Of the answer to GetInfo.
const INFO_VERSION: u16 = 1;
const INFO_CONN_TAB_SIZE: u16 = 2;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// `ipvsadm` names the whole address in what it asks, `0` in one place; the kernel reads neither.
const NO_MASK: u32 = 0;

fn family(ipv6: bool) -> u16 {
    if ipv6 { AF_INET6 } else { AF_INET }
}

fn addr_bytes(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V6(a) => a.octets(),
        // Always sixteen bytes, the rest zero.
        IpAddr::V4(a) => {
            let [a, b, c, d] = a.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
    }
}

fn build_request(command: Command, body: impl FnOnce(&mut AttrWriter)) -> Vec<u8> {
    let mut w = AttrWriter(vec![command as u8, VERSION, 0, 0]);
    body(&mut w);
    w.0
}

fn put_service_id(w: &mut AttrWriter, id: ServiceId) {
    w.put_u16(SVC_AF, family(id.is_ipv6()));
    match id {
        ServiceId::Fwmark { mark, .. } => w.put_u32(SVC_FWMARK, mark),
        ServiceId::Address { protocol, addr, port } => {
            w.put_u16(SVC_PROTOCOL, protocol.number().into());
            w.put_bytes(SVC_ADDR, &addr_bytes(addr));
            w.put_bytes(SVC_PORT, &port.to_be_bytes());
        }
    }
}

fn put_service(w: &mut AttrWriter, s: &Service) {
    w.put_nested(SERVICE, |w| {
        put_service_id(w, s.id);
        w.put_string(SVC_SCHED_NAME, &s.scheduler);
        if !s.persistence_engine.is_empty() {
            w.put_string(SVC_PE_NAME, &s.persistence_engine);
        }
        w.put_bytes(SVC_FLAGS, &[s.flags.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat());
        w.put_u32(SVC_TIMEOUT, s.timeout_s);
        if s.id.is_ipv6() {
            w.put_u32(SVC_NETMASK, s.netmask);
        } else {
            w.put_bytes(SVC_NETMASK, &s.netmask.to_be_bytes());
        }
    });
}

fn put_dest(w: &mut AttrWriter, d: &Dest) {
    w.put_nested(DEST, |w| {
        w.put_u16(DEST_AF, family(d.addr.is_ipv6()));
        w.put_bytes(DEST_ADDR, &addr_bytes(d.addr));
        w.put_bytes(DEST_PORT, &d.port.to_be_bytes());
        w.put_u32(DEST_FWD_METHOD, d.method.number());
        w.put_u32(DEST_WEIGHT, d.weight.cast_unsigned());
        w.put_u8(DEST_TUN_TYPE, d.tunnel_type);
        w.put_bytes(DEST_TUN_PORT, &d.tunnel_port.to_be_bytes());
        w.put_u16(DEST_TUN_FLAGS, d.tunnel_flags);
        w.put_u32(DEST_U_THRESH, d.u_threshold);
        w.put_u32(DEST_L_THRESH, d.l_threshold);
    });
}

fn put_daemon(w: &mut AttrWriter, d: &SyncDaemon) {
    w.put_nested(DAEMON, |w| {
        w.put_u32(DAEMON_STATE, d.role.number());
        w.put_string(DAEMON_MCAST_IFN, &d.interface);
        w.put_u32(DAEMON_SYNC_ID, d.syncid);
        if let Some(n) = d.maxlen {
            w.put_u16(DAEMON_SYNC_MAXLEN, n);
        }
        // In host byte order, unlike all other ports.
        if let Some(n) = d.port {
            w.put_u16(DAEMON_MCAST_PORT, n);
        }
        if let Some(n) = d.ttl {
            w.put_u8(DAEMON_MCAST_TTL, n);
        }
        match d.group {
            Some(IpAddr::V4(a)) => w.put_bytes(DAEMON_MCAST_GROUP, &a.octets()),
            Some(IpAddr::V6(a)) => w.put_bytes(DAEMON_MCAST_GROUP6, &a.octets()),
            None => {}
        }
    });
}

/// A request that names nothing.
pub fn request(command: Command) -> Vec<u8> {
    build_request(command, |_| {})
}

/// The request for a change.
pub fn change_request(change: &Change) -> Vec<u8> {
    // Where only the name counts, the rest is sent all the same, as ipvsadm does.
    let named = |command, id| build_request(command, |w| put_service(w, &Service::new(id, "")));
    let with_dest = |command, id, d: &Dest| {
        build_request(command, |w| {
            put_service(w, &Service::new(id, ""));
            put_dest(w, d);
        })
    };
    match change {
        Change::AddService(s) => build_request(Command::NewService, |w| put_service(w, s)),
        Change::EditService(s) => build_request(Command::SetService, |w| put_service(w, s)),
        Change::RemoveService(id) => named(Command::DelService, *id),
        Change::AddDest(id, d) => with_dest(Command::NewDest, *id, d),
        Change::EditDest(id, d) => with_dest(Command::SetDest, *id, d),
        Change::RemoveDest(id, d) => with_dest(Command::DelDest, *id, d),
        Change::SetTimeouts(t) => build_request(Command::SetConfig, |w| {
            w.put_u32(TIMEOUT_TCP, t.tcp_s);
            w.put_u32(TIMEOUT_TCP_FIN, t.tcpfin_s);
            w.put_u32(TIMEOUT_UDP, t.udp_s);
        }),
        Change::StartDaemon(d) => build_request(Command::NewDaemon, |w| put_daemon(w, d)),
        Change::StopDaemon(d) => build_request(Command::DelDaemon, |w| put_daemon(w, d)),
        Change::Zero(None) => request(Command::Zero),
        Change::Zero(Some(id)) => named(Command::Zero, *id),
        Change::Flush => request(Command::Flush),
    }
}

/// GetService of one.
pub fn get_service_request(id: ServiceId) -> Vec<u8> {
    build_request(Command::GetService, |w| put_service(w, &Service { netmask: NO_MASK, ..Service::new(id, "") }))
}

/// GetDest, which can only be asked as a dump. Of a service that is not there it answers nothing at all.
pub fn get_dests_request(of: ServiceId) -> Vec<u8> {
    build_request(Command::GetDest, |w| w.put_nested(SERVICE, |w| put_service_id(w, of)))
}

/// The attributes of an answer, from the command on; `None` if it is none of this family.
fn attributes(payload: &[u8]) -> Option<AttrReader<'_>> {
    Some(AttrReader(payload.get(4..)?))
}

fn find_attribute(payload: &[u8], kind: u16) -> Option<AttrValue<'_>> {
    attributes(payload)?.find(|(k, _)| *k == kind).map(|(_, v)| v)
}

/// The answer to GetInfo.
pub fn parse_info(payload: &[u8]) -> Option<IpvsInfo> {
    let mut info = IpvsInfo { version: 0, conn_tab_size: 0 };
    for (kind, v) in attributes(payload)? {
        match kind {
            INFO_VERSION => info.version = v.u32(),
            INFO_CONN_TAB_SIZE => info.conn_tab_size = v.u32(),
            _ => {}
        }
    }
    Some(info)
}

/// The answer to GetConfig.
pub fn parse_timeouts(payload: &[u8]) -> Option<Timeouts> {
    let mut t = Timeouts { tcp_s: 0, tcpfin_s: 0, udp_s: 0 };
    for (kind, v) in attributes(payload)? {
        match kind {
            TIMEOUT_TCP => t.tcp_s = v.u32(),
            TIMEOUT_TCP_FIN => t.tcpfin_s = v.u32(),
            TIMEOUT_UDP => t.udp_s = v.u32(),
            _ => {}
        }
    }
    Some(t)
}

/// An answer to GetService. [`HASHED`] is taken out of the flags.
pub fn parse_service(payload: &[u8]) -> Option<ServiceEntry> {
    let nest = find_attribute(payload, SERVICE)?;
    let get = |kind| nest.nested().find(|(k, _)| *k == kind).map(|(_, v)| v);
    let ipv6 = get(SVC_AF)?.u16() == AF_INET6;
    let id = match get(SVC_FWMARK) {
        Some(mark) => ServiceId::Fwmark { mark: mark.u32(), ipv6 },
        None => ServiceId::Address {
            protocol: Protocol::from_number(u8::try_from(get(SVC_PROTOCOL)?.u16()).ok()?)?,
            addr: get(SVC_ADDR)?.addr(ipv6),
            port: get(SVC_PORT)?.be16(),
        },
    };
    let (stats, rates) = parse_stats(get(SVC_STATS64).or(get(SVC_STATS)));
    let netmask = get(SVC_NETMASK).map_or(id.full_netmask(), |v| if ipv6 { v.u32() } else { v.be32() });
    let service = Service {
        id,
        scheduler: get(SVC_SCHED_NAME).map_or_else(String::new, AttrValue::string),
        flags: get(SVC_FLAGS).map_or(0, AttrValue::u32) & !SVC_F_HASHED,
        timeout_s: get(SVC_TIMEOUT).map_or(0, AttrValue::u32),
        netmask,
        persistence_engine: get(SVC_PE_NAME).map_or_else(String::new, AttrValue::string),
    };
    Some(ServiceEntry { service, stats, rates })
}

/// An answer to GetDest, of a service of this family, which is that of servers on kernels that do not say theirs (before
/// 3.18).
pub fn parse_dest(payload: &[u8], ipv6: bool) -> Option<DestEntry> {
    let nest = find_attribute(payload, DEST)?;
    let get = |kind| nest.nested().find(|(k, _)| *k == kind).map(|(_, v)| v);
    let number = |kind| get(kind).map_or(0, AttrValue::u32);
    let ipv6 = get(DEST_AF).map_or(ipv6, |v| v.u16() == AF_INET6);
    let (stats, rates) = parse_stats(get(DEST_STATS64).or(get(DEST_STATS)));
    let dest = Dest {
        addr: get(DEST_ADDR)?.addr(ipv6),
        port: get(DEST_PORT)?.be16(),
        method: FwdMethod::from_number(number(DEST_FWD_METHOD)),
        weight: number(DEST_WEIGHT).cast_signed(),
        tunnel_type: get(DEST_TUN_TYPE).map_or(0, AttrValue::u8),
        tunnel_port: get(DEST_TUN_PORT).map_or(0, AttrValue::be16),
        tunnel_flags: get(DEST_TUN_FLAGS).map_or(0, AttrValue::u16),
        u_threshold: number(DEST_U_THRESH),
        l_threshold: number(DEST_L_THRESH),
    };
    let (active, inactive, persistent) = (number(DEST_ACTIVE), number(DEST_INACT), number(DEST_PERSIST));
    Some(DestEntry { dest, active, inactive, persistent, stats, rates })
}

/// An answer to GetDaemon.
pub fn parse_daemon(payload: &[u8]) -> Option<SyncDaemon> {
    let nest = find_attribute(payload, DAEMON)?;
    let get = |kind| nest.nested().find(|(k, _)| *k == kind).map(|(_, v)| v);
    let group = get(DAEMON_MCAST_GROUP).map(|v| v.addr(false));
    Some(SyncDaemon {
        role: if get(DAEMON_STATE)?.u32() == SyncRole::Master.number() { SyncRole::Master } else { SyncRole::Backup },
        interface: get(DAEMON_MCAST_IFN).map_or_else(String::new, AttrValue::string),
        syncid: get(DAEMON_SYNC_ID).map_or(0, AttrValue::u32),
        maxlen: get(DAEMON_SYNC_MAXLEN).map(AttrValue::u16),
        group: group.or_else(|| get(DAEMON_MCAST_GROUP6).map(|v| v.addr(true))),
        port: get(DAEMON_MCAST_PORT).map(AttrValue::u16),
        ttl: get(DAEMON_MCAST_TTL).map(AttrValue::u8),
    })
}

/// Of 32 bits or of 64, whichever the kernel has.
fn parse_stats(nest: Option<AttrValue<'_>>) -> (Stats, Rates) {
    let (mut stats, mut rates) = (Stats::default(), Rates::default());
    for (kind, v) in nest.iter().flat_map(|v| v.nested()) {
        let n = v.u32_or_u64();
        match kind {
            1 => stats.conns = n,
            2 => stats.in_packets = n,
            3 => stats.out_packets = n,
            4 => stats.in_bytes = n,
            5 => stats.out_bytes = n,
            6 => rates.cps = n,
            7 => rates.in_pps = n,
            8 => rates.out_pps = n,
            9 => rates.in_bps = n,
            10 => rates.out_bps = n,
            _ => {} // padding, and what is new
        }
    }
    (stats, rates)
}
