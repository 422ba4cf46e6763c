//! Requests to IPVS as bytes.

use std::net::IpAddr;

use super::super::attr::AttrWriter;
use super::super::{Change, Dest, Service, ServiceId, SyncDaemon};
use super::*;

/// The netmask in GetService. ipvsadm sends 0 there and the full mask in other requests; the kernel reads neither.
const NO_MASK: u32 = 0;

fn family(ipv6: bool) -> u16 {
    if ipv6 { AF_INET6 } else { AF_INET }
}

/// An address in the sixteen bytes of a message; an IPv4 address is followed by zeros.
fn addr_bytes(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V6(a) => a.octets(),
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
        // This port is in host byte order, unlike all others.
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

/// A request without attributes.
pub fn request(command: Command) -> Vec<u8> {
    build_request(command, |_| {})
}

/// The request for a change.
pub fn change_request(change: &Change) -> Vec<u8> {
    // Some requests only need the key of a service. They have the other attributes as well, because ipvsadm sends them.
    let with_service = |command, id| build_request(command, |w| put_service(w, &Service::new(id, "")));
    let with_dest = |command, id, d: &Dest| {
        build_request(command, |w| {
            put_service(w, &Service::new(id, ""));
            put_dest(w, d);
        })
    };
    match change {
        Change::AddService(s) => build_request(Command::NewService, |w| put_service(w, s)),
        Change::EditService(s) => build_request(Command::SetService, |w| put_service(w, s)),
        Change::RemoveService(id) => with_service(Command::DelService, *id),
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
        Change::Zero(Some(id)) => with_service(Command::Zero, *id),
        Change::Flush => request(Command::Flush),
    }
}

/// The request for one service.
pub fn get_service_request(id: ServiceId) -> Vec<u8> {
    build_request(Command::GetService, |w| put_service(w, &Service { netmask: NO_MASK, ..Service::new(id, "") }))
}

/// The request for the destinations of a service, which has to be sent as a dump. If the service does not exist, the
/// reply is empty.
pub fn get_dests_request(id: ServiceId) -> Vec<u8> {
    build_request(Command::GetDest, |w| w.put_nested(SERVICE, |w| put_service_id(w, id)))
}
