//! A few words that outlive the process: when each virtual router last spoke as master.
//!
//! A file on tmpfs, mapped, so that the router thread writes it without a system call. The next daemon reads it to know
//! whether it may go on as master at once: only if no peer can have taken over meanwhile.

use std::fs::OpenOptions;
use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_core::time::Instant;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};

use crate::{Context, Result};

const SLOTS: usize = 512;
const BYTES: usize = SLOTS * 16;

/// (key, CLOCK_BOOTTIME of its last advert as master) by slot. Unmapped only at the process's end.
pub struct MastershipRecord {
    words: NonNull<AtomicU64>,
}

// SAFETY: only atomics are ever touched.
unsafe impl Send for MastershipRecord {}

impl MastershipRecord {
    /// Opens or makes the file. It lies in /run, so a reboot forgets it, as CLOCK_BOOTTIME does.
    pub fn open(path: &Path) -> Result<Self> {
        let what = || format!("open {}", path.display());
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).context(what)?;
        file.set_len(BYTES as u64).context(what)?;
        let size = NonZeroUsize::new(BYTES).ok_or(std::io::ErrorKind::InvalidInput).map_err(std::io::Error::from);
        // SAFETY: a fresh mapping of a file that is long enough.
        let map = unsafe {
            mmap(
                None,
                size.context(what)?,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                &file,
                0,
            )
        };
        Ok(MastershipRecord { words: map.context(what)?.cast() })
    }

    fn word(&self, i: usize) -> &AtomicU64 {
        debug_assert!(i < SLOTS * 2);
        // SAFETY: inside the mapping, aligned.
        unsafe { self.words.add(i).as_ref() }
    }

    fn find_slot(&self, key: u64, make: bool) -> Option<usize> {
        let key = key.max(1);
        let slots = 0..SLOTS;
        let mine = slots.clone().find(|&i| self.word(i * 2).load(Ordering::Acquire) == key);
        mine.or_else(|| {
            let free =
                make.then(|| slots.clone().find(|&i| self.word(i * 2).load(Ordering::Acquire) == 0)).flatten()?;
            self.word(free * 2).store(key, Ordering::Release);
            Some(free)
        })
    }

    /// It has just spoken as master (`None`: it is no longer master).
    pub fn set_last_advert(&self, key: u64, when: Option<Instant>) {
        if let Some(i) = self.find_slot(key, when.is_some()) {
            self.word(i * 2 + 1).store(when.map_or(0, |w| w.as_nanos()), Ordering::Release);
        }
    }

    /// When it last spoke as master, if it was master to the end.
    pub fn last_advert(&self, key: u64) -> Option<Instant> {
        let at = self.word(self.find_slot(key, false)? * 2 + 1).load(Ordering::Acquire);
        (at > 0).then(|| Instant::from_nanos(at))
    }
}
