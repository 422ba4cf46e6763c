//! The veth network for live frames: a source, a director and a sink, the programs that send and count frames, and
//! attachment of XDP programs.
//!
//! ```text
//!   gen: g0 ==veth== eth0 :d: s0 ==veth== s1 :sink
//! ```
//!
//! The source is the kernel's test-run facility with live frames (BPF_F_TEST_XDP_LIVE_FRAMES); its programs are in
//! benches/bpf/source.bpf.c.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use evenkeel_testkit::lan::Lan;
use libbpf_rs::libbpf_sys as raw;
use libbpf_rs::{MapCore, MapFlags, Object, ObjectBuilder};

const SOURCE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/source.bpf.o"));
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
const FIRST_CLIENT: u32 = 0x0a64_0000;
/// Neighbours 10.2.0.11 and following behind `s0`, all at the sink's hardware address.
pub const SINK_SERVERS: u8 = 4;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
/// Bytes of a frame that the source sends.
pub const FRAME_LEN: usize = 14 + 46;

/// A frame to port 80 of [`VIP`]: TCP with these flags, or UDP. The source program writes the client's address, and
/// restores what the last user of the frame's memory may have changed.
pub fn frame_template(protocol: u8, tcp_flags: u8) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 1, 1]);
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, protocol]);
    frame[30..34].copy_from_slice(&VIP.octets());
    frame[34..38].copy_from_slice(&[0x0f, 0xa0, 0, 80]);
    match protocol {
        UDP => frame[38..40].copy_from_slice(&[0, 26]),
        _ => frame[46..48].copy_from_slice(&[0x50, tcp_flags]),
    }
    frame
}

/// Loads the source, the sink and a program that passes every frame.
pub fn load_programs() -> Result<Object> {
    Ok(ObjectBuilder::default().name("source")?.open_memory(SOURCE)?.load()?)
}

/// The descriptor of a program of an object.
pub fn program_fd(object: &Object, name: &str) -> Result<i32> {
    let found = object.progs().find(|p| p.name() == OsStr::new(name)).with_context(|| format!("program {name}"))?;
    Ok(found.as_fd().as_raw_fd())
}

/// An XDP program in driver mode. It is detached when the value is dropped.
pub struct XdpLink(#[allow(dead_code, reason = "closing it detaches the program")] std::os::fd::OwnedFd);

/// Attaches a program to a device of a host, in driver mode.
pub fn attach_xdp(lan: &Lan, host: &str, dev: &str, program: i32) -> Result<XdpLink> {
    let dev = dev.to_owned();
    lan.run_in(host, move || {
        let index = nix::net::if_::if_nametoindex(dev.as_str())?;
        let opts = raw::bpf_link_create_opts {
            sz: size_of::<raw::bpf_link_create_opts>() as _,
            flags: raw::XDP_FLAGS_DRV_MODE,
            ..Default::default()
        };
        // SAFETY: a valid program and device number, options of their true size.
        let fd = unsafe { raw::bpf_link_create(program, index as i32, raw::BPF_XDP, &opts) };
        ensure!(fd >= 0, "attach to {dev}: {fd}");
        // SAFETY: a descriptor that was just made.
        Ok(XdpLink(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }))
    })?
}

/// Live frames to send.
#[derive(Clone, Copy)]
pub struct Frames {
    /// Its destination is a hardware address of the director.
    pub template: [u8; FRAME_LEN],
    /// Clients in turn; 0: a new client for each frame.
    pub flows: u32,
    /// Number of the first client.
    pub first: u32,
    pub count: u32,
}

/// The three hosts, and the programs.
pub struct VethNetwork {
    pub lan: Lan,
    programs: Object,
}

