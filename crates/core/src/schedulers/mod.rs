//! Schedulers: which real server a new connection gets. This module has the registry of all schedulers, the tables that
//! user space writes for them, and a reference model of what the packet path selects.
//!
//! Lists of servers are newest server first, as ip_vs_add_dest() keeps them.
//!
//! # How to add a scheduler
//!
//! 1. `registry.rs` (here): add a variant to [`Scheduler`] before `None`, with its row in `ROWS` at the same position. The
//!    configuration language and its manual, `ipvsadm`, the plan, the maps' writer and the reference model of the packet
//!    path read the row. A scheduler that compares all servers by a formula that [`ScanRule`] can express needs no more
//!    Rust; another formula needs a field there and its use in `scan.rs`. A table scheduler needs its table in
//!    [`build_table`].
//! 2. `bpf/abi.h`: append `SCHED_NAME` to `enum scheduler`, after `SCHED_NONE`, since the numbers stand in pinned maps. NAME
//!    is the registry's name in upper case: `crates/sys/build.rs` reads the enumerators, and a test of `evenkeel-sys` fails
//!    if a scheduler has none.
//! 3. `bpf/sched/schedule.h`: add a line to the table `schedulers[]`, which has room for 16: the kind of the choice, and
//!    for a scan scheduler its rule. A new formula is a new rule in `bpf/sched/scan.h`.
//!
//! The random histories in `tests/conformance/oracle.rs` then compare the packet path with the reference model for the new
//! scheduler too. `make docs` writes it into the pages.

pub mod hash;
mod registry;
pub mod scan;
pub mod walk;

pub use registry::{ScanRule, Scheduler, SchedulerFlags, SchedulerKind};
pub use scan::{ServerLoad, select_by_scan};
pub use walk::{MAX_CYCLE, WalkCursor, WalkPosition, position_after_change, walk_position, walk_table};

/// A server in the list of its service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Server {
    /// The number by which tables refer to the server.
    pub id: u32,
    /// The server's weight.
    pub weight: u32,
    /// The last weight that was not 0. A quiesced server keeps its entries in the table of mh.
    pub last_weight: u32,
    /// For mh: the folded address plus the port.
    pub hash_key: u32,
}

/// The table of a walk or hash scheduler.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SchedulerTable {
    /// Ids of servers: in the order of one cycle, or by hash. Empty if the scheduler has no table.
    pub entries: Vec<u32>,
    /// The index at which a walk starts.
    pub start: u32,
}

/// The table for a list of servers. A walk starts at `position`.
pub fn build_table(scheduler: Scheduler, list: &[Server], position: WalkPosition) -> SchedulerTable {
    let hashed = |entries| SchedulerTable { entries, start: 0 };
    match scheduler {
        Scheduler::Rr => walk::build_rr_cycle(list, position),
        Scheduler::Wrr => walk::build_wrr_cycle(list, position),
        Scheduler::Dh => hashed(hash::build_dh_table(list)),
        Scheduler::Sh => hashed(hash::build_sh_table(list)),
        Scheduler::Mh => hashed(hash::build_mh_table(list)),
        _ => SchedulerTable::default(),
    }
}
