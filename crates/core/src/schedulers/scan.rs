//! The twins of the program's scans over every server.

use crate::model::Scheduler;

/// A server as a scan scheduler sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Its weight.
    pub weight: u32,
    /// Active connections.
    pub active: u32,
    /// Inactive connections.
    pub inactive: u32,
    /// Over its upper threshold, and not yet below the lower one.
    pub overload: bool,
}

impl Load {
    /// Can it take a new connection?
    pub fn eligible(&self) -> bool {
        self.weight > 0 && !self.overload
    }

    /// ip_vs_dest_conn_overhead()
    pub fn overhead(&self) -> i64 {
        i64::from(self.active) * 256 + i64::from(self.inactive)
    }

    /// More connections than weight.
    pub fn crowded(&self) -> bool {
        self.active > self.weight
    }
}

/// What a scan scheduler chooses: the position in the list. The newer server stays on equal terms. Of lblc and lblcr it is
/// the choice for an address that nobody has asked for yet; of table schedulers it is nothing.
///
/// Sources: ip_vs_wlc_schedule(), ip_vs_lc_schedule(), ip_vs_sed_schedule(), ip_vs_nq_schedule(), ip_vs_fo_schedule(),
/// ip_vs_ovf_schedule().
pub fn scan(scheduler: Scheduler, list: &[Load]) -> Option<usize> {
    let able = || list.iter().enumerate().filter(|(_, s)| s.eligible());
    let cost = |s: &Load| match scheduler {
        Scheduler::Lc => (s.overhead(), 1),
        Scheduler::Sed | Scheduler::Nq => (i64::from(s.active) + 1, i64::from(s.weight)),
        Scheduler::Fo | Scheduler::Ovf => (1, i64::from(s.weight)),
        _ => (s.overhead(), i64::from(s.weight)),
    };
    match scheduler {
        Scheduler::Wlc | Scheduler::Lc | Scheduler::Sed | Scheduler::Fo | Scheduler::Lblc | Scheduler::Lblcr => {
            least(able(), cost)
        }
        Scheduler::Nq => able().find(|(_, s)| s.active == 0).map(|(i, _)| i).or_else(|| least(able(), cost)),
        Scheduler::Ovf => least(able().filter(|(_, s)| !s.crowded()), cost),
        _ => None,
    }
}

/// The first with the least overhead / weight.
fn least<'a>(list: impl Iterator<Item = (usize, &'a Load)>, cost: impl Fn(&Load) -> (i64, i64)) -> Option<usize> {
    let mut best: Option<(usize, i64, i64)> = None;
    for (i, s) in list {
        let (overhead, weight) = cost(s);
        if best.is_none_or(|(_, o, w)| o * weight > overhead * w) {
            best = Some((i, overhead, weight));
        }
    }
    best.map(|(i, ..)| i)
}
