//! TCP_CHECK with `through_service`, second half: tests whether the real server accepts a connection to the virtual
//! address, on the path that the packet path uses.

use std::net::{IpAddr, SocketAddr};

use evenkeel_core::health::{ForwardingPath, Phase, SynProbe, SynReply, encapsulate};
use evenkeel_core::model::ForwardingMethod;
use evenkeel_sys::async_fd::register_readable;
use evenkeel_sys::wire;

use super::{PhaseTimer, ProbeFailure, connect, random_bytes};

/// The lowest source port. The kernel uses lower ones (ip_local_port_range ends at 60,999).
const FIRST_PORT: u16 = 61_000;

/// `from`: the local address of the connection that the real server has accepted. Returns what was found.
pub async fn run(from: IpAddr, service_path: &ForwardingPath, timer: &mut PhaseTimer) -> Result<String, ProbeFailure> {
    if service_path.method == ForwardingMethod::Nat {
        return super::through_nat::run(service_path, timer).await;
    }
    let outer_source = from.to_canonical();
    let from = if outer_source.is_ipv4() == service_path.addr.is_ipv4() {
        outer_source
    } else {
        let source = wire::tunnel_source(service_path.addr, service_path.server);
        let source = source.map_err(|e| (Phase::Prepare, e.to_string()))?;
        let none = || format!("this host has no address from which to probe {}", service_path.addr);
        source.ok_or_else(|| (Phase::Prepare, none()))?
    };
    let probe = new_probe(from, (service_path.addr, service_path.port));
    let found = format!("connected, also at {}", probe.remote);
    let open = match service_path.method {
        ForwardingMethod::Tun(_) => wire::ServerPath::by_route(service_path.server, &probe),
        _ => wire::ServerPath::to_neighbour(service_path.server, &probe),
    };
    let wire::ServerPath::Remote(path) = open.map_err(|e| (Phase::Prepare, e.to_string()))? else { return Ok(found) };
    let packet = |inner: Vec<u8>| match service_path.method {
        ForwardingMethod::Tun(tunnel) => encapsulate(tunnel, outer_source, service_path.server, &inner),
        _ => inner,
    };
    let replies = path.reply_fd().and_then(register_readable).map_err(|e| (Phase::Prepare, e.to_string()))?;
    // Before the SYN, so that its reply arrives before that to the SYN.
    path.send_arp_probe().map_err(|e| (Phase::Send, e.to_string()))?;
    path.send(&packet(probe.syn())).map_err(|e| (Phase::Send, e.to_string()))?;
    let reply = connect::receive_matching(&replies, |packet| probe.parse_reply(packet));
    let remote = probe.remote;
    match timer.run_phase(Phase::FirstByte, reply).await {
        Ok(SynReply::Accepted) => {
            let _ = path.send(&packet(probe.rst()));
            if path.claims_virtual_address() {
                let why = format!("it answers ARP for {} and draws clients from the director:", remote.ip());
                return Err((Phase::Expect, format!("{why} set net.ipv4.conf.all.arp_ignore=1 there")));
            }
            Ok(found)
        }
        Ok(SynReply::Refused) => {
            Err((Phase::Expect, format!("it refuses connections to {remote}, but accepts them at its own address")))
        }
        Err((phase, why)) => {
            let hint = match service_path.method {
                ForwardingMethod::Tun(_) => "does it decapsulate tunnels and hold that address?",
                _ => "does it hold that address on `lo`?",
            };
            Err((phase, format!("it does not answer for {remote} ({why}): {hint}")))
        }
    }
}

/// A probe with a random port and sequence number.
pub fn new_probe(from: IpAddr, to: (IpAddr, u16)) -> SynProbe {
    let [a, b, c, d, e, f, ..] = random_bytes();
    let port = FIRST_PORT + u16::from_be_bytes([a, b]) % (u16::MAX - FIRST_PORT);
    SynProbe {
        local: SocketAddr::new(from, port),
        remote: SocketAddr::from(to),
        sequence: u32::from_be_bytes([c, d, e, f]),
    }
}
