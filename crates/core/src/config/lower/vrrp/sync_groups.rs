//! `vrrp_sync_group` to [`SyncGroup`], and the membership of instances.

use std::collections::{HashMap, HashSet};

use super::tracked::DefaultWeights;
use super::tracking::tracked_objects;
use crate::config::derived::counts_member_weights;
use crate::config::lower::LoweringContext;
use crate::config::value::{Line, Section};
use crate::model::{SyncGroup, Track, TrackedObject, VrrpInstance};

impl LoweringContext<'_> {
    /// The sync groups that have members. An instance belongs to the first group that names it.
    pub(crate) fn lower_sync_groups(
        &mut self,
        instances: &mut [VrrpInstance],
        weights: &DefaultWeights,
    ) -> Vec<SyncGroup> {
        let mut out: Vec<SyncGroup> = Vec::new();
        let mut names = HashSet::new();
        let mut free: HashMap<String, &mut VrrpInstance> = instances.iter_mut().map(|i| (i.name.clone(), i)).collect();
        for s in self.root.sections("vrrp_sync_group") {
            if !names.insert(s.name()) {
                continue;
            }
            let named = s.lines("group").filter_map(|(_, l)| if let Line::Name(n) = l { Some(n) } else { None });
            let members: Vec<&mut VrrpInstance> = named.filter_map(|n| free.remove(n)).collect();
            if members.is_empty() {
                continue;
            }
            for member in members {
                join_group(member, s, weights);
            }
            out.push(SyncGroup { name: s.name().to_owned(), notify: self.notify_scripts(s) });
        }
        out
    }
}

/// Makes an instance a member of a group: it tracks what the group tracks.
///
/// Trackers of the member with a weight stay only with `sync_group_tracking_weight`. As in keepalived, trackers of
/// processes always stay.
fn join_group(member: &mut VrrpInstance, group: &Section, weights: &DefaultWeights) {
    let stays = |t: &Track| t.weight == 0 || matches!(t.object, TrackedObject::Process(_));
    member.tracks.retain(|t| stays(t) || counts_member_weights(group));
    let own_interface = member.tracked_interface();
    let mut new = tracked_objects(group, weights);
    new.retain(|t| t.object != own_interface && !member.tracks.iter().any(|o| o.object == t.object));
    member.tracks.extend(new);
    member.sync_group = Some(group.name().to_owned());
}
