//! HTTP_GET and SSL_GET: request a page as keepalived does, and check its status code, its digest and its text.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel_core::health::{Expectation, Phase, Probe, ProbeKind, Regex, compile_regex};
use evenkeel_core::model::{HttpUrl, HttpVersion, Pattern};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, Version, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::driver::{ByteCounter, ConnectionDriver, CountingStream};
use super::{PhaseTimer, ProbeFailure, ProbeSuccess, Prober, connect};

/// Compiled regular expressions.
#[derive(Default)]
pub struct RegexCache(Mutex<HashMap<Pattern, Arc<Regex>>>);

impl RegexCache {
    fn get(&self, pattern: &Pattern) -> Result<Arc<Regex>, ProbeFailure> {
        let mut known = self.0.lock().map_err(|e| (Phase::Prepare, e.to_string()))?;
        if let Some(r) = known.get(pattern) {
            return Ok(r.clone());
        }
        let regex = compile_regex(pattern).map_err(|why| (Phase::Prepare, format!("\"{}\": {why}", pattern.source)))?;
        Ok(known.entry(pattern.clone()).or_insert(Arc::new(regex)).clone())
    }
}

/// Gets a page and checks it.
pub async fn run(
    prober: &Prober,
    probe: &Probe,
    to: (IpAddr, u16),
    timer: &mut PhaseTimer,
) -> Result<ProbeSuccess, ProbeFailure> {
    let (code, page) = fetch(prober, probe, to, timer).await?;
    let (path, bytes) = (page.url().path.clone(), page.length());
    page.finish().map_err(|why| (Phase::Expect, format!("{path}: {why}")))?;
    Ok(format!("{path} answered {code}, {bytes} bytes").into())
}

/// Gets a page and checks its status code.
pub async fn fetch<'p>(
    prober: &Prober,
    probe: &'p Probe,
    to: (IpAddr, u16),
    timer: &mut PhaseTimer,
) -> Result<(u16, Expectation<'p>), ProbeFailure> {
    let ProbeKind::Http { url, version, tls, limit } = &probe.kind else {
        return Err((Phase::Prepare, "the probe has no page".to_owned()));
    };
    let regex = url.pattern.as_ref().map(|p| prober.patterns.get(p)).transpose()?;
    let page = Expectation::new(url, regex);
    let request = build_request(url, *version, to, tls.is_some()).map_err(|e| (Phase::Prepare, e.to_string()))?;
    let limit = limit.unwrap_or(timer.phase_timeout * 10);
    let exchange = async {
        let stream = connect::tcp_connect(to, &probe.path, timer).await?;
        match tls {
            None => start_exchange(stream, request, page, timer).await,
            Some(tls) => {
                let stream = prober.tls.handshake(tls, to.0, stream, timer).await?;
                start_exchange(stream, request, page, timer).await
            }
        }
    };
    match timeout(limit, exchange).await {
        Ok(done) => done,
        Err(_) => {
            Err((Phase::Body, format!("{} was not received completely within {}", url.path, format_seconds(limit))))
        }
    }
}

fn format_seconds(d: Duration) -> String {
    format!("{} s", d.as_secs_f64())
}

/// keepalived's user agent, by which servers may recognise health checks.
const USER_AGENT: &str = "KeepAliveClient";

/// The request, byte for byte as keepalived sends it (verified by recordings).
fn build_request(
    url: &HttpUrl,
    version: HttpVersion,
    (addr, port): (IpAddr, u16),
    secure: bool,
) -> hyper::http::Result<Request<Empty<Bytes>>> {
    let default_port = if secure { 443 } else { 80 };
    let target = match (addr, port == default_port) {
        (IpAddr::V4(a), true) => a.to_string(),
        (IpAddr::V4(a), false) => format!("{a}:{port}"),
        (IpAddr::V6(a), true) => format!("[{a}]"),
        (IpAddr::V6(a), false) => format!("[{a}]:{port}"),
    };
    let host = url.virtualhost.as_deref().unwrap_or(&target);
    if version == HttpVersion::V2 {
        let scheme = if secure { "https" } else { "http" };
        let uri = format!("{scheme}://{host}{}", url.path);
        return Request::get(uri).version(Version::HTTP_2).header(header::USER_AGENT, USER_AGENT).body(Empty::new());
    }
    let mut request = Request::get(&url.path)
        .version(if version == HttpVersion::V11 { Version::HTTP_11 } else { Version::HTTP_10 })
        .header(header::USER_AGENT, USER_AGENT);
    if version != HttpVersion::V10 {
        request = request.header(header::CONNECTION, "close");
    }
    request.header(header::HOST, host).body(Empty::new())
}

