//! Services and destinations: how steps change them, which service a packet is for, and which destination the scheduler
//! selects.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Oracle, Packet};
use crate::model::{ForwardingMethod, MarkRule, Protocol, Scheduler, ServerKey, ServiceKey};
use crate::plan::{DestSpec, ServiceSpec, Step};
use crate::schedulers::{self, SchedulerKind, Server, ServerLoad, WalkCursor, hash};

/// The services that may share a NAT server's address and port before connections get reply tuples. (`EK_NAT_SIBLINGS`)
const MAX_NAT_SIBLINGS: usize = 16;

/// The connections that a destination counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnCounts {
    /// Active connections.
    pub active: u32,
    /// Inactive connections.
    pub inactive: u32,
    /// Persistence templates.
    pub templates: u32,
}

/// A destination, in the list of its service or removed from it.
#[derive(Clone, Debug)]
pub struct Dest {
    /// The destination's key.
    pub key: ServerKey,
    /// The destination's configuration.
    pub spec: DestSpec,
    /// Whether the destination is in the list of its service.
    pub available: bool,
    /// Connections and templates.
    pub counts: ConnCounts,
    /// The upper threshold was exceeded, and the lower one is not reached yet.
    pub overload: bool,
    /// The last weight that was not 0.
    last_weight: u32,
    /// Its connections have reply tuples, since so many services share its address and port by NAT.
    pub(super) by_tuple: bool,
    /// When the destination was removed, in seconds.
    pub(super) removed_at: u64,
}

impl Dest {
    fn new(key: ServerKey, spec: DestSpec) -> Dest {
        let (counts, last_weight) = (ConnCounts::default(), spec.weight.get());
        Dest { key, spec, available: true, counts, overload: false, last_weight, by_tuple: false, removed_at: 0 }
    }

    /// As __ip_vs_update_dest(): a threshold that is removed or raised ends the overload at once, and an added destination,
    /// one that returns too, forgets its former weight.
    fn set_spec(&mut self, spec: DestSpec, added: bool) {
        self.overload &= !(spec.u_threshold == 0 || spec.u_threshold > self.spec.u_threshold);
        if added || spec.weight.get() > 0 {
            self.last_weight = spec.weight.get();
        }
        self.spec = spec;
    }

    fn load(&self) -> ServerLoad {
        let ConnCounts { active, inactive, .. } = self.counts;
        ServerLoad { weight: self.spec.weight.get(), active, inactive, overload: self.overload }
    }

    /// Counts a connection more (`by` is 1) or less (-1): ip_vs_bind_dest(), ip_vs_dest_update_overload().
    pub(super) fn count_conn(&mut self, active: bool, by: i32) {
        let n = if active { &mut self.counts.active } else { &mut self.counts.inactive };
        *n = n.wrapping_add_signed(by);
        let (upper, lower) = (self.spec.u_threshold, self.spec.l_threshold);
        let conns = self.counts.active + self.counts.inactive;
        let is_below =
            if lower > 0 { conns < lower } else { upper == 0 || u64::from(conns) * 4 < u64::from(upper) * 3 };
        if by > 0 {
            self.overload |= upper > 0 && conns >= upper;
        } else if is_below {
            self.overload = false;
        }
    }

    /// Counts a connection in its other state. The sum does not change, so that thresholds are not compared.
    pub(super) fn set_active(&mut self, active: bool) {
        let ConnCounts { active: a, inactive: i, .. } = &mut self.counts;
        let (from, to) = if active { (i, a) } else { (a, i) };
        (*from, *to) = (*from - 1, *to + 1);
    }
}

/// A virtual service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) spec: ServiceSpec,
    /// Every destination that the service has ever had.
    pub(super) dests: Vec<Dest>,
    /// The destinations in the list, as indexes of `dests`, newest first.
    pub(super) list: Vec<usize>,
    /// The table of a walk or hash scheduler.
    table: Vec<u32>,
    cursor: WalkCursor,
    /// lblc and lblcr: the server of each destination address, or its set of servers, newest first.
    lblc_cache: BTreeMap<IpAddr, Vec<usize>>,
}

impl Service {
    fn new(spec: ServiceSpec) -> Service {
        let (dests, list, table) = (Vec::new(), Vec::new(), Vec::new());
        Service { spec, dests, list, table, cursor: WalkCursor::default(), lblc_cache: BTreeMap::new() }
    }

