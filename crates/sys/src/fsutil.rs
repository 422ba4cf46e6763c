//! Files that are written as a whole.

use std::fs;
use std::path::Path;

use crate::{Context, Result};

/// Replaces a file at once: whoever reads it sees the old one or the new one.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes).and_then(|()| fs::rename(&new, path)).context(|| format!("write {}", path.display()))
}
