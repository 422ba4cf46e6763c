//! ipvsadm's listings, byte for byte as print_service_entry(), print_conn() and print_largenum() of version 1.31 print
//! them (verified by recordings).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use evenkeel_core::ipvs::{
    Connection, Dest, DestEntry, FwdMethod, Rates, SVC_F_ONEPACKET, SVC_F_PERSISTENT, SVC_F_SCHED1, SVC_F_SCHED2,
    SVC_F_SCHED3, SYNC_GROUP, SYNC_PORT, Service, ServiceEntry, ServiceId, Stats, SyncDaemon, TUNNEL_FLAG_CSUM,
    TUNNEL_FLAG_REMCSUM, TUNNEL_TYPE_GRE, TUNNEL_TYPE_GUE, Timeouts,
};
use evenkeel_core::model::Protocol;
use evenkeel_core::schedulers::Scheduler;
use evenkeel_sys::resolver;

use super::action::{Columns, ListOptions};

/// An endpoint with numbers or with names.
fn format_endpoint(addr: IpAddr, port: u16, protocol: Protocol, numeric: bool) -> String {
    if numeric {
        return SocketAddr::new(addr, port).to_string();
    }
    let (host, service) = resolver::reverse_lookup(addr, port, protocol == Protocol::Udp);
    if addr.is_ipv6() { format!("[{host}]:{service}") } else { format!("{host}:{service}") }
}

/// Endpoints of IPv4 are truncated. Those of IPv6 are not, and shift the columns.
fn truncate_name(name: String, addr: IpAddr, max_len: usize) -> String {
    if addr.is_ipv6() { name } else { name.chars().take(max_len).collect() }
}

