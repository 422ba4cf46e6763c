//! The packet path once more, in plain Rust that can be read: which real server a packet goes to, what becomes of its
//! connection, what is counted. The program in the kernel is compared with it packet by packet over random histories
//! (tests/conformance/twin.rs).
//!
//! It keeps nothing compact and nothing fast, knows no bytes, and takes time in whole seconds as an argument. Left out are
//! what chance decides (twos), what has no room (a full table), and what is below decisions: addresses of frames, tunnels,
//! pieces, ICMP; tests of their own look at those byte for byte.

pub mod frame;
pub mod states;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::{ForwardingMethod, MarkRule, Protocol, RemovalPolicy, Scheduler, ServerKey, ServiceKey, Tuning};
use crate::plan::{DestSpec, ServiceSpec, Step};
use crate::schedulers::{self, Server, ServerLoad, WalkCursor, hash};
use states::{Direction, RST, SYN, next_state};

/// Address and port.
pub type Endpoint = (IpAddr, u16);

/// What the decisions look at of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Its layer-4 protocol.
    pub protocol: Protocol,
    /// Source.
    pub src: Endpoint,
    /// Destination.
    pub dst: Endpoint,
    /// A TCP segment's flags, or the type of an SCTP packet's first chunk.
    pub event: u8,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is left to the kernel, untouched.
    Pass,
    /// It goes to this real server.
    Forward(ServerKey),
    /// It is an answer, sent on as the service's.
    Reply(Endpoint),
    /// Its sender hears that the port is unreachable.
    Unreachable,
    /// Its sender gets a RST.
    Reset,
    /// It is dropped.
    Drop,
}

/// A destination, in service or waiting for its connections to end.
#[derive(Clone, Debug)]
pub struct Dest {
    /// Its name.
    pub key: ServerKey,
    /// What it is.
    pub spec: DestSpec,
    /// It is in its service's list.
    pub available: bool,
    /// Active connections, inactive ones, templates.
    pub counts: (u32, u32, u32),
    /// Closed by its upper threshold.
    pub overload: bool,
    last_weight: u32,
    removed_at: u64,
}

#[derive(Clone, Debug)]
struct Service {
    spec: ServiceSpec,
    dests: Vec<Dest>,
    /// Numbers into `dests`, newest first.
    list: Vec<usize>,
    table: Vec<u32>,
    cursor: WalkCursor,
    /// lblc and lblcr: the server, or the set of servers, the newest first, of an address.
    lblc_cache: BTreeMap<IpAddr, Vec<usize>>,
}

/// A connection's key: protocol, client, virtual address and port.
pub type ConnKey = (Protocol, Endpoint, Endpoint);

/// A connection.
#[derive(Clone, Debug)]
pub struct Conn {
    /// Its service and the number of its destination there.
    pub dest: (ServiceKey, usize),
    /// The kernel's number of its state.
    pub state: u32,
    active: bool,
    expires: u64,
    template: Option<u64>,
}

/// A persistence template. Those whose server is gone are dead: they count, and nobody finds them.
#[derive(Clone, Debug)]
struct Template {
    key: Option<(ServiceKey, IpAddr, IpAddr)>,
    dest: (ServiceKey, usize),
    expires: u64,
    controls: u32,
}

/// A director's packet path.
#[derive(Default)]
pub struct Oracle {
    services: BTreeMap<ServiceKey, Service>,
    conns: BTreeMap<ConnKey, Conn>,
    templates: BTreeMap<u64, Template>,
    next_template: u64,
    /// Answers are tried with the destinations of one address and port in the order in which they came, the last first.
    nat_dests: BTreeMap<(Protocol, IpAddr, u16), Vec<(ServiceKey, usize)>>,
    /// What answers of marked connections behind NAT look like, and the latest connection that they may be of.
    reply_tuples: BTreeMap<(Protocol, Endpoint, Endpoint), ConnKey>,
    /// Whom firewall marks are for.
    pub mark_rules: Vec<(u32, MarkRule)>,
    /// Settings of the whole data plane.
    pub tuning: Tuning,
}

