//! HTTP_GET and SSL_GET: a page, asked for in keepalived's words, and judged by its status, its digest and its text.

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

/// Compiled expressions, each once.
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

/// Asks for a page, and judges it.
pub async fn run(
    prober: &Prober,
    probe: &Probe,
    to: (IpAddr, u16),
    watch: &mut PhaseTimer,
) -> Result<ProbeSuccess, ProbeFailure> {
    let (code, page) = fetch(prober, probe, to, watch).await?;
    let (path, bytes) = (page.url().path.clone(), page.length());
    page.finish().map_err(|why| (Phase::Expect, format!("{path}: {why}")))?;
    Ok(format!("{path} answered {code}, {bytes} bytes").into())
}

/// Gets a page whose status is as it should be.
pub async fn fetch<'p>(
    prober: &Prober,
    probe: &'p Probe,
    to: (IpAddr, u16),
    watch: &mut PhaseTimer,
) -> Result<(u16, Expectation<'p>), ProbeFailure> {
    let ProbeKind::Http { url, version, tls, limit } = &probe.kind else {
        return Err((Phase::Prepare, "no page to ask for".to_owned()));
    };
    let regex = url.pattern.as_ref().map(|p| prober.patterns.get(p)).transpose()?;
    let page = Expectation::new(url, regex);
    let request = build_request(url, *version, to, tls.is_some()).map_err(|e| (Phase::Prepare, e.to_string()))?;
    let limit = limit.unwrap_or(watch.phase_timeout * 10);
    let within = async {
        let stream = connect::tcp_connect(to, &probe.path, watch).await?;
        match tls {
            None => start_exchange(stream, request, page, watch).await,
            Some(tls) => {
                let stream = prober.tls.handshake(tls, to.0, stream, watch).await?;
                start_exchange(stream, request, page, watch).await
            }
        }
    };
    match timeout(limit, within).await {
        Ok(done) => done,
        Err(_) => Err((Phase::Body, format!("{} is not answered whole within {}", url.path, format_seconds(limit)))),
    }
}

fn format_seconds(d: Duration) -> String {
    format!("{} s", d.as_secs_f64())
}

/// keepalived's name, which servers may know its checks by.
const USER_AGENT: &str = "KeepAliveClient";

/// The request, byte for byte as keepalived writes it (recorded).
fn build_request(
    url: &HttpUrl,
    version: HttpVersion,
    (addr, port): (IpAddr, u16),
    secure: bool,
) -> hyper::http::Result<Request<Empty<Bytes>>> {
    let usual = if secure { 443 } else { 80 };
    let own = match (addr, port == usual) {
        (IpAddr::V4(a), true) => a.to_string(),
        (IpAddr::V4(a), false) => format!("{a}:{port}"),
        (IpAddr::V6(a), true) => format!("[{a}]"),
        (IpAddr::V6(a), false) => format!("[{a}]:{port}"),
    };
    let host = url.virtualhost.as_deref().unwrap_or(&own);
    if version == HttpVersion::V2 {
        let scheme = if secure { "https" } else { "http" };
        let whole = format!("{scheme}://{host}{}", url.path);
        return Request::get(whole).version(Version::HTTP_2).header(header::USER_AGENT, USER_AGENT).body(Empty::new());
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
    watch: &mut PhaseTimer,
) -> Result<(u16, Expectation<'p>), ProbeFailure> {
    let (stream, heard) = CountingStream::new(stream);
    let (io, send) = (TokioIo::new(stream), |e: hyper::Error| (Phase::Send, e.to_string()));
    if request.version() == Version::HTTP_2 {
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
        let (mut sender, connection) = handshake.map_err(send)?;
        return run_exchange((sender.send_request(request), connection), heard, expected, watch).await;
    }
    let handshake = hyper::client::conn::http1::Builder::new().title_case_headers(true).handshake(io).await;
    let (mut sender, connection) = handshake.map_err(send)?;
    run_exchange((sender.send_request(request), connection), heard, expected, watch).await
}

/// Both halves of an exchange, which live and end with this probe.
async fn run_exchange<'p>(
    (answer, connection): (
        impl Future<Output = hyper::Result<Response<Incoming>>>,
        impl Future<Output = hyper::Result<()>>,
    ),
    heard: ByteCounter,
    mut expected: Expectation<'p>,
    watch: &mut PhaseTimer,
) -> Result<(u16, Expectation<'p>), ProbeFailure> {
    let url = expected.url();
    let connection = std::pin::pin!(connection);
    let mut talk = ConnectionDriver::new(connection, heard, watch.phase_timeout);
    let patience = format_seconds(watch.phase_timeout);
    let answer = talk.drive_until(answer).await;
    watch.end_phase(Phase::FirstByte);
    let answer = match answer {
        Some(Ok(answer)) => answer,
        Some(Err(e)) => {
            // Bytes that are no HTTP are an answer, but not the one expected.
            let phase = if e.is_parse() || e.is_canceled() { Phase::Expect } else { Phase::FirstByte };
            return Err((phase, error_with_cause(&e)));
        }
        None if talk.total_bytes_read() == 0 => {
            return Err((Phase::FirstByte, format!("no answer to {} for {patience}", url.path)));
        }
        None => {
            let (path, n) = (&url.path, talk.total_bytes_read());
            return Err((Phase::Body, format!("{path} stops within its header, after {n} bytes, for {patience}")));
        }
    };
    let code = answer.status().as_u16();
    if !url.accepts_status(code) {
        return Err((Phase::Expect, format!("{} answered {code}", url.path)));
    }
    let mut body = answer.into_body();
    loop {
        match talk.drive_until(body.frame()).await {
            Some(None) => break,
            Some(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    expected.feed(bytes);
                }
            }
            Some(Some(Err(e))) => {
                watch.end_phase(Phase::Body);
                return Err((Phase::Body, format!("{}: {}", url.path, error_with_cause(&e))));
            }
            None => {
                watch.end_phase(Phase::Body);
                let (path, at) = (&url.path, expected.length());
                return Err((Phase::Body, format!("{path} stops after {at} bytes, for {patience}")));
            }
        }
    }
    watch.end_phase(Phase::Body);
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
    fn a_host_is_named_with_its_port_unless_it_is_the_usual_one() {
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
