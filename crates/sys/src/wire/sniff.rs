//! Frames that come in, looked at and left alone.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::{Context, Result};

const ETH_P_ALL: u16 = 0x0003;

/// Every frame that comes in by any device of this thread's namespace; what it sends itself is not among them.
pub struct Sniffer {
    socket: Socket,
}

impl Sniffer {
    /// Opens it; `patience` is how long [`Sniffer::next`] waits.
    pub fn new(patience: Duration) -> Result<Self> {
        let open = || {
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ETH_P_ALL.to_be()))))?;
            socket.set_read_timeout(Some(patience))?;
            let on: libc::c_int = 1;
            // SAFETY: a valid socket, and an int of its true size.
            let ret = unsafe {
                let fd = socket.as_raw_fd();
                libc::setsockopt(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, (&raw const on).cast(), 4)
            };
            if ret == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
        };
        Ok(Sniffer { socket: open().context(|| "open a packet socket".into())? })
    }

    /// The next frame, cut to the buffer; `None` if none came in time.
    pub fn next<'b>(&mut self, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        let n = self.socket.read(buf).ok()?;
        Some(&buf[..n])
    }
}
