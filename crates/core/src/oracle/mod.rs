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

use crate::model::{ForwardingMethod, Member, OnRemoval, Protocol, Scheduler, ServerKey, ServiceKey, Tuning};
use crate::plan::{DestSpec, ServiceSpec, Step};
use crate::schedulers::{self, Load, Server, Walked, hash};
use states::{RST, SYN, Side, outlook};

/// Address and port.
pub type End = (IpAddr, u16);

/// What the decisions look at of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Its layer-4 protocol.
    pub protocol: Protocol,
    /// Source.
    pub from: End,
    /// Destination.
    pub to: End,
    /// A TCP segment's flags, or the type of an SCTP packet's first chunk.
    pub event: u8,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is left to the kernel, untouched.
    Kernel,
    /// It goes to this real server.
    Sent(ServerKey),
    /// It is an answer, sent on as the service's.
    Replied(End),
    /// Its sender hears that the port is unreachable.
    Refused,
    /// Its sender gets a RST.
    Reset,
    /// It is dropped.
    Dropped,
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
    walked: Walked,
    /// lblc and lblcr: the server, or the set of servers, the newest first, of an address.
    cache: BTreeMap<IpAddr, Vec<usize>>,
}

/// A connection's key: protocol, client, virtual address and port.
pub type ConnKey = (Protocol, End, End);

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
    behind_nat: BTreeMap<(Protocol, IpAddr, u16), Vec<(ServiceKey, usize)>>,
    /// What answers of marked connections behind NAT look like, and the latest connection that they may be of.
    noted: BTreeMap<(Protocol, End, End), ConnKey>,
    /// Whom firewall marks are for.
    pub members: Vec<(u32, Member)>,
    /// Settings of the whole data plane.
    pub tuning: Tuning,
}

fn masked(a: IpAddr, mask: IpAddr) -> IpAddr {
    match (a, mask) {
        (IpAddr::V4(a), IpAddr::V4(m)) => (a & m).into(),
        (IpAddr::V6(a), IpAddr::V6(m)) => (a & m).into(),
        _ => a,
    }
}

impl Dest {
    fn load(&self) -> Load {
        let (active, inactive, _) = self.counts;
        Load { weight: self.spec.weight.get(), active, inactive, overload: self.overload }
    }

