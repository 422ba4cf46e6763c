//! The tracking part: the last results of tracked scripts, files, processes and BFD sessions.
//!
//! VRRP instances get these results from the edge thread directly. They are kept here for `status`, and for passive
//! checks that a new configuration adds: such a check starts with the present result.

use std::collections::BTreeMap;

use evenkeel_core::model::{Config, TrackResult, TrackedObject};

/// The last run of a tracked script.
#[derive(Default)]
pub struct ScriptResult {
    /// Whether it counts as successful (`rise`, `fall`); `None` before it is known.
    pub good: Option<bool>,
    /// How its last run ended.
    pub detail: String,
    /// Number of runs since the start.
    pub runs: u64,
}

/// What is known of tracked objects.
#[derive(Default)]
pub struct Tracking {
    /// Tracked scripts by name.
    pub scripts: BTreeMap<String, ScriptResult>,
    /// Tracked files, processes and BFD sessions: the result, and its description.
    pub objects: BTreeMap<TrackedObject, (Option<TrackResult>, String)>,
}

impl Tracking {
    /// Forgets objects that a configuration does not name.
    pub fn configure(&mut self, config: &Config) {
        self.scripts.retain(|name, _| config.scripts.iter().any(|s| s.name == *name));
        for s in &config.scripts {
            self.scripts.entry(s.name.clone()).or_default();
        }
        let files = config.track_files.iter().map(|f| TrackedObject::File(f.name.clone()));
        let processes = config.track_processes.iter().map(|p| TrackedObject::Process(p.name.clone()));
        let sessions = config.bfd.iter().map(|b| TrackedObject::Bfd(b.name.clone()));
        let wanted: Vec<TrackedObject> = files.chain(processes).chain(sessions).collect();
        self.objects.retain(|object, _| wanted.contains(object));
    }

    /// Records the result of an object.
    pub fn record(&mut self, object: TrackedObject, result: Option<TrackResult>, detail: String) {
        self.objects.insert(object, (result, detail));
    }

    /// Records a script's run.
    pub fn record_script_run(&mut self, name: &str, good: Option<bool>, detail: String) {
        let Some(s) = self.scripts.get_mut(name) else { return };
        s.runs += 1;
        (s.good, s.detail) = (good, detail);
    }

    /// The tracked files whose number is known, with it.
    pub fn file_numbers(&self) -> Vec<(String, i32)> {
        let number = |(object, (result, _)): (&TrackedObject, &(Option<TrackResult>, String))| match (object, result) {
            (TrackedObject::File(name), Some(TrackResult::Number(n))) => Some((name.clone(), *n)),
            _ => None,
        };
        self.objects.iter().filter_map(number).collect()
    }

    /// The BFD sessions that are down and that health checks may follow, with their descriptions.
    pub fn down_sessions(&self, config: &Config) -> Vec<(String, String)> {
        let followed = |name: &str| config.bfd.iter().any(|b| b.notifies_checks && b.name == name);
        let down = |(object, state): (&TrackedObject, &(Option<TrackResult>, String))| match (object, state) {
            (TrackedObject::Bfd(name), (Some(TrackResult::Good(false)), detail)) if followed(name) => {
                Some((name.clone(), detail.clone()))
            }
            _ => None,
        };
        self.objects.iter().filter_map(down).collect()
    }
}