fn apply_mask(a: IpAddr, mask: IpAddr) -> IpAddr {
    match (a, mask) {
        (IpAddr::V4(a), IpAddr::V4(m)) => (a & m).into(),
        (IpAddr::V6(a), IpAddr::V6(m)) => (a & m).into(),
        _ => a,
    }
}

impl Dest {
    fn load(&self) -> ServerLoad {
        let (active, inactive, _) = self.counts;
        ServerLoad { weight: self.spec.weight.get(), active, inactive, overload: self.overload }
    }

    /// ip_vs_bind_dest(), ip_vs_dest_update_overload()
    fn count_conn(&mut self, active: bool, by: i32) {
        let n = if active { &mut self.counts.0 } else { &mut self.counts.1 };
        *n = n.wrapping_add_signed(by);
        let (u, l, n) = (self.spec.u_threshold, self.spec.l_threshold, self.counts.0 + self.counts.1);
        if by > 0 {
            self.overload |= u > 0 && n >= u;
        } else if if l > 0 { n < l } else { u == 0 || u64::from(n) * 4 < u64::from(u) * 3 } {
            self.overload = false;
        }
    }
}

impl Service {
    fn scheduler_list(&self) -> Vec<Server> {
        let server = |&n: &usize| {
            let d = &self.dests[n];
            let name = hash::fold_addr(d.key.addr).wrapping_add(d.key.port.into());
            Server { id: n as u32, weight: d.spec.weight.get(), last_weight: d.last_weight, hash_key: name }
        };
        self.list.iter().map(server).collect()
    }

    /// A change of the list, and the walk brought to where the kernel's would stand.
    fn update_list(&mut self, change: impl FnOnce(&mut Self)) {
        let (scheduler, old) = (self.spec.scheduler, self.scheduler_list());
        let place = schedulers::walk_position(scheduler, &old, self.cursor);
        change(self);
        let new = self.scheduler_list();
        let place = schedulers::position_after_change(scheduler, place, &old, &new);
        let table = schedulers::build_table(scheduler, &new, place);
        self.cursor = WalkCursor { next: table.start, start: table.start, position: place };
        self.table = table.entries;
    }

    fn is_eligible(&self, n: usize) -> bool {
        self.dests[n].available && self.dests[n].load().is_eligible()
    }

    /// The scan's choice among some of the list.
    fn scan_dests(&self, scheduler: Scheduler, among: &[usize]) -> Option<usize> {
        let loads: Vec<ServerLoad> = among.iter().map(|n| self.dests[*n].load()).collect();
        schedulers::select_by_scan(scheduler, &loads).map(|i| among[i])
    }

    /// is_overloaded() of lblc and lblcr
    fn is_overloaded(&self, n: usize) -> bool {
        let idle = |n: &usize| self.dests[*n].counts.0 * 2 < self.dests[*n].spec.weight.get();
        self.dests[n].load().exceeds_weight() && self.list.iter().any(idle)
    }

    fn schedule(&mut self, p: &Packet) -> Option<usize> {
        let (scheduler, flags) = (self.spec.scheduler, self.spec.flags);
        let port = if flags.port { p.src.1 } else { 0 };
        let found = |id: Option<u32>| id.map(|id| id as usize);
        match scheduler {
            Scheduler::Rr | Scheduler::Wrr => {
                let mut next = self.cursor.next;
                let id = schedulers::walk_table(&self.table, &mut next, |id| self.is_eligible(id as usize));
                self.cursor.next = next;
                found(id)
            }
            Scheduler::Dh => {
                found(hash::lookup(&self.table, |_| hash::dh_index(p.dst.0), false, |id| self.is_eligible(id as usize)))
            }
            Scheduler::Sh => {
                let index = |o| hash::sh_index(p.src.0, port, o);
                found(hash::lookup(&self.table, index, flags.fallback, |id| self.is_eligible(id as usize)))
            }
            Scheduler::Mh => {
                let index = |o| hash::mh_index(p.src.0, port, o);
                found(hash::lookup(&self.table, index, flags.fallback, |id| self.is_eligible(id as usize)))
            }
            Scheduler::Lblc => {
                let known = self.lblc_cache.get(&p.dst.0).and_then(|s| s.first()).copied();
                let good = known.filter(|n| {
                    let d = &self.dests[*n];
                    d.available && d.spec.weight.get() > 0 && !self.is_overloaded(*n)
                });
                let n = good.or_else(|| self.scan_dests(scheduler, &self.list))?;
                self.lblc_cache.insert(p.dst.0, vec![n]);
                Some(n)
            }
            Scheduler::Lblcr => {
                let set = self.lblc_cache.get(&p.dst.0).cloned().unwrap_or_default();
                let there: Vec<usize> = set.iter().copied().filter(|n| self.dests[*n].available).collect();
                if let Some(n) = self.scan_dests(Scheduler::Wlc, &there).filter(|n| !self.is_overloaded(*n)) {
                    return Some(n);
                }
                let n = self.scan_dests(scheduler, &self.list)?;
                let set = self.lblc_cache.entry(p.dst.0).or_default();
                if !set.contains(&n) {
                    set.insert(0, n);
                }
                Some(n)
            }
            scan => self.scan_dests(scan, &self.list),
        }
    }
}

