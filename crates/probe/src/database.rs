//! REDIS_CHECK, PGSQL_CHECK, MYSQL_CHECK: does a database take clients? Each is asked in its own words, and nobody logs in.

use std::net::IpAddr;

use evenkeel_core::health::Phase;
use evenkeel_core::model::{ConnectOptions, Database};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PhaseTimer, ProbeFailure, ProbeSuccess, connect};

/// No answer that matters is longer.
const MAX_REPLY_BYTES: usize = 4096;

/// What a database is asked by, when its answer is whole, and what it means.
struct DatabaseProtocol {
    request: Vec<u8>,
    is_complete: fn(&[u8]) -> bool,
    check_reply: fn(&[u8]) -> Result<String, String>,
    /// A client that only hangs up would be counted as an error.
    quit: &'static [u8],
}

pub async fn run(
    to: (IpAddr, u16),
    path: &ConnectOptions,
    database: &Database,
    watch: &mut PhaseTimer,
) -> Result<ProbeSuccess, ProbeFailure> {
    let mut stream = connect::tcp_connect(to, path, watch).await?;
    let manner = match database {
        // Redis serialization protocol: an inline command, and a line.
        Database::Redis => DatabaseProtocol {
            request: b"PING\r\n".to_vec(),
            is_complete: |b| b.ends_with(b"\r\n"),
            check_reply: check_redis_reply,
            quit: b"QUIT\r\n",
        },
        Database::Postgres { user } => DatabaseProtocol {
            request: postgres_startup_message(user),
            is_complete: is_postgres_reply_complete,
            check_reply: check_postgres_reply,
            quit: b"X\0\0\0\x04",
        },
        Database::Mysql { user } => return run_mysql(&mut stream, user, watch).await,
    };
    watch.run_phase(Phase::Send, stream.write_all(&manner.request)).await?;
    let answer = read_reply(&mut stream, manner.is_complete, watch).await?;
    let found = (manner.check_reply)(&answer).map_err(|why| (Phase::Expect, why))?;
    let _ = stream.write_all(manner.quit).await;
    Ok(found.into())
}

/// Reads until the answer is whole.
async fn read_reply(
    stream: &mut TcpStream,
    whole: fn(&[u8]) -> bool,
    watch: &mut PhaseTimer,
) -> Result<Vec<u8>, ProbeFailure> {
    let mut answer = Vec::new();
    while !whole(&answer) {
        let mut some = [0; 512];
        let phase = if answer.is_empty() { Phase::FirstByte } else { Phase::Body };
        let n = watch.run_phase(phase, stream.read(&mut some)).await?;
        answer.extend_from_slice(&some[..n]);
        if n == 0 || answer.len() > MAX_REPLY_BYTES {
            let why = if n == 0 { "it hung up" } else { "its answer does not end" };
            return Err((phase, why.to_owned()));
        }
    }
    Ok(answer)
}

/// `+PONG`, or a wish for a password: who asks for one takes clients.
fn check_redis_reply(answer: &[u8]) -> Result<String, String> {
    let line = String::from_utf8_lossy(answer).trim_end().to_owned();
    if line.starts_with("+PONG") || line.starts_with("-NOAUTH") {
        Ok(format!("answers {line}"))
    } else {
        Err(format!("answers \"{line}\", expected +PONG"))
    }
}

