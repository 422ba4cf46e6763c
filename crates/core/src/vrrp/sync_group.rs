//! Sync groups: virtual routers that are always in the same state (keepalived.conf(5), "vrrp_sync_group").
//!
//! The actions of a group are a function of its members' states:
//!
//! - A member with a fault brings all members into FAULT.
//! - No member becomes master before all request it.
//! - If some members are master and others are not, the latest transition decides: it is the one that an event caused.

use super::{Input, Router, State};
use crate::time::Instant;

/// The state of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupMember {
    /// Its VRRP state.
    pub state: State,
    /// When it entered the state.
    pub since: Instant,
    /// Its master-down timer has expired.
    pub wants_master: bool,
    /// It must be in FAULT for a reason of its own.
    pub has_fault: bool,
}

/// What the group requires of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupAction {
    /// Become master.
    Master,
    /// Step down.
    Backup,
    /// Enter FAULT because of the member of this index, or leave FAULT.
    Fault(Option<usize>),
}

/// The actions for members, by their index; empty if the members agree.
pub fn group_actions(members: &[GroupMember]) -> Vec<(usize, GroupAction)> {
    let faulty = members.iter().position(|m| m.has_fault);
    let in_fault = members.iter().any(|m| m.state == State::Fault);
    if faulty.is_some() || in_fault {
        let healthy = members.iter().enumerate().filter(|(_, m)| !m.has_fault);
        // A healthy member is in FAULT exactly as long as another member has a fault.
        let differs = |m: &GroupMember| faulty.is_some() != (m.state == State::Fault);
        return healthy.filter(|(_, m)| differs(m)).map(|(i, _)| (i, GroupAction::Fault(faulty))).collect();
    }
    let masters = members.iter().filter(|m| m.state == State::Master).count();
    if masters == members.len() {
        return Vec::new();
    }
    if masters == 0 {
        let all_want = members.iter().all(|m| m.state == State::Backup && m.wants_master);
        return if all_want { (0..members.len()).map(|i| (i, GroupAction::Master)).collect() } else { Vec::new() };
    }
    // Of two transitions at the same time, the one away from MASTER wins: two masters are worse than none for a moment.
    let latest = members.iter().max_by_key(|m| (m.since, m.state != State::Master));
    let to_master = latest.is_some_and(|m| m.state == State::Master);
    let action = if to_master { GroupAction::Master } else { GroupAction::Backup };
    let differs = |m: &GroupMember| (m.state == State::Master) != to_master;
    members.iter().enumerate().filter(|(_, m)| differs(m)).map(|(i, _)| (i, action)).collect()
}

/// Executes [`group_actions`] until the members of a group agree. Returns false if they agreed already.
pub fn synchronize(members: &mut [&mut Router], now: Instant) -> bool {
    // An action changes the state of a member, which may lead to an action for another. Two rounds are enough.
    for round in 0..3 {
        let actions = group_actions(&members.iter().map(|r| r.group_member()).collect::<Vec<_>>());
        if actions.is_empty() {
            return round > 0;
        }
        for (i, action) in actions {
            let cause = match action {
                GroupAction::Fault(cause) => cause.and_then(|c| members.get(c)).map(|r| r.config().name.clone()),
                _ => None,
            };
            if let Some(router) = members.get_mut(i) {
                router.handle(now, Input::SyncGroup(action, cause.as_deref()));
            }
        }
    }
    true
}

/// The state of the whole group: FAULT if a member is in FAULT, else the common state, or `None` if the members differ.
pub fn group_state(members: &[GroupMember]) -> Option<State> {
    if members.iter().any(|m| m.state == State::Fault) {
        return Some(State::Fault);
    }
    let first = members.first()?.state;
    members.iter().all(|m| m.state == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(state: State, since_ms: u64) -> GroupMember {
        let since = Instant::default() + std::time::Duration::from_millis(since_ms);
        GroupMember { state, since, wants_master: false, has_fault: false }
    }

    #[test]
    fn no_member_becomes_master_before_all_request_it() {
        let wants = GroupMember { wants_master: true, ..member(State::Backup, 0) };
        assert_eq!(group_actions(&[wants, member(State::Backup, 0)]), []);
        assert_eq!(group_actions(&[wants, wants]), [(0, GroupAction::Master), (1, GroupAction::Master)]);
        assert_eq!(group_actions(&[wants, member(State::Init, 0)]), [], "one member still waits for its script");
    }

    #[test]
    fn the_latest_transition_decides_for_all_members() {
        let (early, late) = (member(State::Master, 10), member(State::Backup, 20));
        assert_eq!(group_actions(&[early, late]), [(0, GroupAction::Backup)]);
        assert_eq!(group_actions(&[member(State::Master, 30), late]), [(1, GroupAction::Master)]);
        assert_eq!(
            group_actions(&[member(State::Master, 20), late]),
            [(0, GroupAction::Backup)],
            "stepping down wins a tie"
        );
    }

    #[test]
    fn a_fault_and_its_end_apply_to_all_members() {
        let broken = GroupMember { has_fault: true, ..member(State::Fault, 5) };
        assert_eq!(group_actions(&[member(State::Master, 0), broken]), [(0, GroupAction::Fault(Some(1)))]);
        assert_eq!(group_actions(&[member(State::Fault, 6), broken]), []);
        let mended = member(State::Backup, 9);
        assert_eq!(group_actions(&[member(State::Fault, 6), mended]), [(0, GroupAction::Fault(None))]);
        assert_eq!(group_state(&[member(State::Fault, 6), mended]), Some(State::Fault));
        assert_eq!(group_state(&[mended, mended]), Some(State::Backup));
        assert_eq!(group_state(&[mended, member(State::Master, 6)]), None);
    }
}
