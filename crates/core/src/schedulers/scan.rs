//! The twins of the program's scans over every server.

use crate::model::Scheduler;

/// A server as a scan scheduler sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerLoad {
    /// Its weight.
    pub weight: u32,
    /// Active connections.
    pub active: u32,
    /// Inactive connections.
    pub inactive: u32,
    /// Over its upper threshold, and not yet below the lower one.
    pub overload: bool,
}

impl ServerLoad {
    /// Can it take a new connection?
    pub fn is_eligible(&self) -> bool {
        self.weight > 0 && !self.overload
    }

    /// ip_vs_dest_conn_overhead()
    pub fn overhead(&self) -> i64 {
        i64::from(self.active) * 256 + i64::from(self.inactive)
    }

    /// More connections than weight.
    pub fn exceeds_weight(&self) -> bool {
        self.active > self.weight
    }
}

/// What a scan scheduler chooses: the position in the list. The newer server stays on equal terms. Of lblc and lblcr it is
/// the choice for an address that nobody has asked for yet; of table schedulers it is nothing.
///
/// Sources: ip_vs_wlc_schedule(), ip_vs_lc_schedule(), ip_vs_sed_schedule(), ip_vs_nq_schedule(), ip_vs_fo_schedule(),
/// ip_vs_ovf_schedule().
pub fn select_by_scan(scheduler: Scheduler, list: &[ServerLoad]) -> Option<usize> {
    let able = || list.iter().enumerate().filter(|(_, s)| s.is_eligible());
    let cost = |s: &ServerLoad| match scheduler {
        Scheduler::Lc => (s.overhead(), 1),
        Scheduler::Sed | Scheduler::Nq => (i64::from(s.active) + 1, i64::from(s.weight)),
        Scheduler::Fo | Scheduler::Ovf => (1, i64::from(s.weight)),
        _ => (s.overhead(), i64::from(s.weight)),
    };
    match scheduler {
        Scheduler::Wlc | Scheduler::Lc | Scheduler::Sed | Scheduler::Fo | Scheduler::Lblc | Scheduler::Lblcr => {
            select_least(able(), cost)
        }
        Scheduler::Nq => able().find(|(_, s)| s.active == 0).map(|(i, _)| i).or_else(|| select_least(able(), cost)),
        Scheduler::Ovf => select_least(able().filter(|(_, s)| !s.exceeds_weight()), cost),
        _ => None,
    }
}

/// The first with the least overhead / weight.
fn select_least<'a>(
    list: impl Iterator<Item = (usize, &'a ServerLoad)>,
    cost: impl Fn(&ServerLoad) -> (i64, i64),
) -> Option<usize> {
    let mut best: Option<(usize, i64, i64)> = None;
    for (i, s) in list {
        let (overhead, weight) = cost(s);
        if best.is_none_or(|(_, o, w)| o * weight > overhead * w) {
            best = Some((i, overhead, weight));
        }
    }
    best.map(|(i, ..)| i)
}
