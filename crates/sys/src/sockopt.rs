//! Socket options and buffers that the socket crates do not offer safely.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// Sets a socket option with an int value (setsockopt(2)).
pub(crate) fn set_int_option(
    socket: impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    set_option(socket, level, option, &value)
}

/// Sets a socket option whose value is a structure.
pub(crate) fn set_option<T: Copy>(
    socket: impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: The descriptor is valid, and `value` points to `size` bytes.
    let ret =
        unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), size) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads a socket option of 64 bits (getsockopt(2)).
pub(crate) fn get_option(socket: impl AsFd, level: libc::c_int, option: libc::c_int) -> io::Result<u64> {
    let mut value = 0u64;
    let mut size = size_of::<u64>() as libc::socklen_t;
    // SAFETY: The descriptor is valid, and `value` has `size` bytes.
    let ret = unsafe {
        libc::getsockopt(socket.as_fd().as_raw_fd(), level, option, std::ptr::from_mut(&mut value).cast(), &mut size)
    };
    if ret == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// A buffer as socket2's receive functions take it.
pub(crate) fn as_uninit(buf: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: `u8` and `MaybeUninit<u8>` have the same layout, and socket2 writes initialised bytes only.
    unsafe { &mut *(std::ptr::from_mut::<[u8]>(buf) as *mut [MaybeUninit<u8>]) }
}
