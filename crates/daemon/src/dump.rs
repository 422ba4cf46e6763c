//! The files that signals ask for, where keepalived writes them: keepalived.data, keepalived.stats and keepalived.json in
//! $TMPDIR or /tmp, unless the configuration names others.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use evenkeel_core::dump::{InstanceView, format_data, format_json_v1, format_json_v2, format_stats};
use evenkeel_core::model::{TrackProcess, TrackResult, TrackedObject};
use evenkeel_sys::{clock, signals};

use crate::control::Controller;
use crate::router::Command;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DumpKind {
    /// SIGUSR1
    Data,
    /// SIGUSR2
    Stats,
    /// SIGRTMAX-1: and count from here on
    StatsClear,
    /// SIGRTMIN+2
    Json,
}

/// keepalived's names for its signals, as `--signum` takes them.
pub fn signal_number(name: &str) -> Option<i32> {
    Some(match name {
        "STOP" => nix::libc::SIGTERM,
        "RELOAD" => nix::libc::SIGHUP,
        "DATA" => nix::libc::SIGUSR1,
        "STATS" => nix::libc::SIGUSR2,
        "STATS_CLEAR" => signals::sig_stats_clear(),
        "JSON" => signals::sig_json(),
        _ => return None,
    })
}

impl Controller {
    /// Writes a file.
    pub(crate) fn write_dump(&self, what: DumpKind) {
        let Some(seen) = self.router.snapshot() else { return };
        let now = clock::time_of_day();
        let of = |c: &String| seen.instances.iter().find(|s| s.name == *c);
        let shown: Vec<InstanceView<'_>> = self
            .config
            .instances
            .iter()
            .filter_map(|config| Some(InstanceView { config, status: of(&config.name)?, now }))
            .collect();
        let global = &self.config.global;
        let (name, written, text) = match what {
            DumpKind::Data => ("keepalived.data", &global.state_dump_file, format_data(&shown)),
            DumpKind::Stats | DumpKind::StatsClear => {
                ("keepalived.stats", &global.stats_dump_file, format_stats(&shown))
            }
            DumpKind::Json => {
                let text = if global.json_version_2 {
                    format_json_v2(&shown, self.tracked_processes())
                } else {
                    format_json_v1(&shown)
                };
                ("keepalived.json", &global.json_dump_file, text)
            }
        };
        let usual = || std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from).join(name);
        let path = written.as_ref().map_or_else(usual, PathBuf::from);
        match replace_file(&path, &text) {
            Ok(()) => tracing::info!("wrote {}", path.display()),
            Err(e) => tracing::error!("write {}: {e}", path.display()),
        }
        if what == DumpKind::StatsClear {
            self.router.send(Command::ClearCounters);
        }
    }

    /// Tracked processes, whether enough of each runs, and how that is said.
    fn tracked_processes(&self) -> impl Iterator<Item = (&TrackProcess, bool, &str)> {
        self.config.track_processes.iter().map(|p| match self.tracked.get(&TrackedObject::Process(p.name.clone())) {
            Some((found, detail)) => (p, *found == Some(TrackResult::Good(true)), detail.as_str()),
            None => (p, false, "not looked for yet"),
        })
    }
}

/// Anybody may make links in such a directory: a new file of ours takes the place of whatever is there.
fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension(format!("{}.{}", path.extension().unwrap_or_default().display(), std::process::id()));
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&new, path)
}