async fn start_exchange<'p, S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Empty<Bytes>>,
    expected: Expectation<'p>,
    timer: &mut PhaseTimer,
) -> Result<(u16, Expectation<'p>), ProbeFailure> {
    let (stream, bytes_read) = CountingStream::new(stream);
    let (io, send) = (TokioIo::new(stream), |e: hyper::Error| (Phase::Send, e.to_string()));
    if request.version() == Version::HTTP_2 {
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
        let (mut sender, connection) = handshake.map_err(send)?;
        return run_exchange((sender.send_request(request), connection), bytes_read, expected, timer).await;
    }
    let handshake = hyper::client::conn::http1::Builder::new().title_case_headers(true).handshake(io).await;
    let (mut sender, connection) = handshake.map_err(send)?;
    run_exchange((sender.send_request(request), connection), bytes_read, expected, timer).await
}

/// Drives the connection and reads the response. Both end with the probe.
async fn run_exchange<'p>(
    (response, connection): (
        impl Future<Output = hyper::Result<Response<Incoming>>>,
        impl Future<Output = hyper::Result<()>>,
    ),
    bytes_read: ByteCounter,
    mut expected: Expectation<'p>,
    timer: &mut PhaseTimer,
) -> Result<(u16, Expectation<'p>), ProbeFailure> {
    let url = expected.url();
    let connection = std::pin::pin!(connection);
    let mut driver = ConnectionDriver::new(connection, bytes_read, timer.phase_timeout);
    let idle_timeout = format_seconds(timer.phase_timeout);
    let response = driver.drive_until(response).await;
    timer.end_phase(Phase::FirstByte);
    let response = match response {
        Some(Ok(response)) => response,
        Some(Err(e)) => {
            // A reply that is not HTTP is a reply, but not the expected one.
            let phase = if e.is_parse() || e.is_canceled() { Phase::Expect } else { Phase::FirstByte };
            return Err((phase, error_with_cause(&e)));
        }
        None if driver.total_bytes_read() == 0 => {
            return Err((Phase::FirstByte, format!("no answer to {} for {idle_timeout}", url.path)));
        }
        None => {
            let (path, n) = (&url.path, driver.total_bytes_read());
            return Err((Phase::Body, format!("{path} stops within its header, after {n} bytes, for {idle_timeout}")));
        }
    };
    let code = response.status().as_u16();
    if !url.accepts_status(code) {
        return Err((Phase::Expect, format!("{} answered {code}", url.path)));
    }
    let mut body = response.into_body();
    loop {
        match driver.drive_until(body.frame()).await {
            Some(None) => break,
            Some(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    expected.feed(bytes);
                }
            }
            Some(Some(Err(e))) => {
                timer.end_phase(Phase::Body);
                return Err((Phase::Body, format!("{}: {}", url.path, error_with_cause(&e))));
            }
            None => {
                timer.end_phase(Phase::Body);
                let (path, at) = (&url.path, expected.length());
                return Err((Phase::Body, format!("{path} stops after {at} bytes, for {idle_timeout}")));
            }
        }
    }
    timer.end_phase(Phase::Body);
    Ok((code, expected))
}

pub fn error_with_cause(e: &dyn std::error::Error) -> String {
    match e.source() {
        Some(cause) => format!("{e}: {cause}"),
        None => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_header_has_the_port_unless_it_is_the_default() {
        let url = HttpUrl { path: "/x".into(), status: Vec::new(), virtualhost: None, digest: None, pattern: None };
        let host = |addr: &str, port, secure| {
            let r =
                build_request(&url, HttpVersion::V10, (addr.parse().expect("an address"), port), secure).expect("fine");
            r.headers()[header::HOST].to_str().expect("ASCII").to_owned()
        };
        assert_eq!(host("10.0.0.1", 80, false), "10.0.0.1");
        assert_eq!(host("10.0.0.1", 443, false), "10.0.0.1:443");
        assert_eq!(host("2001:db8::1", 443, true), "[2001:db8::1]");
        assert_eq!(host("2001:db8::1", 8443, true), "[2001:db8::1]:8443");
    }
}
