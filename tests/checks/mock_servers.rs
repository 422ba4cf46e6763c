//! The servers of the recorded runs: they log what they are asked, and can be told to behave otherwise.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What was asked: when, of which port, and in words as the recording has them.
pub type RequestLog = Arc<Mutex<Vec<(f64, u16, String)>>>;

/// The servers of one host.
pub struct MockServers {
    start: Instant,
    /// What they were asked.
    pub log: RequestLog,
    modes: Arc<Mutex<BTreeMap<u16, String>>>,
    listening: BTreeMap<u16, Arc<AtomicBool>>,
}

impl MockServers {
    /// Nobody listens yet. Times count from `start`.
    pub fn new(start: Instant) -> MockServers {
        MockServers { start, log: RequestLog::default(), modes: Arc::default(), listening: BTreeMap::new() }
    }

    /// Listens on a port of every address, in this thread's namespace. `kind`: tcp, http, smtp, dns or echo.
    pub fn listen(&mut self, port: u16, kind: &'static str) {
        let (log, start, modes) = (self.log.clone(), self.start, self.modes.clone());
        let note = move |what: String| {
            log.lock().expect("whole").push((start.elapsed().as_secs_f64(), port, what));
        };
        let stop = Arc::new(AtomicBool::new(false));
        self.listening.insert(port, stop.clone());
        if matches!(kind, "dns" | "echo") {
            // By its own address, so that answers come from there.
            let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 1, (port - 8000) as u8), port)).expect("free");
            std::thread::spawn(move || serve_udp(&socket, kind, &note));
            return;
        }
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("free");
        std::thread::spawn(move || {
            let note = Arc::new(note);
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return; // woken up to end
                }
                let mode = modes.lock().expect("whole").get(&port).cloned().unwrap_or_else(|| "ok".into());
                let note = note.clone();
                std::thread::spawn(move || match kind {
                    "http" => drop(serve_http(stream, &mode, &*note)),
                    "smtp" => drop(serve_smtp(stream, &*note)),
                    _ => note("CONNECT".into()),
                });
            }
        });
    }

    /// Stops listening on a TCP port; only in the namespace where it listens.
    pub fn stop_listening(&mut self, port: u16) {
        if let Some(stop) = self.listening.remove(&port) {
            stop.store(true, Ordering::Relaxed);
            let _ = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(1));
        }
    }

    /// Another behaviour.
    pub fn set_mode(&self, port: u16, mode: &str) {
        self.modes.lock().expect("whole").insert(port, mode.to_owned());
    }
}

fn serve_udp(socket: &UdpSocket, kind: &str, note: &impl Fn(String)) {
    let mut bytes = [0; 2048];
    while let Ok((n, from)) = socket.recv_from(&mut bytes) {
        let b = &bytes[..n];
        note(format!("UDP {}", b.iter().map(|b| format!("{b:02x}")).collect::<String>()));
        let answer = if kind == "echo" {
            b.to_vec()
        } else {
            // The question with QR, RA and one answer, as the recording's server answered; and the record itself.
            let mut a = b.to_vec();
            (a[2], a[3], a[7]) = (0x81, 0x80, 1);
            a.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
            a
        };
        let _ = socket.send_to(&answer, from);
    }
}

fn serve_http(mut stream: TcpStream, mode: &str, note: &(impl Fn(String) + ?Sized)) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    let (mut request, mut some) = (Vec::new(), [0; 4096]);
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = stream.read(&mut some)?;
        if n == 0 {
            break;
        }
        request.extend_from_slice(&some[..n]);
    }
    note(format!("REQ {}", String::from_utf8_lossy(&request).escape_default()));
    let status = match mode {
        "500" => "500 Bad",
        "404" => "404 NF",
        _ => "200 OK",
    };
    write!(stream, "HTTP/1.0 {status}\r\nContent-Length: 12\r\n\r\nhello world\n")
}

fn serve_smtp(mut stream: TcpStream, note: &(impl Fn(String) + ?Sized)) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    note("CONNECT".into());
    stream.write_all(b"220 x ESMTP\r\n")?;
    let (mut lines, mut line, mut letter) = (BufReader::new(stream.try_clone()?), String::new(), false);
    while lines.read_line(&mut line)? > 0 {
        note(format!("C: {}", line.escape_default()));
        let reply: &[u8] = match (letter, line.trim_end().to_ascii_uppercase().get(..4)) {
            (true, _) if line.trim_end() == "." => b"250 queued\r\n",
            (true, _) => b"",
            (false, Some("DATA")) => b"354 go\r\n",
            (false, Some("QUIT")) => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        };
        letter = (letter || reply.starts_with(b"354")) && !reply.starts_with(b"250 q");
        stream.write_all(reply)?;
        if reply.starts_with(b"221") {
            return Ok(());
        }
        line.clear();
    }
    Ok(())
}