    /// ip_vs_bind_dest(), ip_vs_dest_update_overload()
    fn count(&mut self, active: bool, by: i32) {
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
    fn servers(&self) -> Vec<Server> {
        let server = |&n: &usize| {
            let d = &self.dests[n];
            let name = hash::fold(d.key.addr).wrapping_add(d.key.port.into());
            Server { id: n as u32, weight: d.spec.weight.get(), last_weight: d.last_weight, name }
        };
        self.list.iter().map(server).collect()
    }

    /// A change of the list, and the walk brought to where the kernel's would stand.
    fn changed(&mut self, change: impl FnOnce(&mut Self)) {
        let (scheduler, old) = (self.spec.scheduler, self.servers());
        let place = schedulers::place(scheduler, &old, self.walked);
        change(self);
        let new = self.servers();
        let place = schedulers::change(scheduler, place, &old, &new);
        let table = schedulers::table(scheduler, &new, place);
        self.walked = Walked { next: table.start, start: table.start, place };
        self.table = table.entries;
    }

    fn able(&self, n: usize) -> bool {
        self.dests[n].available && self.dests[n].load().eligible()
    }

    /// The scan's choice among some of the list.
    fn scan(&self, scheduler: Scheduler, among: &[usize]) -> Option<usize> {
        let loads: Vec<Load> = among.iter().map(|n| self.dests[*n].load()).collect();
        schedulers::scan(scheduler, &loads).map(|i| among[i])
    }

    /// is_overloaded() of lblc and lblcr
    fn busy(&self, n: usize) -> bool {
        let idle = |n: &usize| self.dests[*n].counts.0 * 2 < self.dests[*n].spec.weight.get();
        self.dests[n].load().crowded() && self.list.iter().any(idle)
    }

    fn schedule(&mut self, p: &Packet) -> Option<usize> {
        let (scheduler, flags) = (self.spec.scheduler, self.spec.flags);
        let port = if flags.port { p.from.1 } else { 0 };
        let found = |id: Option<u32>| id.map(|id| id as usize);
        match scheduler {
            Scheduler::Rr | Scheduler::Wrr => {
                let mut next = self.walked.next;
                let id = schedulers::walk(&self.table, &mut next, |id| self.able(id as usize));
                self.walked.next = next;
                found(id)
            }
            Scheduler::Dh => {
                found(hash::look(&self.table, |_| hash::dh_index(p.to.0), false, |id| self.able(id as usize)))
            }
            Scheduler::Sh => {
                let index = |o| hash::sh_index(p.from.0, port, o);
                found(hash::look(&self.table, index, flags.fallback, |id| self.able(id as usize)))
            }
            Scheduler::Mh => {
                let index = |o| hash::mh_index(p.from.0, port, o);
                found(hash::look(&self.table, index, flags.fallback, |id| self.able(id as usize)))
            }
            Scheduler::Lblc => {
                let known = self.cache.get(&p.to.0).and_then(|s| s.first()).copied();
                let good = known.filter(|n| {
                    let d = &self.dests[*n];
                    d.available && d.spec.weight.get() > 0 && !self.busy(*n)
                });
                let n = good.or_else(|| self.scan(scheduler, &self.list))?;
                self.cache.insert(p.to.0, vec![n]);
                Some(n)
            }
            Scheduler::Lblcr => {
                let set = self.cache.get(&p.to.0).cloned().unwrap_or_default();
                let there: Vec<usize> = set.iter().copied().filter(|n| self.dests[*n].available).collect();
                if let Some(n) = self.scan(Scheduler::Wlc, &there).filter(|n| !self.busy(*n)) {
                    return Some(n);
                }
                let n = self.scan(scheduler, &self.list)?;
                let set = self.cache.entry(p.to.0).or_default();
                if !set.contains(&n) {
                    set.insert(0, n);
                }
                Some(n)
            }
            scan => self.scan(scan, &self.list),
        }
    }
}

impl Oracle {
    /// What the maps do with a step. Histories add services; they neither change nor remove them.
    pub fn apply(&mut self, step: &Step, now: u64) {
        match *step {
            Step::AddService(key, spec) => {
                let (dests, list, table, cache) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
                self.services.insert(key, Service { spec, dests, list, table, walked: Walked::default(), cache });
            }
            Step::AddDest(key, server, spec) => self.add(key, server, spec),
            Step::EditDest(key, server, spec) => {
                let Some(s) = self.services.get_mut(&key) else { return };
                s.changed(|s| {
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
                s.changed(|s| {
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
    fn add(&mut self, key: ServiceKey, server: ServerKey, spec: DestSpec) {
        let Some(s) = self.services.get_mut(&key) else { return };
        let again = s.dests.iter().position(|d| d.key == server);
        let n = again.unwrap_or(s.dests.len());
        s.changed(|s| {
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
        if again.is_none() && spec.method == ForwardingMethod::Nat && key.mark == 0 {
            // An FTP server answers from other ports as well, for its data connections.
            let port = if key.port == 21 { 0 } else { server.port };
            self.behind_nat.entry((key.protocol, server.addr, port)).or_default().insert(0, (key, n));
        }
    }

    fn dest(&mut self, (key, n): (ServiceKey, usize)) -> Option<&mut Dest> {
        self.services.get_mut(&key)?.dests.get_mut(n)
    }

    /// The firewall mark of a packet: of the first members that it is one of.
    fn mark_of(&self, p: &Packet) -> Option<u32> {
        let of = |m: &Member| {
            (m.first..=m.last).contains(&p.to.0)
                && m.first.is_ipv4() == p.to.0.is_ipv4()
                && m.protocol.is_none_or(|n| n == p.protocol)
                && (m.ports.0..=m.ports.1).contains(&p.to.1)
        };
        self.members.iter().find(|(_, m)| of(m)).map(|(mark, _)| *mark)
    }

    /// ip_vs_service_find(): the firewall mark, the exact port, an FTP service for its data connections, port 0.
    fn service_of(&self, p: &Packet) -> Option<ServiceKey> {
        let key = |port| ServiceKey::at(p.protocol, p.to.0, port);
        let has = |k: &ServiceKey| self.services.contains_key(k);
        let marked = self.mark_of(p).map(|mark| ServiceKey::marked(mark, p.to.0.is_ipv6())).filter(has);
        if marked.is_some() {
            return marked;
        }
        let ftp = p.protocol == Protocol::Tcp && (p.to.1 == 20 || p.to.1 >= 1024);
        let persistent = |k: &ServiceKey| self.services.get(k).is_some_and(|s| s.spec.persistence.is_some());
        let ftp = Some(key(21)).filter(|k| ftp && persistent(k));
        Some(key(p.to.1)).filter(has).or(ftp).or(Some(key(0)).filter(has))
    }

    fn end(&mut self, key: &ConnKey) {
        let Some(c) = self.conns.remove(key) else { return };
        if let Some(t) = c.template.and_then(|t| self.templates.get_mut(&t)) {
            t.controls -= 1;
        }
        if let Some(d) = self.dest(c.dest) {
            d.count(c.active, -1);
        }
    }

    /// Is there a connection whose time is up at `now`, and was not so many seconds before?
    pub fn just_ended(&self, now: u64, seconds: u64) -> bool {
        self.conns.values().any(|c| c.expires <= now && now <= c.expires + seconds)
    }

    /// Lets time pass: what has expired goes. A template that controls connections lives on for a minute at a time.
    pub fn sweep(&mut self, now: u64) {
        let gone: Vec<ConnKey> = self.conns.iter().filter(|(_, c)| c.expires <= now).map(|(k, _)| *k).collect();
        gone.iter().for_each(|k| self.end(k));
        let expired: Vec<u64> = self.templates.iter().filter(|(_, t)| t.expires <= now).map(|(id, _)| *id).collect();
        for id in expired {
            let Some(t) = self.templates.get_mut(&id) else { continue };
            if t.controls > 0 {
                t.expires = now + 60;
                continue;
            }
            let dest = t.dest;
            self.templates.remove(&id);
            if let Some(d) = self.dest(dest) {
                d.counts.2 -= 1;
            }
        }
    }

    /// A packet.
    pub fn packet(&mut self, p: &Packet, now: u64) -> Fate {
        match self.service_of(p) {
            Some(service) => self.request(service, p, now),
            None => self.answer(p, now),
        }
    }

    fn touch(&mut self, key: &ConnKey, side: Side, event: u8, now: u64) {
        let Some(c) = self.conns.get(key).cloned() else { return };
        let nat = self.dest(c.dest).is_some_and(|d| d.spec.method == ForwardingMethod::Nat);
        let side = if nat { side } else { Side::ClientOnly };
        let o = outlook(&self.tuning, key.0, side, c.state, event);
        if o.active != c.active
            && let Some(d) = self.dest(c.dest)
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
    fn begins_anew(&mut self, p: &Packet, c: &Conn) -> bool {
        let beginning = match p.protocol {
            Protocol::Tcp => p.event & SYN != 0,
            Protocol::Udp => false,
            Protocol::Sctp => p.event == 1,
        };
        let (nodest, mode) = (self.tuning.expire_nodest_conn, self.tuning.conn_reuse_mode);
        let d = self.dest(c.dest);
        let quiesced = d.as_ref().is_some_and(|d| d.spec.weight.get() == 0);
        let one_way = d.is_some_and(|d| d.spec.method != ForwardingMethod::Nat);
        let over = match p.protocol {
            Protocol::Tcp => matches!(c.state, 5 | 6) || (mode & 2 != 0 && c.state == 4 && one_way),
            _ => c.state == 13,
        };
        beginning && ((nodest && quiesced) || (mode != 0 && c.template.is_none() && over))
    }

    /// tcp_conn_schedule(), udp_conn_schedule(), sctp_conn_schedule()
    fn may_begin(&self, p: &Packet) -> bool {
        p.from.1 != 20
            && match p.protocol {
                Protocol::Tcp => (p.event & SYN != 0 || self.tuning.sloppy_tcp) && p.event & RST == 0,
                Protocol::Udp => true,
                Protocol::Sctp => p.event == 1 || (self.tuning.sloppy_sctp && p.event != 6),
            }
    }

    fn request(&mut self, service: ServiceKey, p: &Packet, now: u64) -> Fate {
        let key = (p.protocol, p.from, p.to);
        if let Some(c) = self.conns.get(&key).cloned()
            && self.begins_anew(p, &c)
        {
            self.end(&key);
        }
        if let Some(c) = self.conns.get(&key).cloned() {
            let spec = self.services.get(&c.dest.0).map(|s| s.spec);
            let Some(d) = self.dest(c.dest).cloned() else { return Fate::Dropped };
            let how = spec.map_or(OnRemoval::Drop, |s| s.on_removal);
            let drained = matches!(how, OnRemoval::Drain(s) if now < d.removed_at + u64::from(s));
            if d.available || drained {
                self.touch(&key, Side::Client, p.event, now);
                return Fate::Sent(d.key);
            }
            if how == OnRemoval::Drop && !self.tuning.expire_nodest_conn {
                return Fate::Dropped;
            }
            self.end(&key);
            let anew = matches!(how, OnRemoval::Drop | OnRemoval::Reschedule) && self.may_begin(p);
            match (anew, how) {
                (true, _) => {}
                (false, OnRemoval::Drop) => return Fate::Kernel,
                (false, _) if p.protocol != Protocol::Tcp => return Fate::Refused,
                // A RST is never answered with one.
                (false, _) => return if p.event & RST == 0 { Fate::Reset } else { Fate::Dropped },
            }
        }
        if !self.may_begin(p) {
            return Fate::Kernel;
        }
        self.begin(service, p, now)
    }

    fn begin(&mut self, service: ServiceKey, p: &Packet, now: u64) -> Fate {
        let Some(s) = self.services.get_mut(&service) else { return Fate::Kernel };
        let spec = s.spec;
        // ip_vs_leave()
        let nobody = if service.mark != 0 && self.tuning.cache_bypass { Fate::Kernel } else { Fate::Refused };
        // A template of a mark holds all that has it (ip_vs_sched_persist()).
        let asked = if service.mark != 0 { service.addr } else { p.to.0 };
        let mut template = None;
        let mut chosen = None;
        if let Some(persistence) = spec.persistence {
            let name = (service, masked(p.from.0, persistence.mask), asked);
            template = self.template(name);
            chosen = template.and_then(|t| self.templates.get(&t)).map(|t| t.dest.1);
        }
        if chosen.is_none() {
            let Some(s) = self.services.get_mut(&service) else { return Fate::Kernel };
            let Some(n) = s.schedule(p) else { return nobody };
            chosen = Some(n);
            if let Some(persistence) = spec.persistence {
                let id = self.next_template;
                self.next_template += 1;
                let key = Some((service, masked(p.from.0, persistence.mask), asked));
                self.templates.insert(id, Template { key, dest: (service, n), expires: 0, controls: 0 });
                if let Some(d) = self.dest((service, n)) {
                    d.counts.2 += 1;
                }
                template = Some(id);
            }
        }
        let Some(n) = chosen else { return Fate::Refused };
        let dest = (service, n);
        let Some((server, method)) = self.dest(dest).map(|d| (d.key, d.spec.method)) else { return Fate::Refused };
        let keeps_none = spec.one_packet && p.protocol == Protocol::Udp;
        if let Some(t) = template.and_then(|t| self.templates.get_mut(&t)) {
            t.expires = now + u64::from(spec.persistence.map_or(0, |p| p.timeout_s));
            t.controls += u32::from(!keeps_none);
        }
        if !keeps_none {
            let side = if method == ForwardingMethod::Nat { Side::Client } else { Side::ClientOnly };
            let o = outlook(&self.tuning, p.protocol, side, 0, p.event);
            let expires = now + u64::from(o.timeout_s);
            let conn = Conn { dest, state: o.state, active: o.active, expires, template };
            self.conns.insert((p.protocol, p.from, p.to), conn);
            if service.mark != 0 && method == ForwardingMethod::Nat {
                let port = if server.port != 0 && spec.persistence.is_none() { server.port } else { p.to.1 };
                self.noted.insert((p.protocol, p.from, (server.addr, port)), (p.protocol, p.from, p.to));
            }
            if let Some(d) = self.dest(dest) {
                d.count(o.active, 1);
            }
        }
        Fate::Sent(server)
    }

    /// The template of a client's network, if its server is there (ip_vs_check_template()); else it is dead from now on.
    fn template(&mut self, name: (ServiceKey, IpAddr, IpAddr)) -> Option<u64> {
        let (&id, t) = self.templates.iter().find(|(_, t)| t.key == Some(name))?;
        let dest = t.dest;
        let quiet = self.tuning.expire_quiescent_template;
        let good = self.dest(dest).is_some_and(|d| d.available && !(quiet && d.spec.weight.get() == 0));
        if !good && let Some(t) = self.templates.get_mut(&id) {
            t.key = None;
        }
        good.then_some(id)
    }

    /// An answer of a real server behind NAT (ip_vs_conn_out_get()).
    fn answer(&mut self, p: &Packet, now: u64) -> Fate {
        let named = |port| self.behind_nat.get(&(p.protocol, p.from.0, port)).cloned().unwrap_or_default();
        for dest in named(p.from.1).into_iter().chain(named(0)) {
            let own = self.dest(dest).is_some_and(|d| d.key.port == p.from.1);
            let vport = if dest.0.port != 0 && own { dest.0.port } else { p.from.1 };
            let key = (p.protocol, p.to, (dest.0.addr, vport));
            if self.conns.get(&key).is_some_and(|c| c.dest == dest) {
                self.touch(&key, Side::Server, p.event, now);
                return Fate::Replied(key.2);
            }
        }
        if let Some(key) = self.noted.get(&(p.protocol, p.to, p.from)).copied()
            && let Some(c) = self.conns.get(&key).cloned()
            && c.dest.0.mark != 0
            && self.dest(c.dest).is_some_and(|d| d.key.addr == p.from.0)
        {
            self.touch(&key, Side::Server, p.event, now);
            return Fate::Replied(key.2);
        }
        Fate::Kernel
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
