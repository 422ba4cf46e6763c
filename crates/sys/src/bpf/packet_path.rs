//! Loading the program, or adopting what an earlier daemon left pinned.

use std::fs;
use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libbpf_rs::{MapCore, MapHandle};

use super::abi::*;
use super::mmap::{MappedArray, is_static_map};
use super::object::{BpfObject, PINNED_MAPS, bpf_error};
use super::service_table::EndpointTable;
use crate::{Context, Error, Result, clock};

pub(super) const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/evenkeel.bpf.o"));
/// Entries of a connection table whose size nobody has chosen: 32 MiB.
pub const DEFAULT_CONNS: u32 = 1 << 20;
/// One pass of the sweep over the whole table is made in this many turns, this far apart: a second.
const EXPIRY_TURNS: u32 = 16;
const EXPIRY_TURN_INTERVAL: Duration = Duration::from_micros(62_500);

/// ip_vs_proto_tcp.c, tcp_timeouts[]: seconds, by state.
const TCP_TIMEOUTS_S: [u32; TCP_STATES as usize] = {
    let mut t = [0; TCP_STATES as usize];
    t[TCP_NONE as usize] = 2;
    t[TCP_ESTABLISHED as usize] = 15 * 60;
    t[TCP_SYN_SENT as usize] = 2 * 60;
    t[TCP_SYN_RECV as usize] = 60;
    t[TCP_FIN_WAIT as usize] = 2 * 60;
    t[TCP_TIME_WAIT as usize] = 2 * 60;
    t[TCP_CLOSE as usize] = 10;
    t[TCP_CLOSE_WAIT as usize] = 60;
    t[TCP_LAST_ACK as usize] = 30;
    t[TCP_LISTEN as usize] = 2 * 60;
    t[TCP_SYNACK as usize] = 120;
    t
};
/// ip_vs_proto_sctp.c, sctp_timeouts[]: seconds, by state.
const SCTP_TIMEOUTS_S: [u32; SCTP_STATES as usize] = {
    let mut t = [60; SCTP_STATES as usize];
    t[SCTP_NONE as usize] = 2;
    t[SCTP_INIT1 as usize] = 4;
    t[SCTP_ESTABLISHED as usize] = 15 * 60;
    t[SCTP_REJECTED as usize] = 4;
    t
};
/// ip_vs_proto_udp.c, udp_timeouts[].
const UDP_TIMEOUT_S: u32 = 5 * 60;
/// How long the later pieces of a packet are waited for: the kernel's ipfrag_time.
const FRAGMENT_TIMEOUT_S: u32 = 30;
/// The sysctls lblc_expiration and lblcr_expiration.
const LBLC_EXPIRATION_S: u32 = 24 * 60 * 60;
/// ICMP errors of the packet path's own, a second and CPU.
const ICMP_ERROR_LIMIT: u32 = 1000;
/// ip_vs_conn_expire(): what still controls others lives on so long.
const CONTROL_REARM_S: u32 = 60;

/// The maps, mapped.
pub struct Maps {
    /// One element.
    pub settings: MappedArray<settings>,
    pub(super) service_table: EndpointTable,
    pub(super) nat_table: EndpointTable,
    pub(super) services: MappedArray<service>,
    pub(super) dests: MappedArray<dest>,
    pub(super) lists: MappedArray<u32>,
    pub(super) blocks: MappedArray<block>,
    pub(super) places: MappedArray<block_refs>,
    pub(super) conns: MappedArray<conn_line>,
    pub(super) recent: MappedArray<flow_cache_line>,
    pub(super) devices: MappedArray<device>,
    pub(super) members: MapHandle,
    pub(super) vlans: MapHandle,
    pub(super) service_stats: MapHandle,
    pub(super) dest_stats: MapHandle,
    pub(super) reasons: MapHandle,
}

/// The program in the kernel, and its maps.
pub struct PacketPath {
    program: BpfObject,
    /// Its maps.
    pub maps: Arc<Maps>,
    /// They were there already, with their state.
    pub reused_maps: bool,
    /// Where they are pinned.
    pub dir: PathBuf,
}

