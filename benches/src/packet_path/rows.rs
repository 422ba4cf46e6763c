//! The rows of the packet path's benchmark: their names and what each measures.
//!
//! The list can be read without measuring anything, for `--list` and `--row`.

use std::net::{Ipv4Addr, Ipv6Addr};

use evenkeel_core::model::{ForwardingMethod, Persistence, Scheduler, Tunnel};
use evenkeel_core::plan::ServiceSpec;

use crate::test_run::PacketKind;

/// Real servers of a service, unless the row's name gives another number.
pub const SERVERS: u32 = 100;
const CONN_CAPACITY: u32 = 1 << 22;

/// A row before it is measured.
pub struct RowSpec {
    pub name: String,
    pub load: RowLoad,
}

/// What a row measures.
pub enum RowLoad {
    Established(Established),
    NewConnections(NewConnections),
    /// Packets to no virtual service.
    NotOurs {
        v6: bool,
    },
}

/// Packets of known connections.
pub struct Established {
    pub kind: PacketKind,
    pub method: ForwardingMethod,
    pub flows: u32,
    /// No packet of the flow came within the last epoch of the flow cache.
    pub idle: bool,
}

impl Established {
    /// Rows of one group are measured with the same packet path.
    pub fn same_group(&self, other: &Established) -> bool {
        self.kind == other.kind && self.method == other.method
    }
}

/// Packets each of which creates a connection.
pub struct NewConnections {
    pub kind: PacketKind,
    pub method: ForwardingMethod,
    pub service: ServiceSpec,
    pub servers: u32,
    /// Entries of the connection table.
    pub capacity: u32,
    /// Connections that are created before the measurement.
    pub fill: u32,
    /// How many tables are measured; the row is their median.
    pub tables: usize,
}

fn family_suffix(v6: bool) -> &'static str {
    if v6 { ", IPv6" } else { "" }
}

fn protocol_name(kind: PacketKind) -> &'static str {
    if kind.udp { "UDP" } else { "TCP" }
}

/// All rows, in the order of the table.
pub fn all_rows() -> Vec<RowSpec> {
    let mut rows = Vec::new();
    add_established(&mut rows);
    add_new_connections(&mut rows);
    for v6 in [false, true] {
        rows.push(RowSpec { name: format!("not ours{}", family_suffix(v6)), load: RowLoad::NotOurs { v6 } });
    }
    rows
}

fn add_established(rows: &mut Vec<RowSpec>) {
    let tun = ForwardingMethod::Tun(Tunnel::default());
    let directions = [
        ("DR", ForwardingMethod::Dr, false),
        ("NAT, to the server", ForwardingMethod::Nat, false),
        ("NAT, replies", ForwardingMethod::Nat, true),
        ("TUN (ipip)", tun, false),
    ];
    let flow_counts = [
        ("1 flow", 1, false),
        ("65,536 flows", 1 << 16, false),
        ("1,048,576 flows", 1 << 20, false),
        ("1,048,576 flows, idle", 1 << 20, true),
    ];
    for (method_name, method, reply) in directions {
        for (v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
            let kind = PacketKind { v6, udp, reply, not_ours: false };
            for (flows_name, flows, idle) in flow_counts.into_iter().filter(|(.., idle)| !idle || !v6 && !udp) {
                let family = family_suffix(v6);
                let name = format!("established {}, {method_name}{family}, {flows_name}", protocol_name(kind));
                let load = RowLoad::Established(Established { kind, method, flows, idle });
                rows.push(RowSpec { name, load });
            }
        }
    }
}

impl NewConnections {
    /// DR to [`SERVERS`] servers by rr, into a table that is half full. An IPv6 connection takes two entries.
    fn with_kind(kind: PacketKind) -> NewConnections {
        NewConnections {
            kind,
            method: ForwardingMethod::Dr,
            service: ServiceSpec::with_scheduler(Scheduler::Rr),
            servers: SERVERS,
            capacity: CONN_CAPACITY,
            fill: if kind.v6 { CONN_CAPACITY / 4 } else { CONN_CAPACITY / 2 },
            tables: 1,
        }
    }
}

fn add_new_connections(rows: &mut Vec<RowSpec>) {
    let tcp4 = PacketKind::TCP_V4;
    let tcp6 = PacketKind { v6: true, ..tcp4 };
    let mut add = |name: String, load| rows.push(RowSpec { name, load: RowLoad::NewConnections(load) });
    let tun = ForwardingMethod::Tun(Tunnel::default());
    for (method_name, method) in [("DR", ForwardingMethod::Dr), ("NAT", ForwardingMethod::Nat), ("TUN (ipip)", tun)] {
        for kind in [tcp4, PacketKind { udp: true, ..tcp4 }, tcp6] {
            let (protocol, family) = (protocol_name(kind), family_suffix(kind.v6));
            let tables = if kind == tcp4 { 3 } else { 1 };
            let load = NewConnections { method, tables, ..NewConnections::with_kind(kind) };
            add(format!("every packet a new connection, {protocol}, {method_name}{family}"), load);
        }
    }
    for kind in [tcp4, tcp6] {
        let family = family_suffix(kind.v6);
        // 65,536 clients, each of which has a persistence template when the table is filled.
        let mask = if kind.v6 { Ipv6Addr::from(u128::MAX).into() } else { Ipv4Addr::BROADCAST.into() };
        let persistence = Some(Persistence { timeout_s: 300, mask });
        let service = ServiceSpec { persistence, ..ServiceSpec::with_scheduler(Scheduler::Rr) };
        let load = NewConnections { service, ..NewConnections::with_kind(kind) };
        add(format!("persistence hit: a known client's new connection, DR{family}"), load);
        for servers in [4, SERVERS, 1000] {
            let full = NewConnections { servers, capacity: 1 << 20, fill: 4 << 20, ..NewConnections::with_kind(kind) };
            add(format!("SYN flood, the table full, DR{family}, {servers} servers"), full);
        }
    }
    for scheduler in [Scheduler::Wlc, Scheduler::Nq, Scheduler::Twos] {
        for servers in [4, 64, 1024, 4096] {
            let service = ServiceSpec::with_scheduler(scheduler);
            let load = NewConnections { service, servers, ..NewConnections::with_kind(tcp4) };
            add(format!("every packet a new connection, {scheduler}, {servers} servers"), load);
        }
    }
}
