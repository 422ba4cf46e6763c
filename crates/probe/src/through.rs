//! The second half of a TCP_CHECK with `through_service`: would the real server take a connection to the virtual address,
//! if the packet path sent it one?

use std::net::{IpAddr, SocketAddrV4};

use evenkeel_core::health::{Answer, Attempt, Phase};
use evenkeel_sys::readable::readable;
use evenkeel_sys::wire::Through;

use super::{Failure, Watch, connect, random};

/// The lowest port of ours: the kernel's own come from below (ip_local_port_range(5) ends at 60,999).
const FIRST_PORT: u16 = 61_000;

pub async fn run(from: IpAddr, server: IpAddr, service: (IpAddr, u16), watch: &mut Watch) -> Result<(), Failure> {
    let (IpAddr::V4(from), IpAddr::V4(server), IpAddr::V4(vip)) = (from, server, service.0) else {
        return Err((Phase::Prepare, "only IPv4 goes through the service yet".to_owned()));
    };
    let [a, b, c, d, e, f, ..] = random();
    let port = FIRST_PORT + u16::from_be_bytes([a, b]) % (u16::MAX - FIRST_PORT);
    let attempt = Attempt {
        from: SocketAddrV4::new(from, port),
        to: SocketAddrV4::new(vip, service.1),
        sequence: u32::from_be_bytes([c, d, e, f]),
    };
    let through = Through::open(server, &attempt).map_err(|e| (Phase::Prepare, e.to_string()))?;
    let answers = through.answers().and_then(readable).map_err(|e| (Phase::Prepare, e.to_string()))?;
    through.send(&attempt.syn()).map_err(|e| (Phase::Send, e.to_string()))?;
    let heard = connect::hear(&answers, |packet| attempt.answer(packet));
    let at = attempt.to;
    match watch.phase(Phase::FirstByte, heard).await {
        Ok(Answer::Accepted) => {
            let _ = through.send(&attempt.rst());
            Ok(())
        }
        Ok(Answer::Refused) => Err((Phase::Expect, format!("it listens, but not at {at}"))),
        Err((phase, why)) => {
            Err((phase, format!("it does not answer for {at} ({why}): does it hold that address on `lo`?")))
        }
    }
}
