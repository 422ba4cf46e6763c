//! The packet path through the kernel's test-run facility, behind a wrapper that makes every run a packet of another flow.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use evenkeel_core::model::{ForwardingMethod, Protocol, ServerKey, ServiceKey, Tunnel, Weight};
use evenkeel_core::plan::{DestSpec, ServiceSpec, Step};
use evenkeel_sys::bpf::{DestPath, NextHop, XdpPlane};
use libbpf_rs::{MapCore, MapFlags, Object, ObjectBuilder, ProgramInput};

pub const FLOORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/floor.bpf.o"));
const VIP: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 200, 1, 1)), IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x100))];
pub const ROUNDS: usize = 9;
/// Packets in a run of ours at a steady pace: with many flows a second and more, and over veth four, so that what is done once in
/// a spell (bpf/conn/flow_cache.h) has its share.
pub const STEADY: u32 = 12 << 20;
pub const SYN: u32 = 0x02;
pub const ACK: u32 = 0x10;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// What packets a measurement is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub v6: bool,
    pub udp: bool,
    /// Those of a real server behind NAT, to its clients.
    pub answers: bool,
    /// They are for nobody here.
    pub foreign: bool,
}

impl Kind {
    /// TCP over IPv4, from clients.
    pub const USUAL: Kind = Kind { v6: false, udp: false, answers: false, foreign: false };

    fn protocol(self) -> Protocol {
        if self.udp { Protocol::Udp } else { Protocol::Tcp }
    }

    /// The service that such packets are for.
    pub fn service(self) -> ServiceKey {
        ServiceKey::new(self.protocol(), VIP[usize::from(self.v6)], 80)
    }

    /// One of its servers.
    fn server(self, n: u32) -> ServerKey {
        let addr = if self.v6 {
            Ipv6Addr::from(0xfd << 120 | u128::from(n)).into()
        } else {
            Ipv4Addr::from(0x0a30_0000 + n).into()
        };
        ServerKey { addr, port: 80 }
    }

    /// A frame, in which the wrapper writes whose it is.
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

pub struct Bench {
    floors: Object,
}

fn words(addr: IpAddr) -> [u8; 16] {
    let mut out = [0; 16];
    match addr {
        IpAddr::V4(a) => out[..4].copy_from_slice(&a.octets()),
        IpAddr::V6(a) => out = a.octets(),
    }
    out
}

impl Bench {
    pub fn new() -> Result<Bench> {
        let floors = ObjectBuilder::default().name("floors")?.open_memory(FLOORS)?.load()?;
        let b = Bench { floors };
        let vip: [u8; 4] = words(VIP[0])[..4].try_into()?;
        for protocol in [6u8, 17] {
            let key = [&vip[..], &80u16.to_be_bytes(), &[protocol, 0]].concat();
            b.map("kernel_services")?.update(&key, &1u32.to_ne_bytes(), MapFlags::ANY)?;
            // As line_dest() looks for it.
            let named = u32::from(80u16.to_be()) | u32::from(protocol) << 16 | 1 << 24;
            let at = (u32::from_ne_bytes(vip).wrapping_mul(0x9e37_79b1) ^ named).wrapping_mul(0x85eb_ca6b) >> 24;
            let service = [vip, named.to_ne_bytes(), 1u32.to_ne_bytes(), [0; 4]].concat();
            b.map("line_services")?.update(&at.to_ne_bytes(), &service, MapFlags::ANY)?;
        }
        Ok(b)
    }

    fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>> {
        self.floors.maps().find(|m| m.name() == OsStr::new(name)).with_context(|| format!("map {name}"))
    }

    /// A floor.
    pub fn fd(&self, name: &str) -> Result<i32> {
        let p =
            self.floors.progs().find(|p| p.name() == OsStr::new(name)).with_context(|| format!("program {name}"))?;
        Ok(p.as_fd().as_raw_fd())
    }

    /// Mean nanoseconds of one run of a program behind the wrapper, `repeat` of them: packets of so many flows, from the
    /// `first` on, TCP's with these flags.
    pub fn once(&self, kind: Kind, program: i32, (flows, flags): (u32, u32), first: u64, repeat: u32) -> Result<f64> {
        self.map("under_test")?.update(&0u32.to_ne_bytes(), &program.to_ne_bytes(), MapFlags::ANY)?;
        let mut plan = first.to_ne_bytes().to_vec();
        plan.extend(flows.to_ne_bytes());
        plan.extend(flags.to_ne_bytes());
        plan.extend(words(VIP[usize::from(kind.v6)]));
        plan.extend(if kind.answers { words(kind.server(0).addr) } else { [0; 16] });
        self.map("plan")?.update(&0u32.to_ne_bytes(), &plan, MapFlags::ANY)?;
        let name = if kind.v6 { "wrap6" } else { "wrap" };
        let wrap = self.floors.progs_mut().find(|p| p.name() == OsStr::new(name)).context("the wrapper")?;
        let mut out = vec![0; 256];
        let frame = kind.frame();
        let input = ProgramInput { data_in: Some(&frame), data_out: Some(&mut out), repeat, ..Default::default() };
        let done = wrap.test_run(input)?;
        match done.return_value {
            XDP_TX | XDP_REDIRECT => {}
            XDP_PASS if kind.foreign => {}
            other => bail!("verdict {other} of a program that should have forwarded"),
        }
        Ok(done.duration.as_nanos() as f64)
    }
}

pub fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

/// How packets are forwarded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Dr,
    Nat,
    Tun,
}

impl Way {
    fn method(self) -> ForwardingMethod {
        match self {
            Way::Dr => ForwardingMethod::Dr,
            Way::Nat => ForwardingMethod::Nat,
            Way::Tun => ForwardingMethod::Tun(Tunnel::default()),
        }
    }
}

/// The packet path with a service of so many servers, and its program; the table has so many places.
pub fn plane(kind: Kind, way: Way, spec: ServiceSpec, servers: u32, places: u32) -> Result<(XdpPlane, i32)> {
    let dir = PathBuf::from(format!("/sys/fs/bpf/evenkeel/bench-{}", std::process::id()));
    // What an earlier row has left is not to be taken over.
    let _ = std::fs::remove_dir_all(&dir);
    let mut plane = XdpPlane::load(&dir, places)?;
    plane.packet_path.record_test_device();
    let key = kind.service();
    let mut steps = vec![Step::AddService(key, spec)];
    for n in 0..servers {
        let weight = Weight::new(1).context("a weight")?;
        let spec = DestSpec { weight, method: way.method(), u_threshold: 0, l_threshold: 0 };
        steps.push(Step::AddDest(key, kind.server(n), spec));
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
