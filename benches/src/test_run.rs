//! The test-run harness: runs a program by the kernel's test-run facility (BPF_PROG_TEST_RUN) behind a wrapper that
//! makes every run a packet of another flow.
//!
//! The wrapper and the floors are in benches/bpf/floor.bpf.c; its maps `plan` and `under_test` tell the wrapper what to
//! do.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use evenkeel_core::model::{ForwardingMethod, Protocol, ServerKey, ServiceKey, Weight};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_sys::bpf::{DestPath, NextHop, XdpPlane};
use libbpf_rs::{MapCore, MapFlags, Object, ObjectBuilder, ProgramInput};

pub const FLOORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/floor.bpf.o"));
const VIP: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 200, 1, 1)), IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x100))];
/// Rounds of a measurement; the figure is their median.
pub const ROUNDS: usize = 9;
/// Packets of one round of evenkeel's program at a steady rate. They last more than a second with many flows, and four
/// seconds over veth, so that work that is done once in an epoch of the flow cache (bpf/conn/flow_cache.h) has its
/// share.
pub const STEADY_PACKETS: u32 = 12 << 20;
pub const SYN: u32 = 0x02;
pub const ACK: u32 = 0x10;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// The packets of a measurement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PacketKind {
    pub v6: bool,
    pub udp: bool,
    /// Replies of a real server behind NAT to its clients.
    pub reply: bool,
    /// Packets to no virtual service.
    pub not_ours: bool,
}

impl PacketKind {
    /// TCP over IPv4, from clients to a service.
    pub const TCP_V4: PacketKind = PacketKind { v6: false, udp: false, reply: false, not_ours: false };

    pub fn protocol(self) -> Protocol {
        if self.udp { Protocol::Udp } else { Protocol::Tcp }
    }

    /// The service that such packets are sent to.
    pub fn service(self) -> ServiceKey {
        ServiceKey::new(self.protocol(), VIP[usize::from(self.v6)], 80)
    }

    fn server(self, n: u32) -> ServerKey {
        let addr = if self.v6 {
            Ipv6Addr::from(0xfd << 120 | u128::from(n)).into()
        } else {
            Ipv4Addr::from(0x0a30_0000 + n).into()
        };
        ServerKey { addr, port: 80 }
    }

    /// A frame whose addresses and ports the wrapper fills in.
    fn frame(self) -> Vec<u8> {
        let l4 = if self.v6 { 54 } else { 34 };
        let protocol = if self.udp { 17 } else { 6 };
        let mut f = vec![0u8; l4 + 20];
        if self.v6 {
            f[12..14].copy_from_slice(&[0x86, 0xdd]);
            f[14] = 0x60;
            f[19] = 20;
            f[20] = protocol;
        } else {
            f[12..18].copy_from_slice(&[8, 0, 0x45, 0, 0, 40]);
            f[23] = protocol;
        }
        match self.udp {
            true => f[l4 + 5] = 20,
            false => f[l4 + 12] = 0x50,
        }
        f
    }
}

/// The flows of a run.
#[derive(Clone, Copy)]
pub struct Flows {
    /// A power of two, at most [`Flows::MAX`].
    pub count: u32,
    /// TCP flags of the packets, as in byte 13 of the header.
    pub tcp_flags: u32,
}

impl Flows {
    /// All flows that the wrapper can make.
    pub const MAX: u32 = 1 << 24;

    pub fn new(count: u32, tcp_flags: u32) -> Flows {
        Flows { count, tcp_flags }
    }
}

/// The wrapper and the floors, loaded, with empty maps.
pub struct TestRun {
    floors: Object,
}

/// An address as in a packet, behind it zeros.
fn address_bytes(addr: IpAddr) -> [u8; 16] {
    let mut out = [0; 16];
    match addr {
        IpAddr::V4(a) => out[..4].copy_from_slice(&a.octets()),
        IpAddr::V6(a) => out = a.octets(),
    }
    out
}

