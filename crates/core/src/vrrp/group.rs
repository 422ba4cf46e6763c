//! Sync groups: virtual routers that are always in the same state (keepalived.conf(5), "vrrp_sync_group").
//!
//! What a group wants of its members follows from how they stand, whoever looks and how often: a member that cannot take
//! part takes the others along; nobody becomes master before all want to; and where some are master and some are not,
//! the latest change decides, for it is the one that came from outside.

use super::{Input, Router, State};
use crate::time::Instant;

/// How a member stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Where.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// It has heard no master for long enough.
    pub wants_master: bool,
    /// Something of its own keeps it from taking part.
    pub faulty: bool,
}

/// What a member is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Become master.
    Master,
    /// Stop being master.
    Backup,
    /// Go into FAULT, because of the member of this place; or out of it.
    Fault(Option<usize>),
}

/// What each member is to do; nothing if all is well.
pub fn orders(members: &[Member]) -> Vec<(usize, Order)> {
    let faulty = members.iter().position(|m| m.faulty);
    let in_fault = members.iter().any(|m| m.state == State::Fault);
    if faulty.is_some() || in_fault {
        let healthy = members.iter().enumerate().filter(|(_, m)| !m.faulty);
        // Those that are in FAULT for another's sake leave it when that is over.
        let wrong = |m: &Member| faulty.is_some() != (m.state == State::Fault);
        return healthy.filter(|(_, m)| wrong(m)).map(|(i, _)| (i, Order::Fault(faulty))).collect();
    }
    let masters = members.iter().filter(|m| m.state == State::Master).count();
    if masters == members.len() {
        return Vec::new();
    }
    if masters == 0 {
        let all_want = members.iter().all(|m| m.state == State::Backup && m.wants_master);
        return if all_want { (0..members.len()).map(|i| (i, Order::Master)).collect() } else { Vec::new() };
    }
    // Of two changes at one moment the one that gives way counts: two masters are worse than none for a moment.
    let latest = members.iter().max_by_key(|m| (m.since, m.state != State::Master));
    let to_master = latest.is_some_and(|m| m.state == State::Master);
    let order = if to_master { Order::Master } else { Order::Backup };
    let other = |m: &Member| (m.state == State::Master) != to_master;
    members.iter().enumerate().filter(|(_, m)| other(m)).map(|(i, _)| (i, order)).collect()
}

/// Gives the members of one group what [`orders`] says, until all is well; false if all was.
pub fn settle(members: &mut [&mut Router], now: Instant) -> bool {
    // An order changes how a member stands, which may lead to one more for another; two rounds settle it.
    for round in 0..3 {
        let orders = orders(&members.iter().map(|r| r.member()).collect::<Vec<_>>());
        if orders.is_empty() {
            return round > 0;
        }
        for (i, order) in orders {
            let cause = match order {
                Order::Fault(cause) => cause.and_then(|c| members.get(c)).map(|r| r.config().name.clone()),
                _ => None,
            };
            if let Some(router) = members.get_mut(i) {
                router.handle(now, Input::Group(order, cause.as_deref()));
            }
        }
    }
    true
}

/// The state of the whole group, if its members agree; FAULT if one is in it.
pub fn state(members: &[Member]) -> Option<State> {
    if members.iter().any(|m| m.state == State::Fault) {
        return Some(State::Fault);
    }
    let first = members.first()?.state;
    members.iter().all(|m| m.state == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(state: State, since_ms: u64) -> Member {
        let since = Instant::default() + std::time::Duration::from_millis(since_ms);
        Member { state, since, wants_master: false, faulty: false }
    }

    #[test]
    fn nobody_becomes_master_before_all_want_to() {
        let wants = Member { wants_master: true, ..member(State::Backup, 0) };
        assert_eq!(orders(&[wants, member(State::Backup, 0)]), []);
        assert_eq!(orders(&[wants, wants]), [(0, Order::Master), (1, Order::Master)]);
        assert_eq!(orders(&[wants, member(State::Init, 0)]), [], "one still waits for its script");
    }

    #[test]
    fn the_latest_change_takes_the_others_along() {
        let (early, late) = (member(State::Master, 10), member(State::Backup, 20));
        assert_eq!(orders(&[early, late]), [(0, Order::Backup)]);
        assert_eq!(orders(&[member(State::Master, 30), late]), [(1, Order::Master)]);
        assert_eq!(orders(&[member(State::Master, 20), late]), [(0, Order::Backup)], "who gives way wins a tie");
    }

    #[test]
    fn a_fault_is_everybodys_and_so_is_its_end() {
        let broken = Member { faulty: true, ..member(State::Fault, 5) };
        assert_eq!(orders(&[member(State::Master, 0), broken]), [(0, Order::Fault(Some(1)))]);
        assert_eq!(orders(&[member(State::Fault, 6), broken]), []);
        let mended = member(State::Backup, 9);
        assert_eq!(orders(&[member(State::Fault, 6), mended]), [(0, Order::Fault(None))]);
        assert_eq!(state(&[member(State::Fault, 6), mended]), Some(State::Fault));
        assert_eq!(state(&[mended, mended]), Some(State::Backup));
        assert_eq!(state(&[mended, member(State::Master, 6)]), None);
    }
}
