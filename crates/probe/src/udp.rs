//! UDP_CHECK: good unless it is refused; or, if a reply is required, good if the right one comes.

use std::net::IpAddr;

use evenkeel_core::health::Phase;
use evenkeel_core::model::{ConnectOptions, UdpReply};
use tokio::time::timeout;

use super::{PhaseTimer, ProbeFailure, ProbeSuccess, connect, random_bytes};

pub async fn run(
    to: (IpAddr, u16),
    path: &ConnectOptions,
    (payload, reply): (Option<&[u8]>, Option<&UdpReply>),
    watch: &mut PhaseTimer,
) -> Result<ProbeSuccess, ProbeFailure> {
    let socket = connect::udp_socket(to, path)?;
    let chance = || [random_bytes(), random_bytes(), random_bytes(), random_bytes()].concat();
    let payload = payload.map_or_else(chance, <[u8]>::to_vec);
    watch.run_phase(Phase::Send, socket.send(&payload)).await?;
    let mut answer = vec![0; 65536];
    let Some(reply) = reply else {
        // Nothing is as good as an answer; only a refusal (ICMP) is bad.
        let heard = timeout(watch.phase_timeout, socket.recv(&mut answer)).await;
        watch.end_phase(Phase::FirstByte);
        return match heard {
            Ok(Ok(n)) => Ok(format!("answered {n} bytes").into()),
            Ok(Err(e)) => Err((Phase::FirstByte, e.to_string())),
            Err(_) => Ok("not refused".to_owned().into()),
        };
    };
    let n = watch.run_phase(Phase::FirstByte, socket.recv(&mut answer)).await?;
    check_reply(&answer[..n], reply).map_err(|why| (Phase::Expect, why))?;
    Ok(format!("answered {n} bytes as expected").into())
}

fn check_reply(answer: &[u8], reply: &UdpReply) -> Result<(), String> {
    let n = answer.len();
    if !(usize::from(reply.min_len)..=usize::from(reply.max_len)).contains(&n) {
        return Err(format!("answered {n} bytes, expected {} to {}", reply.min_len, reply.max_len));
    }
    if n < reply.pattern.len() {
        return Err(format!("answered {n} bytes, expected {} at least", reply.pattern.len()));
    }
    match answer.iter().zip(&reply.pattern).position(|(got, (want, mask))| got & mask != want & mask) {
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
            Err(format!("byte {at} of the answer is {:02x}, expected {}{}", answer[at], digit(4), digit(0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_compared_byte_by_byte() {
        let reply = UdpReply { pattern: vec![(1, 0xff), (2, 0xff), (0xf0, 0xf0)], min_len: 0, max_len: 8 };
        assert_eq!(check_reply(&[1, 2, 0xf7, 9], &reply), Ok(()));
        assert_eq!(check_reply(&[1, 2, 0x77], &reply), Err("byte 2 of the answer is 77, expected fX".into()));
        assert!(check_reply(&[1, 2], &reply).is_err_and(|w| w.contains("3 at least")));
        assert!(check_reply(&[1; 9], &reply).is_err_and(|w| w.contains("0 to 8")));
    }
}
