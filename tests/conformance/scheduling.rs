//! Recorded choices of IPVS's schedulers, made again by the program and by the reference models in Rust.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use evenkeel_core::model::{MarkRule, Protocol, Scheduler, ServerKey, Tuning};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_core::schedulers::{self, Server, ServerLoad, WalkCursor, hash};
use evenkeel_testkit::frames::Endpoint;
use evenkeel_testkit::ipvs_recording::{RecordedOp, Recording, parse_recording};
use evenkeel_testkit::recordings::is_selected;

use crate::plane::{TestPlane, Verdict, test_plane};

fn recordings(prefixes: &[&str]) -> Vec<(String, Recording)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/ipvs-sequences");
    let mut all: Vec<_> = fs::read_dir(&dir)
        .expect("recordings are part of the project")
        .filter_map(|e| {
            let path = e.expect("readable").path();
            let name = path.file_stem()?.to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("readable");
            (prefixes.iter().any(|p| name.starts_with(p)) && is_selected(&name)).then(|| (name, parse_recording(&text)))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!all.is_empty() || !is_selected(""), "no recordings");
    all
}

fn replay_in_kernel(plane: &mut TestPlane, name: &str, seq: &Recording) {
    plane.apply(&seq.setup);
    for (line, op) in &seq.ops {
        match op {
            RecordedOp::Change(step) => plane.apply(std::slice::from_ref(step)),
            RecordedOp::Packet { kind, from, to, server: chosen } => {
                let fate = match kind.as_str() {
                    "udp" => plane.send_udp(*from, *to),
                    "syn" | "again" => plane.send_tcp(*from, *to, "S"),
                    "ack" => plane.send_tcp(*from, *to, "A"),
                    "fin" => plane.send_tcp(*from, *to, "FA"),
                    "rst" => plane.send_tcp(*from, *to, "R"),
                    other => panic!("{name}:{line}: packet {other}"),
                };
                // ip_vs_leave(): without a server, the client gets an ICMP port unreachable. A packet that may not
                // create a connection is passed to the kernel.
                let rejected = match (to.0.is_ipv6(), kind.as_str()) {
                    (_, "ack" | "fin" | "rst") => Verdict::Passed,
                    (false, _) => Verdict::IcmpError(3, 3),
                    (true, _) => Verdict::IcmpError(1, 4),
                };
                let expected = chosen.map_or(rejected, Verdict::Forwarded);
                assert_eq!(fate, expected, "{name}:{line}: {kind} from {from:?}");
            }
            RecordedOp::Counts(expected) => {
                let view = plane.plane.maps().service_records();
                for (server, active, inactive) in expected {
                    let d = view[0].dests.iter().find(|d| d.key.addr == *server);
                    let d = d.unwrap_or_else(|| panic!("{name}:{line}: no {server}"));
                    assert_eq!((d.active, d.inactive), (*active, *inactive), "{name}:{line}: {server}");
                }
            }
        }
    }
    plane.remove_all();
}

#[test]
fn the_program_chooses_as_ipvs_did_in_recordings() {
    let all = ["rr", "wrr", "lc-", "wlc", "sed", "nq", "fo", "ovf", "sh", "mh"];
    let Some(mut plane) = test_plane(4096) else { return };
    for (name, seq) in recordings(&all) {
        replay_in_kernel(&mut plane, &name, &seq);
    }
}

#[test]
fn destination_hashing_and_locality_choose_as_ipvs_did_in_recordings() {
    let Some(mut plane) = test_plane(4096) else { return };
    // As nftables did in the recording: TCP port 80 of these addresses has the mark 1.
    let [first, last] = ["10.2.200.0", "10.2.200.255"].map(|a| a.parse().expect("an address"));
    let member = MarkRule { first, last, protocol: Some(Protocol::Tcp), ports: (80, 80) };
    plane.plane.maps().write_mark_rules(&[(1, member)]).expect("room");
    for (name, seq) in recordings(&["dh", "lblc"]) {
        replay_in_kernel(&mut plane, &name, &seq);
    }
}

#[test]
fn persistence_and_connection_reuse_are_those_of_the_recordings() {
    let Some(mut plane) = test_plane(4096) else { return };
    for (name, seq) in recordings(&["persist", "reuse"]) {
        let conn_reuse_mode = if name == "reuse-mode3" { 3 } else { 1 };
        plane.plane.apply_tuning(&Tuning { conn_reuse_mode, ..Tuning::default() });
        replay_in_kernel(&mut plane, &name, &seq);
    }
}

/// A service of the reference model, with a table that is walked or looked up as the program does.
struct ServiceModel {
    spec: ServiceSpec,
    list: Vec<(ServerKey, DestSpec, ServerLoad, u32)>, // newest first; the last element is the last weight other than 0
    table: Vec<u32>,
    cursor: WalkCursor,
    /// server, active, established
    conns: BTreeMap<Endpoint, (IpAddr, bool, bool)>,
}

