//! Sockets of probes, with the source address, port, device and firewall mark of the configuration.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use evenkeel_core::health::Phase;
use evenkeel_core::model::ConnectOptions;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::{PhaseTimer, ProbeFailure};

/// A non-blocking socket, bound as the configuration of the probe says.
pub fn bound_socket(to: IpAddr, kind: Type, protocol: Option<Protocol>, path: &ConnectOptions) -> io::Result<Socket> {
    let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, kind.nonblocking(), protocol)?;
    if let Some(device) = &path.bind_if {
        socket.bind_device(Some(device.as_bytes())).map_err(|e| error_with_object(e, device))?;
    }
    if path.fwmark != 0 {
        socket.set_mark(path.fwmark)?;
    }
    if path.bindto.is_some() || path.bind_port.is_some() {
        let any = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let from = SocketAddr::from((path.bindto.unwrap_or(any), path.bind_port.unwrap_or(0)));
        // The next probe must not wait for the end of TIME_WAIT.
        socket.set_reuse_address(path.bind_port.is_some())?;
        socket.bind(&from.into()).map_err(|e| error_with_object(e, &from.to_string()))?;
    }
    Ok(socket)
}

fn error_with_object(e: io::Error, what: &str) -> io::Error {
    io::Error::new(e.kind(), format!("{what}: {e}"))
}

/// Connects by TCP.
pub async fn tcp_connect(
    to: (IpAddr, u16),
    path: &ConnectOptions,
    timer: &mut PhaseTimer,
) -> Result<TcpStream, ProbeFailure> {
    let socket =
        bound_socket(to.0, Type::STREAM, Some(Protocol::TCP), path).map_err(|e| (Phase::Prepare, e.to_string()))?;
    let socket = TcpSocket::from_std_stream(socket.into());
    timer.run_phase(Phase::Connect, socket.connect(SocketAddr::from(to))).await
}

/// Reads packets from a socket until `parse` returns a value. It gets at most the first 256 bytes of a packet.
pub async fn receive_matching<T>(socket: &AsyncFd<OwnedFd>, parse: impl Fn(&[u8]) -> Option<T>) -> io::Result<T> {
    let mut packet = [0; 256];
    loop {
        let mut guard = socket.readable().await?;
        match nix::unistd::read(socket.get_ref(), &mut packet) {
            Ok(n) => {
                if let Some(value) = parse(&packet[..n]) {
                    return Ok(value);
                }
            }
            Err(nix::errno::Errno::EAGAIN) => guard.clear_ready(),
            Err(e) => return Err(e.into()),
        }
    }
}

/// A connected UDP socket, which receives only from its peer.
pub fn udp_socket(to: (IpAddr, u16), path: &ConnectOptions) -> Result<UdpSocket, ProbeFailure> {
    let open = || {
        let socket = bound_socket(to.0, Type::DGRAM, Some(Protocol::UDP), path)?;
        socket.connect(&SocketAddr::from(to).into())?;
        UdpSocket::from_std(socket.into())
    };
    open().map_err(|e| (Phase::Prepare, e.to_string()))
}