impl Oracle {
    /// What the maps do with a step. Histories add services; they neither change nor remove them.
    pub fn apply_step(&mut self, step: &Step, now: u64) {
        match *step {
            Step::AddService(key, spec) => {
                let (dests, list, table, cache) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
                self.services.insert(
                    key,
                    Service { spec, dests, list, table, cursor: WalkCursor::default(), lblc_cache: cache },
                );
            }
            Step::AddDest(key, server, spec) => self.add_dest(key, server, spec),
            Step::EditDest(key, server, spec) => {
                let Some(s) = self.services.get_mut(&key) else { return };
                s.update_list(|s| {
                    let dests = s.dests.iter_mut().filter(|d| d.available && d.key == server);
                    for d in dests {
                        // __ip_vs_update_dest(): a threshold that is lifted or raised opens the server at once.
                        d.overload &= !(spec.u_threshold == 0 || spec.u_threshold > d.spec.u_threshold);
                        d.spec = spec;
                        d.last_weight = if spec.weight.get() > 0 { spec.weight.get() } else { d.last_weight };
                    }
                });
            }
            Step::RemoveDest(key, server) => {
                let Some(s) = self.services.get_mut(&key) else { return };
                s.update_list(|s| {
                    let dests = &mut s.dests;
                    s.list.retain(|n| dests[*n].key != server);
                    for d in dests.iter_mut().filter(|d| d.key == server) {
                        (d.available, d.removed_at) = (false, now);
                    }
                });
            }
            Step::EditService(..) | Step::RemoveService(_) => {}
        }
    }

    /// A server joins at the head of the list; one that was there before comes back with its counts
    /// (ip_vs_trash_get_dest()).
    fn add_dest(&mut self, key: ServiceKey, server: ServerKey, spec: DestSpec) {
        let Some(s) = self.services.get_mut(&key) else { return };
        let again = s.dests.iter().position(|d| d.key == server);
        let n = again.unwrap_or(s.dests.len());
        s.update_list(|s| {
            let weight = spec.weight.get();
            match s.dests.get_mut(n) {
                Some(d) => {
                    (d.spec, d.available) = (spec, true);
                    d.last_weight = if weight > 0 { weight } else { d.last_weight };
                }
                None => s.dests.push(Dest {
                    key: server,
                    spec,
                    available: true,
                    counts: (0, 0, 0),
                    overload: false,
                    last_weight: weight,
                    removed_at: 0,
                }),
            }
            s.list.insert(0, n);
        });
        if again.is_none() && spec.method == ForwardingMethod::Nat && key.fwmark == 0 {
            // An FTP server answers from other ports as well, for its data connections.
            let port = if key.port == 21 { 0 } else { server.port };
            self.nat_dests.entry((key.protocol, server.addr, port)).or_default().insert(0, (key, n));
        }
    }

    fn dest_mut(&mut self, (key, n): (ServiceKey, usize)) -> Option<&mut Dest> {
        self.services.get_mut(&key)?.dests.get_mut(n)
    }