fn open_map<T: Copy>(dir: &Path, name: &str, write: bool) -> Result<MappedArray<T>> {
    let path = dir.join(name);
    let map = MapHandle::from_pinned_path(&path).map_err(|e| bpf_error(format!("open {}", path.display()), e))?;
    let (value, entries) = (map.value_size() as usize, map.max_entries() as usize);
    let table = is_static_map(&map);
    let len = if table { value / size_of::<T>() } else { entries };
    if len == 0 || value * entries != size_of::<T>() * len {
        let why = format!("it has {entries} elements of {value} bytes, this version's have {}", size_of::<T>());
        return Err(Error::new(format!("open {}", path.display()), why));
    }
    MappedArray::new(map.as_fd(), len, table, write)
}

impl Maps {
    /// Opens pinned maps, to look at (`write` false) or to change. No daemon is needed.
    pub fn open(dir: &Path, write: bool) -> Result<Maps> {
        let handle = |name: &str| {
            let path = dir.join(name);
            MapHandle::from_pinned_path(&path).map_err(|e| bpf_error(format!("open {}", path.display()), e))
        };
        let settings: MappedArray<settings> = open_map(dir, "settings", write)?;
        let abi = settings.read(0).abi;
        if abi != EK_ABI {
            let why = format!("they are of layout {abi}, this version's is {EK_ABI}");
            return Err(Error::new(format!("use the maps in {}", dir.display()), why));
        }
        Ok(Maps {
            settings,
            service_table: EndpointTable::new(open_map(dir, "endpoints", write)?, EK_SERVICE_PROBES),
            nat_table: EndpointTable::new(open_map(dir, "nat_dests", write)?, EK_NAT_PROBES),
            services: open_map(dir, "services", write)?,
            dests: open_map(dir, "dests", write)?,
            lists: open_map(dir, "lists", write)?,
            blocks: open_map(dir, "blocks", write)?,
            places: open_map(dir, "block_refs", write)?,
            conns: open_map(dir, "conns", write)?,
            recent: open_map(dir, "flow_cache", write)?,
            devices: open_map(dir, "devices", write)?,
            members: handle("mark_rules")?,
            vlans: handle("vlans")?,
            service_stats: handle("service_stats")?,
            dest_stats: handle("dest_stats")?,
            reasons: handle("packet_counters")?,
        })
    }

    /// Jiffies now, cut to 32 bits, by the calibration in the settings.
    pub fn jiffies(&self) -> u32 {
        self.jiffies64() as u32
    }

    /// All of them, as the program sees them too.
    pub fn jiffies64(&self) -> u64 {
        let s = self.settings.read(0);
        let passed = u128::from(clock::monotonic_ns().saturating_sub(s.clock_ns));
        s.clock_jiffies.wrapping_add((passed * u128::from(s.hz) / 1_000_000_000) as u64)
    }

    /// Jiffies in a second.
    pub fn hz(&self) -> u32 {
        self.settings.read(0).hz.max(1)
    }

    /// So many jiffies are these seconds; no more than times that are compared by their difference can be apart.
    pub(super) fn seconds_to_jiffies(&self, seconds: u32) -> u32 {
        seconds.saturating_mul(self.hz()).min(i32::MAX as u32 / 2)
    }

    /// How long idle connections live, seconds: TCP, TCP after a FIN, UDP.
    pub fn timeouts(&self) -> (u32, u32, u32) {
        let (s, hz) = (self.settings.read(0), self.hz());
        let tcp = |state: u32| s.timeout_tcp[state as usize] / hz;
        (tcp(TCP_ESTABLISHED), tcp(TCP_FIN_WAIT), s.timeout_udp / hz)
    }

    /// Entries that the connection table can hold.
    pub fn conn_capacity(&self) -> u64 {
        self.conns.len() as u64 * 2
    }
}

impl PacketPath {
    /// Loads the program with its maps pinned in `dir`. Maps that are pinned there already are taken over with every service
    /// and connection in them, see [`Program::load`].
    ///
    /// `conn_entries` is the size of a new connection table (a power of two, at least 1024).
    pub fn load(dir: &Path, conn_entries: u32) -> Result<PacketPath> {
        Self::load_without_programs(dir, conn_entries, &[])
    }

    /// The same without programs of these names.
    pub fn load_without_programs(dir: &Path, conn_entries: u32, without: &[&str]) -> Result<PacketPath> {
        let (program, adopted) = BpfObject::load(OBJECT, (EK_ABI, EK_OLDEST_ABI), dir, conn_entries, without)?;
        let maps = Arc::new(Maps::open(dir, true)?);
        let loaded = PacketPath { program, maps, reused_maps: adopted, dir: dir.to_owned() };
        loaded.write_settings()?;
        loaded.start_expiry_timer()?;
        Ok(loaded)
    }

