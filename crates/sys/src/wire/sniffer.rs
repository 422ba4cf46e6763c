//! A packet socket that reads all received frames without affecting them.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::sockopt::{as_uninit, set_int_option};
use crate::{Context, Result};

const ETH_P_ALL: u16 = 0x0003;

/// Reads every frame that any device of this thread's network namespace receives. Sent frames are not read.
pub struct Sniffer {
    socket: Socket,
}

impl Sniffer {
    /// Opens the socket. [`Sniffer::next_frame`] waits for `timeout`.
    pub fn new(timeout: Duration) -> Result<Self> {
        let open = || {
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ETH_P_ALL.to_be()))))?;
            socket.set_read_timeout(Some(timeout))?;
            set_int_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
            Ok::<_, io::Error>(socket)
        };
        Ok(Sniffer { socket: open().context(|| "open a packet socket for all frames".into())? })
    }

    /// Makes reading non-blocking.
    pub fn set_nonblocking(&self) -> Result<()> {
        self.socket.set_nonblocking(true).context(|| "make a packet socket non-blocking".into())
    }

    /// The next frame, truncated to the buffer; `None` if none arrives in time.
    pub fn next_frame<'b>(&mut self, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        let n = self.socket.read(buf).ok()?;
        Some(&buf[..n])
    }

    /// Sets the size of the receive buffer in bytes, beyond the limit for unprivileged sockets (SO_RCVBUFFORCE).
    pub fn set_receive_buffer(&self, bytes: usize) {
        let size = bytes as libc::c_int;
        let _ = set_int_option(&self.socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, size);
    }

    /// As [`Sniffer::next_frame`], with the index of the device that received the frame. A frame received by a bridge
    /// port is read twice: from the port and from the bridge.
    pub fn next_frame_and_ifindex<'b>(&mut self, buf: &'b mut [u8]) -> Option<(u32, &'b [u8])> {
        let (n, from) = self.socket.recv_from(as_uninit(buf)).ok()?;
        // SAFETY: The addresses of packet sockets are sockaddr_ll.
        let ifindex = unsafe { (*from.as_ptr().cast::<libc::sockaddr_ll>()).sll_ifindex };
        Some((ifindex as u32, &buf[..n]))
    }
}

impl AsFd for Sniffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
