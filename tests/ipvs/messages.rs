//! Netlink messages beside those that ipvsadm 1.31 exchanged with Linux 6.1 (`recorded/genl.pcap`): requests byte for byte,
//! answers by what they say.

use std::net::IpAddr;

use evenkeel_core::ipvs::message::{self, Command};
use evenkeel_core::ipvs::{
    Change, Dest, DestEntry, GUE, Info, Method, ONE_PACKET, PERSISTENT, SCHED2, Service, ServiceId, SyncDaemon,
    SyncRole, TUNNEL_CSUM, Timeouts,
};
use evenkeel_core::model::Protocol;

/// What a family's messages have for a type; the kernel gives numbers out, and gave this one.
const IPVS: u16 = 28;

/// The messages of IPVS's family without their netlink headers: to the kernel, and from it.
fn recorded() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let pcap = include_bytes!("recorded/genl.pcap");
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    let mut rest = &pcap[24..];
    while rest.len() >= 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().expect("four bytes")) as usize;
        // LINKTYPE_NETLINK: sixteen bytes of its own, then netlink messages.
        let mut messages = &rest[16 + 16..16 + len];
        rest = &rest[16 + len..];
        while messages.len() >= 16 {
            let len = u32::from_ne_bytes(messages[..4].try_into().expect("four bytes")) as usize;
            let word = |at: usize| u16::from_ne_bytes(messages[at..at + 2].try_into().expect("two bytes"));
            if word(4) == IPVS {
                let to = if word(6) & 1 != 0 { &mut asked } else { &mut answered };
                to.push(messages[16..len].to_vec());
            }
            messages = messages.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    (asked, answered)
}

fn at(protocol: Protocol, addr: &str, port: u16) -> ServiceId {
    ServiceId::At { protocol, addr: addr.parse().expect("an address"), port }
}

fn dest(n: u8, port: u16) -> Dest {
    Dest::of([10, 0, 0, n].into(), port)
}

fn nat(weight: i32) -> Dest {
    Dest { method: Method::Masq, weight, ..dest(1, 8080) }
}

fn tunnelled() -> Dest {
    let method = Method::Tunnel;
    Dest { method, tunnel: GUE, tunnel_port: 6080, tunnel_flags: TUNNEL_CSUM, ..dest(2, 80) }
}

