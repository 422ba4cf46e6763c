//! Array maps, mapped into memory: what the program sees is what is read and written here, without a system call.

use std::io;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use libbpf_rs::MapCore;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::{Context, Result};

/// Has a map one value, in which its elements lie one behind the other (TABLE in bpf/maps.h)? Others have an element for each
/// key.
pub fn is_static_map(map: &impl MapCore) -> bool {
    map.max_entries() == 1
}

/// An array of `T`, shared with the kernel. `T` is plain data out of the program's BTF.
pub struct MappedArray<T> {
    base: NonNull<T>,
    len: usize,
    /// From one element to the next.
    stride: usize,
    bytes: usize,
    _t: PhantomData<T>,
}

// SAFETY: the memory is shared with the kernel anyway; every access is volatile or atomic, and no reference into it is
// ever handed out.
unsafe impl<T> Send for MappedArray<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for MappedArray<T> {}

impl<T: Copy> MappedArray<T> {
    /// Maps `len` elements of an array map: of a `table`, see [`is_table`], or one for each key, which the kernel rounds up to 8
    /// bytes. `write` asks for a writable mapping.
    pub fn new(fd: impl AsFd, len: usize, table: bool, write: bool) -> Result<Self> {
        let stride = if table { size_of::<T>() } else { size_of::<T>().next_multiple_of(8) };
        let bytes = (len * stride).next_multiple_of(4096);
        let prot = if write { ProtFlags::PROT_READ | ProtFlags::PROT_WRITE } else { ProtFlags::PROT_READ };
        let size = NonZeroUsize::new(bytes).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput));
        let size = size.context(|| "map an empty BPF array".into())?;
        // SAFETY: a fresh mapping at an address that the kernel chooses.
        let base = unsafe { mmap(None, size, prot, MapFlags::MAP_SHARED, fd, 0) };
        let base = base.context(|| format!("map a BPF array of {bytes} bytes"))?;
        Ok(MappedArray { base: base.cast(), len, stride, bytes, _t: PhantomData })
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.len
    }

    fn element_ptr(&self, i: usize) -> *mut T {
        assert!(i < self.len, "element {i} of {}", self.len);
        // SAFETY: i is inside the mapping.
        unsafe { self.base.as_ptr().byte_add(i * self.stride) }
    }

    /// A copy of an element. Words that the kernel is changing may be of different moments.
    pub fn read(&self, i: usize) -> T {
        // SAFETY: `at` is valid and aligned; the map's element size is T's.
        unsafe { self.element_ptr(i).read_volatile() }
    }

    /// Overwrites an element; only for elements that nobody reads yet.
    pub fn write(&self, i: usize, value: T) {
        // SAFETY: as in `get`; the mapping is writable or the process faults, which is a bug here.
        unsafe { self.element_ptr(i).write_volatile(value) }
    }

    /// One 32-bit word of an element, by its byte offset, as an atomic.
    pub fn atomic_u32(&self, i: usize, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= size_of::<T>());
        // SAFETY: inside the element, aligned, and shared memory is only ever touched atomically through this.
        unsafe { AtomicU32::from_ptr(self.element_ptr(i).cast::<u8>().add(offset).cast()) }
    }

    /// One 64-bit word of an element.
    pub fn atomic_u64(&self, i: usize, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= size_of::<T>());
        // SAFETY: as in `word`.
        unsafe { AtomicU64::from_ptr(self.element_ptr(i).cast::<u8>().add(offset).cast()) }
    }

    /// Writes a part of an element, such as one half of a service.
    pub fn write_field<P: Copy>(&self, i: usize, offset: usize, part: P) {
        assert!(offset.is_multiple_of(align_of::<P>()) && offset + size_of::<P>() <= size_of::<T>());
        // SAFETY: inside the element and aligned.
        unsafe { self.element_ptr(i).cast::<u8>().add(offset).cast::<P>().write_volatile(part) }
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: exactly what mmap returned. Failure would leave a mapping behind, nothing worse.
        let _ = unsafe { munmap(self.base.cast(), self.bytes) };
    }
}
