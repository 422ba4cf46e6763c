//! Reloads at a time that a file says (`reload_time_file`), and the file that is there while one is read (`reload_file`).

use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_core::reload_time::ReloadTime;
use evenkeel_sys::clock;

/// The next reload that is planned, if one is.
#[derive(Default)]
pub struct ReloadSchedule {
    /// What the file said last, and the moment that it means.
    last_read: Option<(String, Option<i64>)>,
}

impl ReloadSchedule {
    /// Looks at the file: is the time come? Then it is removed, unless it is for every day.
    pub fn is_due(&mut self, wanted: Option<&(String, bool)>) -> bool {
        let Some((path, repeat)) = wanted else {
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
        tracing::info!("reloading, as {path} says");
        if *repeat {
            self.schedule(path, text);
        } else {
            self.last_read = None;
            if let Err(e) = fs::remove_file(path) {
                tracing::warn!("{path} cannot be removed, and is not looked at before it changes: {e}");
                self.last_read = Some((text, None));
            }
        }
        true
    }

    fn schedule(&mut self, path: &str, text: String) {
        let now = clock::time_of_day().as_secs() as i64;
        let at = match ReloadTime::parse(&text) {
            Err(e) => {
                tracing::warn!("{path}: {e}");
                None
            }
            Ok(when) => {
                let at = clock::to_unix_seconds(&when).filter(|at| *at > now);
                match at {
                    Some(at) => tracing::info!("{path}: the next reload is in {} s", at - now),
                    None => tracing::warn!("{path}: {} is past, or no day of the calendar", text.trim()),
                }
                at
            }
        };
        self.last_read = Some((text, at));
    }
}

/// Is there while it lives.
pub struct ReloadMarker(Option<PathBuf>);

impl ReloadMarker {
    /// Makes the file, or empties it.
    pub fn create(path: Option<&str>, run_dir: &Path) -> ReloadMarker {
        let path = match path {
            None => return ReloadMarker(None),
            Some("") => run_dir.join("keepalived.reload"),
            Some(path) => PathBuf::from(path),
        };
        match fs::write(&path, b"") {
            Ok(()) => ReloadMarker(Some(path)),
            Err(e) => {
                tracing::warn!("write {}: {e}", path.display());
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
