//! PING_CHECK: an echo request and its reply (RFC 792, RFC 4443, 4.1 and 4.2).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use evenkeel_core::health::Phase;
use evenkeel_core::model::ConnectOptions;
use evenkeel_sys::async_fd::register_readable;
use socket2::{Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::{PhaseTimer, ProbeFailure, ProbeSuccess, connect, random_bytes};

pub async fn run(to: IpAddr, path: &ConnectOptions, timer: &mut PhaseTimer) -> Result<ProbeSuccess, ProbeFailure> {
    let (socket, raw) = open_socket(to, path).map_err(|e| (Phase::Prepare, e.to_string()))?;
    let token = random_bytes();
    let request = echo_request(to.is_ipv4(), token);
    let socket: AsyncFd<OwnedFd> = register_readable(socket.into()).map_err(|e| (Phase::Prepare, e.to_string()))?;
    nix::unistd::write(socket.get_ref(), &request).map_err(|e| (Phase::Send, e.to_string()))?;
    timer.end_phase(Phase::Send);
    let reply = connect::receive_matching(&socket, |b| is_echo_reply(b, raw && to.is_ipv4(), token).then_some(()));
    timer.run_phase(Phase::FirstByte, reply).await?;
    Ok("answered".to_owned().into())
}

/// A ping socket of the kernel (icmp(7), Linux 3.0); a raw one if `ping_group_range` excludes this process. The flag
/// tells whether it is raw.
fn open_socket(to: IpAddr, path: &ConnectOptions) -> io::Result<(Socket, bool)> {
    let protocol = if to.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let (socket, raw) = match connect::bound_socket(to, Type::DGRAM, Some(protocol), path) {
        Ok(s) => (s, false),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            (connect::bound_socket(to, Type::RAW, Some(protocol), path)?, true)
        }
        Err(e) => return Err(e),
    };
    socket.connect(&SocketAddr::from((to, 0)).into())?;
    Ok((socket, raw))
}

/// An echo request. The checksum is for raw sockets: ping sockets compute it, and set the identifier.
fn echo_request(v4: bool, token: [u8; 8]) -> Vec<u8> {
    let mut b = vec![if v4 { 8 } else { 128 }, 0, 0, 0, token[0], token[1], 0, 1];
    b.extend(token);
    if v4 {
        let sum: u32 = b.chunks(2).map(|p| u32::from(u16::from_be_bytes([p[0], p[1]]))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let check = !(((folded & 0xffff) + (folded >> 16)) as u16);
        b[2..4].copy_from_slice(&check.to_be_bytes());
    }
    b
}

/// True for the reply to the request with this token. `headed`: the IP header precedes it, as on raw sockets of IPv4.
fn is_echo_reply(bytes: &[u8], headed: bool, token: [u8; 8]) -> bool {
    let skip = if headed { bytes.first().map_or(0, |b| usize::from(b & 0xf) * 4) } else { 0 };
    bytes.get(skip..).is_some_and(|b| b.len() >= 16 && matches!(b[0], 0 | 129) && b[8..16] == token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_recognised_by_its_token() {
        let mut b = echo_request(true, *b"12345678");
        assert!(!is_echo_reply(&b, false, *b"12345678"), "the request itself, looped back");
        b[0] = 0;
        assert!(is_echo_reply(&b, false, *b"12345678") && !is_echo_reply(&b, false, *b"12345679"));
        let headed = [vec![0x45; 20], b.clone()].concat();
        assert!(is_echo_reply(&headed, true, *b"12345678") && !is_echo_reply(&b[..9], false, *b"12345678"));
        // RFC 1071: the sum over a packet with its checksum is all ones.
        let b = echo_request(true, *b"abcdefgh");
        let sum: u32 = b.chunks(2).map(|p| u32::from(u16::from_be_bytes([p[0], p[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