/// A StartupMessage (PostgreSQL, "Message Formats"): protocol 3.0, and who we are.
fn postgres_startup_message(user: &str) -> Vec<u8> {
    let body = [&3u16.to_be_bytes()[..], &[0, 0], b"user\0", user.as_bytes(), b"\0\0"].concat();
    [&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
}

/// A type, and a length without it. What is of another type is no answer that could be waited for.
fn is_postgres_reply_complete(b: &[u8]) -> bool {
    let other = b.first().is_some_and(|t| !b"RE".contains(t));
    other
        || b.get(1..5).is_some_and(|l| {
            let length = u32::from_be_bytes([l[0], l[1], l[2], l[3]]) as usize;
            length < 4 || b.len() > length
        })
}

/// As pg_isready(1) sees it: it takes clients if it wants to know who we are, or does not like who we are; not if it is
/// starting or stopping (SQLSTATE 57P03) or full (53300).
fn check_postgres_reply(answer: &[u8]) -> Result<String, String> {
    match answer.first() {
        Some(b'R') => Ok("asks who we are".to_owned()),
        Some(b'E') => {
            let field = |name: u8| {
                let mut fields = answer.get(5..).unwrap_or(&[]).split(|b| *b == 0);
                fields.find(|f| f.first() == Some(&name)).map(|f| String::from_utf8_lossy(&f[1..]).into_owned())
            };
            let (code, text) = (field(b'C').unwrap_or_default(), field(b'M').unwrap_or_default());
            if matches!(code.as_str(), "57P03" | "53300") {
                Err(format!("takes no clients: {text} ({code})"))
            } else {
                Ok(format!("takes clients, though not us: {text}"))
            }
        }
        _ => Err("an answer that is not PostgreSQL's".to_owned()),
    }
}

/// A length of three bytes, and a number that counts packets. One that is longer than any answer is no length.
fn is_mysql_packet_complete(b: &[u8]) -> bool {
    let Some([a, b2, c, ..]) = b.get(..5) else { return false };
    let length = usize::from(*a) + (usize::from(*b2) << 8) + (usize::from(*c) << 16);
    length > MAX_REPLY_BYTES || b.len() >= 4 + length
}

/// Through the handshake to its end, whatever that is: a server bars a host whose handshakes break off (MySQL,
/// "max_connect_errors"), but not one whose user it does not know.
async fn run_mysql(stream: &mut TcpStream, user: &str, watch: &mut PhaseTimer) -> Result<ProbeSuccess, ProbeFailure> {
    let expect = |why| (Phase::Expect, why);
    let greeting = read_reply(stream, is_mysql_packet_complete, watch).await?;
    let version = match parse_mysql_greeting(&greeting).map_err(expect)? {
        Ok(version) => version,
        Err(not_us) => return Ok(not_us.into()),
    };
    watch.run_phase(Phase::Send, stream.write_all(&mysql_handshake_response(user))).await?;
    let mut answer = read_reply(stream, is_mysql_packet_complete, watch).await?;
    // Another way to prove who we are (AuthSwitchRequest): by nothing, again.
    if answer.get(4) == Some(&0xfe) {
        watch.run_phase(Phase::Send, stream.write_all(&[0, 0, 0, answer[3].wrapping_add(1)])).await?;
        answer = read_reply(stream, is_mysql_packet_complete, watch).await?;
    }
    let how = check_mysql_login_reply(&answer).map_err(expect)?;
    let _ = stream.write_all(b"\x01\0\0\0\x01").await; // COM_QUIT
    Ok(format!("{version} {how}").into())
}

/// ER_HOST_NOT_PRIVILEGED: nobody may come from here.
const ER_HOST_NOT_PRIVILEGED: u16 = 1130;

/// The greeting (MySQL, "Protocol::HandshakeV10"): version 10 and the server's own; or an error, which may be for us alone.
fn parse_mysql_greeting(packet: &[u8]) -> Result<Result<String, String>, String> {
    match packet.get(4..) {
        Some([10, rest @ ..]) => {
            let version = rest.split(|b| *b == 0).next().unwrap_or(&[]);
            Ok(Ok(String::from_utf8_lossy(version).into_owned()))
        }
        Some([0xff, lo, hi, rest @ ..]) => match u16::from_le_bytes([*lo, *hi]) {
            ER_HOST_NOT_PRIVILEGED => {
                Ok(Err(format!("takes clients, though not us: {}", String::from_utf8_lossy(rest))))
            }
            code => Err(refusal_text(code, rest)),
        },
        _ => Err("an answer that is not MySQL's".to_owned()),
    }
}

/// The answer to who we are: welcome, or an error that tells of us and not of the server.
fn check_mysql_login_reply(packet: &[u8]) -> Result<&'static str, String> {
    /// ER_DBACCESS_DENIED_ERROR, ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR, and MariaDB's for a user
    /// without a password.
    const LOGIN_ERRORS: [u16; 4] = [1044, 1045, 1698, 3118];
    match packet.get(4..) {
        Some([0, ..]) => Ok("takes clients"),
        Some([0xff, lo, hi, rest @ ..]) => match u16::from_le_bytes([*lo, *hi]) {
            code if LOGIN_ERRORS.contains(&code) => Ok("takes clients, though not us"),
            code => Err(refusal_text(code, rest)),
        },
        _ => Err("an answer that is not MySQL's".to_owned()),
    }
}

