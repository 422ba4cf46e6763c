//! The programs in the kernel: loaded with maps of their own, or with those that others have left.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Mutex;

use libbpf_rs::{MapCore, MapFlags, Object, ObjectBuilder, PrintLevel, ProgramInput, set_print};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::abi::EK_FLOW_CACHE_MIN_LINES;
use super::migrate::{MapSource, PinnedMaps, install_map};
use crate::{Context, Error, Result};

/// Every map, by its name in the program and in the pin directory.
pub(super) const PINNED_MAPS: &[&str] = &[
    "settings",
    "endpoints",
    "nat_dests",
    "mark_rules",
    "reply_routes",
    "route_cache",
    "flow_classes",
    "services",
    "dests",
    "lists",
    "blocks",
    "block_refs",
    "conns",
    "conn_overflow",
    "flow_cache",
    "devices",
    "vlans",
    "service_stats",
    "dest_stats",
    "packet_counters",
    "expiry",
];

/// A map's name without the section's that a table of fixed size is (TABLE in bpf/maps.h).
fn map_name(name: &OsStr) -> &str {
    let name = name.to_str().unwrap_or_default();
    name.strip_prefix(".bss.").unwrap_or(name)
}

/// As it stands in [`MAPS`].
fn pinned_name(name: &OsStr) -> Option<&'static str> {
    PINNED_MAPS.iter().find(|m| **m == map_name(name)).copied()
}

/// An instruction of a program (RFC 9669).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// What it does.
    pub code: u8,
    /// The register that it writes.
    pub dst: u8,
    /// The register that it reads, or what `imm` is.
    pub src: u8,
    /// Added to an address, or how far it jumps.
    pub off: i16,
    /// A number.
    pub imm: i32,
}

/// The programs of an object, loaded.
pub struct BpfObject {
    object: Object,
}

/// Why the verifier refused a program last.
static LAST_REJECTION: Mutex<Option<String>> = Mutex::new(None);

/// The line of the verifier's log that says what is wrong; it is the last one but for the counts.
fn rejection_reason(log: &str) -> Option<String> {
    let (_, log) = log.split_once("-- BEGIN PROG LOAD LOG --")?;
    let (log, _) = log.split_once("-- END PROG LOAD LOG --").unwrap_or((log, ""));
    let mut said = log.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("processed "));
    said.next_back().map(str::to_owned)
}

/// What libbpf has to say goes into our log, and not to the terminal.
pub(super) fn redirect_libbpf_log() {
    set_print(Some((PrintLevel::Debug, |level, line| {
        let line = line.trim_end();
        match level {
            // What fails comes back as an error with an explanation of ours.
            PrintLevel::Warn => {
                if let Some(short) = rejection_reason(line)
                    && let Ok(mut kept) = LAST_REJECTION.lock()
                {
                    *kept = Some(short);
                }
                tracing::debug!(target: "libbpf", "{line}");
            }
            _ => tracing::trace!(target: "libbpf", "{line}"),
        }
    })));
}

pub(super) fn bpf_error(what: String, e: libbpf_rs::Error) -> Error {
    let errno = match e.kind() {
        libbpf_rs::ErrorKind::PermissionDenied => Some(libc::EPERM),
        _ => None,
    };
    let text = format!("{e:#}");
    let error = Error {
        operation: what,
        source: errno.map_or_else(|| io::Error::other(text), io::Error::from_raw_os_error),
        hint: None,
    };
    if errno.is_some() { error.with_hint("it needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON") } else { error }
}

/// Makes sure that the BPF file system is there, as `tc` and `bpftool` do.
pub(super) fn mount_bpffs(dir: &Path) -> Result<()> {
    let root = Path::new("/sys/fs/bpf");
    if dir.starts_with(root) && statfs(root).is_ok_and(|s| s.filesystem_type() != BPF_FS_MAGIC) {
        mount(Some("bpf"), root, Some("bpf"), MsFlags::empty(), None::<&str>)
            .context(|| format!("mount the BPF file system on {}", root.display()))?;
    }
    fs::create_dir_all(dir).context(|| format!("create {}", dir.display()))
}

