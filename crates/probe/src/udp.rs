//! UDP_CHECK: good unless it is refused; or, if a reply is required, good if the right one comes.

use std::net::IpAddr;

use evenkeel_core::health::Phase;
use evenkeel_core::model::{Path, Reply};
use tokio::time::timeout;

use super::{Failure, Found, Watch, connect, random};

pub async fn run(
    to: (IpAddr, u16),
    path: &Path,
    (payload, reply): (Option<&[u8]>, Option<&Reply>),
    watch: &mut Watch,
) -> Result<Found, Failure> {
    let socket = connect::udp(to, path)?;
    let chance = || [random(), random(), random(), random()].concat();
    let payload = payload.map_or_else(chance, <[u8]>::to_vec);
    watch.phase(Phase::Send, socket.send(&payload)).await?;
    let mut answer = vec![0; 65536];
    let Some(reply) = reply else {
        // Nothing is as good as an answer; only a refusal (ICMP) is bad.
        let heard = timeout(watch.patience, socket.recv(&mut answer)).await;
        watch.done(Phase::FirstByte);
        return match heard {
            Ok(Ok(n)) => Ok(format!("answered {n} bytes").into()),
            Ok(Err(e)) => Err((Phase::FirstByte, e.to_string())),
            Err(_) => Ok("not refused".to_owned().into()),
        };
    };
    let n = watch.phase(Phase::FirstByte, socket.recv(&mut answer)).await?;
    judge(&answer[..n], reply).map_err(|why| (Phase::Expect, why))?;
    Ok(format!("answered {n} bytes as expected").into())
}

fn judge(answer: &[u8], reply: &Reply) -> Result<(), String> {
    let n = answer.len();
    if !(usize::from(reply.least)..=usize::from(reply.most)).contains(&n) {
        return Err(format!("answered {n} bytes, expected {} to {}", reply.least, reply.most));
    }
    if n < reply.bytes.len() {
        return Err(format!("answered {n} bytes, expected {} at least", reply.bytes.len()));
    }
    match answer.iter().zip(&reply.bytes).position(|(got, (want, mask))| got & mask != want & mask) {
        None => Ok(()),
        Some(at) => {
            let (want, mask) = reply.bytes[at];
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
        let reply = Reply { bytes: vec![(1, 0xff), (2, 0xff), (0xf0, 0xf0)], least: 0, most: 8 };
        assert_eq!(judge(&[1, 2, 0xf7, 9], &reply), Ok(()));
        assert_eq!(judge(&[1, 2, 0x77], &reply), Err("byte 2 of the answer is 77, expected fX".into()));
        assert!(judge(&[1, 2], &reply).is_err_and(|w| w.contains("3 at least")));
        assert!(judge(&[1; 9], &reply).is_err_and(|w| w.contains("0 to 8")));
    }
}
