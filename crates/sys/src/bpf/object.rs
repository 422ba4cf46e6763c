//! The BPF object: its programs loaded into the kernel, with new maps or with the maps that an earlier process pinned.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use libbpf_rs::{MapCore, MapFlags, Object, ObjectBuilder, OpenObject, ProgramInput};

use super::abi::EK_FLOW_CACHE_MIN_LINES;
use super::bpf_link::pin_object;
use super::libbpf::{bpf_error, redirect_libbpf_log, take_last_rejection};
use super::migrate::{MapSource, PinnedMaps, install_map};
use super::pins::{create_pin_dir, map_name, pinned_name, remove_unknown_maps};
use crate::{Context, Error, Result};

/// An instruction of a program (RFC 9669).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// The opcode.
    pub code: u8,
    /// The destination register.
    pub dst: u8,
    /// The source register, or the kind of the immediate value.
    pub src: u8,
    /// The offset of an address or a jump.
    pub off: i16,
    /// The immediate value.
    pub imm: i32,
}

/// A loaded object.
pub struct BpfObject {
    object: Object,
}

impl BpfObject {
    /// Loads an object whose maps have the layout `abi`. `oldest` is the oldest layout with the same meaning.
    ///
    /// A map that is pinned in `dir` is used if it has the object's layout. It is converted if it has an older layout,
    /// not older than `oldest`. Otherwise an empty map replaces it. The second returned value tells whether pinned maps
    /// were used or converted.
    ///
    /// `conn_entries` is the size of a new connection table: a power of two, at least 1024. Programs named in `without`
    /// are not loaded. Verifying a program takes a while, so callers that do not attach one leave it out.
    pub fn load(
        object: &[u8],
        (abi, oldest): (u32, u32),
        dir: &Path,
        conn_entries: u32,
        without: &[&str],
    ) -> Result<(BpfObject, bool)> {
        redirect_libbpf_log();
        create_pin_dir(dir)?;
        let mut pinned = PinnedMaps::open(dir, object, abi, oldest).unwrap_or_else(|e| {
            tracing::warn!("the packet path starts with empty maps: {e}");
            None
        });
        let reused = pinned.is_some();
        let mut open = ObjectBuilder::default()
            .name("evenkeel")
            .and_then(|b| b.open_memory(object))
            .map_err(|e| bpf_error("read the packet path's object file".into(), e))?;
        let sources = prepare_maps(&mut open, pinned.as_mut(), dir, conn_entries)?;
        for mut program in open.progs_mut() {
            let wanted = !without.iter().any(|n| program.name() == OsStr::new(n));
            program.set_autoload(wanted);
        }
        let _ = take_last_rejection();
        let mut object = open.load().map_err(load_error)?;
        // The settings are installed last: their layout number makes the other maps usable.
        let mut maps: Vec<_> = object.maps_mut().collect();
        maps.sort_by_key(|m| map_name(m.name()) == "settings");
        for mut map in maps {
            if let Some((name, source)) = pinned_name(map.name()).and_then(|n| sources.get_key_value(n)) {
                install_map(dir, name, &mut map, source, abi)?;
            }
        }
        remove_unknown_maps(dir);
        Ok((BpfObject { object }, reused))
    }

    /// Runs a program on a frame with BPF_PROG_TEST_RUN. Returns its return code and the resulting frame.
    pub fn test_run(&self, program: &str, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
        self.test_run_repeat(program, frame, 1).map(|(code, out, _)| (code, out))
    }

    /// As [`BpfObject::test_run`] of a tc program, for a packet with a firewall mark.
    pub fn test_run_marked(&self, program: &str, frame: &[u8], mark: u32) -> Result<(u32, Vec<u8>)> {
        // struct __sk_buff: its third word is the mark.
        let mut context = [0u8; 192];
        context[8..12].copy_from_slice(&mark.to_ne_bytes());
        self.test_run_with(program, frame, 1, Some(&mut context)).map(|(code, out, _)| (code, out))
    }

