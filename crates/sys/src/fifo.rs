//! A FIFO that is written to and never waited for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::{Context, Error, Result};

/// An open FIFO. Made by us, it is removed when it is dropped.
#[derive(Debug)]
pub struct Fifo {
    path: PathBuf,
    file: File,
    created: bool,
}

impl Fifo {
    /// Opens a FIFO, or makes it (mode 0600, owned by `owner`). Another kind of file is refused.
    pub fn open(path: &Path, owner: Option<(u32, u32)>) -> Result<Self> {
        let what = || format!("open the FIFO {}", path.display());
        let made = match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) => true,
            Err(nix::errno::Errno::EEXIST) => false,
            Err(e) => return Err(e).context(what),
        };
        if !fs::symlink_metadata(path).context(what)?.file_type().is_fifo() {
            return Err(Error::new(what(), "there is another kind of file of this name"));
        }
        if let Some((uid, gid)) = owner.filter(|_| made) {
            chown(path, Some(uid), Some(gid)).context(what)?;
        }
        // Open for reading as well, so that there is always somebody at the other end and no write fails for want of one.
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path).context(what)?;
        Ok(Fifo { path: path.to_owned(), file, created: made })
    }

    /// Writes a line whole, or not at all if nobody has read for so long that the FIFO is full.
    pub fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        // At most PIPE_BUF bytes are written at once (pipe(7)).
        self.file.write_all(line)
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        if self.created {
            let _ = fs::remove_file(&self.path);
        }
    }
}
