//! Files that are replaced as a whole.

use std::fs;
use std::path::Path;

use crate::{Context, Result};

/// Replaces a file in one step: readers see the old contents or the new contents.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes).and_then(|()| fs::rename(&new, path)).context(|| format!("write {}", path.display()))
}

/// Replaces a file as [`write_atomically`] does, or removes it: `None` means that the file must not exist.
pub fn write_or_remove(path: &Path, bytes: Option<&[u8]>) -> Result<()> {
    let Some(bytes) = bytes else {
        return match fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).context(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        };
    };
    write_atomically(path, bytes)
}
