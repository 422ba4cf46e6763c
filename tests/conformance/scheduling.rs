//! Every recorded choice, by the program and by its twin.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use evenkeel_core::model::{Member, Protocol, Scheduler, ServerKey, Tuning};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_core::schedulers::{self, Load, Server, Walked, hash};
use evenkeel_testkit::frames::End;
use evenkeel_testkit::sequences::{Op, Sequence, parse};

use crate::plane::{Fate, TestPlane, test_plane};

fn recordings(prefixes: &[&str]) -> Vec<(String, Sequence)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/ipvs-sequences");
    let mut all: Vec<_> = fs::read_dir(&dir)
        .expect("recordings are part of the project")
        .filter_map(|e| {
            let path = e.expect("readable").path();
            let name = path.file_stem()?.to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("readable");
            prefixes.iter().any(|p| name.starts_with(p)).then(|| (name, parse(&text)))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!all.is_empty());
    all
}

fn replay_in_kernel(plane: &mut TestPlane, name: &str, seq: &Sequence) {
    plane.apply(&seq.setup);
    for (line, op) in &seq.ops {
        match op {
            Op::Admin(step) => plane.apply(std::slice::from_ref(step)),
            Op::Packet { kind, from, to, chosen } => {
                let fate = match kind.as_str() {
                    "udp" => plane.udp(*from, *to),
                    "syn" | "again" => plane.tcp(*from, *to, "S"),
                    "ack" => plane.tcp(*from, *to, "A"),
                    "fin" => plane.tcp(*from, *to, "FA"),
                    "rst" => plane.tcp(*from, *to, "R"),
                    other => panic!("{name}:{line}: packet {other}"),
                };
                // ip_vs_leave(): who is refused hears that the port is unreachable. What could not begin a connection is
                // left to the kernel.
                let refused = match (to.0.is_ipv6(), kind.as_str()) {
                    (_, "ack" | "fin" | "rst") => Fate::Kernel,
                    (false, _) => Fate::Refused(3, 3),
                    (true, _) => Fate::Refused(1, 4),
                };
                let expected = chosen.map_or(refused, Fate::Sent);
                assert_eq!(fate, expected, "{name}:{line}: {kind} from {from:?}");
            }
            Op::Counts(expected) => {
                let view = plane.plane.maps().view();
                for (server, active, inactive) in expected {
                    let d = view[0].dests.iter().find(|d| d.key.addr == *server);
                    let d = d.unwrap_or_else(|| panic!("{name}:{line}: no {server}"));
                    assert_eq!((d.active, d.inactive), (*active, *inactive), "{name}:{line}: {server}");
                }
            }
        }
    }
    plane.clear();
}

#[test]
fn the_program_chooses_as_ipvs_did() {
    let all = ["rr", "wrr", "lc-", "wlc", "sed", "nq", "fo", "ovf", "sh", "mh"];
    let Some(mut plane) = test_plane(4096) else { return };
    for (name, seq) in recordings(&all) {
        replay_in_kernel(&mut plane, &name, &seq);
    }
}

#[test]
fn destination_hashing_and_locality_choose_as_ipvs_did() {
    let Some(mut plane) = test_plane(4096) else { return };
    // As nftables did at the recording: TCP port 80 of these addresses has the mark 1.
    let [first, last] = ["10.2.200.0", "10.2.200.255"].map(|a| a.parse().expect("an address"));
    let member = Member { first, last, protocol: Some(Protocol::Tcp), ports: (80, 80) };
    plane.plane.maps().set_members(&[(1, member)]).expect("room");
    for (name, seq) in recordings(&["dh", "lblc"]) {
        replay_in_kernel(&mut plane, &name, &seq);
    }
}

#[test]
fn persistence_and_reuse_are_ipvss() {
    let Some(mut plane) = test_plane(4096) else { return };
    for (name, seq) in recordings(&["persist", "reuse"]) {
        let conn_reuse_mode = if name == "reuse-mode3" { 3 } else { 1 };
        plane.plane.tune(&Tuning { conn_reuse_mode, ..Tuning::default() });
        replay_in_kernel(&mut plane, &name, &seq);
    }
}

/// The twin: a service in plain Rust, with a table walked or looked into as the program does.
struct Twin {
    spec: ServiceSpec,
    list: Vec<(ServerKey, DestSpec, Load, u32)>, // newest first; the last is the last weight that was not 0
    table: Vec<u32>,
    walked: Walked,
    /// server, active, established
    conns: BTreeMap<End, (IpAddr, bool, bool)>,
}

fn id(a: IpAddr) -> u32 {
    hash::fold(a)
}

impl Twin {
    fn new() -> Twin {
        let spec = ServiceSpec::of(Scheduler::Rr);
        Twin { spec, list: vec![], table: vec![], walked: Walked::default(), conns: BTreeMap::new() }
    }

    fn servers(&self) -> Vec<Server> {
        let server = |(k, s, _, last): &(ServerKey, DestSpec, Load, u32)| Server {
            id: id(k.addr),
            weight: s.weight.get(),
            last_weight: *last,
            name: hash::fold(k.addr).wrapping_add(k.port.into()),
        };
        self.list.iter().map(server).collect()
    }

