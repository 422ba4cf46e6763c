//! The numbers of the schedulers in the maps: `enum scheduler` of `bpf/abi.h`, found by the schedulers' names.

use evenkeel_core::model::Scheduler;

include!(concat!(env!("OUT_DIR"), "/schedulers.rs"));

/// The scheduler with this number; wlc for a number that no scheduler has.
pub(super) fn scheduler_from_number(n: u8) -> Scheduler {
    let name = SCHEDULER_NUMBERS.iter().find(|(_, number)| *number == n).map_or("wlc", |(name, _)| *name);
    if name == Scheduler::None.name() { Scheduler::None } else { name.parse().unwrap_or(Scheduler::Wlc) }
}

/// The number of a scheduler.
pub(super) fn scheduler_number(scheduler: Scheduler) -> u8 {
    let find = |name: &str| SCHEDULER_NUMBERS.iter().find(|(n, _)| *n == name).map(|(_, number)| *number);
    find(scheduler.name()).or_else(|| find("wlc")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheduler_has_an_enumerator_and_every_enumerator_a_scheduler() {
        let all = Scheduler::ALL.into_iter().chain([Scheduler::None]);
        let numbers: Vec<u8> = all.clone().map(scheduler_number).collect();
        assert_eq!(numbers.len(), SCHEDULER_NUMBERS.len());
        assert!(all.zip(numbers).all(|(scheduler, number)| scheduler_from_number(number) == scheduler));
    }
}
