//! The servers of the recorded runs. They log all requests, and their responses can be changed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The requests: when (s), the port, and the request in the format of the recordings.
pub type RequestLog = Arc<Mutex<Vec<(f64, u16, String)>>>;

/// The servers of one host.
pub struct MockServers {
    start: Instant,
    /// The requests.
    pub log: RequestLog,
    modes: Arc<Mutex<BTreeMap<u16, String>>>,
    listening: BTreeMap<u16, Arc<AtomicBool>>,
}

impl MockServers {
    /// No server listens yet. Times count from `start`.
    pub fn new(start: Instant) -> MockServers {
        MockServers { start, log: RequestLog::default(), modes: Arc::default(), listening: BTreeMap::new() }
    }

    /// Listens on a port of all addresses in this thread's namespace. `kind`: tcp, http, smtp, dns or echo.
    pub fn listen(&mut self, port: u16, kind: &'static str) {
        let (log, start, modes) = (self.log.clone(), self.start, self.modes.clone());
        let record = move |what: String| {
            log.lock().expect("whole").push((start.elapsed().as_secs_f64(), port, what));
        };
        let stop = Arc::new(AtomicBool::new(false));
        self.listening.insert(port, stop.clone());
        if matches!(kind, "dns" | "echo") {
            // Bound to its own address, so that replies have it as their source.
            let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 1, (port - 8000) as u8), port)).expect("free");
            std::thread::spawn(move || serve_udp(&socket, kind, &record));
            return;
        }
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("free");
        std::thread::spawn(move || {
            let record = Arc::new(record);
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return; // stop_listening connects to end the accept
                }
                let mode = modes.lock().expect("whole").get(&port).cloned().unwrap_or_else(|| "ok".into());
                let record = record.clone();
                std::thread::spawn(move || match kind {
                    "http" => drop(serve_http(stream, &mode, &*record)),
                    "smtp" => drop(serve_smtp(stream, &*record)),
                    _ => record("CONNECT".into()),
                });
            }
        });
    }

    /// Stops listening on a TCP port. Must be called in the namespace in which it listens.
    pub fn stop_listening(&mut self, port: u16) {
        if let Some(stop) = self.listening.remove(&port) {
            stop.store(true, Ordering::Relaxed);
            let _ = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(1));
        }
    }

    /// Sets the response mode of a port.
    pub fn set_mode(&self, port: u16, mode: &str) {
        self.modes.lock().expect("whole").insert(port, mode.to_owned());
    }
}

fn serve_udp(socket: &UdpSocket, kind: &str, record: &impl Fn(String)) {
    let mut bytes = [0; 2048];
    while let Ok((n, from)) = socket.recv_from(&mut bytes) {
        let b = &bytes[..n];
        record(format!("UDP {}", b.iter().map(|b| format!("{b:02x}")).collect::<String>()));
        let reply = if kind == "echo" {
            b.to_vec()
        } else {
            // The query with QR, RA and one answer, as in the recordings, and the answer record.
            let mut a = b.to_vec();
            (a[2], a[3], a[7]) = (0x81, 0x80, 1);
            a.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
            a
        };
        let _ = socket.send_to(&reply, from);
    }
}

fn serve_http(mut stream: TcpStream, mode: &str, record: &(impl Fn(String) + ?Sized)) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    let (mut request, mut buf) = (Vec::new(), [0; 4096]);
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = stream.read(&mut buf)?;
        if n == 0 {
            break;
        }
        request.extend_from_slice(&buf[..n]);
    }
    record(format!("REQ {}", String::from_utf8_lossy(&request).escape_default()));
    let status = match mode {
        "500" => "500 Bad",
        "404" => "404 NF",
        _ => "200 OK",
    };
    write!(stream, "HTTP/1.0 {status}\r\nContent-Length: 12\r\n\r\nhello world\n")
}

fn serve_smtp(mut stream: TcpStream, record: &(impl Fn(String) + ?Sized)) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    record("CONNECT".into());
    stream.write_all(b"220 x ESMTP\r\n")?;
    let (mut lines, mut line, mut in_data) = (BufReader::new(stream.try_clone()?), String::new(), false);
    while lines.read_line(&mut line)? > 0 {
        record(format!("C: {}", line.escape_default()));
        let reply: &[u8] = match (in_data, line.trim_end().to_ascii_uppercase().get(..4)) {
            (true, _) if line.trim_end() == "." => b"250 queued\r\n",
            (true, _) => b"",
            (false, Some("DATA")) => b"354 go\r\n",
            (false, Some("QUIT")) => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        };
        in_data = (in_data || reply.starts_with(b"354")) && !reply.starts_with(b"250 q");
        stream.write_all(reply)?;
        if reply.starts_with(b"221") {
            return Ok(());
        }
        line.clear();
    }
    Ok(())
}
