//! Frames that come in, looked at and left alone.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
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

    /// From now on nothing waits.
    pub fn set_nonblocking(&self) -> Result<()> {
        self.socket.set_nonblocking(true).context(|| "look at frames".into())
    }

    /// The next frame, cut to the buffer; `None` if none came in time.
    pub fn next_frame<'b>(&mut self, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        let n = self.socket.read(buf).ok()?;
        Some(&buf[..n])
    }

    /// More room for what waits to be looked at, bytes.
    pub fn set_receive_buffer(&self, bytes: usize) {
        // SAFETY: a valid socket, and an int of its true size. SO_RCVBUFFORCE goes past the limit of unprivileged sockets.
        unsafe {
            let size = bytes as libc::c_int;
            let option = libc::SO_RCVBUFFORCE;
            libc::setsockopt(self.socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const size).cast(), 4);
        }
    }

    /// The same with the number of the device that it came in by: a bridge and its port each show a frame.
    pub fn next_frame_and_ifindex<'b>(&mut self, buf: &'b mut [u8]) -> Option<(u32, &'b [u8])> {
        // SAFETY: u8 and MaybeUninit<u8> have one layout, and recv_from only writes initialised bytes.
        let uninit = unsafe { &mut *(std::ptr::from_mut::<[u8]>(buf) as *mut [std::mem::MaybeUninit<u8>]) };
        let (n, from) = self.socket.recv_from(uninit).ok()?;
        // SAFETY: a packet socket's addresses are sockaddr_ll.
        let ifindex = unsafe { (*from.as_ptr().cast::<libc::sockaddr_ll>()).sll_ifindex };
        Some((ifindex as u32, &buf[..n]))
    }
}

impl AsFd for Sniffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
