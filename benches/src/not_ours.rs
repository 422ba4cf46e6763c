//! What an attachment costs on a device where nothing for us arrives: the kernel forwards frames to no service, without
//! the packet path, with its tc program on the device that receives them, and with the program on 20 devices.
//!
//! Every figure includes the work of source, wire, the kernel's forwarding and the sink, on one CPU.

use anyhow::{Context, Result, ensure};
use evenkeel_core::model::{AttachChoice, ForwardingMethod, Protocol, Scheduler, ServerKey, ServiceKey, Weight};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_sys::bpf::{Attachments, XdpPlane};
use evenkeel_sys::netlink::Netlink;

use crate::test_run::{ROUNDS, median};
use crate::veth::{Frames, UDP, VIP, VethNetwork, frame_template};

const PACKETS: u32 = 400_000;
const FLOWS: u32 = 10_000;
/// Devices besides the one that receives the frames.
const MORE_DEVICES: usize = 19;

/// Loads the packet path with one service, which no frame is for, and attaches it to devices by tc.
fn start_evenkeel(net: &VethNetwork, method: ForwardingMethod, devices: &[String]) -> Result<(XdpPlane, Attachments)> {
    let dir = evenkeel_sys::paths::bpf_dir("not-ours");
    net.lan.run_in("d", || {
        let _ = std::fs::remove_dir_all(&dir);
        let mut plane = XdpPlane::load(&dir, 1 << 16)?;
        let key = ServiceKey::new(Protocol::Tcp, [10, 8, 8, 8].into(), 80);
        let spec = DestSpec { weight: Weight::DEFAULT, method, u_threshold: 0, l_threshold: 0 };
        let server = ServerKey { addr: [10, 2, 0, 14].into(), port: 80 };
        let steps =
            [Step::AddService(key, ServiceSpec::with_scheduler(Scheduler::Rr)), Step::AddDest(key, server, spec)];
        let errors = plane.apply_steps(&steps);
        ensure!(errors.is_empty(), "{errors:?}");
        let mut attachments = Attachments::default();
        for link in Netlink::new()?.links()?.iter().filter(|l| devices.contains(&l.name)) {
            attachments.attach(&plane.packet_path, link, AttachChoice::Tc)?;
        }
        Ok((plane, attachments))
    })?
}

/// Nanoseconds per frame.
fn measure(net: &VethNetwork) -> Result<f64> {
    let before = net.received_frames()?;
    let ns = net.send_over_veth(Frames { template: frame_template(UDP, 0), flows: FLOWS, first: 0, count: PACKETS })?;
    let received = net.received_frames()? - before;
    ensure!(received * 10 >= u64::from(PACKETS) * 9, "{received} of {PACKETS} frames were forwarded");
    Ok(ns / received as f64)
}

/// Measures in turn, [`ROUNDS`] times, and prints the medians.
pub fn run() -> Result<()> {
    let net = VethNetwork::new()?;
    let _sink = net.attach_xdp("sink", "s1", net.program_fd("sink")?)?;
    net.lan.ip("d", &format!("addr del {VIP}/32 dev lo"))?;
    net.lan.ip("d", &format!("route add {VIP}/32 via 10.2.0.11"))?;
    let mut devices = vec!["eth0".to_owned()];
    for n in 0..MORE_DEVICES {
        net.lan.ip("d", &format!("link add more{n} type veth peer name end{n}"))?;
        net.lan.ip("d", &format!("link set more{n} up"))?;
        devices.push(format!("more{n}"));
    }
    let cases = [
        ("no packet path", ForwardingMethod::Dr, 0),
        ("on 1 device", ForwardingMethod::Dr, 1),
        ("on 20 devices", ForwardingMethod::Dr, devices.len()),
        ("on 20 devices, servers behind NAT", ForwardingMethod::Nat, devices.len()),
    ];
    let mut samples = vec![Vec::new(); cases.len()];
    measure(&net)?;
    for _ in 0..ROUNDS {
        for ((_, method, count), samples) in cases.iter().zip(&mut samples) {
            if *count == 0 {
                samples.push(measure(&net)?);
                continue;
            }
            let (plane, mut attachments) = start_evenkeel(&net, *method, &devices[..*count])?;
            let sample = measure(&net);
            net.lan.run_in("d", || attachments.detach_except(&plane.packet_path, &[]))?;
            plane.packet_path.unpin();
            samples.push(sample?);
        }
    }
    let medians: Vec<f64> = samples.into_iter().map(median).collect();
    let without = *medians.first().context("a case")?;
    println!(
        "{:<44} {:>12} {:>24}",
        "frames to no service, forwarded by the kernel", "ns per frame", "to no packet path"
    );
    for ((name, ..), ns) in cases.iter().zip(medians) {
        println!("{name:<44} {ns:>12.0} {:>24.3}", ns / without);
    }
    Ok(())
}
