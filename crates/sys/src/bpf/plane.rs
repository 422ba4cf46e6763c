//! The data plane: the program that is loaded, and the editor of its maps.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;

use super::packet_path::PacketPath;
use super::writer::MapWriter;
use crate::Result;

/// The program in the kernel, and whoever changes its services. It is used as its [`Editor`].
pub struct XdpPlane {
    /// The program and its maps.
    pub packet_path: PacketPath,
    writer: MapWriter,
}

impl XdpPlane {
    /// Loads or adopts; see [`Loaded::load`].
    pub fn load(dir: &Path, conn_entries: u32) -> Result<XdpPlane> {
        Self::load_without_programs(dir, conn_entries, &[])
    }

    /// The same without programs of these names.
    pub fn load_without_programs(dir: &Path, conn_entries: u32, without: &[&str]) -> Result<XdpPlane> {
        let loaded = PacketPath::load_without_programs(dir, conn_entries, without)?;
        let editor = MapWriter::new(Arc::clone(&loaded.maps), dir);
        Ok(XdpPlane { packet_path: loaded, writer: editor })
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
