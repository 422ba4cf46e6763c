//! SMTP_CHECK: greeting, HELO, QUIT (RFC 5321, 4.1 and 4.2), each with the reply code that keepalived expects.

use std::net::IpAddr;

use evenkeel_core::health::Phase;
use evenkeel_core::model::ConnectOptions;
use evenkeel_sys::resolver::host_name;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PhaseTimer, ProbeFailure, ProbeSuccess, connect};

/// The longest reply that is read: 512 bytes a line (RFC 5321, 4.5.3.1.5), and some lines.
const MAX_REPLY_BYTES: usize = 16 << 10;

pub async fn run(
    to: (IpAddr, u16),
    path: &ConnectOptions,
    helo: Option<&str>,
    timer: &mut PhaseTimer,
) -> Result<ProbeSuccess, ProbeFailure> {
    let mut stream = connect::tcp_connect(to, path, timer).await?;
    let helo = helo.map_or_else(host_name, str::to_owned);
    let mut greeting = String::new();
    let dialogue = [("", "220"), (&*format!("HELO {helo}\r\n"), "250"), ("QUIT\r\n", "221")];
    for (command, expected) in dialogue {
        if !command.is_empty() {
            timer.run_phase(Phase::Send, stream.write_all(command.as_bytes())).await?;
        }
        let reply = read_reply(&mut stream, timer).await?;
        if !reply.starts_with(expected) {
            let subject = if command.is_empty() {
                "its greeting is".to_owned()
            } else {
                format!("it answers {}", command.trim())
            };
            return Err((Phase::Expect, format!("{subject} \"{}\", expected {expected}", reply.trim_end())));
        }
        if command.is_empty() {
            greeting = reply.lines().next().unwrap_or("").to_owned();
        }
    }
    Ok(format!("greets \"{greeting}\"").into())
}

/// Reads a reply: lines with a hyphen after the code, and a last line without.
async fn read_reply(stream: &mut TcpStream, timer: &mut PhaseTimer) -> Result<String, ProbeFailure> {
    let mut bytes = Vec::new();
    loop {
        let mut buf = [0; 512];
        let phase = if bytes.is_empty() { Phase::FirstByte } else { Phase::Body };
        let n = timer.run_phase(phase, stream.read(&mut buf)).await?;
        bytes.extend_from_slice(&buf[..n]);
        if n == 0 || bytes.len() > MAX_REPLY_BYTES {
            let why = if n == 0 { "the server closed the connection" } else { "the reply is too long" };
            return Err((phase, why.to_owned()));
        }
        if is_reply_complete(&bytes) {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

fn is_reply_complete(reply: &[u8]) -> bool {
    let Some(lines) = reply.strip_suffix(b"\n") else { return false };
    let last = lines.rsplit(|b| *b == b'\n').next().unwrap_or(lines);
    last.get(3) != Some(&b'-')
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_reply_ends_with_a_line_without_a_hyphen() {
        use super::is_reply_complete;
        assert!(
            is_reply_complete(b"220 x\r\n")
                && is_reply_complete(b"220-x\r\n220 y\r\n")
                && is_reply_complete(b"250\r\n")
        );
        assert!(
            !is_reply_complete(b"220 x") && !is_reply_complete(b"220-x\r\n") && !is_reply_complete(b"220-x\r\n220 y")
        );
    }
}
