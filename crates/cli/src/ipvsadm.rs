//! `ipvsadm`: its listing, column for column, read from the pinned maps. No daemon is needed.
//!
//! Formats are those of ipvsadm 1.31 (print_service_entry(), print_conn(), print_largenum()), checked against recordings
//! of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use evenkeel_core::model::{Protocol, ServiceKey};
use evenkeel_sys::bpf::conns::ConnView;
use evenkeel_sys::bpf::{DestView, Maps, ServiceView, Stats};
use evenkeel_sys::{names, paths};

use crate::out;

/// What is to be listed, and how.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
struct List {
    numeric: bool,
    connections: bool,
    stats: bool,
    exact: bool,
    unsorted: bool,
    only: Option<ServiceKey>,
}

const USAGE: &str = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.";
const HELP: &str = "\
ipvsadm, as far as evenkeel has it:
  ipvsadm -L|-l [-n] [-t|-u|--sctp-service ADDRESS:PORT] [--stats] [--exact] [--nosort]    the services
  ipvsadm -L|-l [-n] -c [--nosort]                                          the connections
Everything else is changed by the configuration and a reload.
";

/// Runs with ipvsadm's arguments; exit status 0, 1 (cannot list) or 2 (not understood).
pub fn run(instance: &str, args: &[String]) -> ExitCode {
    let list = match parse(args) {
        Ok(Some(list)) => list,
        Ok(None) => {
            out::print(HELP);
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("{e}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let maps = match Maps::open(&paths::bpf_dir(instance), false) {
        Ok(m) => m,
        Err(e) => {
            eprintln!("Can't initialize ipvs: no packet path is loaded as instance `{instance}`: {e}");
            return ExitCode::from(1);
        }
    };
    out::print(&if list.connections {
        connections(maps.connections(), list)
    } else {
        services(maps.view(), maps.conn_capacity(), list)
    });
    ExitCode::SUCCESS
}

/// `None`: help. Options may be bundled (`-Lnc`), as popt allows.
fn parse(args: &[String]) -> Result<Option<List>, String> {
    let mut list = List::default();
    let mut command = args.is_empty();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut service = |protocol, value: Option<&String>| -> Result<(), String> {
            let text = value.ok_or("option needs an argument")?;
            let key = text.parse::<SocketAddr>().ok().map(|a| ServiceKey { protocol, addr: a.ip(), port: a.port() });
            list.only = Some(key.ok_or_else(|| format!("illegal virtual server address:port [{text}] specified"))?);
            Ok(())
        };
        match arg.as_str() {
            "--list" => command = true,
            "--numeric" => list.numeric = true,
            "--connection" => list.connections = true,
            "--stats" => list.stats = true,
            "--exact" => list.exact = true,
            "--nosort" => list.unsorted = true,
            "--sort" => {}
            "--help" => return Ok(None),
            "--tcp-service" => service(Protocol::Tcp, rest.next())?,
            "--udp-service" => service(Protocol::Udp, rest.next())?,
            "--sctp-service" => service(Protocol::Sctp, rest.next())?,
            long if long.starts_with("--") => return Err(format!("unknown option {long}")),
            short if short.len() > 1 && short.starts_with('-') => {
                for (i, c) in short.char_indices().skip(1) {
                    match c {
                        'L' | 'l' => command = true,
                        'n' => list.numeric = true,
                        'c' => list.connections = true,
                        'X' => list.exact = true,
                        'h' => return Ok(None),
                        't' | 'u' => {
                            let protocol = if c == 't' { Protocol::Tcp } else { Protocol::Udp };
                            let glued = short[i + 1..].to_owned();
                            let value = if glued.is_empty() { rest.next() } else { Some(&glued) };
                            service(protocol, value)?;
                            break;
                        }
                        'A' | 'E' | 'D' | 'C' | 'a' | 'e' | 'd' | 'Z' | 'S' | 'R' => {
                            return Err(format!(
                                "-{c} is not supported yet: change the configuration and reload (evenkeel reload)"
                            ));
                        }
                        _ => return Err(format!("unknown option -{c}")),
                    }
                }
            }
            other => return Err(format!("unexpected argument {other}")),
        }
    }
    if !command {
        return Err("no command specified; -L lists".into());
    }
    Ok(Some(list))
}

fn endpoint(addr: IpAddr, port: u16, protocol: Protocol, numeric: bool) -> String {
    if numeric {
        return SocketAddr::new(addr, port).to_string();
    }
    let (host, service) = names::of(addr, port, protocol == Protocol::Udp);
    if host.contains(':') { format!("[{host}]:{service}") } else { format!("{host}:{service}") }
}

/// print_service_entry() cuts names of IPv4; those of IPv6 move the columns.
fn cut(name: String, addr: IpAddr, most: usize) -> String {
    if addr.is_ipv6() { name } else { name.chars().take(most).collect() }
}

/// ipvsadm compares addresses by a signed subtraction, so 172.16.0.0 and 192.168.0.0 come before 10.0.0.0.
fn order(addr: IpAddr) -> (bool, i32, u128) {
    match addr {
        IpAddr::V4(a) => (false, u32::from(a) as i32, 0),
        IpAddr::V6(a) => (true, 0, u128::from(a)),
    }
}

fn services(mut all: Vec<ServiceView>, size: u64, list: List) -> String {
    if let Some(only) = list.only {
        all.retain(|s| s.key == only);
        if all.is_empty() {
            eprintln!("No such service");
        }
    }
    if !list.unsorted {
        all.sort_by_key(|s| (s.key.addr.is_ipv6(), s.key.protocol.number(), order(s.key.addr), s.key.port));
    }
    let mut text = String::new();
    if list.only.is_none() {
        text += &format!("IP Virtual Server version 1.2.1 (size={size})\n");
    }
    text += &if list.stats {
        format!(
            "{:<33} {:>8} {:>8} {:>8} {:>8} {:>8}\n  -> RemoteAddress:Port\n",
            "Prot LocalAddress:Port", "Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"
        )
    } else {
        "Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
            .to_owned()
    };
    for s in &mut all {
        if !list.unsorted {
            s.dests.sort_by_key(|d| (order(d.key.addr), d.key.port));
        }
        text += &service(s, list);
    }
    text
}

fn service(s: &ServiceView, list: List) -> String {
    let name = endpoint(s.key.addr, s.key.port, s.key.protocol, list.numeric);
    let name = cut(name, s.key.addr, 33);
    let mut text = format!("{:<4} {name}", s.key.protocol.to_string());
    if list.stats {
        text = format!("{text:<33}{}\n", numbers(s.stats, list.exact));
    } else {
        text += &format!(" {}", s.spec.scheduler);
        let flags: Vec<String> = [(s.spec.flags.fallback, "fallback"), (s.spec.flags.port, "port")]
            .into_iter()
            .filter(|(yes, _)| *yes)
            .map(|(_, flag)| format!("{}-{flag}", s.spec.scheduler))
            .collect();
        if !flags.is_empty() {
            text += &format!(" ({})", flags.join(","));
        }
        if let Some(p) = s.spec.persistence {
            text += &format!(" persistent {}", p.timeout_s);
            match p.mask {
                IpAddr::V4(m) if m != Ipv4Addr::BROADCAST => text += &format!(" mask {m}"),
                IpAddr::V6(m) if u128::from(m) != u128::MAX => {
                    text += &format!(" mask {}", u128::from(m).leading_ones());
                }
                _ => {}
            }
        }
        if s.spec.one_packet {
            text += " ops";
        }
        text.push('\n');
    }
    for d in &s.dests {
        text += &dest(s, d, list);
    }
    text
}

fn dest(s: &ServiceView, d: &DestView, list: List) -> String {
    let name = endpoint(d.key.addr, d.key.port, s.key.protocol, list.numeric);
    let name = cut(name, d.key.addr, 28);
    if list.stats {
        return format!("  -> {name:<28}{}\n", numbers(d.stats, list.exact));
    }
    format!(
        "  -> {name:<28} {:<7} {:<6} {:<10} {:<10}\n",
        if d.local { "Local" } else { d.spec.method.ipvsadm_name() },
        d.spec.weight.get(),
        d.active,
        d.inactive
    )
}

/// Conns, InPkts, OutPkts, InBytes, OutBytes. Only NAT sees packets from server to client.
fn numbers(s: Stats, exact: bool) -> String {
    [s.conns, s.in_packets, s.out_packets, s.in_bytes, s.out_bytes].map(|n| large(n, exact)).concat()
}

/// print_largenum(): nine wide, in K, M, G and T from the ninth digit on, cut and not rounded.
fn large(n: u64, exact: bool) -> String {
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

fn connections(mut all: Vec<ConnView>, list: List) -> String {
    let mut text =
        "IPVS connection entries\npro expire state       source             virtual            destination\n"
            .to_owned();
    if !list.unsorted {
        all.sort_by_key(|c| (c.protocol.number(), order(c.client.0), c.client.1, order(c.service.0), c.service.1));
    }
    for c in &all {
        text += &connection(c, list.numeric);
    }
    text
}

fn connection(c: &ConnView, numeric: bool) -> String {
    let end = |(a, p): (IpAddr, u16)| endpoint(a, p, c.protocol, numeric);
    // A server without a port of its own keeps the packet's.
    let dest = c.dest.1.map_or((IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), |d| {
        (d.addr, if c.is_template() || d.port != 0 { d.port } else { c.service.1 })
    });
    format!(
        "{:<3} {:<6} {:<11} {:<18} {:<18} {}\n",
        c.protocol,
        format!("{:02}:{:02}", c.expires_s / 60, c.expires_s % 60),
        c.state_name(),
        end(c.client),
        end(c.service),
        end(dest)
    )
}

#[cfg(test)]
mod tests {
    use evenkeel_core::model::{ForwardingMethod, Persistence, Scheduler, ServerKey, Weight};
    use evenkeel_core::plan::{DestSpec, ServiceSpec};

    use super::*;

    fn words(s: &str) -> Vec<String> {
        s.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_may_be_bundled() {
        let l = |s| parse(&words(s)).expect("understood").expect("a listing");
        assert_eq!(l("-Lnc"), List { numeric: true, connections: true, ..List::default() });
        assert_eq!(l("-L -n --stats"), List { numeric: true, stats: true, ..List::default() });
        assert_eq!(l(""), List::default());
        assert_eq!(l("-Lnt 10.0.0.1:80").only.map(|k| k.port), Some(80));
        assert!(parse(&words("-A -t 10.0.0.1:80")).is_err());
        assert!(parse(&words("-n")).is_err());
        assert_eq!(parse(&words("-h")), Ok(None));
    }

    /// `addr:port` to a service or server, newest first, as the recordings of ipvsadm 1.31 set them up.
    fn service(
        scheduler: Scheduler,
        persistence: Option<Persistence>,
        dests: &[(&str, u32, u32, u32, Stats)],
    ) -> ServiceView {
        let dests = dests.iter().enumerate().map(|(id, &(addr, weight, active, inactive, stats))| DestView {
            id: id as u32,
            key: ServerKey { addr: addr.parse().expect("an address"), port: 80 },
            spec: DestSpec {
                weight: Weight::new(weight).expect("a weight"),
                method: ForwardingMethod::Dr,
                u_threshold: 0,
                l_threshold: 0,
            },
            active,
            inactive,
            persistent: 0,
            overload: false,
            hop: None,
            mtu: 0,
            local: false,
            stats,
        });
        let dests: Vec<DestView> = dests.collect();
        let mut stats = Stats::default();
        for d in &dests {
            stats.conns += d.stats.conns;
            stats.in_packets += d.stats.in_packets;
            stats.in_bytes += d.stats.in_bytes;
        }
        let key = ServiceKey { protocol: Protocol::Tcp, addr: IpAddr::from([10, 2, 0, 100]), port: 80 };
        ServiceView { key, spec: ServiceSpec { persistence, ..ServiceSpec::of(scheduler) }, stats, dests }
    }

    const NUMERIC: List =
        List { numeric: true, connections: false, stats: false, exact: false, unsorted: false, only: None };

    #[test]
    fn listings_equal_ipvsadms_to_the_byte() {
        let stats = |conns, in_packets, in_bytes| Stats { conns, in_packets, in_bytes, ..Stats::default() };
        let dests = [("10.2.0.12", 2, 1, 2, stats(3, 14, 763)), ("10.2.0.11", 1, 1, 1, stats(2, 9, 492))];
        let all = vec![service(Scheduler::Wlc, None, &dests)];
        assert_eq!(services(all.clone(), 4096, NUMERIC), include_str!("golden/list.txt"));
        assert_eq!(services(all, 4096, List { stats: true, ..NUMERIC }), include_str!("golden/stats.txt"));
        let p = |timeout_s, mask: [u8; 4]| Some(Persistence { timeout_s, mask: mask.into() });
        let sticky = |p| services(vec![service(Scheduler::Rr, p, &[])], 4096, NUMERIC);
        assert!(sticky(p(600, [255; 4])).ends_with("\nTCP  10.2.0.100:80 rr persistent 600\n"));
        let masked = sticky(p(600, [255, 255, 255, 0]));
        assert!(masked.ends_with("\nTCP  10.2.0.100:80 rr persistent 600 mask 255.255.255.0\n"));
    }

    #[test]
    fn connections_equal_ipvsadms_to_the_byte() {
        let conn = |client: (&str, u16), dest: &str, state, flags, expires_s| ConnView {
            protocol: Protocol::Tcp,
            client: (client.0.parse().expect("an address"), client.1),
            service: (IpAddr::from([10, 2, 0, 100]), 80),
            dest: (0, Some(ServerKey { addr: dest.parse().expect("an address"), port: 80 })),
            state,
            flags,
            expires_s,
            control: 0,
        };
        let all = vec![
            conn(("10.1.1.4", 40004), "10.2.0.11", 1, 0, 898),
            conn(("10.1.1.1", 34735), "10.2.0.11", 4, 1, 117),
            conn(("10.1.1.0", 0), "10.2.0.11", 0, 2, 298),
        ];
        assert_eq!(connections(all, List { connections: true, ..NUMERIC }), include_str!("golden/conns.txt"));
    }

    #[test]
    fn addresses_sort_as_ipvsadm_subtracts_them() {
        let mut addrs = ["10.0.0.1", "192.168.0.1", "172.16.0.1"].map(|a| a.parse::<IpAddr>().expect("an address"));
        addrs.sort_by_key(|a| order(*a));
        assert_eq!(addrs.map(|a| a.to_string()), ["172.16.0.1", "192.168.0.1", "10.0.0.1"]);
    }

    #[test]
    fn large_numbers_are_ipvsadms() {
        for (n, shown) in [
            (0, "        0"),
            (99_999_999, " 99999999"),
            (100_000_000, "  100000K"),
            (1_999_999_999, "    1999M"),
            (123_456_789_012, "     123G"),
            (100_000_000_000_000, "     100T"),
        ] {
            assert_eq!(large(n, false), shown);
        }
        assert_eq!(large(123_456_789, true), " 123456789");
    }
}