    /// As [`BpfObject::test_run`], `repeat` times. The third returned value is the mean duration of a run in
    /// nanoseconds.
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
        let operation = || format!("run program {program}");
        let prog = self.object.progs_mut().find(|p| p.name() == OsStr::new(program));
        let prog = prog.ok_or_else(|| Error::new(operation(), "there is no such program"))?;
        let mut out = vec![0; frame.len() + 256];
        let (data_in, data_out, context_in) = (Some(frame), Some(&mut out[..]), context);
        let input = ProgramInput { data_in, data_out, context_in, repeat, ..Default::default() };
        let done = prog.test_run(input).map_err(|e| bpf_error(operation(), e))?;
        let (code, ns) = (done.return_value, done.duration.as_nanos() as u64);
        let len = done.data.map_or(0, |d| d.len());
        out.truncate(len);
        Ok((code, out, ns))
    }

    /// The number of instructions that the verifier processed for a program. Its limit is one million.
    pub fn verified_instructions(&self, program: &str) -> Result<u32> {
        let fd = self.program_fd(program)?;
        let mut info = libbpf_rs::libbpf_sys::bpf_prog_info::default();
        let mut len = size_of_val(&info) as u32;
        // SAFETY: The descriptor is valid, and `len` is the size of `info`.
        let ret = unsafe { libbpf_rs::libbpf_sys::bpf_prog_get_info_by_fd(fd.as_raw_fd(), &mut info, &mut len) };
        if ret != 0 {
            return Err(io::Error::from_raw_os_error(-ret)).context(|| format!("read the state of program {program}"));
        }
        Ok(info.verified_insns)
    }

    /// The instructions of a program as loaded into the kernel: after linking, followed by the functions that it calls.
    pub fn instructions(&self, program: &str) -> Vec<Instruction> {
        let prog = self.object.progs().find(|p| p.name() == OsStr::new(program));
        let all = prog.iter().flat_map(|p| p.insns());
        all.map(|i| Instruction { code: i.code, dst: i.dst_reg(), src: i.src_reg(), off: i.off, imm: i.imm }).collect()
    }

    /// The name and the key size of the map with a file descriptor, as instructions refer to maps.
    pub fn map_by_fd(&self, fd: i32) -> Option<(String, usize)> {
        let m = self.object.maps().find(|m| m.as_fd().as_raw_fd() == fd)?;
        Some((map_name(m.name()).to_owned(), m.key_size() as usize))
    }

    /// The value of a key in a map; in a per-CPU map the value of the first CPU.
    pub fn lookup_value(&self, map: &str, key: &[u8]) -> Option<Vec<u8>> {
        let m = self.object.maps().find(|m| map_name(m.name()) == map)?;
        if m.map_type() == libbpf_rs::MapType::PercpuArray {
            return m.lookup_percpu(key, MapFlags::ANY).ok()??.into_iter().next();
        }
        m.lookup(key, MapFlags::ANY).ok()?
    }

    /// Pins the maps whose pins somebody has removed, and makes the pin directory again. Returns the names of the maps.
    pub fn restore_map_pins(&self, dir: &Path) -> Result<Vec<&'static str>> {
        let pinned = self.object.maps().filter_map(|m| pinned_name(m.name()).map(|name| (name, m)));
        let missing: Vec<_> = pinned.filter(|(name, _)| !dir.join(name).exists()).collect();
        if !missing.is_empty() {
            create_pin_dir(dir)?;
        }
        for (name, map) in &missing {
            pin_object(map.as_fd(), &dir.join(name))?;
        }
        Ok(missing.into_iter().map(|(name, _)| name).collect())
    }

    /// The file descriptor of a program.
    pub(super) fn program_fd(&self, name: &str) -> Result<BorrowedFd<'_>> {
        let prog = self.object.progs().find(|p| p.name() == OsStr::new(name));
        // SAFETY: The descriptor belongs to `object`, which lives at least as long as the borrow.
        prog.map(|p| unsafe { BorrowedFd::borrow_raw(p.as_fd().as_raw_fd()) })
            .ok_or_else(|| Error::new(format!("find program {name}"), "there is no such program"))
    }

    /// The file descriptor number of the XDP program, for a benchmark's tail call. It is valid as long as this value.
    pub fn xdp_program_fd(&self) -> Result<i32> {
        self.program_fd("evenkeel_xdp").map(|fd| fd.as_raw_fd())
    }
}

/// Decides for each map whether a pinned map is used, and sets the sizes of new maps.
fn prepare_maps(
    open: &mut OpenObject,
    mut pinned: Option<&mut PinnedMaps>,
    dir: &Path,
    conn_entries: u32,
) -> Result<BTreeMap<&'static str, MapSource>> {
    let pinned_lines = pinned.as_ref().and_then(|p| p.max_entries("conns"));
    let lines = pinned_lines.unwrap_or_else(|| (conn_entries.next_power_of_two() / 2).max(512));
    let mut sources = BTreeMap::new();
    for mut map in open.maps_mut() {
        let Some(name) = pinned_name(map.name()) else { continue };
        let source = pinned.as_mut().map_or(MapSource::Empty, |p| p.take_source(name, &map));
        let done = match (&source, name) {
            (MapSource::Reuse, _) => map.reuse_pinned_map(dir.join(name)),
            (_, "conns") => map.set_max_entries(lines),
            (_, "conn_overflow") => map.set_max_entries(lines.div_ceil(64)),
            (_, "flow_cache") => map.set_max_entries((lines / 8).max(EK_FLOW_CACHE_MIN_LINES)),
            _ => Ok(()),
        };
        done.map_err(|e| bpf_error(format!("prepare map {name}"), e))?;
        sources.insert(name, source);
    }
    Ok(sources)
}

fn load_error(e: libbpf_rs::Error) -> Error {
    let operation = "load the packet path";
    if let Some(reason) = take_last_rejection() {
        return Error::new(operation, format!("the kernel's verifier rejects it: {reason}"))
            .with_hint("`evenkeeld -D` logs the verifier's whole output; please report it with the kernel's version");
    }
    let e = bpf_error(operation.into(), e);
    if e.errno() == Some(libc::EPERM) { e } else { e.with_hint("it needs Linux 6.1 or newer with BPF and BTF") }
}
