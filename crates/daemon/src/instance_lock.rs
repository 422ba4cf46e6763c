//! The instance lock: at most one daemon runs for each instance. The pid files are written and removed with it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use evenkeel_sys::fsutil::create_private_dir;
use nix::fcntl::{Flock, FlockArg};

use crate::args::Args;

/// A daemon that was killed releases the lock within this time.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);
/// How often the lock is tried.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// The lock and the pid files. The process that acquired them removes the files when it ends; a forked child does not.
pub struct InstanceLock {
    pid: u32,
    pid_files: Vec<PathBuf>,
    _lock: Flock<File>,
}

/// Acquires the lock of this instance and writes the pid files.
pub fn acquire(args: &Args) -> anyhow::Result<InstanceLock> {
    let run_dir = args.run_dir();
    create_private_dir(&run_dir)?;
    let lock = lock_file(&run_dir.join("lock"), &args.instance)?;
    let pid = std::process::id();
    let pid_files: Vec<PathBuf> = [args.pid_file()].into_iter().chain(args.extra_pid_files().cloned()).collect();
    for file in &pid_files {
        fs::write(file, format!("{pid}\n")).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(InstanceLock { pid, pid_files, _lock: lock })
}

fn lock_file(path: &Path, instance: &str) -> anyhow::Result<Flock<File>> {
    let until = Instant::now() + LOCK_TIMEOUT;
    loop {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                lock.set_len(0)?;
                writeln!(lock, "{}", std::process::id())?;
                return Ok(lock);
            }
            Err(_) if Instant::now() < until => std::thread::sleep(LOCK_POLL),
            Err(_) => {
                bail!("another evenkeeld runs already as instance `{instance}` (--instance NAME starts a second one)")
            }
        }
    }
}

impl Drop for InstanceLock {
    fn drop(&mut self) {
        if std::process::id() == self.pid {
            for file in &self.pid_files {
                let _ = fs::remove_file(file);
            }
        }
    }
}
