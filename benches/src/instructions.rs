//! Instructions per packet of a director, evenkeel beside the kernel's IPVS, in an emulated kernel whose clock counts
//! instructions, so that the machine's load does not matter.
//!
//! Frames pass the director in four ways: dropped at once (the cost of source and wire), evenkeel's packet path, plain
//! forwarding, IPVS. Each figure is net of the first.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use evenkeel_core::ipvs::{Change, Dest, Service, ServiceId};
use evenkeel_core::model::{AttachChoice, ForwardingMethod, Protocol, Scheduler, ServerKey, ServiceKey, Weight};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_sys::bpf::{Attachments, XdpPlane};
use evenkeel_sys::ipvs::Ipvs;
use evenkeel_sys::ipvs_backend::IpvsBackend;
use evenkeel_sys::netlink::Netlink;
use evenkeel_sys::nexthop::NextHopResolver;

use crate::veth::{Frames, SINK_SERVERS, UDP, VIP, VethNetwork, frame_template};

/// Packets of a round. The figure is the best of [`ROUNDS`] rounds after one that warms up.
const PACKETS: u32 = 100_000;
const ROUNDS: usize = 3;

/// Runs the benchmark in the emulated kernel (tests/kernel/run).
pub fn run_in_emulator() -> Result<()> {
    let me = std::env::current_exe().context("this program's path")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kernel/run");
    let command = format!("{} --instructions-inside", me.display());
    let status = Command::new(script)
        .env("KERNEL_COMMAND", command)
        .env("KERNEL_ICOUNT", "1")
        .stdin(Stdio::null())
        .status()
        .context("run tests/kernel/run (`make kernel-test` installs the packages that it needs)")?;
    ensure!(status.success(), "the emulated kernel: {status}");
    Ok(())
}

/// Nanoseconds, which are instructions, per packet; and how many of a thousand packets arrived.
#[derive(Clone, Copy)]
struct Sample {
    instructions: f64,
    received_per_mille: u64,
}

fn measure(net: &VethNetwork, flows: u32) -> Result<Sample> {
    let mut best: Option<Sample> = None;
    for round in 0..=ROUNDS {
        // New clients in every round, if each packet is a new connection.
        let first = if flows == 0 { round as u32 * PACKETS } else { 0 };
        let before = net.received_frames()?;
        let frames = Frames { template: frame_template(UDP, 0), flows, first, count: PACKETS };
        let instructions = net.send_over_veth(frames)? / f64::from(PACKETS);
        let received_per_mille = (net.received_frames()? - before) * 1000 / u64::from(PACKETS);
        if round > 0 && best.is_none_or(|b| instructions < b.instructions) {
            best = Some(Sample { instructions, received_per_mille });
        }
    }
    best.context("no round")
}

fn start_evenkeel(net: &VethNetwork) -> Result<(XdpPlane, Attachments)> {
    let dir = evenkeel_sys::paths::bpf_dir("instructions");
    net.lan.run_in("d", || {
        let mut plane = XdpPlane::load(&dir, 1 << 20)?;
        let key = ServiceKey::new(Protocol::Udp, VIP.into(), 80);
        let mut steps = vec![Step::AddService(key, ServiceSpec::with_scheduler(Scheduler::Rr))];
        for n in 1..=SINK_SERVERS {
            let spec =
                DestSpec { weight: Weight::DEFAULT, method: ForwardingMethod::Dr, u_threshold: 0, l_threshold: 0 };
            steps.push(Step::AddDest(key, ServerKey { addr: [10, 2, 0, 10 + n].into(), port: 80 }, spec));
        }
        if let Some(e) = plane.apply_steps(&steps).pop() {
            bail!("{e}");
        }
        let mut netlink = Netlink::new()?;
        NextHopResolver::default().refresh(&mut netlink, &plane)?;
        let links = netlink.links()?;
        let link = links.iter().find(|l| l.name == "eth0").context("eth0")?;
        let mut attachments = Attachments::default();
        attachments.attach(&plane.packet_path, link, AttachChoice::NativeXdp)?;
        Ok((plane, attachments))
    })?
}

fn start_ipvs(net: &VethNetwork) -> Result<()> {
    net.lan.run_in("d", || {
        let mut ipvs = Ipvs::open()?;
        let id = ServiceId::Address { protocol: Protocol::Udp, addr: VIP.into(), port: 80 };
        ipvs.apply_change(&Change::AddService(Service::new(id, "rr")))?;
        for n in 1..=SINK_SERVERS {
            ipvs.apply_change(&Change::AddDest(id, Dest::new([10, 2, 0, 10 + n].into(), 80)))?;
        }
        Ok(())
    })?
}

fn stop_ipvs(net: &VethNetwork) -> Result<()> {
    net.lan.run_in("d", || Ok(Ipvs::open()?.apply_change(&Change::Flush)?))?
}

fn measure_evenkeel(net: &VethNetwork, flows: u32) -> Result<Sample> {
    let (plane, mut attachments) = start_evenkeel(net)?;
    let sample = measure(net, flows);
    net.lan.run_in("d", || attachments.detach_except(&plane.packet_path, &[]))?;
    plane.packet_path.unpin();
    sample
}

/// The virtual address becomes a route to the first server.
fn measure_forwarding(net: &VethNetwork, flows: u32) -> Result<Sample> {
    net.lan.ip("d", &format!("addr del {VIP}/32 dev lo"))?;
    net.lan.ip("d", &format!("route add {VIP}/32 via 10.2.0.11"))?;
    let sample = measure(net, flows);
    net.lan.ip("d", &format!("route del {VIP}/32"))?;
    net.lan.ip("d", &format!("addr add {VIP}/32 dev lo"))?;
    sample
}

fn measure_ipvs(net: &VethNetwork, flows: u32) -> Result<Sample> {
    start_ipvs(net)?;
    let sample = measure(net, flows);
    stop_ipvs(net)?;
    sample
}

/// The benchmark itself; runs inside the emulated kernel.
pub fn run() -> Result<()> {
    let net = VethNetwork::new()?;
    let _sink = net.attach_xdp("sink", "s1", net.program_fd("sink")?)?;
    println!("instructions per packet of UDP, 60 bytes, by DR to {SINK_SERVERS} servers, rr; net of source and wire");
    println!("{:<44} {:>9} {:>12} {:>9} {:>9}", "", "evenkeel", "forwarding", "IPVS", "IPVS / evenkeel");
    for (name, flows) in [("1 flow", 1u32), ("10,000 flows", 10_000), ("each packet a new connection", 0)] {
        let floor = {
            let _drop_all = net.attach_xdp("d", "eth0", net.program_fd("sink")?)?;
            measure(&net, flows)?
        };
        let evenkeel = measure_evenkeel(&net, flows)?;
        let forwarding = measure_forwarding(&net, flows)?;
        let ipvs = measure_ipvs(&net, flows)?;
        for (what, sample) in [("evenkeel", evenkeel), ("forwarding", forwarding), ("IPVS", ipvs)] {
            let received = sample.received_per_mille;
            ensure!(received >= 999, "{name}: {received} of 1000 packets arrived through {what}");
        }
        let net_of_floor = |s: Sample| s.instructions - floor.instructions;
        println!(
            "{name:<44} {:>9.0} {:>12.0} {:>9.0} {:>9.1}",
            net_of_floor(evenkeel),
            net_of_floor(forwarding),
            net_of_floor(ipvs),
            net_of_floor(ipvs) / net_of_floor(evenkeel)
        );
    }
    Ok(())
}
