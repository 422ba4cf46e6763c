//! Sync groups.

use super::*;

/// A member of the sync group `G`.
fn member(name: &str) -> Router {
    let cfg = VrrpInstance { name: name.into(), sync_group: Some("G".into()), ..config("priority 100") };
    start_router(cfg, ME, PreviousState::Unknown)
}

#[test]
fn members_of_a_group_change_state_together_and_leave_its_faults_with_it() {
    let (mut a, mut b) = (member("A"), member("B"));
    assert!(!sync_group::synchronize(&mut [&mut a, &mut b], at_ms(0)));
    a.handle_deadline(at_ms(4_000));
    sync_group::synchronize(&mut [&mut a, &mut b], at_ms(4_000));
    assert_eq!((a.state(), b.state()), (State::Backup, State::Backup), "one member alone does not become master");
    b.handle_deadline(at_ms(4_001));
    sync_group::synchronize(&mut [&mut a, &mut b], at_ms(4_001));
    assert_eq!((a.state(), b.state()), (State::Master, State::Master));
    a.handle(at_ms(5_000), Input::Link(false));
    sync_group::synchronize(&mut [&mut a, &mut b], at_ms(5_000));
    assert_eq!((a.state(), b.state()), (State::Fault, State::Fault));
    assert_eq!(b.last_transition().1, &TransitionReason::SyncGroup(Some("A".into())));
    b.reconfigure(at_ms(6_000), VrrpInstance { sync_group: None, ..b.config().clone() });
    assert_eq!((a.state(), b.state()), (State::Fault, State::Backup), "a fault of the other member stays in the group");
    assert!(!sync_group::synchronize(&mut [&mut a], at_ms(6_000)));
    a.handle(at_ms(7_000), Input::Link(true));
    receive(&mut b, at_ms(7_000), 200);
    b.handle_deadline(at_ms(20_000));
    assert_eq!(b.state(), State::Master, "outside of the group it does not wait");
}
