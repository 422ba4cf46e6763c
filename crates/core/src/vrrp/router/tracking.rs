//! Tracked objects of a router: their results, the priority and the faults that follow from them.

use super::Router;
use crate::model::{AdvertDestination, Track, TrackResult, TrackedObject};
use crate::time::Instant;
use crate::vrrp::track::{TrackEffect, effective_priority, track_effect};
use crate::vrrp::{Output, State, TransitionReason};

impl Router {
    pub(super) fn handle_track_result(&mut self, now: Instant, object: &TrackedObject, result: TrackResult) {
        let is_tracked = self.cfg.tracks.iter().any(|t| t.object == *object);
        if !is_tracked || self.track_results.insert(object.clone(), result) == Some(result) {
            return;
        }
        self.update_priority();
        self.update_fault_state(now, TransitionReason::Recovered);
    }

    fn effect_of(&self, track: &Track) -> TrackEffect {
        track_effect(track, self.track_results.get(&track.object).copied())
    }

    /// Recomputes the priority.
    pub(super) fn update_priority(&mut self) {
        if self.cfg.tracks.iter().any(|t| t.weight != 0 && self.effect_of(t) == TrackEffect::Fault) {
            return; // as in keepalived, the priority does not change while a weighted object causes FAULT
        }
        let priority = self.compute_priority();
        let before = std::mem::replace(&mut self.priority, priority);
        // keepalived does not report changes in FAULT. The transition out of FAULT reports the priority.
        if self.started && self.state != State::Fault && before != self.priority {
            self.outputs.push_back(Output::PriorityChanged(self.priority));
        }
    }

    pub(super) fn compute_priority(&self) -> u8 {
        let base = if self.owner_demoted { 254 } else { self.cfg.priority };
        let sum = self.cfg.tracks.iter().map(|t| match self.effect_of(t) {
            TrackEffect::Priority(p) => i32::from(p),
            _ => 0,
        });
        effective_priority(base, sum.sum())
    }

    /// Why the router must be in FAULT: for a reason of its own, or because of its sync group.
    pub(super) fn fault_reason(&self) -> Option<TransitionReason> {
        self.own_fault_reason().or_else(|| self.group_fault.clone().map(|name| TransitionReason::SyncGroup(Some(name))))
    }

    /// Why the router must be in FAULT, its sync group aside.
    pub(super) fn own_fault_reason(&self) -> Option<TransitionReason> {
        if !self.link_up && !self.cfg.dont_track_primary {
            return Some(TransitionReason::LinkDown);
        }
        if self.source.is_none() {
            return Some(TransitionReason::NoAddress);
        }
        if self.cfg.fault_without_peer && matches!(self.cfg.advert_destination, AdvertDestination::Multicast(_)) {
            return Some(TransitionReason::NoUnicastPeer);
        }
        let failing = self.cfg.tracks.iter().find(|t| self.effect_of(t) == TrackEffect::Fault);
        failing.map(|t| {
            let result = self.track_results.get(&t.object).copied().unwrap_or(TrackResult::Good(false));
            TransitionReason::TrackedObject(t.object.clone(), result)
        })
    }

    /// Whether the start must wait for the first result of a tracked object.
    pub(super) fn is_waiting_for_tracks(&self) -> bool {
        self.cfg.tracks.iter().any(|t| self.effect_of(t) == TrackEffect::Wait)
    }
}
