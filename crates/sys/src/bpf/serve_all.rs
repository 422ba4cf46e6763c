//! `settings.serve_all`: the word by which a router that becomes master has its services served before they are active.
//!
//! The router thread sets it before it adds addresses, by one store: it must not wait. The control thread activates the
//! services when it sees the addresses, and then clears the word, unless a router has begun again meanwhile.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, RwLock};

use super::abi::settings;
use super::maps::Maps;

/// The word, as both threads share it.
#[derive(Default)]
pub struct ServeAll {
    /// The maps of the open packet path.
    maps: RwLock<Option<Arc<Maps>>>,
    /// The number of times that routers have begun to add addresses.
    generation: AtomicU32,
    /// The number of routers that are adding addresses.
    adding: AtomicU32,
}

/// The word before the addresses were read; it may be cleared once the services are activated.
#[derive(Clone, Copy)]
pub struct Seen(u32);

impl std::fmt::Debug for ServeAll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServeAll")
    }
}

impl ServeAll {
    /// Control thread: the packet path was opened or closed.
    pub fn set_maps(&self, maps: Option<Arc<Maps>>) {
        if let Ok(mut current) = self.maps.write() {
            *current = maps;
        }
    }

    /// Router thread: addresses are about to be added.
    pub fn begin(&self) {
        self.adding.fetch_add(1, Ordering::AcqRel);
        let generation = self.generation.fetch_add(1, Ordering::AcqRel).wrapping_add(1).max(1);
        // Not locked but while a packet path is opened or closed.
        if let Ok(maps) = self.maps.try_read()
            && let Some(maps) = &*maps
        {
            word(maps).store(generation, Ordering::Release);
        }
    }

    /// Router thread: the addresses are there.
    pub fn end(&self) {
        self.adding.fetch_sub(1, Ordering::AcqRel);
    }

    /// Control thread, before it reads the addresses. `None`: a router is adding some, or there is nothing to clear.
    pub fn look(&self) -> Option<Seen> {
        let maps = self.maps.read().ok()?;
        let seen = word(maps.as_ref()?).load(Ordering::Acquire);
        (seen != 0 && self.adding.load(Ordering::Acquire) == 0).then_some(Seen(seen))
    }

    /// Control thread: the services whose addresses were there are active.
    pub fn clear(&self, seen: Seen) {
        if let Ok(maps) = self.maps.read()
            && let Some(maps) = &*maps
        {
            let _ = word(maps).compare_exchange(seen.0, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

fn word(maps: &Maps) -> &AtomicU32 {
    maps.settings.atomic_u32(0, offset_of!(settings, serve_all))
}
