//! Recorded runs of keepalived: the configuration, the events, and what keepalived did.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_testkit::recordings::is_selected;

/// Keepalived removes all servers when it stops; the last steps, within this time (s) before the end, are no decisions.
const STOP_DURATION: f64 = 0.6;
/// IPVS steps within this time (s) count as one change.
const STEP_DURATION: f64 = 0.5;

/// The active real servers after each change: when (s), and the weights by port.
pub type ServerStates = Vec<(f64, BTreeMap<u16, u32>)>;
/// The requests to each port: when (s), and their text.
pub type Requests = BTreeMap<u16, Vec<(f64, String)>>;

/// A run.
pub struct Run {
    /// Its name, which is that of its folder.
    pub name: String,
    /// The configuration at its end.
    pub conf: String,
    /// The events: when (s), the port of a server (or `m`, `f`, `R`), and what happened to it.
    pub events: Vec<(f64, String, String)>,
    /// What keepalived did.
    pub behaviour: Behaviour,
    /// The duration of the run, s.
    pub duration_s: f64,
}

/// What a daemon did in a run.
pub struct Behaviour {
    /// The active real servers.
    pub active_servers: ServerStates,
    /// The requests to its real servers.
    pub requests: Requests,
    /// The subjects of its mails.
    pub mails: Vec<String>,
    /// The lines of its FIFO.
    pub fifo: Vec<String>,
    /// The arguments of its scripts.
    pub scripts: Vec<String>,
}

/// Reads all runs that `EVENKEEL_RECORDING` selects, sorted by name.
pub fn read_selected() -> Vec<Run> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checks/recorded");
    let mut paths: Vec<_> = fs::read_dir(dir).expect("recorded").flatten().map(|e| e.path()).collect();
    paths.sort();
    paths.iter().map(|p| read_run(p)).filter(|r| is_selected(&r.name)).collect()
}

fn read_run(dir: &Path) -> Run {
    let text = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
    let events = text("events");
    let events = events.lines().filter_map(|l| {
        let mut words = l.splitn(3, ' ');
        let at: f64 = words.next()?.parse().ok()?;
        Some((at, words.next()?.to_owned(), words.next()?.to_owned()))
    });
    let (active_servers, duration_s) = parse_ipvs_ops(&text("ipvs_ops"));
    let (requests, mails) = parse_server_log(&text("server.log"));
    let fifo = String::from_utf8_lossy(&fs::read(dir.join("fifo.bin")).unwrap_or_default()).replace('\0', "");
    let scripts = text("notify.log");
    Run {
        name: dir.file_name().expect("a name").to_string_lossy().into_owned(),
        conf: text("conf"),
        events: events.filter(|(_, who, _)| who != "start").collect(),
        behaviour: Behaviour {
            active_servers,
            requests,
            mails,
            fifo: fifo.lines().map(str::to_owned).collect(),
            scripts: scripts.lines().filter_map(|l| Some(l.split_once('|')?.1.to_owned())).collect(),
        },
        duration_s,
    }
}

/// The active servers from the trace of IPVS calls, and the time at which the services were removed.
fn parse_ipvs_ops(trace: &str) -> (ServerStates, f64) {
    let (mut steps, mut current, mut end) = (Vec::new(), BTreeMap::new(), 0.0);
    for line in trace.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at: f64 = words[0].parse().expect("a time");
        let port = words.iter().find_map(|w| w.strip_prefix("127.0.0.1:")).and_then(|p| p.parse::<u16>().ok());
        let weight = words.iter().find_map(|w| w.strip_prefix("w=")).and_then(|w| w.parse().ok());
        match (words[1], port, weight) {
            ("IP_VS_SO_SET_ADDDEST" | "IP_VS_SO_SET_EDITDEST", Some(p), Some(w)) => drop(current.insert(p, w)),
            ("IP_VS_SO_SET_DELDEST", Some(p), _) => drop(current.remove(&p)),
            ("IP_VS_SO_SET_DEL", ..) => end = at,
            _ => {}
        }
        steps.push((at, current.clone()));
    }
    steps.retain(|(at, _)| *at < end - STOP_DURATION);
    (merge_steps(steps), end)
}

/// The requests and the subjects of mails from the log of the recorded servers.
fn parse_server_log(log: &str) -> (Requests, Vec<String>) {
    let (mut requests, mut mails) = (Requests::new(), Vec::new());
    for line in log.lines() {
        let mut words = line.trim_start().splitn(3, ' ');
        let (Some(at), Some(port), Some(what)) = (words.next(), words.next(), words.next()) else { continue };
        let (at, port) = (at.parse().expect("a time"), port.parse().expect("a port"));
        // For such text, Python's b'...' is the same as Rust's escape_default.
        let what = what.replace("b'", "").trim_end_matches('\'').to_owned();
        if port == 2525 {
            mails.extend(what.split_once("Subject: ").map(|(_, s)| s.trim_end_matches("\\r\\n").to_owned()));
        } else {
            requests.entry(port).or_default().push((at, what));
        }
    }
    (requests, mails)
}

/// Merges steps that belong to one change, and drops changes without effect.
pub fn merge_steps(steps: ServerStates) -> ServerStates {
    let mut merged = ServerStates::new();
    for (at, state) in steps {
        match merged.last_mut() {
            Some((before, last)) if at - *before < STEP_DURATION => *last = state,
            Some((_, last)) if *last == state => {}
            None if state.is_empty() => {}
            _ => merged.push((at, state)),
        }
    }
    merged
}

impl Run {
    /// The ports of the servers that run at the start, and the kind of each.
    pub fn servers(&self) -> Vec<(u16, &'static str)> {
        let kind = |port: u16| match port {
            8011 | 8012 => "http",
            8025 => "smtp",
            8053 | 8054 => "dns",
            8061 => "echo",
            _ => "tcp",
        };
        let ports: BTreeSet<u16> = self.behaviour.requests.keys().copied().collect();
        ports.into_iter().map(|p| (p, kind(p))).collect()
    }
}
