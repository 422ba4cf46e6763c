//! Files that are replaced as a whole, and directories for root alone.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::{Context, Result, paths, user};

/// Makes a directory that only its owner, this process, can enter: nobody else can take a lock in it, remove what is in it,
/// or put something there. Also the directory of all instances, if it is in one ([`paths`]). A directory that another user
/// made there first is removed with its contents, by which that user could deceive us.
pub fn create_private_dir(dir: &Path) -> Result<()> {
    let root = paths::ROOTS.iter().map(Path::new).find(|root| dir != *root && dir.starts_with(root));
    for dir in root.into_iter().chain([dir]) {
        make_private(dir).context(|| format!("make the directory {}", dir.display()))?;
    }
    Ok(())
}

fn make_private(dir: &Path) -> io::Result<()> {
    let is_own = |meta: &fs::Metadata| meta.is_dir() && meta.uid() == user::effective_id();
    match fs::symlink_metadata(dir) {
        Ok(meta) if is_own(&meta) && meta.mode() & 0o077 == 0 => return Ok(()),
        Ok(meta) if is_own(&meta) => return fs::set_permissions(dir, Permissions::from_mode(0o700)),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(dir)?,
        Ok(_) => fs::remove_file(dir)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn a_directory_is_for_its_owner_alone_whoever_made_it() {
        let base = std::env::temp_dir().join(format!("evenkeel-private-{}", std::process::id()));
        fs::create_dir_all(&base).expect("writable");
        let mode = |dir: &Path| fs::metadata(dir).expect("exists").mode() & 0o7777;
        let dir = base.join("run");
        create_private_dir(&dir).expect("made");
        assert_eq!(mode(&dir), 0o700);
        fs::write(dir.join("lock"), "1").expect("writable");
        fs::set_permissions(&dir, Permissions::from_mode(0o1777)).expect("a mode");
        create_private_dir(&dir).expect("made private");
        assert_eq!((mode(&dir), dir.join("lock").exists()), (0o700, true), "what is ours stays");
        let link = base.join("link");
        symlink(&base, &link).expect("a link");
        create_private_dir(&link).expect("made instead of the link");
        assert!(link.symlink_metadata().expect("exists").is_dir() && base.join("run").exists());
        if user::is_root() {
            chown(&dir, Some(65_533), None).expect("an owner");
            create_private_dir(&dir).expect("made anew");
            assert_eq!((mode(&dir), dir.join("lock").exists()), (0o700, false), "nothing of another user stays");
        }
        fs::remove_dir_all(base).expect("removed");
    }
}