    /// The firewall mark of a packet: of the first members that it is one of.
    fn packet_mark(&self, p: &Packet) -> Option<u32> {
        let of = |m: &MarkRule| {
            (m.first..=m.last).contains(&p.dst.0)
                && m.first.is_ipv4() == p.dst.0.is_ipv4()
                && m.protocol.is_none_or(|n| n == p.protocol)
                && (m.ports.0..=m.ports.1).contains(&p.dst.1)
        };
        self.mark_rules.iter().find(|(_, m)| of(m)).map(|(mark, _)| *mark)
    }

    /// ip_vs_service_find(): the firewall mark, the exact port, an FTP service for its data connections, port 0.
    fn find_service(&self, p: &Packet) -> Option<ServiceKey> {
        let key = |port| ServiceKey::new(p.protocol, p.dst.0, port);
        let has = |k: &ServiceKey| self.services.contains_key(k);
        let marked = self.packet_mark(p).map(|mark| ServiceKey::from_fwmark(mark, p.dst.0.is_ipv6())).filter(has);
        if marked.is_some() {
            return marked;
        }
        let ftp = p.protocol == Protocol::Tcp && (p.dst.1 == 20 || p.dst.1 >= 1024);
        let persistent = |k: &ServiceKey| self.services.get(k).is_some_and(|s| s.spec.persistence.is_some());
        let ftp = Some(key(21)).filter(|k| ftp && persistent(k));
        Some(key(p.dst.1)).filter(has).or(ftp).or(Some(key(0)).filter(has))
    }

    fn remove_conn(&mut self, key: &ConnKey) {
        let Some(c) = self.conns.remove(key) else { return };
        if let Some(t) = c.template.and_then(|t| self.templates.get_mut(&t)) {
            t.controls -= 1;
        }
        if let Some(d) = self.dest_mut(c.dest) {
            d.count_conn(c.active, -1);
        }
    }

    /// Is there a connection whose time is up at `now`, and was not so many seconds before?
    pub fn has_just_expired(&self, now: u64, seconds: u64) -> bool {
        self.conns.values().any(|c| c.expires <= now && now <= c.expires + seconds)
    }

    /// Lets time pass: what has expired goes. A template that controls connections lives on for a minute at a time.
    pub fn expire(&mut self, now: u64) {
        let gone: Vec<ConnKey> = self.conns.iter().filter(|(_, c)| c.expires <= now).map(|(k, _)| *k).collect();
        gone.iter().for_each(|k| self.remove_conn(k));
        let expired: Vec<u64> = self.templates.iter().filter(|(_, t)| t.expires <= now).map(|(id, _)| *id).collect();
        for id in expired {
            let Some(t) = self.templates.get_mut(&id) else { continue };
            if t.controls > 0 {
                t.expires = now + 60;
                continue;
            }
            let dest = t.dest;
            self.templates.remove(&id);
            if let Some(d) = self.dest_mut(dest) {
                d.counts.2 -= 1;
            }
        }
    }

    /// A packet.
    pub fn handle_packet(&mut self, p: &Packet, now: u64) -> Verdict {
        match self.find_service(p) {
            Some(service) => self.handle_request(service, p, now),
            None => self.handle_reply(p, now),
        }
    }

    fn update_state(&mut self, key: &ConnKey, side: Direction, event: u8, now: u64) {
        let Some(c) = self.conns.get(key).cloned() else { return };
        let nat = self.dest_mut(c.dest).is_some_and(|d| d.spec.method == ForwardingMethod::Nat);
        let side = if nat { side } else { Direction::InputOnly };
        let o = next_state(&self.tuning, key.0, side, c.state, event);
        if o.active != c.active
            && let Some(d) = self.dest_mut(c.dest)
        {
            // The total stays, so that thresholds are not asked.
            let (active, inactive, _) = &mut d.counts;
            let (from, to) = if o.active { (inactive, active) } else { (active, inactive) };
            (*from, *to) = (*from - 1, *to + 1);
        }
        if let Some(c) = self.conns.get_mut(key) {
            (c.state, c.active, c.expires) = (o.state, o.active, now + u64::from(o.timeout_s));
        }
    }