impl BpfObject {
    /// Loads an object whose maps' layout has this number; the second one is the oldest layout whose meaning is the same.
    /// Maps that are pinned in `dir` are used as they are if they are of its layout, rewritten if they are of an older one
    /// that means the same, and else replaced by empty ones. The second value: is anything taken over?
    ///
    /// `conn_entries` is the size of a new connection table (a power of two, at least 1024). Programs named in `without` are
    /// not loaded, for who does not attach them: the verifier takes its time with each.
    pub fn load(
        object: &[u8],
        (abi, oldest): (u32, u32),
        dir: &Path,
        conn_entries: u32,
        without: &[&str],
    ) -> Result<(BpfObject, bool)> {
        redirect_libbpf_log();
        mount_bpffs(dir)?;
        let mut heritage = match PinnedMaps::open(dir, object, abi, oldest) {
            Ok(found) => found,
            Err(e) => {
                tracing::warn!("starting with an empty table: {e}");
                None
            }
        };
        let there = heritage.as_ref().and_then(|h| h.max_entries("conns"));
        let lines = there.unwrap_or_else(|| (conn_entries.next_power_of_two() / 2).max(512));
        let mut open = ObjectBuilder::default()
            .name("evenkeel")
            .and_then(|b| b.open_memory(object))
            .map_err(|e| bpf_error("read the packet path's object".into(), e))?;
        let mut hows: BTreeMap<&str, MapSource> = BTreeMap::new();
        for mut map in open.maps_mut() {
            let Some(name) = pinned_name(map.name()) else { continue };
            let how = heritage.as_mut().map_or(MapSource::Empty, |h| h.take_source(name, &map));
            let done = match (&how, name) {
                (MapSource::Reuse, _) => map.reuse_pinned_map(dir.join(name)),
                (_, "conns") => map.set_max_entries(lines),
                (_, "conn_overflow") => map.set_max_entries(lines.div_ceil(64)),
                (_, "flow_cache") => map.set_max_entries((lines / 8).max(EK_FLOW_CACHE_MIN_LINES)),
                _ => Ok(()),
            };
            done.map_err(|e| bpf_error(format!("prepare map {name}"), e))?;
            hows.insert(name, how);
        }
        for mut program in open.progs_mut() {
            let wanted = !without.iter().any(|n| program.name() == OsStr::new(n));
            program.set_autoload(wanted);
        }
        if let Ok(mut kept) = LAST_REJECTION.lock() {
            *kept = None;
        }
        let mut object =
            open.load().map_err(|e| match LAST_REJECTION.lock().ok().and_then(|mut kept| kept.take()) {
                Some(short) => Error::new("load the packet path", format!("the kernel's verifier refuses it: {short}"))
                    .with_hint("`evenkeeld -D` logs all that it says; please report it, with the kernel's version"),
                None => {
                    let e = bpf_error("load the packet path".into(), e);
                    if e.errno() == Some(libc::EPERM) {
                        e
                    } else {
                        e.with_hint("it needs Linux 6.1 or newer with BPF and BTF")
                    }
                }
            })?;
        // The settings come last: their number makes the other maps usable.
        let mut maps: Vec<_> = object.maps_mut().collect();
        maps.sort_by_key(|m| map_name(m.name()) == "settings");
        for mut map in maps {
            if let Some((name, how)) = pinned_name(map.name()).and_then(|n| hows.get_key_value(n)) {
                install_map(dir, name, &mut map, how, abi)?;
            }
        }
        // Maps of another version that this one does not have.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !PINNED_MAPS.contains(&name.as_str()) && !name.starts_with("link-") {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok((BpfObject { object }, heritage.is_some()))
    }

    /// Runs one of the programs on a frame by the kernel's test-run facility: its verdict, and what became of the frame.
    pub fn test_run(&self, program: &str, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        self.test_run_repeat(program, frame, 1).map(|(code, out, _)| (code, out))
    }

    /// As [`Program::run`] of a tc program, for a packet with a firewall mark.
    pub fn test_run_marked(&self, program: &str, frame: &[u8], mark: u32) -> Result<(u32, Vec<u8>)> {
        // struct __sk_buff, of which tests may set some: its third word is the mark.
        let mut context = [0u8; 192];
        context[8..12].copy_from_slice(&mark.to_ne_bytes());
        self.test_run_with(program, frame, 1, Some(&mut context)).map(|(code, out, _)| (code, out))
    }