    fn apply(&mut self, step: &Step) {
        let scheduler = self.spec.scheduler;
        let old = self.servers();
        let place = schedulers::place(scheduler, &old, self.walked);
        match *step {
            Step::AddService(_, spec) => self.spec = spec,
            Step::AddDest(_, k, spec) => {
                let load = Load { weight: spec.weight.get(), active: 0, inactive: 0, overload: false };
                self.list.insert(0, (k, spec, load, spec.weight.get()));
            }
            Step::EditDest(_, k, spec) => {
                for (_, s, l, last) in self.list.iter_mut().filter(|(a, ..)| *a == k) {
                    (*s, l.weight) = (spec, spec.weight.get());
                    *last = if l.weight > 0 { l.weight } else { *last };
                }
            }
            Step::RemoveDest(_, k) => self.list.retain(|(a, ..)| *a != k),
            _ => panic!("not in the recordings"),
        }
        let scheduler = self.spec.scheduler;
        let place = schedulers::change(scheduler, place, &old, &self.servers());
        let table = schedulers::table(scheduler, &self.servers(), place);
        self.walked = Walked { next: table.start, start: table.start, place };
        self.table = table.entries;
    }

    fn choose(&mut self, from: End, active: bool) -> Option<IpAddr> {
        let list = &self.list;
        let open = |want| list.iter().any(|(k, _, l, _)| id(k.addr) == want && l.eligible());
        let flags = self.spec.flags;
        let port = if flags.port { from.1 } else { 0 };
        let found = match self.spec.scheduler {
            Scheduler::Rr | Scheduler::Wrr => schedulers::walk(&self.table, &mut self.walked.next, open),
            Scheduler::Sh => hash::look(&self.table, |o| hash::sh_index(from.0, port, o), flags.fallback, open),
            Scheduler::Mh => hash::look(&self.table, |o| hash::mh_index(from.0, port, o), flags.fallback, open),
            scan => {
                let loads: Vec<Load> = list.iter().map(|(_, _, l, _)| *l).collect();
                schedulers::scan(scan, &loads).map(|i| id(list[i].0.addr))
            }
        }?;
        let chosen = list.iter().find(|(k, ..)| id(k.addr) == found)?.0.addr;
        for (_, s, l, _) in self.list.iter_mut().filter(|(k, ..)| k.addr == chosen) {
            *(if active { &mut l.active } else { &mut l.inactive }) += 1;
            l.overload |= s.u_threshold > 0 && l.active + l.inactive >= s.u_threshold;
        }
        Some(chosen)
    }

    fn forget(&mut self, from: End) {
        let Some((server, active, _)) = self.conns.remove(&from) else { return };
        for (_, s, l, _) in self.list.iter_mut().filter(|(k, ..)| k.addr == server) {
            *(if active { &mut l.active } else { &mut l.inactive }) -= 1;
            let n = l.active + l.inactive;
            let below = if s.l_threshold > 0 { n < s.l_threshold } else { n * 4 < s.u_threshold * 3 };
            l.overload &= !(s.u_threshold == 0 || below);
        }
    }

    fn ends(&mut self, from: End, by_rst: bool) -> Option<IpAddr> {
        let (server, active, established) = self.conns.get_mut(&from)?;
        // A RST in SYN_RECV changes nothing; see the state table.
        if (*established || !by_rst) && std::mem::replace(active, false) {
            for (_, _, l, _) in self.list.iter_mut().filter(|(k, ..)| k.addr == *server) {
                l.active -= 1;
                l.inactive += 1;
            }
        }
        Some(*server)
    }
}

#[test]
fn the_twin_chooses_as_ipvs_did() {
    for (name, seq) in recordings(&["rr", "wrr", "lc-", "wlc", "sed", "nq", "fo", "ovf", "sh", "mh"]) {
        let mut twin = Twin::new();
        seq.setup.iter().for_each(|s| twin.apply(s));
        for (line, op) in &seq.ops {
            match op {
                Op::Admin(step) => twin.apply(step),
                Op::Packet { kind, from, chosen, .. } => {
                    let got = match kind.as_str() {
                        "syn" | "udp" | "again" => {
                            if kind == "again" {
                                twin.forget(*from); // closed, and so begun anew
                            }
                            let got = twin.choose(*from, kind != "udp");
                            twin.conns.extend(got.map(|s| (*from, (s, kind != "udp", false))));
                            got
                        }
                        "ack" => twin.conns.get_mut(from).map(|c| {
                            c.2 = true;
                            c.0
                        }),
                        _ => twin.ends(*from, kind == "rst"),
                    };
                    assert_eq!(got, *chosen, "{name}:{line}");
                }
                Op::Counts(expected) => {
                    for (server, active, inactive) in expected {
                        let load = twin.list.iter().find(|(k, ..)| k.addr == *server);
                        let load = load.map(|(_, _, l, _)| (l.active, l.inactive));
                        assert_eq!(load, Some((*active, *inactive)), "{name}:{line}: {server}");
                    }
                }
            }
        }
    }
}
