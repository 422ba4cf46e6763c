//! Tracking: which objects an instance or a sync group tracks, with which weight.

use std::collections::HashSet;

use super::tracked::DefaultWeights;
use crate::config::lower::LoweringContext;
use crate::config::value::{Line, Section};
use crate::model::{Config, Statics, Track, TrackedObject, VipSpec};

/// The `track_…` blocks of an instance or a sync group, each object once. An object that is not defined is left out.
pub(super) fn tracked_objects(s: &Section, weights: &DefaultWeights) -> Vec<Track> {
    type Kind = fn(String) -> TrackedObject;
    let kinds: [(&str, Kind); 5] = [
        ("track_script", TrackedObject::Script),
        ("track_interface", TrackedObject::Interface),
        ("track_file", TrackedObject::File),
        ("track_process", TrackedObject::Process),
        ("track_bfd", TrackedObject::Bfd),
    ];
    let mut out: Vec<Track> = Vec::new();
    for (keyword, kind) in kinds {
        for (_, line) in s.lines(keyword) {
            let Line::Track(name, weight) = line else { continue };
            let object = kind(name.clone());
            let default = match &object {
                TrackedObject::Interface(_) => Some((0, false)),
                other => weights.get(other).copied(),
            };
            let Some(default) = default.filter(|_| !out.iter().any(|t| t.object == object)) else { continue };
            let (weight, reverse) = weight.map_or(default, |(w, r)| (w as i16, r));
            out.push(Track { object, weight, reverse });
        }
    }
    out
}

impl LoweringContext<'_> {
    /// `track_group`: makes its instances track the static addresses, routes and rules that name the group.
    pub(crate) fn apply_track_groups(&self, config: &mut Config) {
        let tracked: Vec<(TrackedObject, &str)> = self
            .tracked_static_addresses(&config.statics)
            .chain(self.tracked_static_routes_and_rules(&config.statics))
            .collect();
        for (object, name) in tracked {
            let groups = self.root.sections("track_group").filter(|g| g.name() == name);
            let named = |l: &Line| if let Line::Name(n) = l { Some(n.clone()) } else { None };
            let members: HashSet<String> =
                groups.flat_map(|g| g.lines("group")).filter_map(|(_, l)| named(l)).collect();
            for i in config.instances.iter_mut().filter(|i| members.contains(&i.name)) {
                i.tracks.push(Track { object: object.clone(), weight: 0, reverse: false });
            }
        }
    }

    /// The static addresses with `track_group`, and the name of the group.
    fn tracked_static_addresses(&self, statics: &Statics) -> impl Iterator<Item = (TrackedObject, &str)> {
        self.root.lines("static_ipaddress").filter_map(|(_, line)| {
            let Line::Address(a) = line else { return None };
            let (_, group) = a.options.iter().find(|(word, _)| word == "track_group")?;
            let is_same = |v: &&VipSpec| v.addr == a.addr && a.dev.as_ref().is_none_or(|d| *d == v.dev);
            let v = statics.addresses.iter().find(is_same)?;
            Some((TrackedObject::Address(v.to_string()), group.as_deref()?))
        })
    }
}
