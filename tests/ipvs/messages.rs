//! Netlink messages compared with those that ipvsadm 1.31 exchanged with Linux 6.1 (`recorded/genl.pcap`): requests byte for
//! byte, replies by their contents.

use std::net::IpAddr;

use evenkeel_core::ipvs::message::{self, Command};
use evenkeel_core::ipvs::{
    Change, Dest, DestEntry, FwdMethod, IpvsInfo, SVC_F_ONEPACKET, SVC_F_PERSISTENT, SVC_F_SCHED2, Service, ServiceId,
    SyncDaemon, SyncRole, TUNNEL_FLAG_CSUM, TUNNEL_TYPE_GUE, Timeouts,
};
use evenkeel_core::model::Protocol;

/// The message type of the family. The kernel assigns it dynamically; this is the one in the recording.
const IPVS: u16 = 28;

/// The messages of the family without netlink headers: requests to the kernel, and replies.
fn recorded_messages() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let pcap = include_bytes!("recorded/genl.pcap");
    let (mut requests, mut replies) = (Vec::new(), Vec::new());
    let mut rest = &pcap[24..];
    while rest.len() >= 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().expect("four bytes")) as usize;
        // LINKTYPE_NETLINK: a header of sixteen bytes, then netlink messages.
        let mut messages = &rest[16 + 16..16 + len];
        rest = &rest[16 + len..];
        while messages.len() >= 16 {
            let len = u32::from_ne_bytes(messages[..4].try_into().expect("four bytes")) as usize;
            let word = |at: usize| u16::from_ne_bytes(messages[at..at + 2].try_into().expect("two bytes"));
            if word(4) == IPVS {
                let to = if word(6) & 1 != 0 { &mut requests } else { &mut replies };
                to.push(messages[16..len].to_vec());
            }
            messages = messages.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    (requests, replies)
}

fn service_id(protocol: Protocol, addr: &str, port: u16) -> ServiceId {
    ServiceId::Address { protocol, addr: addr.parse().expect("an address"), port }
}

fn dest(n: u8, port: u16) -> Dest {
    Dest::new([10, 0, 0, n].into(), port)
}

fn nat_dest(weight: i32) -> Dest {
    Dest { method: FwdMethod::Masq, weight, ..dest(1, 8080) }
}

fn tunnel_dest() -> Dest {
    let method = FwdMethod::Tunnel;
    Dest { method, tunnel_type: TUNNEL_TYPE_GUE, tunnel_port: 6080, tunnel_flags: TUNNEL_FLAG_CSUM, ..dest(2, 80) }
}

fn master_daemon() -> SyncDaemon {
    SyncDaemon {
        role: SyncRole::Master,
        interface: "eth0".into(),
        syncid: 3,
        maxlen: Some(1400),
        group: Some([239, 1, 1, 1].into()),
        port: Some(9000),
        ttl: Some(4),
    }
}

fn sip_service() -> Service {
    let flags = SVC_F_PERSISTENT | SVC_F_ONEPACKET;
    let id = service_id(Protocol::Udp, "fd00::100", 53);
    Service { flags, timeout_s: 60, persistence_engine: "sip".into(), ..Service::new(id, "rr") }
}

