//! Tracked files (`track_file`): read at start and whenever inotify reports a change.
//!
//! Files are read on threads beside the runtime, because a disk that hangs must not delay health checks.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use evenkeel_core::model::{TrackFile, TrackResult, TrackedObject};
use evenkeel_sys::async_fd::register_readable;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Event;

/// Maximum number of bytes of a number, white space included.
const MAX_LENGTH: u64 = 64;
/// How often the file is read without an event: a network file system sends none.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// How often the directory is tried that inotify could not watch.
const WATCH_RETRY: Duration = Duration::from_secs(1);

/// Tracks a file until the task is stopped. `was_tracked`: an edge process before this one tracked it, and has applied
/// `init_file`.
pub async fn run(file: TrackFile, was_tracked: bool, events: UnboundedSender<Event>) {
    if !was_tracked {
        let file = file.clone();
        let _ = spawn_blocking(move || init_file(&file)).await;
    }
    let object = TrackedObject::File(file.name.clone());
    let (mut last_number, mut last_detail) = (None, String::new());
    let mut watch = watch_directory(&file.path).ok();
    loop {
        let path = file.path.clone();
        let Ok(read) = spawn_blocking(move || read_number(&path)).await else { return };
        let (number, detail) = match read {
            Ok(number) => (Some(number), number.to_string()),
            // As keepalived: an unreadable file counts as 0 until it was read once; afterwards the last number holds.
            Err(e) if last_number.is_none() => (Some(0), format!("0, because {e}")),
            Err(e) => (None, e),
        };
        if let Some(n) = number.filter(|n| last_number != Some(*n)) {
            last_number = Some(n);
            let _ = events.send(Event::TrackChanged { object: object.clone(), result: TrackResult::Number(n) });
        }
        if last_detail != detail {
            last_detail.clone_from(&detail);
            let result = last_number.map(TrackResult::Number);
            if events.send(Event::TrackReport { object: object.clone(), result, detail }).is_err() {
                return;
            }
        }
        match &watch {
            Some(w) => {
                if let Ok(Ok(mut guard)) = timeout(POLL_INTERVAL, w.readable()).await {
                    let _ = nix::unistd::read(w.get_ref(), &mut [0; 4096]); // which event it was does not matter
                    guard.clear_ready();
                }
            }
            None => tokio::time::sleep(WATCH_RETRY).await,
        }
        if watch.is_none() {
            watch = watch_directory(&file.path).ok();
        }
    }
}

/// `init_file`: writes the initial number, if the file does not exist or is to be overwritten.
fn init_file(file: &TrackFile) {
    if let Some((number, overwrite)) = file.init
        && (overwrite || !Path::new(&file.path).exists())
        && let Err(e) = std::fs::write(&file.path, format!("{number}\n"))
    {
        tracing::warn!(file = %file.name, "cannot write the initial number to {}: {e}", file.path);
    }
}

/// Watches the file's directory, so that a file that is renamed to its name is noticed.
fn watch_directory(path: &str) -> io::Result<AsyncFd<OwnedFd>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let events = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE;
    let directory = Path::new(path).parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    inotify.add_watch(directory, events)?;
    register_readable(inotify.into())
}

/// Reads the whole number in a file.
fn read_number(path: &str) -> Result<i32, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| format!("{path}: {e}"))?;
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return Err(format!("{path} is not a regular file"));
    }
    file.take(MAX_LENGTH).read_to_string(&mut text).map_err(|e| format!("{path}: {e}"))?;
    text.trim().parse().map_err(|_| format!("{path} does not hold a whole number"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_holds_one_whole_number() {
        let path = std::env::temp_dir().join(format!("evenkeel-track-{}", std::process::id()));
        let path = path.to_str().expect("UTF-8");
        let read = |text: &str| {
            std::fs::write(path, text).expect("writable");
            super::read_number(path)
        };
        assert_eq!(read(" -17\n"), Ok(-17));
        assert_eq!(read("+5"), Ok(5));
        for bad in ["", "five", "1 2", "99999999999", &"1".repeat(100)] {
            assert!(read(bad).is_err_and(|e| e.contains("does not hold")), "{bad}");
        }
        std::fs::remove_file(path).expect("removed");
        assert!(super::read_number(path).is_err() && super::read_number("/dev/zero").is_err());
    }
}
