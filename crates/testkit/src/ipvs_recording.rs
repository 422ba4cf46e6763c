//! Recordings of the kernel's IPVS: ipvsadm's commands, packets, and the server that IPVS chose for each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use evenkeel_core::model::{
    ForwardingMethod, Persistence, Protocol, Scheduler, SchedulerFlags, ServerKey, ServiceKey, Tunnel, Weight,
};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};

use crate::frames::Endpoint;

/// A line of a recording.
#[derive(Clone, Debug)]
pub enum RecordedOp {
    /// A command of ipvsadm.
    Change(Step),
    /// A packet (`syn`, `ack`, `fin`, `rst`, `udp`; `again` is a SYN) and the server that IPVS sent it to.
    Packet {
        /// The kind of packet.
        kind: String,
        /// The client.
        from: Endpoint,
        /// The service.
        to: Endpoint,
        /// The server, `None` if the packet was rejected.
        server: Option<IpAddr>,
    },
    /// Active and inactive connections of each server at that time.
    Counts(Vec<(IpAddr, u32, u32)>),
}

/// A recording.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The commands before the first line.
    pub setup: Vec<Step>,
    /// The lines with their numbers.
    pub ops: Vec<(usize, RecordedOp)>,
}

fn parse_endpoint(text: &str) -> Option<Endpoint> {
    let at: SocketAddr = text.parse().ok()?;
    Some((at.ip(), at.port()))
}

/// Parses an ipvsadm command of a recording (`-A`, `-a`, `-e`, `-d`).
pub fn parse_ipvsadm_command(command: &str) -> Option<Step> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let value = |flag: &str| words.iter().position(|w| *w == flag).and_then(|i| words.get(i + 1)).copied();
    let at = |flag: &str, protocol| {
        value(flag).and_then(parse_endpoint).map(|(addr, port)| ServiceKey::new(protocol, addr, port))
    };
    let marked = || Some(ServiceKey::from_fwmark(value("-f")?.parse().ok()?, words.contains(&"-6")));
    let key = at("-t", Protocol::Tcp)
        .or_else(|| at("-u", Protocol::Udp))
        .or_else(|| at("--sctp-service", Protocol::Sctp))
        .or_else(marked)?;
    let addr = key.addr;
    if words.first() == Some(&"-A") {
        let scheduler: Scheduler = value("-s")?.parse().ok()?;
        let v6 = |n: u32| Ipv6Addr::from(u128::MAX.checked_shl(128 - n).unwrap_or(0));
        let mask: IpAddr = match value("-M") {
            None if addr.is_ipv6() => v6(128).into(),
            None => Ipv4Addr::BROADCAST.into(),
            Some(m) if addr.is_ipv6() => v6(m.parse().ok()?).into(),
            Some(m) => m.parse().ok()?,
        };
        let persistence = value("-p").and_then(|p| p.parse().ok()).map(|timeout_s| Persistence { timeout_s, mask });
        let has = |flag: &str| value("-b").is_some_and(|b| b.split(',').any(|f| f.ends_with(flag)));
        let flags = SchedulerFlags { fallback: has("-fallback"), port: has("-port"), flag3: false };
        let one_packet = words.contains(&"-o");
        let spec = ServiceSpec { flags, one_packet, persistence, ..ServiceSpec::with_scheduler(scheduler) };
        return Some(Step::AddService(key, spec));
    }
    let (addr, port) = parse_endpoint(value("-r")?)?;
    let server = ServerKey { addr, port };
    let number = |flag| value(flag).and_then(|v| v.parse::<u32>().ok());
    let spec = DestSpec {
        weight: Weight::new(number("-w").unwrap_or(1))?,
        method: match words.iter().find(|w| ["-m", "-i", "-g"].contains(w)) {
            Some(&"-m") => ForwardingMethod::Nat,
            Some(&"-i") => ForwardingMethod::Tun(Tunnel::default()),
            _ => ForwardingMethod::Dr,
        },
        u_threshold: number("-x").unwrap_or(0),
        l_threshold: number("-y").unwrap_or(0),
    };
    match *words.first()? {
        "-a" => Some(Step::AddDest(key, server, spec)),
        "-e" => Some(Step::EditDest(key, server, spec)),
        "-d" => Some(Step::RemoveDest(key, server)),
        _ => None,
    }
}

/// Parses a recording. Panics with the line that it cannot parse.
pub fn parse_recording(text: &str) -> Recording {
    let mut setup = Vec::new();
    let mut ops = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let at = n + 1;
        if let Some(command) = line.strip_prefix("# -") {
            let step = parse_ipvsadm_command(&format!("-{command}"));
            setup.push(step.unwrap_or_else(|| panic!("line {at}: {line}")));
            continue;
        }
        if line.starts_with('#') || line.starts_with("step\t") || line.is_empty() {
            continue;
        }
        let f: Vec<&str> = line.split('\t').collect();
        let bad = || -> ! { panic!("line {at}: {line}") };
        let op = match f.get(1).copied() {
            Some("adm") => RecordedOp::Change(f.get(2).and_then(|c| parse_ipvsadm_command(c)).unwrap_or_else(|| bad())),
            Some("act") => {
                let count = |w: &str| {
                    let (server, counts) = w.split_once('=')?;
                    let (active, inactive) = counts.split_once('/')?;
                    Some((parse_endpoint(server)?.0, active.parse().ok()?, inactive.parse().ok()?))
                };
                let all = f.get(2).map(|w| w.split(' ').map(count).collect::<Option<Vec<_>>>());
                RecordedOp::Counts(all.flatten().unwrap_or_else(|| bad()))
            }
            Some(kind) => {
                let (Some(from), Some(to)) =
                    (f.get(2).and_then(|e| parse_endpoint(e)), f.get(3).and_then(|e| parse_endpoint(e)))
                else {
                    bad()
                };
                let chosen = f.get(4).and_then(|c| parse_endpoint(c)).map(|e| e.0);
                RecordedOp::Packet { kind: kind.to_owned(), from, to, server: chosen }
            }
            None => bad(),
        };
        ops.push((at, op));
    }
    Recording { setup, ops }
}
