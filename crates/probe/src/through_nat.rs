//! TCP_CHECK with `through_service`, second half, for NAT: tests whether the real server's answers return through this
//! director, without which no client gets one.
//!
//! The probe is a SYN from the virtual address. If that address is not on the real server's link, the server sends its
//! answer to its gateway, as it sends its answers to clients. The answer must arrive here without another router's help.

use std::io;

use evenkeel_core::health::{ForwardingPath, Phase, SynProbe, SynReply};
use evenkeel_sys::async_fd::register_readable;
use evenkeel_sys::wire::{self, NatSource, ProbeSockets};

use super::through_service::new_probe;
use super::{PhaseTimer, ProbeFailure};

/// Returns what was found.
pub async fn run(path: &ForwardingPath, timer: &mut PhaseTimer) -> Result<String, ProbeFailure> {
    let prepare = |e: evenkeel_sys::Error| (Phase::Prepare, e.to_string());
    let source = wire::nat_source(path.addr, path.server).map_err(prepare)?;
    if source == NatSource::Elsewhere {
        return Ok(format!("connected; answers were not tested, since {} is not on this host", path.addr));
    }
    let probe = new_probe(path.addr, (path.server, path.server_port));
    let sockets = match wire::ServerPath::behind_nat(path.server, &probe).map_err(prepare)? {
        wire::ServerPath::Local => return Ok("connected".to_owned()),
        wire::ServerPath::Remote(sockets) => sockets,
    };
    sockets.send(&probe.syn()).map_err(|e| (Phase::Send, e.to_string()))?;
    let received = timer.run_phase(Phase::FirstByte, receive_reply(&sockets, &probe)).await;
    let (reply, is_direct) = received.map_err(|(phase, why)| {
        let hint = "is this director its gateway? does a firewall drop them?";
        (phase, format!("its answers to {} do not return ({why}): {hint}", path.addr))
    })?;
    if reply == SynReply::Accepted {
        let _ = sockets.send(&probe.rst());
    }
    match (reply, source) {
        (SynReply::Refused, _) => {
            Err((Phase::Expect, format!("it refuses connections from {}: does a firewall reject them?", path.addr)))
        }
        (SynReply::Accepted, NatSource::Routed) if !is_direct => {
            let why = "its answers return by another router, which does not translate them";
            Err((Phase::Expect, format!("{why}: make this director its gateway")))
        }
        (SynReply::Accepted, NatSource::Routed) => Ok(format!("connected, also from {}", path.addr)),
        (SynReply::Accepted, _) => {
            Ok(format!("connected, also from {}, which is on its link: its gateway was not tested", path.addr))
        }
    }
}

async fn receive_reply(sockets: &ProbeSockets, probe: &SynProbe) -> io::Result<(SynReply, bool)> {
    let readable = sockets.reply_fd().and_then(register_readable)?;
    let mut buffer = [0; 256];
    loop {
        let mut guard = readable.readable().await?;
        match sockets.receive(&mut buffer) {
            Ok((packet, is_direct)) => {
                if let Some(reply) = probe.parse_reply(packet) {
                    return Ok((reply, is_direct));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
            Err(e) => return Err(e),
        }
    }
}
