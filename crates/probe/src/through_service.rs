//! The second half of a TCP_CHECK with `through_service`: would the real server take a connection to the virtual address,
//! if the packet path sent it one?

use std::net::{IpAddr, SocketAddr};

use evenkeel_core::health::{ForwardingPath, Phase, SynProbe, SynReply, encapsulate};
use evenkeel_core::model::ForwardingMethod;
use evenkeel_sys::async_fd::register_readable;
use evenkeel_sys::wire;

use super::{PhaseTimer, ProbeFailure, connect, random_bytes};

/// The lowest port of ours: the kernel's own come from below (ip_local_port_range(5) ends at 60,999).
const FIRST_PORT: u16 = 61_000;

/// `from`: the address of ours that the real server has answered.
pub async fn run(from: IpAddr, way: &ForwardingPath, watch: &mut PhaseTimer) -> Result<(), ProbeFailure> {
    let from = from.to_canonical();
    if from.is_ipv4() != way.addr.is_ipv4() {
        return Err((Phase::Prepare, format!("{} cannot be tried from {from}", way.addr)));
    }
    let [a, b, c, d, e, f, ..] = random_bytes();
    let port = FIRST_PORT + u16::from_be_bytes([a, b]) % (u16::MAX - FIRST_PORT);
    let attempt = SynProbe {
        local: SocketAddr::new(from, port),
        remote: SocketAddr::new(way.addr, way.port),
        sequence: u32::from_be_bytes([c, d, e, f]),
    };
    let open = match way.method {
        ForwardingMethod::Tun(_) => wire::ServerPath::by_route(way.server, &attempt),
        _ => wire::ServerPath::to_neighbour(way.server, &attempt),
    };
    let wire::ServerPath::Remote(path) = open.map_err(|e| (Phase::Prepare, e.to_string()))? else { return Ok(()) };
    let packet = |inner: Vec<u8>| match way.method {
        ForwardingMethod::Tun(tunnel) => encapsulate(tunnel, from, way.server, &inner),
        _ => inner,
    };
    let answers = path.reply_fd().and_then(register_readable).map_err(|e| (Phase::Prepare, e.to_string()))?;
    // First, so that its answer is there before that of the SYN.
    path.send_arp_probe().map_err(|e| (Phase::Send, e.to_string()))?;
    path.send(&packet(attempt.syn())).map_err(|e| (Phase::Send, e.to_string()))?;
    let heard = connect::receive_matching(&answers, |packet| attempt.parse_reply(packet));
    let at = attempt.remote;
    match watch.run_phase(Phase::FirstByte, heard).await {
        Ok(SynReply::Accepted) => {
            let _ = path.send(&packet(attempt.rst()));
            if path.claims_virtual_address() {
                let why = format!("it answers ARP for {}, and takes clients from the director:", at.ip());
                return Err((Phase::Expect, format!("{why} set net.ipv4.conf.all.arp_ignore=1 there")));
            }
            Ok(())
        }
        Ok(SynReply::Refused) => Err((Phase::Expect, format!("it listens, but not at {at}"))),
        Err((phase, why)) => {
            let hint = match way.method {
                ForwardingMethod::Tun(_) => "does it unwrap tunnels, and hold that address?",
                _ => "does it hold that address on `lo`?",
            };
            Err((phase, format!("it does not answer for {at} ({why}): {hint}")))
        }
    }
}
