//! The files of reloads: `reload_time_file` holds the time of the next reload; `reload_file` exists while a reload
//! reads the configuration.

use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_core::reload_time::ReloadTime;
use evenkeel_sys::clock;

/// The next reload of `reload_time_file`.
#[derive(Default)]
pub struct ReloadSchedule {
    /// The file's text when it was last read, and the Unix time that it means, if it means one in the future.
    last_read: Option<(String, Option<i64>)>,
}

impl ReloadSchedule {
    /// Reads the file; true if its time has come. The file is then removed, unless the reload is repeated every day
    /// (`reload_repeat`). `file`: its path, and whether to repeat.
    pub fn is_due(&mut self, file: Option<&(String, bool)>) -> bool {
        let Some((path, repeat)) = file else {
            self.last_read = None;
            return false;
        };
        let Ok(text) = fs::read_to_string(path) else {
            self.last_read = None;
            return false;
        };
        if self.last_read.as_ref().is_none_or(|(known, _)| *known != text) {
            self.schedule(path, text);
        }
        let now = clock::time_of_day().as_secs() as i64;
        let Some((text, Some(at))) = self.last_read.clone() else { return false };
        if at > now {
            return false;
        }
        tracing::info!(file = %path, "reloading at the time of reload_time_file {path}");
        if *repeat {
            self.schedule(path, text);
        } else {
            self.last_read = None;
            if let Err(e) = fs::remove_file(path) {
                tracing::warn!(file = %path, "cannot remove {path}: {e}; no reload before the file changes");
                self.last_read = Some((text, None));
            }
        }
        true
    }

    fn schedule(&mut self, path: &str, text: String) {
        let now = clock::time_of_day().as_secs() as i64;
        let at = match ReloadTime::parse(&text) {
            Err(e) => {
                tracing::warn!(file = %path, "{path}: {e}");
                None
            }
            Ok(when) => {
                let at = clock::to_unix_seconds(&when).filter(|at| *at > now);
                match at {
                    Some(at) => tracing::info!(file = %path, "{path}: the next reload is in {} s", at - now),
                    None => {
                        tracing::warn!(file = %path, "{path}: {} is in the past, or not in the calendar", text.trim())
                    }
                }
                at
            }
        };
        self.last_read = Some((text, at));
    }
}

/// `reload_file`: exists as long as this value.
pub struct ReloadMarker(Option<PathBuf>);

impl ReloadMarker {
    /// Creates or truncates the file. `path`: as configured; an empty one means the default name in the run directory.
    /// `None`: no file.
    pub fn create(path: Option<&str>, run_dir: &Path) -> ReloadMarker {
        let path = match path {
            None => return ReloadMarker(None),
            Some("") => run_dir.join("keepalived.reload"),
            Some(path) => PathBuf::from(path),
        };
        match fs::write(&path, b"") {
            Ok(()) => ReloadMarker(Some(path)),
            Err(e) => {
                tracing::warn!(file = %path.display(), "reload_file: write {}: {e}", path.display());
                ReloadMarker(None)
            }
        }
    }
}

impl Drop for ReloadMarker {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}