    /// is_new_conn_expected(), and expire_nodest_conn of a quiesced server.
    fn is_reuse(&mut self, p: &Packet, c: &Conn) -> bool {
        let beginning = match p.protocol {
            Protocol::Tcp => p.event & SYN != 0,
            Protocol::Udp => false,
            Protocol::Sctp => p.event == 1,
        };
        let (nodest, mode) = (self.tuning.expire_nodest_conn, self.tuning.conn_reuse_mode);
        let d = self.dest_mut(c.dest);
        let quiesced = d.as_ref().is_some_and(|d| d.spec.weight.get() == 0);
        let one_way = d.is_some_and(|d| d.spec.method != ForwardingMethod::Nat);
        let over = match p.protocol {
            Protocol::Tcp => matches!(c.state, 5 | 6) || (mode & 2 != 0 && c.state == 4 && one_way),
            _ => c.state == 13,
        };
        beginning && ((nodest && quiesced) || (mode != 0 && c.template.is_none() && over))
    }

    /// tcp_conn_schedule(), udp_conn_schedule(), sctp_conn_schedule()
    fn may_create(&self, p: &Packet) -> bool {
        p.src.1 != 20
            && match p.protocol {
                Protocol::Tcp => (p.event & SYN != 0 || self.tuning.sloppy_tcp) && p.event & RST == 0,
                Protocol::Udp => true,
                Protocol::Sctp => p.event == 1 || (self.tuning.sloppy_sctp && p.event != 6),
            }
    }

    fn handle_request(&mut self, service: ServiceKey, p: &Packet, now: u64) -> Verdict {
        let key = (p.protocol, p.src, p.dst);
        if let Some(c) = self.conns.get(&key).cloned()
            && self.is_reuse(p, &c)
        {
            self.remove_conn(&key);
        }
        if let Some(c) = self.conns.get(&key).cloned() {
            let spec = self.services.get(&c.dest.0).map(|s| s.spec);
            let Some(d) = self.dest_mut(c.dest).cloned() else { return Verdict::Drop };
            let how = spec.map_or(RemovalPolicy::Drop, |s| s.removal_policy);
            let drained = matches!(how, RemovalPolicy::Drain(s) if now < d.removed_at + u64::from(s));
            if d.available || drained {
                self.update_state(&key, Direction::Input, p.event, now);
                return Verdict::Forward(d.key);
            }
            if how == RemovalPolicy::Drop && !self.tuning.expire_nodest_conn {
                return Verdict::Drop;
            }
            self.remove_conn(&key);
            let anew = matches!(how, RemovalPolicy::Drop | RemovalPolicy::Reschedule) && self.may_create(p);
            match (anew, how) {
                (true, _) => {}
                (false, RemovalPolicy::Drop) => return Verdict::Pass,
                (false, _) if p.protocol != Protocol::Tcp => return Verdict::Unreachable,
                // A RST is never answered with one.
                (false, _) => return if p.event & RST == 0 { Verdict::Reset } else { Verdict::Drop },
            }
        }
        if !self.may_create(p) {
            return Verdict::Pass;
        }
        self.create_conn(service, p, now)
    }