    /// As [`Program::run`], many times; the third value is the mean duration of one run in nanoseconds.
    pub fn test_run_repeat(&self, program: &str, frame: &[u8], repeat: u32) -> Result<(u32, Vec<u8>, u64)> {
        self.test_run_with(program, frame, repeat, None)
    }

    fn test_run_with(
        &self,
        program: &str,
        frame: &[u8],
        repeat: u32,
        context: Option<&mut [u8]>,
    ) -> Result<(u32, Vec<u8>, u64)> {
        let what = || format!("run {program}");
        let prog = self.object.progs_mut().find(|p| p.name() == OsStr::new(program));
        let prog = prog.ok_or_else(|| Error::new(what(), "there is no such program"))?;
        let mut out = vec![0; frame.len() + 256];
        let (data_in, data_out, context_in) = (Some(frame), Some(&mut out[..]), context);
        let input = ProgramInput { data_in, data_out, context_in, repeat, ..Default::default() };
        let done = prog.test_run(input).map_err(|e| bpf_error(what(), e))?;
        let (code, ns) = (done.return_value, done.duration.as_nanos() as u64);
        let len = done.data.map_or(0, |d| d.len());
        out.truncate(len);
        Ok((code, out, ns))
    }

    /// How many instructions the kernel's verifier looked at before it took a program; of a million that it would.
    pub fn verified_instructions(&self, program: &str) -> Result<u32> {
        let fd = self.program_fd(program)?;
        let mut info = libbpf_rs::libbpf_sys::bpf_prog_info::default();
        let mut len = size_of_val(&info) as u32;
        let raw = std::os::fd::AsRawFd::as_raw_fd(&fd);
        // SAFETY: a valid descriptor, and a structure of the length that is said.
        let ret = unsafe { libbpf_rs::libbpf_sys::bpf_prog_get_info_by_fd(raw, &mut info, &mut len) };
        if ret != 0 {
            return Err(io::Error::from_raw_os_error(-ret)).context(|| format!("ask about program {program}"));
        }
        Ok(info.verified_insns)
    }

    /// A program's instructions as they were handed to the kernel: linked, with what it calls behind it.
    pub fn instructions(&self, program: &str) -> Vec<Instruction> {
        let prog = self.object.progs().find(|p| p.name() == OsStr::new(program));
        let all = prog.iter().flat_map(|p| p.insns());
        all.map(|i| Instruction { code: i.code, dst: i.dst_reg(), src: i.src_reg(), off: i.off, imm: i.imm }).collect()
    }

    /// The map that an instruction names by its descriptor: its name, and the length of its keys.
    pub fn map_by_fd(&self, fd: i32) -> Option<(String, usize)> {
        let m = self.object.maps().find(|m| std::os::fd::AsRawFd::as_raw_fd(&m.as_fd()) == fd)?;
        Some((map_name(m.name()).to_owned(), m.key_size() as usize))
    }

    /// What stands under a key of a map, on the first processor if each has its own.
    pub fn lookup_value(&self, map: &str, key: &[u8]) -> Option<Vec<u8>> {
        let m = self.object.maps().find(|m| map_name(m.name()) == map)?;
        if m.map_type() == libbpf_rs::MapType::PercpuArray {
            return m.lookup_percpu(key, MapFlags::ANY).ok()??.into_iter().next();
        }
        m.lookup(key, MapFlags::ANY).ok()?
    }

    /// A program's file descriptor.
    pub(super) fn program_fd(&self, name: &str) -> Result<BorrowedFd<'_>> {
        let prog = self.object.progs().find(|p| p.name() == OsStr::new(name));
        // SAFETY: the descriptor belongs to `object`, which lives as long as the borrow.
        prog.map(|p| unsafe { BorrowedFd::borrow_raw(std::os::fd::AsRawFd::as_raw_fd(&p.as_fd())) })
            .ok_or_else(|| Error::new(format!("find program {name}"), "there is no such program"))
    }

    /// The XDP program's descriptor number, valid as long as this value; for a tail call of a benchmark.
    pub fn xdp_program_fd(&self) -> Result<i32> {
        self.program_fd("evenkeel_xdp").map(|fd| std::os::fd::AsRawFd::as_raw_fd(&fd))
    }
}
