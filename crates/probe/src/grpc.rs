//! GRPC_CHECK: the gRPC health checking protocol (grpc.health.v1, method Check) over HTTP/2.

use std::future::Future;
use std::net::IpAddr;

use evenkeel_core::health::Phase;
use evenkeel_core::model::{ConnectOptions, Tls};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response, Version, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::driver::{ConnectionDriver, CountingStream};
use super::http::error_with_cause;
use super::{PhaseTimer, ProbeFailure, ProbeSuccess, Prober, connect};

/// The longest response that is read. A HealthCheckResponse is an integer; fields may be added.
const MAX_REPLY_BYTES: usize = 4096;
/// HealthCheckResponse.ServingStatus
const SERVING: u64 = 1;

pub async fn run(
    prober: &Prober,
    to: (IpAddr, u16),
    path: &ConnectOptions,
    (service, tls): (&str, Option<&Tls>),
    timer: &mut PhaseTimer,
) -> Result<ProbeSuccess, ProbeFailure> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let target = std::net::SocketAddr::from(to);
    let request = Request::post(format!("{scheme}://{target}/grpc.health.v1.Health/Check"))
        .version(Version::HTTP_2)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "evenkeel")
        .body(Full::new(Bytes::from(encode_request(service))))
        .map_err(|e| (Phase::Prepare, e.to_string()))?;
    let stream = connect::tcp_connect(to, path, timer).await?;
    match tls {
        None => exchange(stream, request, timer).await,
        Some(tls) => exchange(prober.tls.handshake(tls, to.0, stream, timer).await?, request, timer).await,
    }
}

/// An uncompressed gRPC message: its length, and the service's name as the first field.
fn encode_request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        encode_varint(service.len() as u64, &mut message);
        message.extend(service.as_bytes());
    }
    [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat()
}

fn encode_varint(mut n: u64, to: &mut Vec<u8>) {
    while n >= 0x80 {
        to.push(n as u8 | 0x80);
        n >>= 7;
    }
    to.push(n as u8);
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
    timer: &mut PhaseTimer,
) -> Result<ProbeSuccess, ProbeFailure> {
    let (stream, bytes_read) = CountingStream::new(stream);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|e| (Phase::Send, e.to_string()))?;
    let connection = std::pin::pin!(connection);
    let mut driver = ConnectionDriver::new(connection, bytes_read, timer.phase_timeout);
    let response = driver.drive_until(sender.send_request(request)).await;
    timer.end_phase(Phase::FirstByte);
    let timeout_text = || format!("no answer for {} s", timer.phase_timeout.as_secs_f64());
    let response = match response {
        Some(Ok(response)) => response,
        Some(Err(e)) => return Err((Phase::FirstByte, error_with_cause(&e))),
        None => return Err((Phase::FirstByte, timeout_text())),
    };
    if response.status() != 200 {
        return Err((Phase::Expect, format!("answered {}, which is not gRPC", response.status().as_u16())));
    }
    let (response, late) = (read_response(response, &mut driver).await, timeout_text());
    timer.end_phase(Phase::Body);
    let (message, trailers) = response.unwrap_or(Err(late)).map_err(|why| (Phase::Body, why))?;
    check_response(&message, &trailers).map_err(|why| (Phase::Expect, why))?;
    Ok("serves".to_owned().into())
}

/// The message and the trailers, or the headers if there is no message.
async fn read_response(
    response: Response<Incoming>,
    driver: &mut ConnectionDriver<'_, impl Future<Output = hyper::Result<()>>>,
) -> Option<Result<(Vec<u8>, HeaderMap), String>> {
    let (head, mut body) = response.into_parts();
    let (mut message, mut trailers) = (Vec::new(), head.headers);
    while let Some(frame) = driver.drive_until(body.frame()).await? {
        match frame {
            Err(e) => return Some(Err(error_with_cause(&e))),
            Ok(frame) => match frame.into_data() {
                Ok(bytes) => message.extend_from_slice(&bytes),
                Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
            },
        }
        if message.len() > MAX_REPLY_BYTES {
            return Some(Err("the response is too long".to_owned()));
        }
    }
    Some(Ok((message, trailers)))
}

fn check_response(message: &[u8], trailers: &HeaderMap) -> Result<(), String> {
    let trailer = |name: &str| trailers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    match trailer("grpc-status").as_str() {
        "0" => {}
        "" => return Err("a response without a gRPC status".to_owned()),
        code => return Err(format!("gRPC status {code}: {}", trailer("grpc-message"))),
    }
    match serving_status(message.get(5..).unwrap_or(&[])) {
        Some(SERVING) => Ok(()),
        Some(0) => Err("UNKNOWN".to_owned()),
        Some(2) => Err("NOT_SERVING".to_owned()),
        Some(3) => Err("SERVICE_UNKNOWN".to_owned()),
        Some(n) => Err(format!("status {n}, expected 1 (SERVING)")),
        None => Err("the response is not a HealthCheckResponse".to_owned()),
    }
}

/// The first field of a HealthCheckResponse; a missing field is 0 (Protocol Buffers, "Encoding").
fn serving_status(message: &[u8]) -> Option<u64> {
    match message {
        [] => Some(0),
        [0x08, rest @ ..] => {
            let mut n = 0u64;
            for (i, b) in rest.iter().enumerate().take(9) {
                n |= u64::from(b & 0x7f) << (7 * i);
                if b & 0x80 == 0 {
                    return Some(n);
                }
            }
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_framed_message() {
        assert_eq!(encode_request(""), [0, 0, 0, 0, 0]);
        assert_eq!(encode_request("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        assert_eq!(encode_request(&"x".repeat(200))[5..8], [0x0a, 0xc8, 0x01], "a length of two bytes");
    }

    #[test]
    fn only_serving_passes() {
        let trailers = |status: &str| {
            let mut t = HeaderMap::new();
            t.insert("grpc-status", status.parse().expect("ASCII"));
            t
        };
        let response = |message: &[u8], code| check_response(&[&[0, 0, 0, 0, 2], message].concat(), &trailers(code));
        assert_eq!(response(&[8, 1], "0"), Ok(()));
        assert_eq!(response(&[8, 2], "0"), Err("NOT_SERVING".into()));
        assert_eq!(response(&[], "0"), Err("UNKNOWN".into()));
        assert!(response(&[], "5").is_err_and(|w| w.starts_with("gRPC status 5")));
        assert!(check_response(&[], &HeaderMap::new()).is_err());
        for garbage in [&[9][..], &[8], &[8, 0x80], &[8; 40]] {
            assert!(response(garbage, "0").is_err());
        }
    }
}
