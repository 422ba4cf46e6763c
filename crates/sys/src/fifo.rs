//! A FIFO that is written without blocking.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::{Context, Error, Result};

/// An open FIFO. It is removed on drop if it was created here.
#[derive(Debug)]
pub struct Fifo {
    path: PathBuf,
    file: File,
    created: bool,
}

impl Fifo {
    /// Opens a FIFO, or creates it with mode 0600 and the owner (user ID, group ID). Fails if the path is another kind
    /// of file.
    pub fn open(path: &Path, owner: Option<(u32, u32)>) -> Result<Self> {
        let operation = || format!("open the FIFO {}", path.display());
        let created = match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) => true,
            Err(nix::errno::Errno::EEXIST) => false,
            Err(e) => return Err(e).context(operation),
        };
        if !fs::symlink_metadata(path).context(operation)?.file_type().is_fifo() {
            return Err(Error::new(operation(), "the file exists and is no FIFO"));
        }
        if let Some((uid, gid)) = owner.filter(|_| created) {
            chown(path, Some(uid), Some(gid)).context(operation)?;
        }
        // The FIFO is also opened for reading, so that it always has a reader, and open and write do not fail without
        // one.
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
        Ok(Fifo { path: path.to_owned(), file: file.context(operation)?, created })
    }

    /// Writes a line of at most PIPE_BUF bytes as a whole (pipe(7)). Fails with `WouldBlock` if the FIFO is full.
    pub fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
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