fn refusal_text(code: u16, text: &[u8]) -> String {
    format!("takes no clients: {} ({code})", String::from_utf8_lossy(text))
}

/// Who we are, without a password (MySQL, "Protocol::HandshakeResponse41").
fn mysql_handshake_response(user: &str) -> Vec<u8> {
    /// CLIENT_LONG_PASSWORD, CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION, CLIENT_PLUGIN_AUTH
    const CAPABILITIES: u32 = 0x1 | 0x200 | 0x8000 | 0x8_0000;
    const UTF8: u8 = 33;
    let mut body = CAPABILITIES.to_le_bytes().to_vec();
    body.extend((1u32 << 24).to_le_bytes());
    body.push(UTF8);
    body.extend([0; 23]);
    body.extend(user.as_bytes());
    body.extend(b"\0\0mysql_native_password\0");
    let length = (body.len() as u32).to_le_bytes();
    [&length[..3], &[1], &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_that_loads_takes_no_clients() {
        assert!(
            check_redis_reply(b"+PONG\r\n").is_ok()
                && check_redis_reply(b"-NOAUTH Authentication required.\r\n").is_ok()
        );
        assert!(check_redis_reply(b"-LOADING Redis is loading\r\n").is_err_and(|w| w.contains("LOADING")));
    }

    #[test]
    fn postgres_that_starts_takes_no_clients() {
        assert_eq!(postgres_startup_message("u"), b"\0\0\0\x10\0\x03\0\0user\0u\0\0");
        let error = |code: &str| {
            let fields = format!("SFATAL\0C{code}\0Mthe reason\0\0");
            [b"E", &(fields.len() as u32 + 4).to_be_bytes()[..], fields.as_bytes()].concat()
        };
        assert!(is_postgres_reply_complete(&error("57P03")) && !is_postgres_reply_complete(&error("57P03")[..9]));
        assert_eq!(check_postgres_reply(&error("57P03")), Err("takes no clients: the reason (57P03)".into()));
        assert!(
            check_postgres_reply(&error("28000")).is_ok() && check_postgres_reply(b"R\0\0\0\x08\0\0\0\x05").is_ok()
        );
        assert!(check_postgres_reply(b"HTTP/1.1 400").is_err() && check_postgres_reply(b"E").is_ok());
    }

    #[test]
    fn mysql_that_is_full_takes_no_clients() {
        let packet = |body: &[u8]| [&[body.len() as u8, 0, 0, 0], body].concat();
        let greeting = packet(b"\x0a5.5.5-10.11\0\x01\0\0\0");
        assert!(
            is_mysql_packet_complete(&greeting)
                && !is_mysql_packet_complete(&greeting[..greeting.len() - 1])
                && !is_mysql_packet_complete(&[])
        );
        assert_eq!(parse_mysql_greeting(&greeting), Ok(Ok("5.5.5-10.11".into())));
        assert_eq!(
            parse_mysql_greeting(&packet(b"\xff\x10\x04Too many")),
            Err("takes no clients: Too many (1040)".into())
        );
        assert!(parse_mysql_greeting(b"SSH-2.0-x").is_err());
        assert_eq!(
            check_mysql_login_reply(&packet(b"\xff\x15\x04#28000Access denied")),
            Ok("takes clients, though not us")
        );
        assert!(check_mysql_login_reply(&packet(b"\xff\x69\x04Host is blocked")).is_err_and(|w| w.ends_with("(1129)")));
        assert_eq!(check_mysql_login_reply(&packet(&[0, 0, 0])), Ok("takes clients"));
    }
}
