//! Dumps on a signal, in keepalived's formats: keepalived.data, keepalived.stats and keepalived.json, in $TMPDIR or
//! /tmp unless the configuration names other files. It reads the controller and changes nothing, but for the counters
//! that SIGRTMAX-1 resets.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use evenkeel_core::dump::{InstanceView, format_data, format_json_v1, format_json_v2, format_stats};
use evenkeel_core::model::{TrackProcess, TrackResult, TrackedObject};
use evenkeel_sys::clock;

use super::controller::Controller;
use crate::router::Command;

/// A kind of dump.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DumpKind {
    /// SIGUSR1: configuration and state.
    Data,
    /// SIGUSR2: counters.
    Stats,
    /// SIGRTMAX-1: counters, which are then reset to 0.
    StatsClear,
    /// SIGRTMIN+2: everything as JSON.
    Json,
}

/// Writes a dump. An error is logged.
pub fn write_dump(controller: &Controller, kind: DumpKind) {
    let Some(snapshot) = controller.router.snapshot() else {
        return tracing::error!("no dump is written: the router thread does not answer");
    };
    let now = clock::time_of_day();
    let config = &controller.configuration.active;
    let status_of = |name: &String| snapshot.instances.iter().find(|s| s.name == *name);
    let views =
        config.instances.iter().filter_map(|c| Some(InstanceView { config: c, status: status_of(&c.name)?, now }));
    let views: Vec<InstanceView<'_>> = views.collect();
    let global = &config.global;
    let (name, configured, text) = match kind {
        DumpKind::Data => ("keepalived.data", &global.state_dump_file, format_data(&views)),
        DumpKind::Stats | DumpKind::StatsClear => ("keepalived.stats", &global.stats_dump_file, format_stats(&views)),
        DumpKind::Json if global.json_version_2 => {
            ("keepalived.json", &global.json_dump_file, format_json_v2(&views, tracked_processes(controller)))
        }
        DumpKind::Json => ("keepalived.json", &global.json_dump_file, format_json_v1(&views)),
    };
    let default = || std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from).join(name);
    let path = configured.as_ref().map_or_else(default, PathBuf::from);
    match replace_file(&path, &text) {
        Ok(()) => tracing::info!(file = %path.display(), "wrote {}", path.display()),
        Err(e) => tracing::error!(file = %path.display(), "write {}: {e}", path.display()),
    }
    if kind == DumpKind::StatsClear {
        controller.router.send(Command::ClearCounters);
    }
}

/// Tracked processes, whether enough of each run, and a description.
fn tracked_processes(controller: &Controller) -> impl Iterator<Item = (&TrackProcess, bool, &str)> {
    controller.configuration.active.track_processes.iter().map(|p| {
        match controller.tracking.objects.get(&TrackedObject::Process(p.name.clone())) {
            Some((result, detail)) => (p, *result == Some(TrackResult::Good(true)), detail.as_str()),
            None => (p, false, "not looked for yet"),
        }
    })
}

/// Replaces a file in a directory that others can write, where a link may have its name: creates a new file and renames
/// it.
fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension(format!("{}.{}", path.extension().unwrap_or_default().display(), std::process::id()));
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&new, path)
}
