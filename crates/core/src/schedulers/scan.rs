//! Scan schedulers: the selection among all servers of a service. This is the reference model of schedule_scan() in the
//! packet path.

use super::{ScanRule, Scheduler};

/// What a scan reads of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerLoad {
    /// The server's weight.
    pub weight: u32,
    /// Active connections.
    pub active: u32,
    /// Inactive connections.
    pub inactive: u32,
    /// The server has exceeded its upper threshold and is not yet below the lower one.
    pub overload: bool,
}

impl ServerLoad {
    /// Whether the server accepts a new connection.
    pub fn is_eligible(&self) -> bool {
        self.weight > 0 && !self.overload
    }

    /// Whether the server has more active connections than weight.
    pub fn exceeds_weight(&self) -> bool {
        self.active > self.weight
    }

    fn overhead(&self, rule: ScanRule) -> i64 {
        let inactive = if rule.inactive { self.inactive.into() } else { 0 };
        i64::from(self.active) * i64::from(rule.active) + inactive + i64::from(rule.plus_one)
    }
}

/// The position in the list of the server that a scan selects; `None` if no server is eligible, or if the scheduler does
/// not scan. For lblc and lblcr this is the selection for an address that has no server yet.
///
/// The list is newest server first. On a tie the newer server wins.
pub fn select_by_scan(scheduler: Scheduler, list: &[ServerLoad]) -> Option<usize> {
    let rule = scheduler.scan_rule()?;
    let mut best: Option<(usize, i64, i64)> = None;
    for (i, server) in list.iter().enumerate().filter(|(_, s)| s.is_eligible()) {
        if rule.skip_overloaded && server.exceeds_weight() {
            continue;
        }
        if rule.idle_wins && server.active == 0 {
            return Some(i);
        }
        let weight = if rule.ignore_weight { 1 } else { server.weight.into() };
        let overhead = server.overhead(rule);
        if best.is_none_or(|(_, o, w)| o * weight > overhead * w) {
            best = Some((i, overhead, weight));
        }
    }
    best.map(|(i, ..)| i)
}
