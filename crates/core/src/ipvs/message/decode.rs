//! Replies of IPVS as values.

use super::super::attr::{AttrReader, AttrValue};
use super::super::{
    Dest, DestEntry, FwdMethod, IpvsInfo, Rates, SVC_F_HASHED, Service, ServiceEntry, ServiceId, Stats, SyncDaemon,
    SyncRole, Timeouts,
};
use super::*;
use crate::model::Protocol;

/// The attributes of a reply that starts with the command; `None` if it is too short.
fn attributes(payload: &[u8]) -> Option<AttrReader<'_>> {
    Some(AttrReader(payload.get(4..)?))
}

fn find_attribute(payload: &[u8], kind: u16) -> Option<AttrValue<'_>> {
    attributes(payload)?.find(|(k, _)| *k == kind).map(|(_, v)| v)
}

/// Parses the reply to GetInfo.
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

/// Parses the reply to GetConfig.
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

/// Parses a reply to GetService. The flag [`SVC_F_HASHED`] is cleared.
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

/// Parses a reply to GetDest. `ipv6` is the family of the service: kernels before 3.18 do not send the family of a
/// destination.
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

/// Parses a reply to GetDaemon.
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

/// Parses statistics and rates, which have 32 or 64 bits.
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
            _ => {} // padding, and attributes of newer kernels
        }
    }
    (stats, rates)
}
