//! The scheduler registry: one row for each scheduler, from which its name, its kind and the names of its flags follow
//! everywhere else.
//!
//! The header of [`super`] lists the steps that a new scheduler needs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The algorithm that selects a real server for a new connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connection.
    Lc,
    /// Weighted least connection.
    Wlc,
    /// Locality-based least connection: a destination address stays with its server.
    Lblc,
    /// Locality-based least connection with replication: each destination address has a set of servers.
    Lblcr,
    /// Hash of the destination address.
    Dh,
    /// Hash of the source address.
    Sh,
    /// Maglev hash of the source address.
    Mh,
    /// Shortest expected delay.
    Sed,
    /// Never queue: an idle server if there is one, otherwise as sed.
    Nq,
    /// Weighted fail-over: the server with the greatest weight.
    Fo,
    /// Weighted overflow: the server with the greatest weight among those with at most as many connections as weight.
    Ovf,
    /// Power of two random choices.
    Twos,
    /// No scheduler: the service accepts no new connection (`ipvsadm -s none`).
    None,
}

/// How a scheduler selects a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SchedulerKind {
    /// User space writes the order of one cycle; the packet path walks through it with a counter ([`super::walk`]).
    Walk,
    /// User space writes a table of fixed size; the packet path looks up the hash of an address ([`super::hash`]).
    Hash,
    /// The packet path compares all servers by this rule ([`super::scan`]).
    Scan(ScanRule),
    /// The packet path remembers the server of each destination address, and compares all servers by this rule for an
    /// address that it does not know.
    Locality(ScanRule),
    /// The packet path draws two servers at random and compares them.
    Random,
    /// No server is selected.
    None,
}

/// The rule by which a scan compares servers: the server with the least overhead / weight wins; on a tie the newer server
/// wins. `enum rule` of the packet path has the same rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanRule {
    /// The overhead counts each active connection this many times.
    pub active: u16,
    /// The overhead counts each inactive connection once.
    pub inactive: bool,
    /// The overhead is one greater.
    pub plus_one: bool,
    /// All weights count as 1.
    pub ignore_weight: bool,
    /// The first server without active connections wins at once.
    pub idle_wins: bool,
    /// A server with more active connections than weight is skipped.
    pub skip_overloaded: bool,
}

const NO_OVERHEAD: ScanRule = ScanRule {
    active: 0,
    inactive: false,
    plus_one: false,
    ignore_weight: false,
    idle_wins: false,
    skip_overloaded: false,
};
/// ip_vs_wlc_schedule(), with the overhead of ip_vs_dest_conn_overhead()
const WLC: ScanRule = ScanRule { active: 256, inactive: true, ..NO_OVERHEAD };
/// ip_vs_lc_schedule()
const LC: ScanRule = ScanRule { ignore_weight: true, ..WLC };
/// ip_vs_sed_schedule()
const SED: ScanRule = ScanRule { active: 1, plus_one: true, ..NO_OVERHEAD };
/// ip_vs_nq_schedule()
const NQ: ScanRule = ScanRule { idle_wins: true, ..SED };
/// ip_vs_fo_schedule()
const FO: ScanRule = ScanRule { plus_one: true, ..NO_OVERHEAD };
/// ip_vs_ovf_schedule()
const OVF: ScanRule = ScanRule { skip_overloaded: true, ..FO };

/// The flags that every scheduler accepts: bits 0, 1 and 2 of the scheduler's flags.
const GENERIC_FLAGS: [&str; 3] = ["flag-1", "flag-2", "flag-3"];

struct Row {
    scheduler: Scheduler,
    /// The name in IPVS, in the configuration and in `ipvsadm`. The packet path's constant is `SCHED_` and this name in
    /// upper case.
    name: &'static str,
    kind: SchedulerKind,
    /// The names of bits 0 and 1 of the flags, if this scheduler reads them.
    flags: Option<[&'static str; 2]>,
}

const fn row(scheduler: Scheduler, name: &'static str, kind: SchedulerKind) -> Row {
    Row { scheduler, name, kind, flags: None }
}

/// In the order of [`Scheduler`]; `None` is the last one.
const ROWS: [Row; 15] = [
    row(Scheduler::Rr, "rr", SchedulerKind::Walk),
    row(Scheduler::Wrr, "wrr", SchedulerKind::Walk),
    row(Scheduler::Lc, "lc", SchedulerKind::Scan(LC)),
    row(Scheduler::Wlc, "wlc", SchedulerKind::Scan(WLC)),
    row(Scheduler::Lblc, "lblc", SchedulerKind::Locality(WLC)),
    row(Scheduler::Lblcr, "lblcr", SchedulerKind::Locality(WLC)),
    row(Scheduler::Dh, "dh", SchedulerKind::Hash),
    Row { flags: Some(["sh-fallback", "sh-port"]), ..row(Scheduler::Sh, "sh", SchedulerKind::Hash) },
    Row { flags: Some(["mh-fallback", "mh-port"]), ..row(Scheduler::Mh, "mh", SchedulerKind::Hash) },
    row(Scheduler::Sed, "sed", SchedulerKind::Scan(SED)),
    row(Scheduler::Nq, "nq", SchedulerKind::Scan(NQ)),
    row(Scheduler::Fo, "fo", SchedulerKind::Scan(FO)),
    row(Scheduler::Ovf, "ovf", SchedulerKind::Scan(OVF)),
    row(Scheduler::Twos, "twos", SchedulerKind::Random),
    row(Scheduler::None, "none", SchedulerKind::None),
];

const _: () = {
    let mut i = 0;
    while i < ROWS.len() {
        assert!(ROWS[i].scheduler as usize == i, "ROWS is not in the order of enum Scheduler");
        i += 1;
    }
};

impl Scheduler {
    /// Every scheduler that selects a server: all but [`Scheduler::None`].
    pub const ALL: [Scheduler; ROWS.len() - 1] = {
        let mut all = [Scheduler::None; ROWS.len() - 1];
        let mut i = 0;
        while i < all.len() {
            all[i] = ROWS[i].scheduler;
            i += 1;
        }
        all
    };

