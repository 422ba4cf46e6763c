//! A small HTTP server for real servers, and a client.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::lan::Lan;

/// A web server in a host. Its responses have the host's name and the client's address. It stops when it is dropped.
pub struct Server {
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    status: Arc<AtomicU16>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts it on every IPv4 address of a host.
    pub fn start(lan: &Lan, host: &str, port: u16) -> Server {
        let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let status = Arc::new(AtomicU16::new(200));
        let (end, count, code, name) = (stop.clone(), requests.clone(), status.clone(), host.to_owned());
        let (tx, rx) = std::sync::mpsc::channel();
        let thread = lan.spawn_thread_in(host, move || {
            let listener = match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
                Ok(l) => l,
                Err(e) => return eprintln!("{name}: {e}"),
            };
            let _ = listener.set_nonblocking(true);
            let _ = tx.send(());
            while !end.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, peer)) => {
                        let (name, count, code) = (name.clone(), count.clone(), code.clone());
                        std::thread::spawn(move || serve_request(stream, peer, &name, &count, &code));
                    }
                    Err(_) => std::thread::sleep(Duration::from_micros(300)),
                }
            }
        });
        let _ = rx.recv_timeout(Duration::from_secs(5));
        Server { stop, requests, status, thread: Some(thread) }
    }

    /// Requests so far, without health checks.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sets the status code of health checks (/healthz).
    pub fn set_health(&self, code: u16) {
        self.status.store(code, Ordering::Relaxed);
    }

    /// Stops listening.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve_request(mut stream: TcpStream, peer: SocketAddr, name: &str, count: &AtomicU64, code: &AtomicU16) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let mut buf = [0u8; 1024];
    let Ok(n) = stream.read(&mut buf) else { return };
    if n == 0 {
        return; // a TCP check closes the connection without a request
    }
    let health = buf[..n].starts_with(b"GET /healthz");
    let code = if health { code.load(Ordering::Relaxed) } else { 200 };
    if !health {
        count.fetch_add(1, Ordering::Relaxed);
    }
    let body = format!("{name} {}\n", peer.ip());
    let head = format!("HTTP/1.0 {code} Answer\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all((head + &body).as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read(&mut buf);
}

/// A response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The host of the server.
    pub server: String,
    /// The client's address as the server saw it.
    pub client_address: String,
}

/// Sends one request on a connection of its own, from this thread's network namespace.
pub fn get(to: SocketAddrV4, timeout: Duration) -> Result<Response> {
    let mut stream = TcpStream::connect_timeout(&to.into(), timeout).context("connect")?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: demo\r\n\r\n").context("send")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("read")?;
    let body = text.split("\r\n\r\n").nth(1).unwrap_or("").trim();
    let Some((server, seen)) = body.split_once(' ') else { bail!("a response without a body: {text:?}") };
    Ok(Response { server: server.to_owned(), client_address: seen.to_owned() })
}
