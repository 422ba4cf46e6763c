//! Sync groups: virtual routers that are always in the same state (keepalived.conf(5), "vrrp_sync_group").
//!
//! What a group wants of its members follows from how they stand, whoever looks and how often: a member that cannot take
//! part takes the others along; nobody becomes master before all want to; and where some are master and some are not,
//! the latest change decides, for it is the one that came from outside.

use super::{Input, Router, State};
use crate::time::Instant;

/// How a member stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupMember {
    /// Where.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// It has heard no master for long enough.
    pub wants_master: bool,
    /// Something of its own keeps it from taking part.
    pub has_fault: bool,
}

/// What a member is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupAction {
    /// Become master.
    Master,
    /// Stop being master.
    Backup,
    /// Go into FAULT, because of the member of this place; or out of it.
    Fault(Option<usize>),
}

/// What each member is to do; nothing if all is well.
pub fn group_actions(members: &[GroupMember]) -> Vec<(usize, GroupAction)> {
    let faulty = members.iter().position(|m| m.has_fault);
    let in_fault = members.iter().any(|m| m.state == State::Fault);
    if faulty.is_some() || in_fault {
        let healthy = members.iter().enumerate().filter(|(_, m)| !m.has_fault);
        // Those that are in FAULT for another's sake leave it when that is over.
        let wrong = |m: &GroupMember| faulty.is_some() != (m.state == State::Fault);
        return healthy.filter(|(_, m)| wrong(m)).map(|(i, _)| (i, GroupAction::Fault(faulty))).collect();
    }
    let masters = members.iter().filter(|m| m.state == State::Master).count();
    if masters == members.len() {
        return Vec::new();
    }
    if masters == 0 {
        let all_want = members.iter().all(|m| m.state == State::Backup && m.wants_master);
        return if all_want { (0..members.len()).map(|i| (i, GroupAction::Master)).collect() } else { Vec::new() };
    }
    // Of two changes at one moment the one that gives way counts: two masters are worse than none for a moment.
    let latest = members.iter().max_by_key(|m| (m.since, m.state != State::Master));
    let to_master = latest.is_some_and(|m| m.state == State::Master);
    let order = if to_master { GroupAction::Master } else { GroupAction::Backup };
    let other = |m: &GroupMember| (m.state == State::Master) != to_master;
    members.iter().enumerate().filter(|(_, m)| other(m)).map(|(i, _)| (i, order)).collect()
}

/// Gives the members of one group what [`orders`] says, until all is well; false if all was.
pub fn synchronize(members: &mut [&mut Router], now: Instant) -> bool {
    // An order changes how a member stands, which may lead to one more for another; two rounds settle it.
    for round in 0..3 {
        let orders = group_actions(&members.iter().map(|r| r.group_member()).collect::<Vec<_>>());
        if orders.is_empty() {
            return round > 0;
        }
        for (i, order) in orders {
            let cause = match order {
                GroupAction::Fault(cause) => cause.and_then(|c| members.get(c)).map(|r| r.config().name.clone()),
                _ => None,
            };
            if let Some(router) = members.get_mut(i) {
                router.handle(now, Input::SyncGroup(order, cause.as_deref()));
            }
        }
    }
    true
}

/// The state of the whole group, if its members agree; FAULT if one is in it.
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
    fn nobody_becomes_master_before_all_want_to() {
        let wants = GroupMember { wants_master: true, ..member(State::Backup, 0) };
        assert_eq!(group_actions(&[wants, member(State::Backup, 0)]), []);
        assert_eq!(group_actions(&[wants, wants]), [(0, GroupAction::Master), (1, GroupAction::Master)]);
        assert_eq!(group_actions(&[wants, member(State::Init, 0)]), [], "one still waits for its script");
    }

    #[test]
    fn the_latest_change_takes_the_others_along() {
        let (early, late) = (member(State::Master, 10), member(State::Backup, 20));
        assert_eq!(group_actions(&[early, late]), [(0, GroupAction::Backup)]);
        assert_eq!(group_actions(&[member(State::Master, 30), late]), [(1, GroupAction::Master)]);
        assert_eq!(
            group_actions(&[member(State::Master, 20), late]),
            [(0, GroupAction::Backup)],
            "who gives way wins a tie"
        );
    }

    #[test]
    fn a_fault_is_everybodys_and_so_is_its_end() {
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