    const fn row(self) -> &'static Row {
        const TABLE: &[Row] = &ROWS;
        &TABLE[self as usize]
    }

    /// IPVS's name of the scheduler.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// How the scheduler selects a server.
    pub const fn kind(self) -> SchedulerKind {
        self.row().kind
    }

    /// The rule by which the scheduler compares all servers, if it does so.
    pub const fn scan_rule(self) -> Option<ScanRule> {
        match self.kind() {
            SchedulerKind::Scan(rule) | SchedulerKind::Locality(rule) => Some(rule),
            SchedulerKind::Walk | SchedulerKind::Hash | SchedulerKind::Random | SchedulerKind::None => None,
        }
    }

    /// Whether a selection may read every server of the service. The packet path then remembers the result for each block
    /// of servers.
    pub const fn reads_all_servers(self) -> bool {
        matches!(self.kind(), SchedulerKind::Scan(_) | SchedulerKind::Locality(_) | SchedulerKind::Random)
    }

    /// The names of bits 0 and 1 of the flags, if this scheduler reads them: `sh-fallback` and `sh-port` for sh.
    pub const fn own_flags(self) -> Option<[&'static str; 2]> {
        self.row().flags
    }

    /// The scheduler that a flag of this name belongs to (`None`: any scheduler), and the flag's bit, 0 to 2.
    pub fn find_flag(name: &str) -> Option<(Option<Scheduler>, u32)> {
        if let Some(bit) = GENERIC_FLAGS.iter().position(|f| *f == name) {
            return Some((None, bit as u32));
        }
        ROWS.iter().find_map(|row| {
            let bit = row.flags?.iter().position(|f| *f == name)?;
            Some((Some(row.scheduler), bit as u32))
        })
    }

    /// The names of these flags for `ipvsadm`, which names the first two bits after the scheduler if it has names for
    /// them, and then has no name for the third.
    pub fn flag_names(self, flags: SchedulerFlags) -> impl Iterator<Item = &'static str> {
        let names = match self.own_flags() {
            Some([fallback, port]) => [Some(fallback), Some(port), None],
            None => GENERIC_FLAGS.map(Some),
        };
        names.into_iter().zip([flags.fallback, flags.port, flags.flag3]).filter_map(|(name, set)| name.filter(|_| set))
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scheduler {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        Scheduler::ALL.into_iter().find(|k| k.name() == s).ok_or(())
    }
}

/// The flags of a service's scheduler (`-b` of ipvsadm).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct SchedulerFlags {
    /// `sh-fallback`, `mh-fallback`: if the selected server is not available, select another one.
    pub fallback: bool,
    /// `sh-port`, `mh-port`: hash the client's port as well.
    pub port: bool,
    /// `flag-3`, which no scheduler reads.
    pub flag3: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_schedulers_and_flags_are_unique_and_lead_back() {
        for s in Scheduler::ALL {
            assert_eq!(s.name().parse(), Ok(s));
            for (bit, flag) in s.own_flags().into_iter().flatten().enumerate() {
                assert_eq!(Scheduler::find_flag(flag), Some((Some(s), bit as u32)));
            }
        }
        assert_eq!("none".parse::<Scheduler>(), Err(()));
        assert_eq!(Scheduler::find_flag("flag-2"), Some((None, 1)));
        assert_eq!(Scheduler::find_flag("flag-4"), None);
    }

    #[test]
    fn flags_are_named_after_their_scheduler() {
        let all = SchedulerFlags { fallback: true, port: true, flag3: true };
        assert_eq!(Scheduler::Mh.flag_names(all).collect::<Vec<_>>(), ["mh-fallback", "mh-port"]);
        assert_eq!(Scheduler::Rr.flag_names(all).collect::<Vec<_>>(), GENERIC_FLAGS);
    }
}