    /// Starts the timer that frees expired connections, or takes it over.
    ///
    /// Newer kernels allocate a timer without waiting for anything (bpf_timer_init() by kmalloc_nolock(), Linux 6.18), which
    /// fails now and then on a busy machine, and then for a moment only.
    fn start_expiry_timer(&self) -> Result<()> {
        const XDP_PASS: u32 = 2;
        let mut answer = XDP_PASS;
        for _ in 0..100 {
            answer = self.test_run("evenkeel_start_expiry", &[0; 64])?.0;
            if answer == XDP_PASS {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(Error::new("start the sweep of the connection table", format!("the program answered {answer}")))
    }

    fn write_settings(&self) -> Result<()> {
        let (j0, t0) = self.read_kernel_clocks()?;
        let mut s = self.maps.settings.read(0);
        if !self.reused_maps {
            std::thread::sleep(Duration::from_millis(100));
            let (j1, t1) = self.read_kernel_clocks()?;
            let measured = (j1 - j0) as f64 * 1e9 / (t1 - t0).max(1) as f64;
            // The values that CONFIG_HZ can have.
            let nearest =
                [100u32, 250, 300, 1000].into_iter().min_by_key(|&hz| (f64::from(hz) - measured).abs() as u64);
            s.hz = nearest.unwrap_or(250);
            let mut secret = [0u8; 16];
            fs::File::open("/dev/urandom")
                .and_then(|mut f| io::Read::read_exact(&mut f, &mut secret))
                .context(|| "read /dev/urandom".into())?;
            let (a, b) = secret.split_at(8);
            s.secret = [a, b].map(|h| u64::from_ne_bytes(h.try_into().unwrap_or_default()));
            for (to, seconds) in s.timeout_tcp.iter_mut().zip(TCP_TIMEOUTS_S) {
                *to = seconds * s.hz;
            }
            for (to, seconds) in s.timeout_sctp.iter_mut().zip(SCTP_TIMEOUTS_S) {
                *to = seconds * s.hz;
            }
            s.timeout_udp = UDP_TIMEOUT_S * s.hz;
            s.timeout_fragment = FRAGMENT_TIMEOUT_S * s.hz;
            s.lblc_expiration = LBLC_EXPIRATION_S * s.hz;
            s.lblcr_expiration = LBLC_EXPIRATION_S * s.hz;
            s.conn_reuse_mode = 1;
        }
        s.abi = EK_ABI;
        s.conn_mask = self.maps.conns.len() as u32 - 1;
        s.control_rearm = CONTROL_REARM_S * s.hz;
        s.grace = s.hz / 10;
        s.no_dest = u32::MAX;
        s.error_limit = ICMP_ERROR_LIMIT;
        s.second_shift = s.hz.next_power_of_two().ilog2();
        s.epoch_shift = s.second_shift + 2;
        s.flow_cache_bits = self.maps.recent.len().ilog2();
        s.flow_cache_mask = self.maps.recent.len() as u32 - 1;
        s.expire_lines = (self.maps.conns.len() as u32).div_ceil(EXPIRY_TURNS);
        s.expire_interval_ns = EXPIRY_TURN_INTERVAL.as_nanos() as u64;
        (s.clock_jiffies, s.clock_ns) = (j0, t0);
        self.maps.settings.write(0, s);
        Ok(())
    }

    /// Jiffies and CLOCK_MONOTONIC at one moment, as the kernel has them.
    fn read_kernel_clocks(&self) -> Result<(u64, u64)> {
        let (_, out) = self.test_run("evenkeel_read_clocks", &[0; 64])?;
        let word = |i: usize| out.get(i..i + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes);
        Ok((word(0), word(8)))
    }

    /// Removes every pin. What is not attached any more is freed by the kernel.
    pub fn unpin(&self) {
        for name in PINNED_MAPS {
            let _ = fs::remove_file(self.dir.join(name));
        }
        let _ = fs::remove_dir(&self.dir);
    }
}

impl Deref for PacketPath {
    type Target = BpfObject;

    fn deref(&self) -> &BpfObject {
        &self.program
    }
}
