//! The writer: applies the steps of a plan to the maps.
//!
//! Several writers may exist at a time, in several processes (a daemon and ipvsadm). Each change is made under an
//! exclusive lock on the pin directory. A writer that finds changes of others reloads its free lists first.
//!
//! - `edit`: the destination list and the scheduler table of one service, written into the inactive half
//! - `services`: adds and removes services
//! - `dests`: allocates, changes and removes destinations
//! - `nat`: the table that replies of real servers behind NAT are recognised by
//! - `next_hops`: the paths to destinations
//! - `tuning`: timeouts and sysctls

mod dests;
mod edit;
mod nat;
mod next_hops;
mod services;
mod tuning;

use std::fs::File;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use evenkeel_core::plan::Step;
use nix::fcntl::{Flock, FlockArg};

use super::abi::*;
use super::maps::Maps;
use super::ranges::Ranges;
use crate::{Context, Error, Result};

pub use next_hops::DestPath;

/// Changes services and destinations in the maps.
pub struct MapWriter {
    maps: Arc<Maps>,
    /// The pin directory; locked during a change.
    dir: PathBuf,
    /// The change counter of the settings after this writer's last change.
    change_count: u32,
    /// Services that this writer adds are external: no daemon's configuration has them.
    external: bool,
    // The free lists, computed from the maps.
    ranges: Ranges,
    free_services: Vec<u32>,
    free_dests: Vec<u32>,
    /// Removed destinations that may still have connections (IPVS's dest trash).
    trash: Vec<u32>,
}

impl MapWriter {
    /// A daemon's writer to maps that are pinned in `dir`.
    pub fn new(maps: Arc<Maps>, dir: &Path) -> MapWriter {
        let (ranges, change_count) = (Ranges::new(maps.lists.len() as u32), maps.settings.read(0).change_count);
        let mut writer = MapWriter {
            maps,
            dir: dir.to_owned(),
            change_count,
            external: false,
            ranges,
            free_services: Vec::new(),
            free_dests: Vec::new(),
            trash: Vec::new(),
        };
        writer.reload_free_lists();
        writer
    }

    /// A writer that adds external services, for ipvsadm.
    pub fn external(maps: Arc<Maps>, dir: &Path) -> MapWriter {
        MapWriter { external: true, ..MapWriter::new(maps, dir) }
    }

    /// The maps.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    fn reload_free_lists(&mut self) {
        let maps = &self.maps;
        self.ranges = Ranges::new(maps.lists.len() as u32);
        for (_, s) in maps.live_services() {
            for half in &s.half {
                self.ranges.reserve(half.list_base, half.list_len + half.table_len);
            }
        }
        // Low indices are at the end, so that pop() returns them first.
        let indices = |n: usize| (0..n as u32).rev();
        let live = |i: &u32| maps.services.read(*i as usize).flags & SERVICE_LIVE != 0;
        let flags = |i: &u32| maps.dests.read(*i as usize).flags;
        self.free_services = indices(maps.services.len()).filter(|i| !live(i)).collect();
        self.free_dests = indices(maps.dests.len()).filter(|i| flags(i) & DEST_LIVE == 0).collect();
        self.trash = indices(maps.dests.len()).filter(|i| flags(i) == DEST_LIVE).collect();
    }

    /// Takes the lock. The change ends when the returned value is dropped.
    fn begin_change(&mut self) -> Result<Flock<File>> {
        let operation = || format!("lock {}", self.dir.display());
        let dir = File::open(&self.dir).context(operation)?;
        let lock = Flock::lock(dir, FlockArg::LockExclusive).map_err(|(_, e)| e).context(operation)?;
        if self.maps.settings.read(0).change_count != self.change_count {
            self.reload_free_lists();
        }
        self.change_count = self.maps.settings.read(0).change_count.wrapping_add(1);
        self.maps.settings.store_u32(0, offset_of!(settings, change_count), self.change_count);
        Ok(lock)
    }

    /// Applies steps in their order. All steps for one service take effect at the same moment. If a step fails, the
    /// following services are changed nevertheless; the next comparison with the maps finds what is missing.
    pub fn apply_steps(&mut self, steps: &[Step]) -> Vec<Error> {
        let mut errors = Vec::new();
        if steps.is_empty() {
            return errors;
        }
        let _lock = match self.begin_change() {
            Ok(lock) => lock,
            Err(e) => return vec![e],
        };
        for of_service in steps.chunk_by(|a, b| a.service() == b.service()) {
            if let Err(e) = self.apply_to_service(of_service[0].service(), of_service) {
                errors.push(e);
            }
        }
        errors
    }
}
