//! Tracked objects: `vrrp_script`, `track_file`, `vrrp_track_process` and `bfd_instance`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::lower::LoweringContext;
use crate::config::value::{Section, Value};
use crate::model::{
    BfdInstance, GlobalDefs, ParamMatch, ScriptCommand, TrackFile, TrackProcess, TrackedObject, VrrpScript,
};

/// The weight and the `reverse` flag that each tracked object sets for trackers without their own.
pub(crate) type DefaultWeights = BTreeMap<TrackedObject, (i16, bool)>;

impl LoweringContext<'_> {
    /// The `vrrp_script` blocks, each name once.
    pub(crate) fn lower_scripts(&self, global: &GlobalDefs, weights: &mut DefaultWeights) -> Vec<VrrpScript> {
        let mut out: Vec<VrrpScript> = Vec::new();
        for s in self.root.sections("vrrp_script") {
            let Some(Value::Script(script)) = s.get("script").map(|e| &e.value) else { continue };
            if out.iter().any(|o| o.name == s.name()) {
                continue;
            }
            let own = match s.get("user").map(|e| &e.value) {
                Some(Value::User(u)) => Some((**u).clone()),
                _ => None,
            };
            let user = script.user.clone().or(own).or(global.script_user.clone());
            let interval = s.time("interval").unwrap_or(Duration::from_secs(1));
            weights.insert(TrackedObject::Script(s.name().to_owned()), own_weight(s, 0));
            out.push(VrrpScript {
                name: s.name().to_owned(),
                command: ScriptCommand { argv: script.argv.clone(), user, groups: self.sets_supplementary_groups() },
                interval,
                timeout: s.time("timeout").unwrap_or(interval),
                rise: s.uint("rise").unwrap_or(1) as u32,
                fall: s.uint("fall").unwrap_or(1) as u32,
                init_fail: s.has("init_fail"),
            });
        }
        out
    }

    /// The `track_file` blocks and their older form `vrrp_track_file`, each name once.
    pub(crate) fn lower_track_files(&self, weights: &mut DefaultWeights) -> Vec<TrackFile> {
        let mut out: Vec<TrackFile> = Vec::new();
        for s in ["track_file", "vrrp_track_file"].into_iter().flat_map(|b| self.root.sections(b)) {
            let Some(path) = s.text("file") else { continue };
            if out.iter().any(|f| f.name == s.name()) {
                continue;
            }
            let init = s.get("init_file").map(|e| {
                let words: &[String] = if let Value::Words(w) = &e.value { w } else { &[] };
                let number = words.iter().find_map(|w| w.parse().ok()).unwrap_or(0);
                (number, words.iter().any(|w| w == "overwrite"))
            });
            weights.insert(TrackedObject::File(s.name().to_owned()), own_weight(s, 1));
            out.push(TrackFile { name: s.name().to_owned(), path: path.to_owned(), init });
        }
        out
    }

    /// The `vrrp_track_process` blocks, each name once.
    pub(crate) fn lower_track_processes(&self, weights: &mut DefaultWeights) -> Vec<TrackProcess> {
        let mut out: Vec<TrackProcess> = Vec::new();
        for s in self.root.sections("vrrp_track_process") {
            let Some(Value::Words(words)) = s.get("process").map(|e| &e.value) else { continue };
            let Some((program, parameters)) = words.split_first() else { continue };
            if out.iter().any(|p| p.name == s.name()) {
                continue;
            }
            let param_match = match (s.get("param_match"), s.text("param_match")) {
                (_, Some("initial")) => ParamMatch::Initial,
                (_, Some("partial")) => ParamMatch::Partial,
                (None, _) if parameters.is_empty() => ParamMatch::Any,
                _ => ParamMatch::Exact,
            };
            let delay = |own: &str| s.time(own).or(s.time("delay")).unwrap_or(Duration::ZERO);
            weights.insert(TrackedObject::Process(s.name().to_owned()), own_weight(s, 0));
            out.push(TrackProcess {
                name: s.name().to_owned(),
                program: program.clone(),
                parameters: parameters.to_vec(),
                param_match,
                full_command: s.has("full_command"),
                quorum: s.uint("quorum").unwrap_or(1) as u32,
                quorum_max: s.uint("quorum_max").map(|n| n as u32),
                fork_delay: delay("fork_delay"),
                terminate_delay: delay("terminate_delay"),
            });
        }
        out
    }

    /// The `bfd_instance` blocks, each name and each neighbour once.
    pub(crate) fn lower_bfd_instances(&self, weights: &mut DefaultWeights) -> Vec<BfdInstance> {
        let mut out: Vec<BfdInstance> = Vec::new();
        for s in self.root.sections("bfd_instance") {
            let Some(neighbour) = s.address("neighbor_ip").or(s.address("neighbour_ip")) else { continue };
            if out.iter().any(|b| b.name == s.name() || b.neighbour == neighbour) {
                continue;
            }
            let multihop = s.flag("multihop").unwrap_or(false);
            let default_ttl = if neighbour.is_ipv6() && multihop { 64 } else { 255 };
            let ttl = s.uint(if neighbour.is_ipv4() { "ttl" } else { "hoplimit" }).unwrap_or(default_ttl) as u8;
            weights.insert(TrackedObject::Bfd(s.name().to_owned()), own_weight(s, 0));
            let ms = |keyword: &str, default| s.time(keyword).unwrap_or(Duration::from_millis(default));
            out.push(BfdInstance {
                name: s.name().to_owned(),
                neighbour,
                source: s.address("source_ip").filter(|a| a.is_ipv4() == neighbour.is_ipv4()),
                min_rx: ms("min_rx", 10),
                min_tx: ms("min_tx", 10),
                idle_tx: ms("idle_tx", 1000),
                multiplier: s.uint("multiplier").unwrap_or(5) as u8,
                passive: s.has("passive"),
                ttl,
                // A neighbour on the link is no hop away (RFC 5881, 5: TTL 255); multihop has no fixed distance (RFC
                // 5883, 3).
                max_hops: match s.int("max_hops") {
                    None if multihop => None,
                    None => Some(0),
                    Some(n) => u8::try_from(n).ok().filter(|n| *n < 255),
                },
                multihop,
                notifies_vrrp: s.has("vrrp") || !s.has("checker"),
                notifies_checks: s.has("checker") || !s.has("vrrp"),
            });
        }
        out
    }
}

/// `weight N [reverse]` of a tracked object, or `default`.
fn own_weight(s: &Section, default: i16) -> (i16, bool) {
    match s.get("weight").map(|e| &e.value) {
        Some(Value::Weight(n, r)) => (*n as i16, *r),
        _ => (default, false),
    }
}