    fn scheduler_list(&self) -> Vec<Server> {
        let server = |&n: &usize| {
            let d = &self.dests[n];
            let hash_key = hash::fold_addr(d.key.addr).wrapping_add(d.key.port.into());
            Server { id: n as u32, weight: d.spec.weight.get(), last_weight: d.last_weight, hash_key }
        };
        self.list.iter().map(server).collect()
    }

    /// Changes the list, and moves the walk to where the kernel's IPVS would continue.
    fn update_list(&mut self, change: impl FnOnce(&mut Self)) {
        let (scheduler, old) = (self.spec.scheduler, self.scheduler_list());
        let position = schedulers::walk_position(scheduler, &old, self.cursor);
        change(self);
        let new = self.scheduler_list();
        let position = schedulers::position_after_change(scheduler, position, &old, &new);
        let table = schedulers::build_table(scheduler, &new, position);
        self.cursor = WalkCursor { next: table.start, start: table.start, position };
        self.table = table.entries;
    }

    /// Adds a destination at the head of the list. One that was there before returns with its counts
    /// (ip_vs_trash_get_dest()). Returns its index, and whether it is new.
    fn add_dest(&mut self, key: ServerKey, spec: DestSpec) -> (usize, bool) {
        let known = self.dests.iter().position(|d| d.key == key);
        let n = known.unwrap_or(self.dests.len());
        self.update_list(|s| {
            match s.dests.get_mut(n) {
                Some(d) => {
                    d.set_spec(spec, true);
                    d.available = true;
                }
                None => s.dests.push(Dest::new(key, spec)),
            }
            s.list.insert(0, n);
        });
        (n, known.is_none())
    }

    fn edit_dest(&mut self, key: ServerKey, spec: DestSpec) {
        self.update_list(|s| {
            for d in s.dests.iter_mut().filter(|d| d.available && d.key == key) {
                d.set_spec(spec, false);
            }
        });
    }

    fn remove_dest(&mut self, key: ServerKey, now: u64) {
        self.update_list(|s| {
            let dests = &mut s.dests;
            s.list.retain(|n| dests[*n].key != key);
            for d in dests.iter_mut().filter(|d| d.key == key) {
                (d.available, d.removed_at) = (false, now);
            }
        });
    }

    fn is_eligible(&self, n: usize) -> bool {
        self.dests[n].available && self.dests[n].load().is_eligible()
    }

    /// The destination that the scheduler selects for a new connection.
    pub(super) fn schedule(&mut self, p: &Packet) -> Option<usize> {
        let scheduler = self.spec.scheduler;
        match scheduler.kind() {
            SchedulerKind::Walk => {
                let mut next = self.cursor.next;
                let id = schedulers::walk_table(&self.table, &mut next, |id| self.is_eligible(id as usize));
                self.cursor.next = next;
                id.map(|id| id as usize)
            }
            SchedulerKind::Hash => {
                let is_eligible = |id: u32| self.is_eligible(id as usize);
                hash::select_by_hash(scheduler, self.spec.flags, &self.table, p.src, p.dst.0, is_eligible)
                    .map(|id| id as usize)
            }
            SchedulerKind::Locality(_) if scheduler == Scheduler::Lblc => self.schedule_lblc(p.dst.0),
            SchedulerKind::Locality(_) => self.schedule_lblcr(p.dst.0),
            SchedulerKind::Scan(_) | SchedulerKind::Random | SchedulerKind::None => {
                self.scan_dests(scheduler, &self.list)
            }
        }
    }

    /// ip_vs_lblc_schedule()
    fn schedule_lblc(&mut self, target: IpAddr) -> Option<usize> {
        let cached = self.lblc_cache.get(&target).and_then(|s| s.first()).copied();
        let usable = cached.filter(|n| {
            let d = &self.dests[*n];
            d.available && d.spec.weight.get() > 0 && !self.is_overloaded(*n)
        });
        let n = usable.or_else(|| self.scan_dests(Scheduler::Lblc, &self.list))?;
        self.lblc_cache.insert(target, vec![n]);
        Some(n)
    }

