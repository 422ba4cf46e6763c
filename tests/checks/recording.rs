//! A recorded run of keepalived: its configuration, what was done to it, and what it did.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A run.
pub struct Run {
    /// Its name.
    pub name: String,
    /// The configuration at its end.
    pub conf: String,
    /// What was done: when, to which port (or `m`, `f`, `R`), and how.
    pub events: Vec<(f64, String, String)>,
    /// The real servers in force, after each change: when, and their weights by port.
    pub active_servers: Vec<(f64, BTreeMap<u16, u32>)>,
    /// What its servers were asked: when, by port.
    pub requests: BTreeMap<u16, Vec<(f64, String)>>,
    /// Subjects of its mails.
    pub mails: Vec<String>,
    /// Lines of its FIFO.
    pub fifo: Vec<String>,
    /// What its scripts were called with.
    pub scripts: Vec<String>,
    /// How long it ran, in seconds.
    pub duration_s: f64,
}

/// All of them.
pub fn read_all() -> Vec<Run> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("checks/recorded");
    let mut names: Vec<_> = fs::read_dir(dir).expect("recorded").flatten().map(|e| e.path()).collect();
    names.sort();
    names.iter().map(|p| read_run(p)).collect()
}

fn read_run(dir: &Path) -> Run {
    let text = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
    let events = text("events");
    let events = events.lines().filter_map(|l| {
        let mut words = l.splitn(3, ' ');
        let at: f64 = words.next()?.parse().ok()?;
        Some((at, words.next()?.to_owned(), words.next()?.to_owned()))
    });
    let events: Vec<_> = events.filter(|(_, who, _)| who != "start").collect();
    let (mut in_force, mut now, mut lasted) = (Vec::new(), BTreeMap::new(), 0.0);
    for line in text("ipvs_ops").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at: f64 = words[0].parse().expect("a time");
        let field = |name: &str| words.iter().find_map(|w| w.strip_prefix(name));
        let port = words.iter().find_map(|w| w.strip_prefix("127.0.0.1:")).and_then(|p| p.parse::<u16>().ok());
        let weight = field("w=").and_then(|w| w.parse().ok());
        match (words[1], port, weight) {
            ("IP_VS_SO_SET_ADDDEST" | "IP_VS_SO_SET_EDITDEST", Some(p), Some(w)) => drop(now.insert(p, w)),
            ("IP_VS_SO_SET_DELDEST", Some(p), _) => drop(now.remove(&p)),
            ("IP_VS_SO_SET_DEL", ..) => lasted = at,
            _ => {}
        }
        in_force.push((at, now.clone()));
    }
    // What a stop takes away is no decision.
    in_force.retain(|(at, _)| *at < lasted - 0.6);
    let mut asked: BTreeMap<u16, Vec<(f64, String)>> = BTreeMap::new();
    let mut mails: Vec<String> = Vec::new();
    for line in text("server.log").lines() {
        let mut words = line.trim_start().splitn(3, ' ');
        let (Some(at), Some(port), Some(what)) = (words.next(), words.next(), words.next()) else { continue };
        let (at, port) = (at.parse().expect("a time"), port.parse().expect("a port"));
        // Python's b'...' is what Rust escapes, for text such as this.
        let what = what.replace("b'", "").trim_end_matches('\'').to_owned();
        if port == 2525 {
            mails.extend(what.split_once("Subject: ").map(|(_, s)| s.trim_end_matches("\\r\\n").to_owned()));
        } else {
            asked.entry(port).or_default().push((at, what));
        }
    }
    let fifo = String::from_utf8_lossy(&fs::read(dir.join("fifo.bin")).unwrap_or_default()).replace('\0', "");
    let scripts = text("notify.log");
    Run {
        name: dir.file_name().expect("a name").to_string_lossy().into_owned(),
        conf: text("conf"),
        events,
        active_servers: merge_steps(in_force),
        requests: asked,
        mails,
        fifo: fifo.lines().map(str::to_owned).collect(),
        scripts: scripts.lines().filter_map(|l| Some(l.split_once('|')?.1.to_owned())).collect(),
        duration_s: lasted,
    }
}

/// Steps that belong together (within half a second) leave one state behind; a state that is what was before is none.
pub fn merge_steps(steps: Vec<(f64, BTreeMap<u16, u32>)>) -> Vec<(f64, BTreeMap<u16, u32>)> {
    let mut out: Vec<(f64, BTreeMap<u16, u32>)> = Vec::new();
    for (at, state) in steps {
        match out.last_mut() {
            Some((before, last)) if at - *before < 0.5 => *last = state,
            Some((_, last)) if *last == state => {}
            None if state.is_empty() => {}
            _ => out.push((at, state)),
        }
    }
    out
}

impl Run {
    /// The ports that are servers' at the start, and what kind each is.
    pub fn servers(&self) -> Vec<(u16, &'static str)> {
        let kind = |port: u16| match port {
            8011 | 8012 => "http",
            8025 => "smtp",
            8053 | 8054 => "dns",
            8061 => "echo",
            _ => "tcp",
        };
        let asked: BTreeSet<u16> = self.requests.keys().copied().collect();
        asked.into_iter().map(|p| (p, kind(p))).collect()
    }
}
