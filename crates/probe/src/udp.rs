//! UDP_CHECK: passes unless the datagram is refused; if a reply is required, passes with the expected reply.

use std::net::IpAddr;

use evenkeel_core::health::Phase;
use evenkeel_core::model::{ConnectOptions, UdpReply};
use tokio::time::timeout;

use super::{PhaseTimer, ProbeFailure, ProbeSuccess, connect, random_bytes};

pub async fn run(
    to: (IpAddr, u16),
    path: &ConnectOptions,
    (payload, reply): (Option<&[u8]>, Option<&UdpReply>),
    timer: &mut PhaseTimer,
) -> Result<ProbeSuccess, ProbeFailure> {
    let socket = connect::udp_socket(to, path)?;
    let random_payload = || [random_bytes(), random_bytes(), random_bytes(), random_bytes()].concat();
    let payload = payload.map_or_else(random_payload, <[u8]>::to_vec);
    timer.run_phase(Phase::Send, socket.send(&payload)).await?;
    let mut received_bytes = vec![0; 65536];
    let Some(reply) = reply else {
        // No reply passes as well as a reply; only a refusal (ICMP) fails.
        let received = timeout(timer.phase_timeout, socket.recv(&mut received_bytes)).await;
        timer.end_phase(Phase::FirstByte);
        return match received {
            Ok(Ok(n)) => Ok(format!("answered {n} bytes").into()),
            Ok(Err(e)) => Err((Phase::FirstByte, e.to_string())),
            Err(_) => Ok("not refused".to_owned().into()),
        };
    };
    let n = timer.run_phase(Phase::FirstByte, socket.recv(&mut received_bytes)).await?;
    check_reply(&received_bytes[..n], reply).map_err(|why| (Phase::Expect, why))?;
    Ok(format!("answered {n} bytes as expected").into())
}

fn check_reply(received_bytes: &[u8], reply: &UdpReply) -> Result<(), String> {
    let n = received_bytes.len();
    if !(usize::from(reply.min_len)..=usize::from(reply.max_len)).contains(&n) {
        return Err(format!("answered {n} bytes, expected {} to {}", reply.min_len, reply.max_len));
    }
    if n < reply.pattern.len() {
        return Err(format!("answered {n} bytes, expected at least {}", reply.pattern.len()));
    }
    match received_bytes.iter().zip(&reply.pattern).position(|(got, (want, mask))| got & mask != want & mask) {
        None => Ok(()),
        Some(at) => {
            let (want, mask) = reply.pattern[at];
            let digit = |shift: u32| {
                if mask >> shift & 0xf == 0 {
                    'X'
                } else {
                    char::from_digit(u32::from(want >> shift & 0xf), 16).unwrap_or('?')
                }
            };
            Err(format!("byte {at} of the reply is {:02x}, expected {}{}", received_bytes[at], digit(4), digit(0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_compared_byte_by_byte() {
        let reply = UdpReply { pattern: vec![(1, 0xff), (2, 0xff), (0xf0, 0xf0)], min_len: 0, max_len: 8 };
        assert_eq!(check_reply(&[1, 2, 0xf7, 9], &reply), Ok(()));
        assert_eq!(check_reply(&[1, 2, 0x77], &reply), Err("byte 2 of the reply is 77, expected fX".into()));
        assert!(check_reply(&[1, 2], &reply).is_err_and(|w| w.contains("at least 3")));
        assert!(check_reply(&[1; 9], &reply).is_err_and(|w| w.contains("0 to 8")));
    }
}