    fn create_conn(&mut self, service: ServiceKey, p: &Packet, now: u64) -> Verdict {
        let Some(s) = self.services.get_mut(&service) else { return Verdict::Pass };
        let spec = s.spec;
        // ip_vs_leave()
        let nobody = if service.fwmark != 0 && self.tuning.cache_bypass { Verdict::Pass } else { Verdict::Unreachable };
        // A template of a mark holds all that has it (ip_vs_sched_persist()).
        let asked = if service.fwmark != 0 { service.addr } else { p.dst.0 };
        let mut template = None;
        let mut chosen = None;
        if let Some(persistence) = spec.persistence {
            let name = (service, apply_mask(p.src.0, persistence.mask), asked);
            template = self.find_template(name);
            chosen = template.and_then(|t| self.templates.get(&t)).map(|t| t.dest.1);
        }
        if chosen.is_none() {
            let Some(s) = self.services.get_mut(&service) else { return Verdict::Pass };
            let Some(n) = s.schedule(p) else { return nobody };
            chosen = Some(n);
            if let Some(persistence) = spec.persistence {
                let id = self.next_template;
                self.next_template += 1;
                let key = Some((service, apply_mask(p.src.0, persistence.mask), asked));
                self.templates.insert(id, Template { key, dest: (service, n), expires: 0, controls: 0 });
                if let Some(d) = self.dest_mut((service, n)) {
                    d.counts.2 += 1;
                }
                template = Some(id);
            }
        }
        let Some(n) = chosen else { return Verdict::Unreachable };
        let dest = (service, n);
        let Some((server, method)) = self.dest_mut(dest).map(|d| (d.key, d.spec.method)) else {
            return Verdict::Unreachable;
        };
        let keeps_none = spec.one_packet && p.protocol == Protocol::Udp;
        if let Some(t) = template.and_then(|t| self.templates.get_mut(&t)) {
            t.expires = now + u64::from(spec.persistence.map_or(0, |p| p.timeout_s));
            t.controls += u32::from(!keeps_none);
        }
        if !keeps_none {
            let side = if method == ForwardingMethod::Nat { Direction::Input } else { Direction::InputOnly };
            let o = next_state(&self.tuning, p.protocol, side, 0, p.event);
            let expires = now + u64::from(o.timeout_s);
            let conn = Conn { dest, state: o.state, active: o.active, expires, template };
            self.conns.insert((p.protocol, p.src, p.dst), conn);
            if service.fwmark != 0 && method == ForwardingMethod::Nat {
                let port = if server.port != 0 && spec.persistence.is_none() { server.port } else { p.dst.1 };
                self.reply_tuples.insert((p.protocol, p.src, (server.addr, port)), (p.protocol, p.src, p.dst));
            }
            if let Some(d) = self.dest_mut(dest) {
                d.count_conn(o.active, 1);
            }
        }
        Verdict::Forward(server)
    }

    /// The template of a client's network, if its server is there (ip_vs_check_template()); else it is dead from now on.
    fn find_template(&mut self, name: (ServiceKey, IpAddr, IpAddr)) -> Option<u64> {
        let (&id, t) = self.templates.iter().find(|(_, t)| t.key == Some(name))?;
        let dest = t.dest;
        let quiet = self.tuning.expire_quiescent_template;
        let good = self.dest_mut(dest).is_some_and(|d| d.available && !(quiet && d.spec.weight.get() == 0));
        if !good && let Some(t) = self.templates.get_mut(&id) {
            t.key = None;
        }
        good.then_some(id)
    }

    /// An answer of a real server behind NAT (ip_vs_conn_out_get()).
    fn handle_reply(&mut self, p: &Packet, now: u64) -> Verdict {
        let named = |port| self.nat_dests.get(&(p.protocol, p.src.0, port)).cloned().unwrap_or_default();
        for dest in named(p.src.1).into_iter().chain(named(0)) {
            let own = self.dest_mut(dest).is_some_and(|d| d.key.port == p.src.1);
            let vport = if dest.0.port != 0 && own { dest.0.port } else { p.src.1 };
            let key = (p.protocol, p.dst, (dest.0.addr, vport));
            if self.conns.get(&key).is_some_and(|c| c.dest == dest) {
                self.update_state(&key, Direction::Output, p.event, now);
                return Verdict::Reply(key.2);
            }
        }
        if let Some(key) = self.reply_tuples.get(&(p.protocol, p.dst, p.src)).copied()
            && let Some(c) = self.conns.get(&key).cloned()
            && c.dest.0.fwmark != 0
            && self.dest_mut(c.dest).is_some_and(|d| d.key.addr == p.src.0)
        {
            self.update_state(&key, Direction::Output, p.event, now);
            return Verdict::Reply(key.2);
        }
        Verdict::Pass
    }

    /// Every destination of a service that is in its list, newest first.
    pub fn dests(&self, service: ServiceKey) -> Vec<Dest> {
        let s = self.services.get(&service);
        s.map_or_else(Vec::new, |s| s.list.iter().map(|n| s.dests[*n].clone()).collect())
    }

    /// Every connection: its key, its server, the number of its state.
    pub fn conns(&self) -> Vec<(ConnKey, ServerKey, u32)> {
        let server = |c: &Conn| self.services.get(&c.dest.0).map(|s| s.dests[c.dest.1].key);
        self.conns.iter().filter_map(|(k, c)| Some((*k, server(c)?, c.state))).collect()
    }
}