fn master() -> SyncDaemon {
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

fn resolver() -> Service {
    let flags = PERSISTENT | ONE_PACKET;
    let id = at(Protocol::Udp, "fd00::100", 53);
    Service { flags, timeout_s: 60, engine: "sip".into(), ..Service::of(id, "rr") }
}

#[test]
fn requests_are_ipvsadms_to_the_byte() {
    let web = at(Protocol::Tcp, "10.0.0.100", 80);
    let mark = |ipv6| ServiceId::Mark { mark: 7, ipv6 };
    let change = |c| message::change(&c);
    let persistent = Service {
        flags: PERSISTENT,
        timeout_s: 360,
        netmask: u32::from_be_bytes([255, 255, 255, 0]),
        ..Service::of(web, "wlc")
    };
    let stop = SyncDaemon {
        interface: String::new(),
        syncid: 0,
        maxlen: None,
        group: None,
        port: None,
        ttl: None,
        ..master()
    };
    let mine = [
        change(Change::AddService(persistent)),
        change(Change::AddDest(web, Dest { u_threshold: 100, l_threshold: 50, ..nat(5) })),
        change(Change::AddDest(web, tunnelled())),
        change(Change::AddService(Service::of(web, "rr"))),
        change(Change::EditService(Service { flags: SCHED2, ..Service::of(web, "sh") })),
        change(Change::AddService(Service::of(mark(true), "rr"))),
        change(Change::AddService(resolver())),
        change(Change::EditDest(web, nat(0))),
        message::get_service(web),
        message::get_dests(web),
        message::plain(Command::GetService),
        message::get_dests(web),
        message::get_dests(at(Protocol::Udp, "fd00::100", 53)),
        message::get_dests(mark(true)),
        change(Change::SetTimeouts(Timeouts { tcp_s: 100, tcpfin_s: 20, udp_s: 30 })),
        message::plain(Command::GetConfig),
        change(Change::StartDaemon(master())),
        message::plain(Command::GetDaemon),
        change(Change::StopDaemon(stop)),
        change(Change::Zero(Some(web))),
        change(Change::Zero(None)),
        change(Change::RemoveDest(web, dest(9, 80))),
        change(Change::RemoveDest(web, dest(1, 8080))),
        change(Change::RemoveService(mark(false))),
        change(Change::Flush),
    ];
    // Before each command ipvsadm asks for the version, which nothing needs.
    let asks = message::plain(Command::GetInfo);
    let theirs: Vec<Vec<u8>> = recorded().0.into_iter().filter(|m| *m != asks).collect();
    assert_eq!(theirs.len(), mine.len());
    for (n, (theirs, mine)) in theirs.iter().zip(&mine).enumerate() {
        assert_eq!(theirs, mine, "request {n}");
    }
}

#[test]
fn answers_say_what_was_asked_for() {
    let answers = recorded().1;
    let of = |command: Command| answers.iter().filter(move |m| m.first() == Some(&(command as u8)));
    let info = of(Command::SetInfo).next().and_then(|m| message::read_info(m));
    assert_eq!(info, Some(Info { version: 0x01_02_01, conn_tab_size: 4096 }));
    let timeouts = of(Command::SetConfig).next().and_then(|m| message::read_timeouts(m));
    assert_eq!(timeouts, Some(Timeouts { tcp_s: 100, tcpfin_s: 20, udp_s: 30 }));
    let daemon = of(Command::NewDaemon).next().and_then(|m| message::read_daemon(m));
    assert_eq!(daemon, Some(master()));

    let services: Vec<Service> =
        of(Command::NewService).filter_map(|m| message::read_service(m)).map(|e| e.service).collect();
    let web = Service { flags: SCHED2, ..Service::of(at(Protocol::Tcp, "10.0.0.100", 80), "sh") };
    let mark = Service::of(ServiceId::Mark { mark: 7, ipv6: true }, "rr");
    // The first of a service asked for by name, the others of the whole table.
    assert_eq!(services, [web.clone(), web, resolver(), mark]);

    let dests: Vec<DestEntry> = of(Command::NewDest).filter_map(|m| message::read_dest(m, false)).collect();
    let known = [tunnelled(), nat(0), tunnelled(), nat(0)];
    assert_eq!(dests.iter().map(|d| d.dest).collect::<Vec<_>>(), known);
}

#[test]
fn what_is_no_message_is_none() {
    for m in recorded().1.iter().chain(&recorded().0) {
        for n in 0..m.len() {
            // Cut anywhere: nothing, or less.
            let cut = &m[..n];
            let _ = (message::read_service(cut), message::read_dest(cut, true), message::read_daemon(cut));
            let _ = (message::read_info(cut), message::read_timeouts(cut));
            let mut bent = m.clone();
            bent[n] ^= 0xff;
            let _ = (message::read_service(&bent), message::read_dest(&bent, false), message::read_daemon(&bent));
        }
    }
    // An IPv4 address in sixteen bytes, of which the last twelve are what happened to be there.
    let id = at(Protocol::Tcp, "10.0.0.100", 80);
    let mut m = message::change(&Change::AddService(Service::of(id, "rr")));
    let place = m.windows(4).position(|w| w == [10, 0, 0, 100]).expect("the address");
    m[place + 4..place + 16].fill(0xa5);
    let read = message::read_service(&m).expect("a service");
    assert_eq!(read.service.id, id);
    assert!(matches!(read.service.id, ServiceId::At { addr: IpAddr::V4(_), .. }));
}
