//! REDIS_CHECK, PGSQL_CHECK, MYSQL_CHECK: test whether a database accepts clients, in its own protocol and without a
//! login.

use std::net::IpAddr;

use evenkeel_core::health::Phase;
use evenkeel_core::model::{ConnectOptions, Database};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PhaseTimer, ProbeFailure, ProbeSuccess, connect};

/// The longest reply that is read.
const MAX_REPLY_BYTES: usize = 4096;

/// A protocol with one request and one reply.
struct DatabaseProtocol {
    request: Vec<u8>,
    is_complete: fn(&[u8]) -> bool,
    check_reply: fn(&[u8]) -> Result<String, String>,
    /// Ends the session: servers count a client that only closes the connection as an error.
    quit: &'static [u8],
}

pub async fn run(
    to: (IpAddr, u16),
    path: &ConnectOptions,
    database: &Database,
    timer: &mut PhaseTimer,
) -> Result<ProbeSuccess, ProbeFailure> {
    let mut stream = connect::tcp_connect(to, path, timer).await?;
    let protocol = match database {
        // Redis serialization protocol: an inline command, and a line as the reply.
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
        Database::Mysql { user } => return run_mysql(&mut stream, user, timer).await,
    };
    timer.run_phase(Phase::Send, stream.write_all(&protocol.request)).await?;
    let reply = read_reply(&mut stream, protocol.is_complete, timer).await?;
    let detail = (protocol.check_reply)(&reply).map_err(|why| (Phase::Expect, why))?;
    let _ = stream.write_all(protocol.quit).await;
    Ok(detail.into())
}

/// Reads until the reply is complete.
async fn read_reply(
    stream: &mut TcpStream,
    is_complete: fn(&[u8]) -> bool,
    timer: &mut PhaseTimer,
) -> Result<Vec<u8>, ProbeFailure> {
    let mut reply = Vec::new();
    while !is_complete(&reply) {
        let mut buf = [0; 512];
        let phase = if reply.is_empty() { Phase::FirstByte } else { Phase::Body };
        let n = timer.run_phase(phase, stream.read(&mut buf)).await?;
        reply.extend_from_slice(&buf[..n]);
        if n == 0 || reply.len() > MAX_REPLY_BYTES {
            let why = if n == 0 { "the server closed the connection" } else { "the reply is too long" };
            return Err((phase, why.to_owned()));
        }
    }
    Ok(reply)
}

/// `+PONG`, or a request for a password, by which the server accepts clients, too.
fn check_redis_reply(reply: &[u8]) -> Result<String, String> {
    let line = String::from_utf8_lossy(reply).trim_end().to_owned();
    if line.starts_with("+PONG") || line.starts_with("-NOAUTH") {
        Ok(format!("answers {line}"))
    } else {
        Err(format!("answers \"{line}\", expected +PONG"))
    }
}