/// The heading of a listing of services.
pub fn heading(columns: Columns) -> String {
    let five = |names: [&str; 5]| {
        let names = names.map(|n| format!(" {n:>8}")).concat();
        format!("{:<33}{names}\n  -> RemoteAddress:Port\n", "Prot LocalAddress:Port")
    };
    let four = |names: &str| format!("{:<33} {names}\n  -> RemoteAddress:Port\n", "Prot LocalAddress:Port");
    match columns {
        Columns::Default => "Prot LocalAddress:Port Scheduler Flags\n  \
             -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
            .to_owned(),
        Columns::TunInfo => "Prot LocalAddress:Port Scheduler Flags\n  \
             -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn\n"
            .to_owned(),
        Columns::Stats => five(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"]),
        Columns::Rate => five(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"]),
        Columns::Thresholds => four("Uthreshold Lthreshold ActiveConn InActConn "),
        Columns::PersistentConn => four("Weight    PersistConn ActiveConn InActConn "),
    }
}

/// The first line of a listing of all services.
pub fn title(version: u32, size: u32) -> String {
    let [_, major, minor, patch] = version.to_be_bytes();
    format!("IP Virtual Server version {major}.{minor}.{patch} (size={size})\n")
}

/// The protocol whose port names are used for a service.
fn service_protocol(id: ServiceId) -> Protocol {
    match id {
        ServiceId::Address { protocol, .. } => protocol,
        ServiceId::Fwmark { .. } => Protocol::Tcp,
    }
}

/// The names of a service's scheduler flags, `None` if none is set.
fn scheduler_flags(s: &Service) -> Option<String> {
    let scheduler = s.scheduler.parse().unwrap_or(Scheduler::None);
    s.has_flag(SVC_F_SCHED1 | SVC_F_SCHED2 | SVC_F_SCHED3)
        .then(|| scheduler.flag_names(s.scheduler_flags()).collect::<Vec<_>>().join(","))
}

/// The netmask of a persistent service, unless it covers the whole address.
fn netmask(s: &Service) -> Option<String> {
    (s.netmask != s.id.full_netmask())
        .then(|| if s.id.is_ipv6() { s.netmask.to_string() } else { Ipv4Addr::from(s.netmask).to_string() })
}

/// The lines of a service and of its servers.
pub fn service(e: &ServiceEntry, dests: &[DestEntry], list: &ListOptions) -> String {
    let s = &e.service;
    let mut text = match s.id {
        ServiceId::Address { protocol, addr, port } => {
            format!(
                "{:<4} {}",
                protocol.to_string(),
                truncate_name(format_endpoint(addr, port, protocol, list.numeric), addr, 33)
            )
        }
        // ipvsadm prints a signed number, which `-f` does not accept.
        ServiceId::Fwmark { mark, ipv6 } => format!("FWM  {}{}", mark.cast_signed(), if ipv6 { " IPv6" } else { "" }),
    };
    match list.columns {
        Columns::Stats => text = format!("{text:<33}{}", number_columns(stats(e.stats), list.exact)),
        Columns::Rate => text = format!("{text:<33}{}", number_columns(rates(e.rates), list.exact)),
        _ => {
            text += &format!(" {}", s.scheduler);
            if let Some(flags) = scheduler_flags(s) {
                text += &format!(" ({flags})");
            }
            if s.has_flag(SVC_F_PERSISTENT) {
                text += &format!(" persistent {}", s.timeout_s);
                if let Some(mask) = netmask(s) {
                    text += &format!(" mask {mask}");
                }
                if !s.persistence_engine.is_empty() {
                    text += &format!(" pe {}", s.persistence_engine);
                }
            }
            if s.has_flag(SVC_F_ONEPACKET) {
                text += " ops";
            }
        }
    }
    text.push('\n');
    for d in dests {
        text += &dest(d, service_protocol(s.id), list);
    }
    text
}

fn dest(e: &DestEntry, protocol: Protocol, list: &ListOptions) -> String {
    let d = &e.dest;
    let name = truncate_name(format_endpoint(d.addr, d.port, protocol, list.numeric), d.addr, 28);
    let conns = format!("{:<10} {:<10}", e.active, e.inactive);
    let method = match d.method {
        FwdMethod::Masq => "Masq",
        FwdMethod::Local => "Local",
        FwdMethod::Tunnel => "Tunnel",
        FwdMethod::Route => "Route",
        FwdMethod::Bypass | FwdMethod::Unknown(_) => "Unknwn",
    };
    let rest = match list.columns {
        Columns::Stats => return format!("  -> {name:<28}{}\n", number_columns(stats(e.stats), list.exact)),
        Columns::Rate => return format!("  -> {name:<28}{}\n", server_rates(e.rates, list.exact)),
        Columns::Default => format!("{method:<7} {:<6} {conns}", d.weight),
        Columns::TunInfo => format!("{method:<7} {:<13} {:<6} {conns}", tunnel(d), d.weight),
        Columns::Thresholds => format!("{:<10} {:<10} {conns}", d.u_threshold, d.l_threshold),
        Columns::PersistentConn => format!("{:<9} {:<11} {conns}", d.weight, e.persistent),
    };
    format!("  -> {name:<28} {rest}\n")
}

fn tunnel(d: &Dest) -> String {
    let sum = match d.tunnel_flags {
        0 => "-c",
        TUNNEL_FLAG_CSUM => "+c",
        TUNNEL_FLAG_REMCSUM => "r+c",
        _ => "?",
    };
    match (d.method, d.tunnel_type) {
        (FwdMethod::Tunnel, TUNNEL_TYPE_GUE) => format!("gue:{}:{sum}", d.tunnel_port),
        (FwdMethod::Tunnel, TUNNEL_TYPE_GRE) => format!("gre:{sum}"),
        (FwdMethod::Tunnel, _) => "ipip".to_owned(),
        _ => "n/a".to_owned(),
    }
}

fn stats(s: Stats) -> [u64; 5] {
    [s.conns, s.in_packets, s.out_packets, s.in_bytes, s.out_bytes]
}

fn rates(r: Rates) -> [u64; 5] {
    [r.cps, r.in_pps, r.out_pps, r.in_bps, r.out_bps]
}

fn number_columns(all: [u64; 5], exact: bool) -> String {
    all.map(|n| large_number(n, exact)).concat()
}

/// ipvsadm does not abbreviate the first three columns in a server's line.
fn server_rates(r: Rates, exact: bool) -> String {
    let [cps, in_pps, out_pps, in_bps, out_bps] = rates(r);
    let plain = [cps, in_pps, out_pps].map(|n| format!(" {n:>8}")).concat();
    plain + &large_number(in_bps, exact) + &large_number(out_bps, exact)
}

/// Nine columns, with K, M, G or T from nine digits on, truncated and not rounded (print_largenum()).
fn large_number(n: u64, exact: bool) -> String {
    match n {
        _ if exact => {
            let digits = n.to_string();
            if digits.len() < 9 { format!("{digits:>9}") } else { format!(" {digits}") }
        }
        0..100_000_000 => format!("{n:>9}"),
        100_000_000..1_000_000_000 => format!("{:>8}K", n / 1000),
        1_000_000_000..100_000_000_000 => format!("{:>8}M", n / 1_000_000),
        100_000_000_000..100_000_000_000_000 => format!("{:>8}G", n / 1_000_000_000),
        _ => format!("{:>8}T", n / 1_000_000_000_000),
    }
}

/// The listing of connections.
pub fn connections(all: &[Connection], list: &ListOptions) -> String {
    let mut text =
        "IPVS connection entries\npro expire state       source             virtual            destination".to_owned();
    text += if list.persistence_engines { "        pe name          pe_data\n" } else { "\n" };
    for c in all {
        text += &connection(c, list);
    }
    text
}

fn connection(c: &Connection, list: &ListOptions) -> String {
    let protocol = if c.protocol == "UDP" { Protocol::Udp } else { Protocol::Tcp };
    let end = |(addr, port): (IpAddr, u16)| format_endpoint(addr, port, protocol, list.numeric);
    let expire = format!("{:02}:{:02}", c.expires_s / 60, c.expires_s % 60);
    let (client, service, dest) = (end(c.client), end(c.service), end(c.dest));
    let mut text = format!("{:<3} {expire:<6} {:<11} {client:<18} {service:<18} ", c.protocol, c.state);
    text += &match (&c.persistence_engine, list.persistence_engines) {
        (Some((name, data)), true) => format!("{dest:<16} {name:<18} {data}"),
        _ => dest,
    };
    text.push('\n');
    text
}

/// `--timeout`
pub fn timeouts(t: Timeouts) -> String {
    format!("Timeout (tcp tcpfin udp): {} {} {}\n", t.tcp_s, t.tcpfin_s, t.udp_s)
}

/// `--daemon`
pub fn daemon(d: &SyncDaemon) -> String {
    format!(
        "{} sync daemon (mcast={}, syncid={}, maxlen={}, group={}, port={}, ttl={})\n",
        d.role,
        d.interface,
        d.syncid,
        d.maxlen.unwrap_or(0),
        d.group.unwrap_or(SYNC_GROUP.into()),
        d.port.unwrap_or(SYNC_PORT),
        d.ttl.unwrap_or(1)
    )
}

fn service_option(id: ServiceId, numeric: bool) -> String {
    match id {
        ServiceId::Address { protocol, addr, port } => {
            let option = match protocol {
                Protocol::Tcp => "-t",
                Protocol::Udp => "-u",
                Protocol::Sctp => "--sctp-service",
            };
            format!("{option} {}", format_endpoint(addr, port, protocol, numeric))
        }
        ServiceId::Fwmark { mark, ipv6 } => format!("-f {}{}", mark.cast_signed(), if ipv6 { " -6" } else { "" }),
    }
}

/// `-S`: the commands that create a service. `complete`: with thresholds, and marks in a form that `-f` accepts.
pub fn save_commands(s: &Service, dests: &[DestEntry], numeric: bool, complete: bool) -> String {
    let id = match s.id {
        ServiceId::Fwmark { mark, ipv6 } if complete => format!("-f {mark}{}", if ipv6 { " -6" } else { "" }),
        id => service_option(id, numeric),
    };
    let mut text = format!("-A {id} -s {}", s.scheduler);
    if s.has_flag(SVC_F_PERSISTENT) {
        text += &format!(" -p {}", s.timeout_s);
        if let Some(mask) = netmask(s) {
            text += &format!(" -M {mask}");
        }
    }
    if !s.persistence_engine.is_empty() {
        text += &format!(" --pe {}", s.persistence_engine);
    }
    if s.has_flag(SVC_F_ONEPACKET) {
        text += " -o";
    }
    if let Some(flags) = scheduler_flags(s) {
        text += &format!(" -b {flags}");
    }
    text.push('\n');
    for e in dests {
        let d = &e.dest;
        let server = format_endpoint(d.addr, d.port, service_protocol(s.id), numeric);
        let method = match d.method {
            FwdMethod::Masq => "-m",
            FwdMethod::Tunnel => "-i",
            _ => "-g",
        };
        text += &format!("-a {id} -r {server} {method} -w {}", d.weight);
        if d.method == FwdMethod::Tunnel {
            text += &match d.tunnel_type {
                TUNNEL_TYPE_GUE => format!(" --tun-type gue --tun-port {} {}", d.tunnel_port, checksum_option(d)),
                TUNNEL_TYPE_GRE => format!(" --tun-type gre {}", checksum_option(d)),
                _ => " --tun-type ipip".to_owned(),
            };
        }
        if complete && d.u_threshold != 0 {
            text += &format!(" -x {}", d.u_threshold);
        }
        if complete && d.l_threshold != 0 {
            text += &format!(" -y {}", d.l_threshold);
        }
        text.push('\n');
    }
    text
}

fn checksum_option(d: &Dest) -> &'static str {
    match d.tunnel_flags {
        TUNNEL_FLAG_CSUM => "--tun-csum",
        TUNNEL_FLAG_REMCSUM => "--tun-remcsum",
        _ => "--tun-nocsum",
    }
}

/// The commands that `-S --complete` adds: timeouts and synchronisation daemons.
pub fn save_settings(t: Timeouts, daemons: &[SyncDaemon]) -> String {
    let mut text = format!("--set {} {} {}\n", t.tcp_s, t.tcpfin_s, t.udp_s);
    for d in daemons {
        text += &format!("--start-daemon {} --mcast-interface {} --syncid {}", d.role, d.interface, d.syncid);
        if let Some(n) = d.maxlen {
            text += &format!(" --sync-maxlen {n}");
        }
        if let Some(a) = d.group {
            text += &format!(" --mcast-group {a}");
        }
        if let Some(n) = d.port {
            text += &format!(" --mcast-port {n}");
        }
        if let Some(n) = d.ttl {
            text += &format!(" --mcast-ttl {n}");
        }
        text.push('\n');
    }
    text
}
