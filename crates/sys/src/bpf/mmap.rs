//! Array maps mapped into memory: user space reads and writes the words that the program reads and writes, without a
//! system call.

use std::io;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::{Context, Result};

/// An array of `T` that is shared with the kernel. `T` is a plain structure generated from the program's BTF.
pub struct MappedArray<T> {
    base: NonNull<T>,
    len: usize,
    /// Bytes from one element to the next.
    stride: usize,
    bytes: usize,
    _t: PhantomData<T>,
}

// SAFETY: The kernel writes this memory at any time anyway. Every access is volatile or atomic, and no plain reference
// into the mapping is returned.
unsafe impl<T> Send for MappedArray<T> {}
// SAFETY: As for Send.
unsafe impl<T> Sync for MappedArray<T> {}

impl<T: Copy> MappedArray<T> {
    /// Maps the `len` elements of an array map.
    ///
    /// In a static table (see [`super::libbpf::is_static_table`]) the elements follow one another as in a C array. In
    /// other array maps the kernel rounds the size of a value up to 8 bytes. `write` asks for a writable mapping.
    pub fn new(fd: impl AsFd, len: usize, is_static: bool, write: bool) -> Result<Self> {
        let stride = if is_static { size_of::<T>() } else { size_of::<T>().next_multiple_of(8) };
        let bytes = (len * stride).next_multiple_of(4096);
        let prot = if write { ProtFlags::PROT_READ | ProtFlags::PROT_WRITE } else { ProtFlags::PROT_READ };
        let operation = || format!("map {bytes} bytes of a BPF array into memory");
        let size = NonZeroUsize::new(bytes).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput));
        // SAFETY: A new mapping at an address that the kernel chooses aliases no memory of this process.
        let base = unsafe { mmap(None, size.context(operation)?, prot, MapFlags::MAP_SHARED, fd, 0) };
        Ok(MappedArray { base: base.context(operation)?.cast(), len, stride, bytes, _t: PhantomData })
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    fn element_ptr(&self, i: usize) -> *mut T {
        assert!(i < self.len, "index {i} is out of range for {} elements", self.len);
        // SAFETY: `i` is less than `len`, so the pointer stays inside the mapping.
        unsafe { self.base.as_ptr().byte_add(i * self.stride) }
    }

    /// A copy of an element. While the kernel changes the element, the words of the copy may be of different moments.
    pub fn read(&self, i: usize) -> T {
        // SAFETY: The pointer is valid and aligned, and the map's elements have the size of `T`.
        unsafe { self.element_ptr(i).read_volatile() }
    }

    /// Overwrites an element. Only for elements that the program does not read at this moment.
    pub fn write(&self, i: usize, value: T) {
        // SAFETY: As in `read`. A write to a read-only mapping would be a bug of the caller and raise SIGSEGV.
        unsafe { self.element_ptr(i).write_volatile(value) }
    }

    /// The 32-bit word at a byte offset of an element.
    pub fn atomic_u32(&self, i: usize, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= size_of::<T>());
        // SAFETY: The word is inside the element and aligned, and shared words are accessed atomically only.
        unsafe { AtomicU32::from_ptr(self.element_ptr(i).cast::<u8>().add(offset).cast()) }
    }

    /// Stores a 32-bit word with release ordering: the program sees all earlier writes once it sees this one.
    pub fn store_u32(&self, i: usize, offset: usize, value: u32) {
        self.atomic_u32(i, offset).store(value, Ordering::Release);
    }

    /// The 64-bit word at a byte offset of an element.
    pub fn atomic_u64(&self, i: usize, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= size_of::<T>());
        // SAFETY: As in `atomic_u32`.
        unsafe { AtomicU64::from_ptr(self.element_ptr(i).cast::<u8>().add(offset).cast()) }
    }

    /// Writes a field of an element, for example one half of a service.
    pub fn write_field<P: Copy>(&self, i: usize, offset: usize, field: P) {
        assert!(offset.is_multiple_of(align_of::<P>()) && offset + size_of::<P>() <= size_of::<T>());
        // SAFETY: The field is inside the element and aligned.
        unsafe { self.element_ptr(i).cast::<u8>().add(offset).cast::<P>().write_volatile(field) }
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: `base` and `bytes` are exactly what mmap returned and got. If munmap fails, the mapping stays.
        let _ = unsafe { munmap(self.base.cast(), self.bytes) };
    }
}