/// A StartupMessage (PostgreSQL, "Message Formats"): protocol 3.0 and the user.
fn postgres_startup_message(user: &str) -> Vec<u8> {
    let body = [&3u16.to_be_bytes()[..], &[0, 0], b"user\0", user.as_bytes(), b"\0\0"].concat();
    [&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
}

/// A message is a type, and a length that does not include the type. A message of another type than R and E counts as
/// complete, since it is an error.
fn is_postgres_reply_complete(b: &[u8]) -> bool {
    let other = b.first().is_some_and(|t| !b"RE".contains(t));
    other
        || b.get(1..5).is_some_and(|l| {
            let length = u32::from_be_bytes([l[0], l[1], l[2], l[3]]) as usize;
            length < 4 || b.len() > length
        })
}

/// As pg_isready(1): the server accepts clients if it requests authentication or rejects the user, but not while it
/// starts or stops (SQLSTATE 57P03) or has no free connection (53300).
fn check_postgres_reply(reply: &[u8]) -> Result<String, String> {
    match reply.first() {
        Some(b'R') => Ok("requests authentication".to_owned()),
        Some(b'E') => {
            let field = |name: u8| {
                let mut fields = reply.get(5..).unwrap_or(&[]).split(|b| *b == 0);
                fields.find(|f| f.first() == Some(&name)).map(|f| String::from_utf8_lossy(&f[1..]).into_owned())
            };
            let (code, text) = (field(b'C').unwrap_or_default(), field(b'M').unwrap_or_default());
            if matches!(code.as_str(), "57P03" | "53300") {
                Err(format!("accepts no clients: {text} ({code})"))
            } else {
                Ok(format!("accepts clients, but not this user: {text}"))
            }
        }
        _ => Err("the reply is not PostgreSQL's".to_owned()),
    }
}

/// A packet is a length of three bytes, a sequence number, and the payload. A length above the limit counts as
/// complete, since it is an error.
fn is_mysql_packet_complete(b: &[u8]) -> bool {
    let Some([a, b2, c, ..]) = b.get(..5) else { return false };
    let length = usize::from(*a) + (usize::from(*b2) << 8) + (usize::from(*c) << 16);
    length > MAX_REPLY_BYTES || b.len() >= 4 + length
}

/// Runs the handshake to its end, whatever the result: MySQL blocks a host whose handshakes are aborted
/// ("max_connect_errors"), but not one whose user is unknown.
async fn run_mysql(stream: &mut TcpStream, user: &str, timer: &mut PhaseTimer) -> Result<ProbeSuccess, ProbeFailure> {
    let expect = |why| (Phase::Expect, why);
    let greeting = read_reply(stream, is_mysql_packet_complete, timer).await?;
    let version = match parse_mysql_greeting(&greeting).map_err(expect)? {
        Ok(version) => version,
        Err(not_this_host) => return Ok(not_this_host.into()),
    };
    timer.run_phase(Phase::Send, stream.write_all(&mysql_handshake_response(user))).await?;
    let mut reply = read_reply(stream, is_mysql_packet_complete, timer).await?;
    // AuthSwitchRequest, another authentication method: the password is empty again.
    if reply.get(4) == Some(&0xfe) {
        timer.run_phase(Phase::Send, stream.write_all(&[0, 0, 0, reply[3].wrapping_add(1)])).await?;
        reply = read_reply(stream, is_mysql_packet_complete, timer).await?;
    }
    let result = check_mysql_login_reply(&reply).map_err(expect)?;
    let _ = stream.write_all(b"\x01\0\0\0\x01").await; // COM_QUIT
    Ok(format!("{version} {result}").into())
}

/// The server accepts no user from this host.
const ER_HOST_NOT_PRIVILEGED: u16 = 1130;

/// Parses the greeting (MySQL, "Protocol::HandshakeV10"): the server's version; or, as `Ok(Err(…))`, the text of an
/// error that concerns this host only.
fn parse_mysql_greeting(packet: &[u8]) -> Result<Result<String, String>, String> {
    match packet.get(4..) {
        Some([10, rest @ ..]) => {
            let version = rest.split(|b| *b == 0).next().unwrap_or(&[]);
            Ok(Ok(String::from_utf8_lossy(version).into_owned()))
        }
        Some([0xff, lo, hi, rest @ ..]) => match u16::from_le_bytes([*lo, *hi]) {
            ER_HOST_NOT_PRIVILEGED => {
                Ok(Err(format!("accepts clients, but not from this host: {}", String::from_utf8_lossy(rest))))
            }
            code => Err(refusal_text(code, rest)),
        },
        _ => Err("the reply is not MySQL's".to_owned()),
    }
}

/// The reply to the login: success, or an error that concerns the user and not the server.
fn check_mysql_login_reply(packet: &[u8]) -> Result<&'static str, String> {
    /// ER_DBACCESS_DENIED_ERROR, ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR, and MariaDB's error for a
    /// user without a password.
    const LOGIN_ERRORS: [u16; 4] = [1044, 1045, 1698, 3118];
    match packet.get(4..) {
        Some([0, ..]) => Ok("accepts clients"),
        Some([0xff, lo, hi, rest @ ..]) => match u16::from_le_bytes([*lo, *hi]) {
            code if LOGIN_ERRORS.contains(&code) => Ok("accepts clients, but not this user"),
            code => Err(refusal_text(code, rest)),
        },
        _ => Err("the reply is not MySQL's".to_owned()),
    }
}

fn refusal_text(code: u16, text: &[u8]) -> String {
    format!("accepts no clients: {} ({code})", String::from_utf8_lossy(text))
}

/// The login of a user without a password (MySQL, "Protocol::HandshakeResponse41").
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
    fn redis_that_loads_accepts_no_clients() {
        assert!(
            check_redis_reply(b"+PONG\r\n").is_ok()
                && check_redis_reply(b"-NOAUTH Authentication required.\r\n").is_ok()
        );
        assert!(check_redis_reply(b"-LOADING Redis is loading\r\n").is_err_and(|w| w.contains("LOADING")));
    }

    #[test]
    fn postgres_that_starts_accepts_no_clients() {
        assert_eq!(postgres_startup_message("u"), b"\0\0\0\x10\0\x03\0\0user\0u\0\0");
        let error = |code: &str| {
            let fields = format!("SFATAL\0C{code}\0Mthe reason\0\0");
            [b"E", &(fields.len() as u32 + 4).to_be_bytes()[..], fields.as_bytes()].concat()
        };
        assert!(is_postgres_reply_complete(&error("57P03")) && !is_postgres_reply_complete(&error("57P03")[..9]));
        assert_eq!(check_postgres_reply(&error("57P03")), Err("accepts no clients: the reason (57P03)".into()));
        assert!(
            check_postgres_reply(&error("28000")).is_ok() && check_postgres_reply(b"R\0\0\0\x08\0\0\0\x05").is_ok()
        );
        assert!(check_postgres_reply(b"HTTP/1.1 400").is_err() && check_postgres_reply(b"E").is_ok());
    }

    #[test]
    fn mysql_that_is_full_accepts_no_clients() {
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
            Err("accepts no clients: Too many (1040)".into())
        );
        assert!(parse_mysql_greeting(b"SSH-2.0-x").is_err());
        assert_eq!(
            check_mysql_login_reply(&packet(b"\xff\x15\x04#28000Access denied")),
            Ok("accepts clients, but not this user")
        );
        assert!(check_mysql_login_reply(&packet(b"\xff\x69\x04Host is blocked")).is_err_and(|w| w.ends_with("(1129)")));
        assert_eq!(check_mysql_login_reply(&packet(&[0, 0, 0])), Ok("accepts clients"));
    }
}