impl VethNetwork {
    pub fn new() -> Result<VethNetwork> {
        let mut lan = Lan::new(&std::env::temp_dir().join("evenkeel-instructions"))?;
        for host in ["gen", "d", "sink"] {
            lan.add_host(host)?;
        }
        lan.add_link(("gen", "g0"), ("d", "eth0"))?;
        lan.add_link(("d", "s0"), ("sink", "s1"))?;
        for (host, dev, mac) in
            [("gen", "g0", "01:01"), ("d", "eth0", "01:02"), ("d", "s0", "02:01"), ("sink", "s1", "02:02")]
        {
            lan.ip(host, &format!("link set {dev} address 02:00:00:00:{mac}"))?;
            // Without GRO veth takes no frames from XDP. With TSO frames of the stack would bypass the sink's program.
            for feature in [["gro", "on"], ["tso", "off"]] {
                let mut ethtool = lan.command(host, Path::new("ethtool"));
                let done = ethtool.args(["-K", dev]).args(feature).stdout(Stdio::null()).status()?;
                ensure!(done.success(), "ethtool -K {dev} {}", feature.join(" "));
            }
        }
        lan.ip("d", "addr add 10.1.0.1/16 dev eth0")?;
        lan.ip("d", "addr add 10.2.0.1/24 dev s0")?;
        lan.ip("d", &format!("addr add {VIP}/32 dev lo"))?;
        lan.ip("d", "route add default dev eth0")?;
        for n in 1..=SINK_SERVERS {
            lan.ip("d", &format!("neigh add 10.2.0.1{n} lladdr 02:00:00:00:02:02 dev s0"))?;
        }
        for (path, value) in [("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/eth0/rp_filter", "0")] {
            lan.sysctl("d", &format!("net/ipv4/{path}"), value)?;
        }
        Ok(VethNetwork { lan, programs: load_programs()? })
    }

    pub fn program_fd(&self, name: &str) -> Result<i32> {
        program_fd(&self.programs, name)
    }

    /// Attaches a program to a device of one of the hosts.
    pub fn attach_xdp(&self, host: &str, dev: &str, program: i32) -> Result<XdpLink> {
        attach_xdp(&self.lan, host, dev, program)
    }

    fn write_map(&self, name: &str, value: &[u8]) -> Result<()> {
        let map = self.programs.maps().find(|m| m.name() == OsStr::new(name)).context("a map")?;
        Ok(map.update(&0u32.to_ne_bytes(), value, MapFlags::ANY)?)
    }

    /// Frames that the sink has received so far.
    pub fn received_frames(&self) -> Result<u64> {
        let map = self.programs.maps().find(|m| m.name() == OsStr::new("received")).context("a map")?;
        let value = map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY)?.context("an element")?;
        Ok(u64::from_ne_bytes(value.as_slice().try_into()?))
    }

    /// Sends frames from `gen`. Returns nanoseconds.
    pub fn send_over_veth(&self, frames: Frames) -> Result<f64> {
        self.run_source(("gen", "g0", "source"), frames)
    }

    /// Passes frames to a program as if the director's `eth0` had received them. Returns nanoseconds.
    pub fn send_to_program(&self, program: i32, frames: Frames) -> Result<f64> {
        self.write_map("next_program", &program.to_ne_bytes())?;
        self.run_source(("d", "eth0", "hand"), frames)
    }

    fn run_source(&self, (host, dev, program): (&str, &str, &str), frames: Frames) -> Result<f64> {
        let (program, dev) = (self.program_fd(program)?, dev.to_owned());
        let index = self.lan.run_in(host, move || nix::net::if_::if_nametoindex(dev.as_str()))??;
        let order = [frames.flows, FIRST_CLIENT + frames.first, index, 0];
        self.write_map("source_config", &order.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>())?;
        self.lan.run_in(host, move || {
            let frame = frames.template;
            let ctx = raw::xdp_md { data_end: FRAME_LEN as u32, ingress_ifindex: index, ..Default::default() };
            let mut opts = raw::bpf_test_run_opts {
                sz: size_of::<raw::bpf_test_run_opts>() as _,
                data_in: frame.as_ptr().cast(),
                data_size_in: frame.len() as u32,
                ctx_in: (&raw const ctx).cast(),
                ctx_size_in: size_of::<raw::xdp_md>() as u32,
                repeat: frames.count as i32,
                flags: raw::BPF_F_TEST_XDP_LIVE_FRAMES,
                batch_size: 64,
                ..Default::default()
            };
            let started = Instant::now();
            // SAFETY: a valid program, options of their true size, whose frame lives through the call.
            let ret = unsafe { raw::bpf_prog_test_run_opts(program, &mut opts) };
            ensure!(ret == 0, "run the source program: {ret}");
            Ok(started.elapsed().as_nanos() as f64)
        })?
    }
}