#[test]
fn requests_are_as_recorded_byte_for_byte() {
    let web = service_id(Protocol::Tcp, "10.0.0.100", 80);
    let mark = |ipv6| ServiceId::Fwmark { mark: 7, ipv6 };
    let change = |c| message::change_request(&c);
    let persistent = Service {
        flags: SVC_F_PERSISTENT,
        timeout_s: 360,
        netmask: u32::from_be_bytes([255, 255, 255, 0]),
        ..Service::new(web, "wlc")
    };
    let stop = SyncDaemon {
        interface: String::new(),
        syncid: 0,
        maxlen: None,
        group: None,
        port: None,
        ttl: None,
        ..master_daemon()
    };
    let ours = [
        change(Change::AddService(persistent)),
        change(Change::AddDest(web, Dest { u_threshold: 100, l_threshold: 50, ..nat_dest(5) })),
        change(Change::AddDest(web, tunnel_dest())),
        change(Change::AddService(Service::new(web, "rr"))),
        change(Change::EditService(Service { flags: SVC_F_SCHED2, ..Service::new(web, "sh") })),
        change(Change::AddService(Service::new(mark(true), "rr"))),
        change(Change::AddService(sip_service())),
        change(Change::EditDest(web, nat_dest(0))),
        message::get_service_request(web),
        message::get_dests_request(web),
        message::request(Command::GetService),
        message::get_dests_request(web),
        message::get_dests_request(service_id(Protocol::Udp, "fd00::100", 53)),
        message::get_dests_request(mark(true)),
        change(Change::SetTimeouts(Timeouts { tcp_s: 100, tcpfin_s: 20, udp_s: 30 })),
        message::request(Command::GetConfig),
        change(Change::StartDaemon(master_daemon())),
        message::request(Command::GetDaemon),
        change(Change::StopDaemon(stop)),
        change(Change::Zero(Some(web))),
        change(Change::Zero(None)),
        change(Change::RemoveDest(web, dest(9, 80))),
        change(Change::RemoveDest(web, dest(1, 8080))),
        change(Change::RemoveService(mark(false))),
        change(Change::Flush),
    ];
    // ipvsadm requests the version before each command. evenkeel does not need it.
    let version_request = message::request(Command::GetInfo);
    let theirs: Vec<Vec<u8>> = recorded_messages().0.into_iter().filter(|m| *m != version_request).collect();
    assert_eq!(theirs.len(), ours.len());
    for (n, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        assert_eq!(theirs, ours, "request {n}");
    }
}

#[test]
fn recorded_replies_are_parsed() {
    let replies = recorded_messages().1;
    let to = |command: Command| replies.iter().filter(move |m| m.first() == Some(&(command as u8)));
    let info = to(Command::SetInfo).next().and_then(|m| message::parse_info(m));
    assert_eq!(info, Some(IpvsInfo { version: 0x01_02_01, conn_tab_size: 4096 }));
    let timeouts = to(Command::SetConfig).next().and_then(|m| message::parse_timeouts(m));
    assert_eq!(timeouts, Some(Timeouts { tcp_s: 100, tcpfin_s: 20, udp_s: 30 }));
    let daemon = to(Command::NewDaemon).next().and_then(|m| message::parse_daemon(m));
    assert_eq!(daemon, Some(master_daemon()));

    let services: Vec<Service> =
        to(Command::NewService).filter_map(|m| message::parse_service(m)).map(|e| e.service).collect();
    let web = Service { flags: SVC_F_SCHED2, ..Service::new(service_id(Protocol::Tcp, "10.0.0.100", 80), "sh") };
    let mark = Service::new(ServiceId::Fwmark { mark: 7, ipv6: true }, "rr");
    // The first reply is to a request for one service, the others to a request for all.
    assert_eq!(services, [web.clone(), web, sip_service(), mark]);

    let dests: Vec<DestEntry> = to(Command::NewDest).filter_map(|m| message::parse_dest(m, false)).collect();
    let known = [tunnel_dest(), nat_dest(0), tunnel_dest(), nat_dest(0)];
    assert_eq!(dests.iter().map(|d| d.dest).collect::<Vec<_>>(), known);
}

#[test]
fn a_malformed_message_is_rejected() {
    for m in recorded_messages().1.iter().chain(&recorded_messages().0) {
        for n in 0..m.len() {
            // Truncated anywhere: `None`, or a value with fewer fields.
            let truncated = &m[..n];
            let _ = (
                message::parse_service(truncated),
                message::parse_dest(truncated, true),
                message::parse_daemon(truncated),
            );
            let _ = (message::parse_info(truncated), message::parse_timeouts(truncated));
            let mut corrupted = m.clone();
            corrupted[n] ^= 0xff;
            let _ = (
                message::parse_service(&corrupted),
                message::parse_dest(&corrupted, false),
                message::parse_daemon(&corrupted),
            );
        }
    }
    // An IPv4 address in sixteen bytes, of which the kernel does not initialise the last twelve.
    let id = service_id(Protocol::Tcp, "10.0.0.100", 80);
    let mut m = message::change_request(&Change::AddService(Service::new(id, "rr")));
    let addr = m.windows(4).position(|w| w == [10, 0, 0, 100]).expect("the address");
    m[addr + 4..addr + 16].fill(0xa5);
    let parsed = message::parse_service(&m).expect("a service");
    assert_eq!(parsed.service.id, id);
    assert!(matches!(parsed.service.id, ServiceId::Address { addr: IpAddr::V4(_), .. }));
}
