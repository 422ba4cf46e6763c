//! The data plane: the program that is loaded, and the editor of its maps.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;

use super::edit::Editor;
use super::load::Loaded;
use crate::Result;

/// The program in the kernel, and whoever changes its services. It is used as its [`Editor`].
pub struct XdpPlane {
    /// The program and its maps.
    pub loaded: Loaded,
    editor: Editor,
}

impl XdpPlane {
    /// Loads or adopts; see [`Loaded::load`].
    pub fn load(dir: &Path, conn_entries: u32) -> Result<XdpPlane> {
        Self::load_without(dir, conn_entries, &[])
    }

    /// The same without programs of these names.
    pub fn load_without(dir: &Path, conn_entries: u32, without: &[&str]) -> Result<XdpPlane> {
        let loaded = Loaded::load_without(dir, conn_entries, without)?;
        let editor = Editor::new(Arc::clone(&loaded.maps), dir);
        Ok(XdpPlane { loaded, editor })
    }
}

impl Deref for XdpPlane {
    type Target = Editor;

    fn deref(&self) -> &Editor {
        &self.editor
    }
}

impl DerefMut for XdpPlane {
    fn deref_mut(&mut self) -> &mut Editor {
        &mut self.editor
    }
}