impl TestRun {
    pub fn new() -> Result<TestRun> {
        let floors = ObjectBuilder::default().name("floors")?.open_memory(FLOORS)?.load()?;
        let run = TestRun { floors };
        let vip: [u8; 4] = address_bytes(VIP[0])[..4].try_into()?;
        for protocol in [6u8, 17] {
            let key = [&vip[..], &80u16.to_be_bytes(), &[protocol, 0]].concat();
            run.map("kernel_services")?.update(&key, &1u32.to_ne_bytes(), MapFlags::ANY)?;
            // The hash of line_dest() in floor.bpf.c.
            let port_and_protocol = u32::from(80u16.to_be()) | u32::from(protocol) << 16 | 1 << 24;
            let index =
                (u32::from_ne_bytes(vip).wrapping_mul(0x9e37_79b1) ^ port_and_protocol).wrapping_mul(0x85eb_ca6b) >> 24;
            let service = [vip, port_and_protocol.to_ne_bytes(), 1u32.to_ne_bytes(), [0; 4]].concat();
            run.map("line_services")?.update(&index.to_ne_bytes(), &service, MapFlags::ANY)?;
        }
        Ok(run)
    }

    fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>> {
        self.floors.maps().find(|m| m.name() == OsStr::new(name)).with_context(|| format!("map {name}"))
    }

    /// The descriptor of a floor's program.
    pub fn floor_fd(&self, name: &str) -> Result<i32> {
        let p =
            self.floors.progs().find(|p| p.name() == OsStr::new(name)).with_context(|| format!("program {name}"))?;
        Ok(p.as_fd().as_raw_fd())
    }

    /// Mean nanoseconds of a run of `program` behind the wrapper, over `repeat` packets. `first` is the sequence number
    /// of the first packet, by which the wrapper chooses the flow.
    pub fn measure(&self, kind: PacketKind, program: i32, flows: Flows, first: u64, repeat: u32) -> Result<f64> {
        self.map("under_test")?.update(&0u32.to_ne_bytes(), &program.to_ne_bytes(), MapFlags::ANY)?;
        let mut plan = first.to_ne_bytes().to_vec();
        plan.extend(flows.count.to_ne_bytes());
        plan.extend(flows.tcp_flags.to_ne_bytes());
        plan.extend(address_bytes(VIP[usize::from(kind.v6)]));
        plan.extend(if kind.reply { address_bytes(kind.server(0).addr) } else { [0; 16] });
        self.map("plan")?.update(&0u32.to_ne_bytes(), &plan, MapFlags::ANY)?;
        let name = if kind.v6 { "wrap6" } else { "wrap" };
        let wrapper = self.floors.progs_mut().find(|p| p.name() == OsStr::new(name)).context("the wrapper")?;
        let mut out = vec![0; 256];
        let frame = kind.frame();
        let input = ProgramInput { data_in: Some(&frame), data_out: Some(&mut out), repeat, ..Default::default() };
        let done = wrapper.test_run(input)?;
        match done.return_value {
            XDP_TX | XDP_REDIRECT => {}
            XDP_PASS if kind.not_ours => {}
            other => bail!("the program returned {other} for a packet that it should have forwarded"),
        }
        Ok(done.duration.as_nanos() as f64)
    }
}

pub fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

/// Loads the packet path with one service of `servers` real servers and a connection table of `capacity` entries.
/// Returns it and the descriptor of its XDP program.
pub fn load_packet_path(
    kind: PacketKind,
    method: ForwardingMethod,
    service: ServiceSpec,
    servers: u32,
    capacity: u32,
) -> Result<(XdpPlane, i32)> {
    let dir = PathBuf::from(format!("/sys/fs/bpf/evenkeel/bench-{}", std::process::id()));
    // Maps of an earlier measurement must not be reused.
    let _ = std::fs::remove_dir_all(&dir);
    let mut plane = XdpPlane::load(&dir, capacity)?;
    plane.packet_path.record_test_devices();
    let key = kind.service();
    let mut steps = vec![Step::AddService(key, service)];
    for n in 0..servers {
        let weight = Weight::new(1).context("a weight")?;
        steps.push(Step::AddDest(key, kind.server(n), DestSpec { weight, method, u_threshold: 0, l_threshold: 0 }));
    }
    let errors = plane.apply_steps(&steps);
    anyhow::ensure!(errors.is_empty(), "{errors:?}");
    let source = Some(if kind.v6 { Ipv6Addr::from(0xfd << 120 | 1 << 32).into() } else { [10, 48, 255, 1].into() });
    for (id, _) in plane.dest_addresses() {
        let hop = NextHop { ifindex: 1, dmac: [2; 6], smac: [4; 6] };
        plane.set_dest_path(id, DestPath::Via { hop, mtu: 1500, source });
    }
    let fd = plane.packet_path.xdp_program_fd()?;
    Ok((plane, fd))
}
