//! The packet path: the loaded programs together with their maps.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::abi::*;
use super::maps::Maps;
use super::object::BpfObject;
use super::pins::remove_all_maps;
use super::settings::write_settings;
use crate::{Error, Result};

pub(super) const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/evenkeel.bpf.o"));
/// The default size of the connection table, in entries. It takes 32 MiB.
pub const DEFAULT_CONNS: u32 = 1 << 20;

/// The loaded programs and their maps.
pub struct PacketPath {
    object: BpfObject,
    /// The maps.
    pub maps: Arc<Maps>,
    /// The maps were pinned by an earlier process, and are used with their contents.
    pub reused_maps: bool,
    /// The pin directory.
    pub dir: PathBuf,
}

impl PacketPath {
    /// Loads the programs, with their maps pinned in `dir`. Maps that are pinned there are used with all services and
    /// connections; see [`BpfObject::load`].
    ///
    /// `conn_entries` is the size of a new connection table: a power of two, at least 1024.
    pub fn load(dir: &Path, conn_entries: u32) -> Result<PacketPath> {
        Self::load_without_programs(dir, conn_entries, &[])
    }

    /// As [`PacketPath::load`], without the programs named in `without`.
    pub fn load_without_programs(dir: &Path, conn_entries: u32, without: &[&str]) -> Result<PacketPath> {
        let (object, reused_maps) = BpfObject::load(OBJECT, (EK_ABI, EK_OLDEST_ABI), dir, conn_entries, without)?;
        let maps = Arc::new(Maps::open(dir, true)?);
        write_settings(&object, &maps, reused_maps)?;
        start_expiry_timer(&object)?;
        Ok(PacketPath { object, maps, reused_maps, dir: dir.to_owned() })
    }

    /// Removes the pins of all maps. The kernel frees the maps when no attached program uses them.
    pub fn unpin(&self) {
        remove_all_maps(&self.dir);
    }
}

/// Starts the timer that frees expired connections. If it runs already, this program's callback replaces the callback
/// of the earlier program.
///
/// Since Linux 6.18 bpf_timer_init() allocates with kmalloc_nolock(), which may fail for a moment on a busy machine.
fn start_expiry_timer(object: &BpfObject) -> Result<()> {
    const XDP_PASS: u32 = 2;
    let mut code = XDP_PASS;
    for _ in 0..100 {
        code = object.test_run("evenkeel_start_expiry", &[0; 64])?.0;
        if code == XDP_PASS {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(Error::new("start the expiry timer of the connection table", format!("the program returned {code}")))
}

impl Deref for PacketPath {
    type Target = BpfObject;

    fn deref(&self) -> &BpfObject {
        &self.object
    }
}
