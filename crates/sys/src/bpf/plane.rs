//! The XDP data plane: the loaded packet path, and the writer of its maps.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;

use super::packet_path::PacketPath;
use super::writer::MapWriter;
use crate::Result;

/// The packet path and the writer of its maps. It dereferences to its [`MapWriter`].
pub struct XdpPlane {
    /// The programs and their maps.
    pub packet_path: PacketPath,
    writer: MapWriter,
}

impl XdpPlane {
    /// Loads the packet path; see [`PacketPath::load`].
    pub fn load(dir: &Path, conn_entries: u32) -> Result<XdpPlane> {
        Self::load_without_programs(dir, conn_entries, &[])
    }

    /// As [`XdpPlane::load`], without the programs named in `without`.
    pub fn load_without_programs(dir: &Path, conn_entries: u32, without: &[&str]) -> Result<XdpPlane> {
        let packet_path = PacketPath::load_without_programs(dir, conn_entries, without)?;
        let writer = MapWriter::new(Arc::clone(&packet_path.maps), dir);
        Ok(XdpPlane { packet_path, writer })
    }
}

impl Deref for XdpPlane {
    type Target = MapWriter;

    fn deref(&self) -> &MapWriter {
        &self.writer
    }
}

impl DerefMut for XdpPlane {
    fn deref_mut(&mut self) -> &mut MapWriter {
        &mut self.writer
    }
}
