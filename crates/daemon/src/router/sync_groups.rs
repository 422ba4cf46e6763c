//! Sync groups: their members are kept in one state, and a group's own transitions are reported.

use evenkeel_core::vrrp::{Input, Router, State, sync_group};
use evenkeel_sys::clock;

use super::messages::Event;
use super::thread::RouterThread;

impl RouterThread {
    /// Synchronises the members of every group, and reports the groups whose state changed.
    pub(super) fn sync_groups(&mut self) {
        for g in 0..self.groups.len() {
            let name = self.groups[g].0.name.clone();
            let mut routers: Vec<&mut Router> = self
                .entries
                .iter_mut()
                .map(|e| &mut e.router)
                .filter(|r| r.config().sync_group.as_deref() == Some(&name))
                .collect();
            let changed = sync_group::synchronize(&mut routers, clock::now());
            let state = sync_group::group_state(&routers.iter().map(|r| r.group_member()).collect::<Vec<_>>());
            if changed {
                for i in 0..self.entries.len() {
                    self.apply_outputs(i);
                }
            }
            // INIT is reported at stop only, not before the first state.
            let reported = self.groups[g].1;
            let state = state.filter(|s| *s != State::Init || reported.is_some());
            if let Some(to) = state.filter(|s| Some(*s) != reported) {
                self.groups[g].1 = Some(to);
                let notify = self.groups[g].0.notify.clone();
                let _ = self.events.send(Event::Group { name, to, notify });
            }
        }
    }

    /// Makes the other members of a group assert their mastership as well: a peer that became master of one address was
    /// cut off from all of them.
    pub(super) fn assert_group(&mut self, i: usize) {
        let Some(group) = self.entries[i].router.config().sync_group.clone() else { return };
        for j in (0..self.entries.len()).filter(|j| *j != i) {
            if self.entries[j].router.config().sync_group.as_ref() == Some(&group) {
                self.entries[j].router.handle(clock::now(), Input::AssertMastership);
                self.apply_outputs(j);
            }
        }
    }
}
