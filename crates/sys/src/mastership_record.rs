//! The mastership record: the time of each virtual router's last advert as master. It outlives the process.
//!
//! After a restart the daemon reads the record. A router may continue as master at once only if no peer can have taken
//! over since its last advert. The record is a mapped file on tmpfs, so that the router thread writes it without a
//! system call.

use std::fs::OpenOptions;
use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_core::time::Instant;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};

use crate::{Context, Result};

const SLOTS: usize = 512;
const FILE_BYTES: usize = SLOTS * 16;

/// The mapped file. Each slot has two words: the router's key, and the CLOCK_BOOTTIME of its last advert as master in
/// nanoseconds (0: it is not master). The mapping lasts until the process exits.
pub struct MastershipRecord {
    words: NonNull<AtomicU64>,
}

// SAFETY: Only atomics are accessed.
unsafe impl Send for MastershipRecord {}

impl MastershipRecord {
    /// Opens the file, or creates it. Must be in /run, because a reboot must delete it: CLOCK_BOOTTIME starts again.
    pub fn open(path: &Path) -> Result<Self> {
        let operation = || format!("open {}", path.display());
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.context(operation)?;
        file.set_len(FILE_BYTES as u64).context(operation)?;
        let size = NonZeroUsize::new(FILE_BYTES).ok_or(std::io::ErrorKind::InvalidInput).map_err(std::io::Error::from);
        // SAFETY: The mapping is new, and the file has FILE_BYTES bytes.
        let map = unsafe {
            mmap(
                None,
                size.context(operation)?,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                &file,
                0,
            )
        };
        Ok(MastershipRecord { words: map.context(operation)?.cast() })
    }

    fn word(&self, i: usize) -> &AtomicU64 {
        debug_assert!(i < SLOTS * 2);
        // SAFETY: The word is inside the mapping and aligned.
        unsafe { self.words.add(i).as_ref() }
    }

    /// The slot of a key. `create` takes a free slot if the key has none.
    fn find_slot(&self, key: u64, create: bool) -> Option<usize> {
        let key = key.max(1);
        let find = |wanted| (0..SLOTS).find(|&i| self.word(i * 2).load(Ordering::Acquire) == wanted);
        find(key).or_else(|| {
            let free = create.then(|| find(0)).flatten()?;
            self.word(free * 2).store(key, Ordering::Release);
            Some(free)
        })
    }

    /// Records the time of a router's advert as master; `None` if it is not master any more.
    pub fn set_last_advert(&self, key: u64, when: Option<Instant>) {
        if let Some(i) = self.find_slot(key, when.is_some()) {
            self.word(i * 2 + 1).store(when.map_or(0, |w| w.as_nanos()), Ordering::Release);
        }
    }

    /// The time of a router's last advert, if it was master when the record was written last.
    pub fn last_advert(&self, key: u64) -> Option<Instant> {
        let nanos = self.word(self.find_slot(key, false)? * 2 + 1).load(Ordering::Acquire);
        (nanos > 0).then(|| Instant::from_nanos(nanos))
    }
}
