//! Every recorded choice, by the program and by its twin.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use evenkeel_core::model::Scheduler;
use evenkeel_core::plan::{DestSpec, Step};
use evenkeel_core::schedulers::{self, Load, Server, Walked};
use evenkeel_testkit::sequences::{Op, Sequence, parse};

use crate::plane::{Fate, test_plane};

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

fn replay_in_kernel(name: &str, seq: &Sequence) {
    let Some(mut plane) = test_plane(4096) else { return };
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
                let expected = chosen.map_or(Fate::Kernel, Fate::Sent);
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
}

#[test]
fn the_program_chooses_as_ipvs_did() {
    for (name, seq) in recordings(&["rr", "wrr", "wlc"]) {
        replay_in_kernel(&name, &seq);
    }
}

#[test]
fn persistence_and_reuse_are_ipvss() {
    for (name, seq) in recordings(&["persist", "reuse"]) {
        if name != "reuse-mode3" {
            replay_in_kernel(&name, &seq);
        }
    }
}

/// The twin: a service in plain Rust, with a table walked as the program walks it.
struct Twin {
    scheduler: Scheduler,
    list: Vec<(Ipv4Addr, DestSpec, Load)>, // newest first
    table: Vec<u32>,
    walked: Walked,
    /// server, active, established
    conns: BTreeMap<(Ipv4Addr, u16), (Ipv4Addr, bool, bool)>,
}

fn id(a: Ipv4Addr) -> u32 {
    u32::from(a)
}

impl Twin {
    fn servers(&self) -> Vec<Server> {
        self.list.iter().map(|(a, s, _)| Server { id: id(*a), weight: s.weight.get() }).collect()
    }

    fn apply(&mut self, step: &Step) {
        let old = self.servers();
        let place = schedulers::place(self.scheduler, &old, self.walked);
        match *step {
            Step::AddService(_, spec) => self.scheduler = spec.scheduler,
            Step::AddDest(_, k, spec) => {
                let load = Load { weight: spec.weight.get(), active: 0, inactive: 0, overload: false };
                self.list.insert(0, (k.addr, spec, load));
            }
            Step::EditDest(_, k, spec) => {
                for (_, s, l) in self.list.iter_mut().filter(|(a, ..)| *a == k.addr) {
                    (*s, l.weight) = (spec, spec.weight.get());
                }
            }
            Step::RemoveDest(_, k) => self.list.retain(|(a, ..)| *a != k.addr),
            _ => panic!("not in the recordings"),
        }
        let place = schedulers::change(self.scheduler, place, &old, &self.servers());
        let table = schedulers::table(self.scheduler, &self.servers(), place);
        self.walked = Walked { next: table.start, start: table.start, place };
        self.table = table.entries;
    }

    fn choose(&mut self, active: bool) -> Option<Ipv4Addr> {
        let chosen = match self.scheduler {
            Scheduler::Wlc => {
                let loads: Vec<Load> = self.list.iter().map(|(_, _, l)| *l).collect();
                schedulers::wlc(&loads).map(|i| self.list[i].0)
            }
            _ => {
                let list = &self.list;
                let open = |want| list.iter().any(|(a, _, l)| id(*a) == want && l.eligible());
                schedulers::walk(&self.table, &mut self.walked.next, open).map(Ipv4Addr::from)
            }
        }?;
        for (_, s, l) in self.list.iter_mut().filter(|(a, ..)| *a == chosen) {
            *(if active { &mut l.active } else { &mut l.inactive }) += 1;
            l.overload |= s.u_threshold > 0 && l.active + l.inactive >= s.u_threshold;
        }
        Some(chosen)
    }

    fn ends(&mut self, from: (Ipv4Addr, u16), by_rst: bool) -> Option<Ipv4Addr> {
        let (server, active, established) = self.conns.get_mut(&from)?;
        // A RST in SYN_RECV changes nothing; see the state table.
        if (*established || !by_rst) && std::mem::replace(active, false) {
            for (_, _, l) in self.list.iter_mut().filter(|(a, ..)| a == server) {
                l.active -= 1;
                l.inactive += 1;
            }
        }
        Some(*server)
    }
}

#[test]
fn the_twin_chooses_as_ipvs_did() {
    for (name, seq) in recordings(&["rr", "wrr", "wlc"]) {
        let mut twin = Twin {
            scheduler: Scheduler::Rr,
            list: vec![],
            table: vec![],
            walked: Walked::default(),
            conns: BTreeMap::new(),
        };
        seq.setup.iter().for_each(|s| twin.apply(s));
        for (line, op) in &seq.ops {
            match op {
                Op::Admin(step) => twin.apply(step),
                Op::Packet { kind, from, chosen, .. } => {
                    let got = match kind.as_str() {
                        "syn" | "udp" => {
                            let got = twin.choose(kind == "syn");
                            twin.conns.extend(got.map(|s| (*from, (s, kind == "syn", false))));
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
                        let load = twin.list.iter().find(|(a, ..)| a == server).map(|(_, _, l)| (l.active, l.inactive));
                        assert_eq!(load, Some((*active, *inactive)), "{name}:{line}: {server}");
                    }
                }
            }
        }
    }
}
