//! Millions of packets per second of one CPU, with live frames over veth: a source sends established TCP to a director,
//! whose XDP program sends each frame back, and a sink counts them. In the rows `direct` the source passes its frames
//! to the director's program, as a device does that has received them, and they cross veth once. Every figure includes
//! the work of source, wire and sink.
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

use crate::test_run::{ACK, FLOORS, ROUNDS, STEADY_PACKETS, SYN, median};
use crate::veth::{Frames, TCP, VIP, VethNetwork, frame_template, program_fd};

const PACKETS: u32 = 2_000_000;
const SERVERS: u8 = 100;

/// How frames get to the director's program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ingress {
    Veth,
    Direct,
}

/// Millions of packets per second of one CPU.
pub struct Row {
    name: String,
    xdp_tx: f64,
    kernel_maps: f64,
    evenkeel: f64,
}

/// Attaches evenkeel's packet path to the director's device, behind which all real servers are.
fn start_evenkeel(net: &VethNetwork) -> Result<(XdpPlane, Attachments)> {
    let dir = evenkeel_sys::paths::bpf_dir("live");
    net.lan.run_in("d", || {
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

/// Creates the connections, then measures millions of packets per second.
fn measure(net: &VethNetwork, ingress: Ingress, program: i32, flows: u32, packets: u32) -> Result<f64> {
    let send = |tcp_flags: u32, count| {
        let frames = Frames { template: frame_template(TCP, tcp_flags as u8), flows, first: 0, count };
        match ingress {
            Ingress::Veth => net.send_over_veth(frames),
            Ingress::Direct => net.send_to_program(program, frames),
        }
    };
    send(SYN, flows.max(1024))?;
    send(ACK, flows.max(1024))?;
    let before = net.received_frames()?;
    let ns = send(ACK, packets)?;
    let received = net.received_frames()? - before;
    // veth's ring overflows while its reader does not get the CPU. Such frames do not count.
    ensure!(received * 10 >= u64::from(packets) * 9, "{received} of {packets} packets came back");
    Ok(received as f64 / ns * 1000.0)
}

/// Measures the three programs in turn, [`ROUNDS`] times.
pub fn run() -> Result<Vec<Row>> {
    let net = VethNetwork::new()?;
    let _sink = net.attach_xdp("gen", "g0", net.program_fd("sink")?)?;
    let floors = ObjectBuilder::default().name("floors")?.open_memory(FLOORS)?.load()?;
    let services = floors.maps().find(|m| m.name() == OsStr::new("kernel_services")).context("the floor's services")?;
    let key = [&VIP.octets()[..], &80u16.to_be_bytes(), &[TCP, 0]].concat();
    services.update(&key, &1u32.to_ne_bytes(), MapFlags::ANY)?;
    let mut rows = Vec::new();
    for (ingress, suffix) in [(Ingress::Veth, ""), (Ingress::Direct, ", direct")] {
        for (name, flows) in [("1 flow", 1u32), ("65,536 flows", 1 << 16), ("1,048,576 flows", 1 << 20)] {
            let mut samples: [Vec<f64>; 3] = Default::default();
            for _ in 0..ROUNDS {
                for (of_floor, name) in samples.iter_mut().zip(["nothing", "kernel_maps"]) {
                    let program = program_fd(&floors, name)?;
                    let _attached = net.attach_xdp("d", "eth0", program)?;
                    of_floor.push(measure(&net, ingress, program, flows, PACKETS)?);
                }
                let (plane, mut attachments) = start_evenkeel(&net)?;
                let packets = if flows > 1 << 16 { STEADY_PACKETS } else { PACKETS };
                let program = plane.packet_path.xdp_program_fd();
                let sample = program.map(|program| measure(&net, ingress, program, flows, packets));
                net.lan.run_in("d", || attachments.detach_except(&plane.packet_path, &[]))?;
                plane.packet_path.unpin();
                samples[2].push(sample??);
            }
            let [xdp_tx, kernel_maps, evenkeel] = samples.map(median);
            rows.push(Row { name: format!("{name}{suffix}"), xdp_tx, kernel_maps, evenkeel });
        }
    }
    Ok(rows)
}

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
    for Row { name, xdp_tx, kernel_maps, evenkeel } in rows {
        println!(
            "established TCP, DR, {name:<23} {xdp_tx:>8.2} {kernel_maps:>12.2} {evenkeel:>9.2} {:>18.2} {:>16.2}",
            evenkeel / kernel_maps,
            evenkeel / xdp_tx
        );
    }
}

pub fn to_json(rows: &[Row]) -> Vec<serde_json::Value> {
    let row_json = |Row { name, xdp_tx, kernel_maps, evenkeel }: &Row| {
        serde_json::json!({"case": format!("live frames, {name}"), "xdp_tx_mpps": xdp_tx,
            "kernel_maps_mpps": kernel_maps, "evenkeel_mpps": evenkeel,
            "evenkeel_to_kernel_maps": evenkeel / kernel_maps, "evenkeel_to_xdp_tx": evenkeel / xdp_tx})
    };
    rows.iter().map(row_json).collect()
}