    /// ip_vs_lblcr_schedule()
    fn schedule_lblcr(&mut self, target: IpAddr) -> Option<usize> {
        let set = self.lblc_cache.get(&target).cloned().unwrap_or_default();
        let available: Vec<usize> = set.iter().copied().filter(|n| self.dests[*n].available).collect();
        if let Some(n) = self.scan_dests(Scheduler::Wlc, &available).filter(|n| !self.is_overloaded(*n)) {
            return Some(n);
        }
        let n = self.scan_dests(Scheduler::Lblcr, &self.list)?;
        let set = self.lblc_cache.entry(target).or_default();
        if !set.contains(&n) {
            set.insert(0, n);
        }
        Some(n)
    }

    /// The destination that a scan selects among these.
    fn scan_dests(&self, scheduler: Scheduler, among: &[usize]) -> Option<usize> {
        let loads: Vec<ServerLoad> = among.iter().map(|n| self.dests[*n].load()).collect();
        schedulers::select_by_scan(scheduler, &loads).map(|i| among[i])
    }

    /// is_overloaded() of lblc and lblcr
    fn is_overloaded(&self, n: usize) -> bool {
        let is_idle = |n: &usize| self.dests[*n].counts.active * 2 < self.dests[*n].spec.weight.get();
        self.dests[n].load().exceeds_weight() && self.list.iter().any(is_idle)
    }
}

impl Oracle {
    /// Applies a step. The random histories add services, but neither change nor remove them.
    pub fn apply_step(&mut self, step: &Step, now: u64) {
        match *step {
            Step::AddService(key, spec) => {
                self.services.insert(key, Service::new(spec));
            }
            Step::AddDest(key, server, spec) => self.add_dest(key, server, spec),
            Step::EditDest(key, server, spec) => {
                if let Some(s) = self.services.get_mut(&key) {
                    s.edit_dest(server, spec);
                }
            }
            Step::RemoveDest(key, server) => {
                if let Some(s) = self.services.get_mut(&key) {
                    s.remove_dest(server, now);
                }
            }
            Step::EditService(..) | Step::RemoveService(_) => {}
        }
    }

    fn add_dest(&mut self, key: ServiceKey, server: ServerKey, spec: DestSpec) {
        let Some(s) = self.services.get_mut(&key) else { return };
        let (n, is_new) = s.add_dest(server, spec);
        if is_new && spec.method == ForwardingMethod::Nat && key.fwmark == 0 {
            // An FTP server also replies from other ports, for its data connections.
            let port = if key.port == 21 { 0 } else { server.port };
            let siblings = self.nat_dests.entry((key.protocol, server.addr, port)).or_default();
            if siblings.len() < MAX_NAT_SIBLINGS {
                siblings.insert(0, (key, n));
            } else {
                s.dests[n].by_tuple = true;
            }
        }
    }

    /// The firewall mark of a packet: that of the first rule that matches.
    fn packet_mark(&self, p: &Packet) -> Option<u32> {
        let matches = |rule: &MarkRule| {
            (rule.first..=rule.last).contains(&p.dst.0)
                && rule.first.is_ipv4() == p.dst.0.is_ipv4()
                && rule.protocol.is_none_or(|n| n == p.protocol)
                && (rule.ports.0..=rule.ports.1).contains(&p.dst.1)
        };
        self.mark_rules.iter().find(|(_, rule)| matches(rule)).map(|(mark, _)| *mark)
    }

    /// ip_vs_service_find(): the service on the firewall mark, on the exact port, the FTP service of a data connection, the
    /// service on port 0.
    pub(super) fn find_service(&self, p: &Packet) -> Option<ServiceKey> {
        let key = |port| ServiceKey::new(p.protocol, p.dst.0, port);
        let exists = |k: &ServiceKey| self.services.contains_key(k);
        let marked = self.packet_mark(p).map(|mark| ServiceKey::from_fwmark(mark, p.dst.0.is_ipv6())).filter(exists);
        if marked.is_some() {
            return marked;
        }
        let may_be_ftp_data = p.protocol == Protocol::Tcp && (p.dst.1 == 20 || p.dst.1 >= 1024);
        let is_persistent = |k: &ServiceKey| self.services.get(k).is_some_and(|s| s.spec.persistence.is_some());
        let ftp = Some(key(21)).filter(|k| may_be_ftp_data && is_persistent(k));
        Some(key(p.dst.1)).filter(exists).or(ftp).or(Some(key(0)).filter(exists))
    }
}
