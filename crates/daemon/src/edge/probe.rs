//! One probe: connect, send, read, judge, with the time that it took and the phase in which it failed.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use evenkeel_core::health::{Phase, ProbeResult};
use evenkeel_core::model::{Check, CheckKind, HttpUrl, ServerKey};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, Version, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

type Failure = (Phase, String);

/// Runs a probe. It never takes longer than twice the check's timeout.
pub async fn run(check: &Check, server: ServerKey, url: usize) -> ProbeResult {
    let started = Instant::now();
    let ended = match &check.kind {
        CheckKind::Tcp => connect(check, server).await.map(|_| "connected".to_owned()),
        CheckKind::Bfd(_) => Ok("nothing is probed".to_owned()),
        CheckKind::Http { urls, virtualhost } => match urls.get(url) {
            Some(u) => http(check, server, u, virtualhost.as_deref()).await,
            None => Ok("no url".to_owned()),
        },
    };
    let took_us = started.elapsed().as_micros() as u64;
    match ended {
        Ok(detail) => ProbeResult { failed: None, detail, took_us },
        Err((phase, detail)) => ProbeResult { failed: Some(phase), detail, took_us },
    }
}

fn target(check: &Check, server: ServerKey) -> SocketAddrV4 {
    SocketAddrV4::new(check.connect_ip.unwrap_or(server.addr), check.connect_port.unwrap_or(server.port))
}

async fn connect(check: &Check, server: ServerKey) -> Result<TcpStream, Failure> {
    let to = target(check, server);
    let fail = |e: io::Error| (Phase::Connect, format!("{to}: {e}"));
    let socket = TcpSocket::new_v4().map_err(fail)?;
    if let Some(from) = check.bindto {
        socket.bind(SocketAddr::from((from, 0))).map_err(fail)?;
    }
    match timeout(check.timing.connect_timeout, socket.connect(to.into())).await {
        Ok(done) => done.map_err(fail),
        Err(_) => Err((Phase::Connect, format!("{to}: no answer for {}", seconds(check.timing.connect_timeout)))),
    }
}

fn seconds(d: Duration) -> String {
    format!("{} s", d.as_secs_f64())
}

/// GET in HTTP/1.0, as keepalived asks by default. Only the status is judged, so the body is not read.
async fn http(check: &Check, server: ServerKey, url: &HttpUrl, host: Option<&str>) -> Result<String, Failure> {
    let patience = check.timing.connect_timeout;
    let stream = connect(check, server).await?;
    let to = target(check, server);
    let default_host = if to.port() == 80 { to.ip().to_string() } else { to.to_string() };
    let host = url.virtualhost.as_deref().or(host).unwrap_or(&default_host);
    let request = Request::get(&url.path)
        .version(Version::HTTP_10)
        .header(header::USER_AGENT, "evenkeel")
        .header(header::HOST, host)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| (Phase::Send, e.to_string()))?;
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| (Phase::Send, e.to_string()))?;
        let talk = tokio::spawn(connection);
        let answer = sender.send_request(request).await;
        talk.abort();
        answer.map_err(|e| {
            // Bytes before the request, or bytes that are no HTTP: an answer, but not the one expected.
            let phase = if e.is_parse() || e.is_canceled() { Phase::Expect } else { Phase::FirstByte };
            (phase, format!("{to}: {}", with_cause(&e)))
        })
    };
    let answer = timeout(patience, exchange)
        .await
        .map_err(|_| (Phase::FirstByte, format!("{to}: no answer to {} for {}", url.path, seconds(patience))))??;
    let code = answer.status().as_u16();
    if url.accepts(code) {
        Ok(format!("{} answered {code}", url.path))
    } else {
        Err((Phase::Expect, format!("{to}: {} answered {code}", url.path)))
    }
}

fn with_cause(e: &dyn std::error::Error) -> String {
    match e.source() {
        Some(cause) => format!("{e}: {cause}"),
        None => e.to_string(),
    }
}