fn server_id(a: IpAddr) -> u32 {
    hash::fold_addr(a)
}

impl ServiceModel {
    fn new() -> ServiceModel {
        let spec = ServiceSpec::with_scheduler(Scheduler::Rr);
        ServiceModel { spec, list: vec![], table: vec![], cursor: WalkCursor::default(), conns: BTreeMap::new() }
    }

    fn servers(&self) -> Vec<Server> {
        let server = |(k, s, _, last): &(ServerKey, DestSpec, ServerLoad, u32)| Server {
            id: server_id(k.addr),
            weight: s.weight.get(),
            last_weight: *last,
            hash_key: hash::fold_addr(k.addr).wrapping_add(k.port.into()),
        };
        self.list.iter().map(server).collect()
    }

    fn apply(&mut self, step: &Step) {
        let scheduler = self.spec.scheduler;
        let old = self.servers();
        let position = schedulers::walk_position(scheduler, &old, self.cursor);
        match *step {
            Step::AddService(_, spec) => self.spec = spec,
            Step::AddDest(_, k, spec) => {
                let load = ServerLoad { weight: spec.weight.get(), active: 0, inactive: 0, overload: false };
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
        let position = schedulers::position_after_change(scheduler, position, &old, &self.servers());
        let table = schedulers::build_table(scheduler, &self.servers(), position);
        self.cursor = WalkCursor { next: table.start, start: table.start, position };
        self.table = table.entries;
    }

    fn choose_server(&mut self, from: Endpoint, active: bool) -> Option<IpAddr> {
        let list = &self.list;
        let open = |want| list.iter().any(|(k, _, l, _)| server_id(k.addr) == want && l.is_eligible());
        let flags = self.spec.flags;
        let found = match self.spec.scheduler {
            Scheduler::Rr | Scheduler::Wrr => schedulers::walk_table(&self.table, &mut self.cursor.next, open),
            hashing @ (Scheduler::Sh | Scheduler::Mh) => {
                hash::select_by_hash(hashing, flags, &self.table, from, from.0, open)
            }
            scan => {
                let loads: Vec<ServerLoad> = list.iter().map(|(_, _, l, _)| *l).collect();
                schedulers::select_by_scan(scan, &loads).map(|i| server_id(list[i].0.addr))
            }
        }?;
        let chosen = list.iter().find(|(k, ..)| server_id(k.addr) == found)?.0.addr;
        for (_, s, l, _) in self.list.iter_mut().filter(|(k, ..)| k.addr == chosen) {
            *(if active { &mut l.active } else { &mut l.inactive }) += 1;
            l.overload |= s.u_threshold > 0 && l.active + l.inactive >= s.u_threshold;
        }
        Some(chosen)
    }

    fn remove_connection(&mut self, from: Endpoint) {
        let Some((server, active, _)) = self.conns.remove(&from) else { return };
        for (_, s, l, _) in self.list.iter_mut().filter(|(k, ..)| k.addr == server) {
            *(if active { &mut l.active } else { &mut l.inactive }) -= 1;
            let n = l.active + l.inactive;
            let below = if s.l_threshold > 0 { n < s.l_threshold } else { n * 4 < s.u_threshold * 3 };
            l.overload &= !(s.u_threshold == 0 || below);
        }
    }

    fn end_connection(&mut self, from: Endpoint, by_rst: bool) -> Option<IpAddr> {
        let (server, active, established) = self.conns.get_mut(&from)?;
        // A RST in SYN_RECV changes nothing: see the state table.
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
fn the_model_chooses_as_ipvs_did_in_recordings() {
    for (name, seq) in recordings(&["rr", "wrr", "lc-", "wlc", "sed", "nq", "fo", "ovf", "sh", "mh"]) {
        let mut model = ServiceModel::new();
        seq.setup.iter().for_each(|s| model.apply(s));
        for (line, op) in &seq.ops {
            match op {
                RecordedOp::Change(step) => model.apply(step),
                RecordedOp::Packet { kind, from, server: chosen, .. } => {
                    let got = match kind.as_str() {
                        "syn" | "udp" | "again" => {
                            if kind == "again" {
                                model.remove_connection(*from); // it was closed, and is reused
                            }
                            let got = model.choose_server(*from, kind != "udp");
                            model.conns.extend(got.map(|s| (*from, (s, kind != "udp", false))));
                            got
                        }
                        "ack" => model.conns.get_mut(from).map(|c| {
                            c.2 = true;
                            c.0
                        }),
                        _ => model.end_connection(*from, kind == "rst"),
                    };
                    assert_eq!(got, *chosen, "{name}:{line}");
                }
                RecordedOp::Counts(expected) => {
                    for (server, active, inactive) in expected {
                        let load = model.list.iter().find(|(k, ..)| k.addr == *server);
                        let load = load.map(|(_, _, l, _)| (l.active, l.inactive));
                        assert_eq!(load, Some((*active, *inactive)), "{name}:{line}: {server}");
                    }
                }
            }
        }
    }
}
