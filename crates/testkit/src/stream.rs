//! Streams of a known byte sequence in both directions, over TCP and SCTP: one wrong byte is detected.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lan::Lan;

const CHUNK: usize = 64 * 1024;

/// A pseudorandom byte sequence (xorshift) that depends on the seed.
struct ByteSequence(u64);

impl ByteSequence {
    fn next_chunk(&mut self) -> [u8; CHUNK] {
        let mut out = [0; CHUNK];
        for word in out.chunks_exact_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes());
        }
        out
    }
}

fn send_chunks(stream: &mut TcpStream, seed: u64, chunks: u64) -> Result<()> {
    let mut pattern = ByteSequence(seed);
    (0..chunks).try_for_each(|_| stream.write_all(&pattern.next_chunk())).context("send")
}

fn receive_chunks(stream: &mut TcpStream, seed: u64, chunks: u64) -> Result<()> {
    let mut pattern = ByteSequence(seed);
    let mut buf = vec![0; CHUNK];
    for n in 0..chunks {
        stream.read_exact(&mut buf).with_context(|| format!("read chunk {n}"))?;
        ensure!(buf == pattern.next_chunk(), "chunk {n} is not what was sent");
    }
    Ok(())
}

fn serve_stream(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut head = [0; 8];
    stream.read_exact(&mut head)?;
    let chunks = u64::from_le_bytes(head);
    receive_chunks(&mut stream, 1, chunks)?;
    send_chunks(&mut stream, 2, chunks)
}

/// Starts a server on every address of a host, IPv4 and IPv6, that runs until the process ends.
pub fn start_server(lan: &Lan, host: &str, port: u16) {
    let (tx, rx) = std::sync::mpsc::channel();
    let name = host.to_owned();
    lan.spawn_thread_in(host, move || {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port));
        let listener = listener.unwrap_or_else(|e| panic!("{name} port {port}: {e}"));
        let _ = tx.send(());
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = serve_stream(stream);
            });
        }
    });
    let _ = rx.recv_timeout(Duration::from_secs(5));
}

/// A one-to-one SCTP socket (RFC 6458, 4), bound to one address, so that it offers no other; `None` if the kernel has
/// no SCTP.
fn sctp_socket(at: SocketAddr) -> Result<Option<Socket>> {
    const SCTP: i32 = 132;
    let domain = if at.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
    match Socket::new(domain, Type::STREAM, Some(Protocol::from(SCTP))) {
        Ok(socket) => {
            socket.bind(&at.into()).with_context(|| format!("bind to {at}"))?;
            Ok(Some(socket))
        }
        Err(_) => Ok(None),
    }
}

/// Starts an SCTP server on an address of a host, that runs until the process ends. False if the kernel has no SCTP.
pub fn start_sctp_server(lan: &Lan, host: &str, at: SocketAddr) -> Result<bool> {
    let listener = lan.run_in(host, || sctp_socket(at))??;
    let Some(listener) = listener else { return Ok(false) };
    listener.listen(64)?;
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            // Reads and writes are the same as on TCP sockets.
            let stream = TcpStream::from(OwnedFd::from(socket));
            std::thread::spawn(move || {
                let _ = serve_stream(stream);
            });
        }
    });
    Ok(true)
}

/// As [`exchange`], over SCTP, from an address, with `chunks` of 64 KiB. With many chunks SCTP in an emulated machine
/// overran its receive buffer and waited a second for each lost packet.
pub fn sctp_exchange(from: IpAddr, to: SocketAddr, chunks: u64) -> Result<()> {
    let socket = sctp_socket((from, 0).into())?.context("this kernel has no SCTP")?;
    socket.connect_timeout(&to.into(), Duration::from_secs(10)).context("connect")?;
    let stream = TcpStream::from(OwnedFd::from(socket));
    stream.set_nonblocking(false)?;
    exchange_chunks(stream, chunks)
}

/// Sends `mebibytes` MiB and receives as many, from this thread's network namespace. An error tells what was wrong.
pub fn exchange(to: SocketAddr, mebibytes: u64) -> Result<()> {
    exchange_chunks(
        TcpStream::connect_timeout(&to, Duration::from_secs(10)).context("connect")?,
        mebibytes * (1 << 20) / CHUNK as u64,
    )
}

/// One exchange of 64 KiB that lasts `duration`: the connection is idle most of the time.
pub fn exchange_slowly(to: SocketAddr, duration: Duration) -> Result<()> {
    const PARTS: usize = 8;
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(10)).context("connect")?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(&1u64.to_le_bytes())?;
    for part in ByteSequence(1).next_chunk().chunks(CHUNK / PARTS) {
        std::thread::sleep(duration / PARTS as u32);
        stream.write_all(part).context("send")?;
    }
    receive_chunks(&mut stream, 2, 1)
}

fn exchange_chunks(mut stream: TcpStream, chunks: u64) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(&chunks.to_le_bytes())?;
    send_chunks(&mut stream, 1, chunks)?;
    receive_chunks(&mut stream, 2, chunks)
}
