//! Packets a second of one processor, with live frames over veth: a source sends established TCP to a director, whose XDP
//! program sends each frame back; a sink counts what comes. Or the source hands its frames to the program, as a device does
//! that has received them, and they go over veth once. The source's, the wire's and the sink's work is in every figure.
//!
//! ```text
//!   source, sink == g0 ==veth== eth0  director: XDP_TX
//!           sink == g0 ==veth== eth0  source, director: XDP_TX
//! ```

use std::ffi::OsStr;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use evenkeel_core::model::{AttachChoice, ForwardingMethod, Protocol, Scheduler, ServerKey, ServiceKey, Weight};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_sys::bpf::{Attachments, DestPath, NextHop, XdpPlane};
use evenkeel_sys::netlink::Netlink;
use libbpf_rs::{MapCore, MapFlags, ObjectBuilder};

use crate::instructions::{VIP, Wire, program, template};
use crate::packets::{ACK, FLOORS, ROUNDS, STEADY, SYN, median};

const PACKETS: u32 = 2_000_000;
const SERVERS: u8 = 100;
const TCP: u8 = 6;

/// How frames come to the director's program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Veth,
    Hand,
}

/// A row: its name, and millions of packets a second of one processor by a bare XDP_TX, kernel maps and evenkeel.
pub struct Row {
    name: String,
    bare: f64,
    kernel: f64,
    ours: f64,
}

/// Our packet path on the director's device, every server behind the device that packets come by.
fn ours(wire: &Wire) -> Result<(XdpPlane, Attachments)> {
    let dir = evenkeel_sys::paths::bpf_dir("live");
    wire.lan.run_in("d", || {
        let _ = std::fs::remove_dir_all(&dir);
        let mut plane = XdpPlane::load(&dir, 1 << 21)?;
        let key = ServiceKey::new(Protocol::Tcp, VIP.into(), 80);
        let mut steps = vec![Step::AddService(key, ServiceSpec::with_scheduler(Scheduler::Rr))];
        for n in 1..=SERVERS {
            let (weight, method) = (Weight::DEFAULT, ForwardingMethod::Dr);
            let spec = DestSpec { weight, method, u_threshold: 0, l_threshold: 0 };
            steps.push(Step::AddDest(key, ServerKey { addr: Ipv4Addr::new(10, 1, 1, n).into(), port: 80 }, spec));
        }
        let errors = plane.apply_steps(&steps);
        ensure!(errors.is_empty(), "{errors:?}");
        let links = Netlink::new()?.links()?;
        let link = links.iter().find(|l| l.name == "eth0").context("eth0")?;
        for (id, _) in plane.dest_addresses() {
            let hop = NextHop { ifindex: link.index, dmac: [2, 0, 0, 0, 1, 1], smac: link.mac };
            plane.set_dest_path(id, DestPath::Via { hop, mtu: 1500, source: None });
        }
        let mut attachments = Attachments::default();
        attachments.attach(&plane.packet_path, link, AttachChoice::NativeXdp)?;
        Ok((plane, attachments))
    })?
}

/// Millions of packets a second, of one processor; the connections are made first.
fn rate(wire: &Wire, by: By, program: i32, flows: u32, packets: u32) -> Result<f64> {
    let make = |flags: u32, count| match by {
        By::Veth => wire.send(&template(TCP, flags as u8), flows, 0, count),
        By::Hand => wire.hand(program, &template(TCP, flags as u8), flows, count),
    };
    make(SYN, flows.max(1024))?;
    make(ACK, flows.max(1024))?;
    let before = wire.arrived()?;
    let ns = make(ACK, packets)?;
    let came = wire.arrived()? - before;
    // A ring of veth's overflows where its reader is kept from the processor; such frames do not count.
    ensure!(came * 10 >= u64::from(packets) * 9, "{came} of {packets} packets came back");
    Ok(came as f64 / ns * 1000.0)
}

/// The three in turn, some rounds of them.
pub fn run() -> Result<Vec<Row>> {
    let wire = Wire::new()?;
    let _sink = wire.catch("gen", "g0", wire.program("sink")?)?;
    let floors = ObjectBuilder::default().name("floors")?.open_memory(FLOORS)?.load()?;
    let services = floors.maps().find(|m| m.name() == OsStr::new("kernel_services")).context("the floor's services")?;
    let key = [&VIP.octets()[..], &80u16.to_be_bytes(), &[TCP, 0]].concat();
    services.update(&key, &1u32.to_ne_bytes(), MapFlags::ANY)?;
    let mut rows = Vec::new();
    for (by, said) in [(By::Veth, ""), (By::Hand, ", handed")] {
        for (name, flows) in [("1 flow", 1u32), ("65,536 flows", 1 << 16), ("1,048,576 flows", 1 << 20)] {
            let mut seen: [Vec<f64>; 3] = Default::default();
            for _ in 0..ROUNDS {
                for (v, name) in seen.iter_mut().zip(["nothing", "kernel_maps"]) {
                    let program = program(&floors, name)?;
                    let _attached = wire.catch("d", "eth0", program)?;
                    v.push(rate(&wire, by, program, flows, PACKETS)?);
                }
                let (plane, mut attachments) = ours(&wire)?;
                let packets = if flows > 1 << 16 { STEADY } else { PACKETS };
                let measured =
                    plane.packet_path.xdp_program_fd().map(|program| rate(&wire, by, program, flows, packets));
                wire.lan.run_in("d", || attachments.detach_except(&plane.packet_path, &[]))?;
                plane.packet_path.unpin();
                seen[2].push(measured??);
            }
            let [bare, kernel, ours] = seen.map(median);
            rows.push(Row { name: format!("{name}{said}"), bare, kernel, ours });
        }
    }
    Ok(rows)
}

/// For people.
pub fn print(rows: &[Row]) {
    println!(
        "{:<44} {:>8} {:>12} {:>9} {:>18} {:>16}",
        "live frames, million packets/s of one CPU",
        "XDP_TX",
        "kernel maps",
        "evenkeel",
        "evenkeel / kernel",
        "evenkeel / XDP_TX"
    );
    for Row { name, bare, kernel, ours } in rows {
        println!(
            "established TCP, DR, {name:<23} {bare:>8.2} {kernel:>12.2} {ours:>9.2} {:>18.2} {:>16.2}",
            ours / kernel,
            ours / bare
        );
    }
}

/// For machines.
pub fn json(rows: &[Row]) -> Vec<serde_json::Value> {
    let one = |Row { name, bare, kernel, ours }: &Row| {
        serde_json::json!({"case": format!("live frames, {name}"), "xdp_tx_mpps": bare, "kernel_maps_mpps": kernel,
            "evenkeel_mpps": ours, "evenkeel_to_kernel_maps": ours / kernel, "evenkeel_to_xdp_tx": ours / bare})
    };
    rows.iter().map(one).collect()
}
