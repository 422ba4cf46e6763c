//! Local clients: the programs that balance processes of this host (bpf/local.bpf.c), attached to the root of the
//! cgroup2 hierarchy.
//!
//! Each attachment is a pinned BPF link, as those of devices are: it outlives the daemon, and the next one replaces its
//! program. The programs use the pinned maps of the packet path.

use std::ffi::OsStr;
use std::fs;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use libbpf_rs::libbpf_sys as raw;
use libbpf_rs::{MapCore, MapHandle, MapMut, Object, ObjectBuilder, OpenObject};

use super::bpf_link::{BpfLink, device_program, program_id};
use super::libbpf::{bpf_error, redirect_libbpf_log, take_last_rejection};
use super::packet_path::PacketPath;
use super::pins::{LOCAL_SOCKETS, map_name, pinned_name};
use crate::cgroup::open_cgroup_root;
use crate::sockopt::get_option;
use crate::{Context, Error, Result};

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/local.bpf.o"));

/// The hooks: the name in the pin directory, the program, and the kernel's number.
const HOOKS: [(&str, &str, raw::bpf_attach_type); 9] = [
    ("link-cgroup-connect4", "ek_connect4", raw::BPF_CGROUP_INET4_CONNECT),
    ("link-cgroup-connect6", "ek_connect6", raw::BPF_CGROUP_INET6_CONNECT),
    ("link-cgroup-sendmsg4", "ek_sendmsg4", raw::BPF_CGROUP_UDP4_SENDMSG),
    ("link-cgroup-sendmsg6", "ek_sendmsg6", raw::BPF_CGROUP_UDP6_SENDMSG),
    ("link-cgroup-recvmsg4", "ek_recvmsg4", raw::BPF_CGROUP_UDP4_RECVMSG),
    ("link-cgroup-recvmsg6", "ek_recvmsg6", raw::BPF_CGROUP_UDP6_RECVMSG),
    ("link-cgroup-getpeername4", "ek_getpeername4", raw::BPF_CGROUP_INET4_GETPEERNAME),
    ("link-cgroup-getpeername6", "ek_getpeername6", raw::BPF_CGROUP_INET6_GETPEERNAME),
    ("link-cgroup-release", "ek_sock_release", raw::BPF_CGROUP_INET_SOCK_RELEASE),
];

type Hook = (&'static str, &'static str, raw::bpf_attach_type);

/// The attached programs.
pub struct LocalClients {
    object: Object,
    cgroup: OwnedFd,
    dir: PathBuf,
    /// A link for each hook. The descriptor keeps it attached if the pin is removed.
    links: Vec<(Hook, BpfLink)>,
}

impl LocalClients {
    /// Loads and attaches the programs, or takes over the attachments of an earlier process.
    pub fn attach(path: &PacketPath) -> Result<LocalClients> {
        let cgroup = open_cgroup_root()?;
        let object = load(&path.dir)?;
        let mut new = LocalClients { object, cgroup, dir: path.dir.clone(), links: Vec::new() };
        for hook in HOOKS {
            match new.attach_hook(hook) {
                Ok(link) => new.links.push((hook, link)),
                Err(e) => {
                    detach_local_clients(&path.dir);
                    return Err(e);
                }
            }
        }
        Ok(new)
    }

    fn program(&self, name: &str) -> Result<libbpf_rs::Program<'_>> {
        let program = self.object.progs().find(|p| p.name() == OsStr::new(name));
        program.ok_or_else(|| Error::new(format!("find program {name}"), "there is no such program"))
    }

    fn attach_hook(&self, (pin, name, kind): Hook) -> Result<BpfLink> {
        let path = self.dir.join(pin);
        let program = self.program(name)?;
        if let Some(pinned) = BpfLink::open(&path)
            && pinned.cgroup_info().is_some_and(|i| i.is_attached)
            && pinned.replace_program(program.as_fd())
        {
            return Ok(pinned);
        }
        let _ = fs::remove_file(&path);
        let target = self.cgroup.as_raw_fd() as u32;
        let operation = || format!("attach {name} to the root of the cgroup2 hierarchy");
        let link = BpfLink::create(program.as_fd(), target, (kind, 0), operation).map_err(|e| match e.errno() {
            Some(libc::EPERM) => e.with_hint(
                "another program is attached there for itself alone (`bpftool cgroup tree`), or CAP_NET_ADMIN is missing",
            ),
            Some(libc::E2BIG) => e.with_hint("64 programs are attached there (`bpftool cgroup tree`)"),
            _ => e,
        })?;
        link.pin(&path)?;
        Ok(link)
    }

    /// What is wrong with an attachment.
    fn fault(&self, (pin, name, _): Hook, link: &BpfLink) -> Option<String> {
        let own = self.program(name).ok().and_then(|p| program_id(p.as_fd()))?;
        let info = link.cgroup_info()?;
        let pinned = || BpfLink::open(&self.dir.join(pin)).and_then(|l| l.cgroup_info());
        if !info.is_attached {
            Some(format!("{name} is detached"))
        } else if info.program != own {
            Some(format!("{} is attached in place of {name}", device_program(info.program)))
        } else if pinned().is_none_or(|p| p.id != info.id) {
            Some(format!("the pin {pin} is gone"))
        } else {
            None
        }
    }

    /// What is wrong at this moment.
    pub fn faults(&self) -> Vec<String> {
        self.links.iter().filter_map(|(hook, link)| self.fault(*hook, link)).collect()
    }

    /// Attaches again what somebody has detached, and makes removed pins again. Returns what was wrong.
    pub fn repair(&mut self) -> Result<Vec<String>> {
        let mut out = Vec::new();
        for at in 0..self.links.len() {
            let Some((hook, link)) = self.links.get(at) else { break };
            let Some(fault) = self.fault(*hook, link) else { continue };
            let hook = *hook;
            let new = self.attach_hook(hook)?;
            // Otherwise the program would run twice.
            if let Some((_, old)) = self.links.get(at)
                && old.cgroup_info().map(|i| i.id) != new.cgroup_info().map(|i| i.id)
            {
                old.detach();
            }
            if let Some(entry) = self.links.get_mut(at) {
                *entry = (hook, new);
            }
            out.push(fault);
        }
        let sockets = self.dir.join(LOCAL_SOCKETS);
        if !sockets.exists()
            && let Some(mut map) = self.object.maps_mut().find(|m| map_name(m.name()) == LOCAL_SOCKETS)
        {
            map.pin(&sockets).map_err(|e| bpf_error(format!("pin {}", sockets.display()), e))?;
        }
        Ok(out)
    }
}

/// Detaches the programs, also those of an earlier process. Sockets keep the servers that they have.
pub fn detach_local_clients(dir: &Path) {
    for (pin, ..) in HOOKS {
        let path = dir.join(pin);
        if let Some(link) = BpfLink::open(&path) {
            link.detach();
        }
        let _ = fs::remove_file(path);
    }
    let _ = fs::remove_file(dir.join(LOCAL_SOCKETS));
}

/// Loads the programs with the maps that are pinned in `dir`.
fn load(dir: &Path) -> Result<Object> {
    redirect_libbpf_log();
    let failed = |e| bpf_error("load the programs for local clients".into(), e);
    let mut open = ObjectBuilder::default().name("local").and_then(|b| b.open_memory(OBJECT)).map_err(failed)?;
    let cookie = netns_cookie()?.to_ne_bytes();
    let sockets = dir.join(LOCAL_SOCKETS);
    let is_reused = prepare_maps(&mut open, dir, &cookie).map_err(failed)?;
    let _ = take_last_rejection();
    let mut object = open.load().map_err(|e| match take_last_rejection() {
        Some(reason) => {
            Error::new("load the programs for local clients", format!("the kernel's verifier rejects them: {reason}"))
        }
        None => failed(e),
    })?;
    if !is_reused {
        let _ = fs::remove_file(&sockets);
        let map = object.maps_mut().find(|m: &MapMut<'_>| map_name(m.name()) == LOCAL_SOCKETS);
        map.map_or(Ok(()), |mut m| m.pin(&sockets)).map_err(failed)?;
    }
    Ok(object)
}

/// Gives the object its maps. True if the storage of sockets is that of an earlier process.
fn prepare_maps(open: &mut OpenObject, dir: &Path, cookie: &[u8]) -> libbpf_rs::Result<bool> {
    let mut is_reused = false;
    for mut map in open.maps_mut() {
        let name = map_name(map.name()).to_owned();
        if let Some(name) = pinned_name(map.name()) {
            map.reuse_pinned_map(dir.join(name))?;
        } else if name == LOCAL_SOCKETS {
            let path = dir.join(LOCAL_SOCKETS);
            let pinned = MapHandle::from_pinned_path(&path).ok();
            if pinned.is_some_and(|p| p.value_size() == map.value_size()) {
                map.reuse_pinned_map(path)?;
                is_reused = true;
            }
        } else if name == ".rodata.netns" {
            map.set_initial_value(cookie)?;
        }
    }
    Ok(is_reused)
}

/// The number of this network namespace (SO_NETNS_COOKIE, Linux 5.14).
fn netns_cookie() -> Result<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let operation = || "read the cookie of the network namespace".to_owned();
    let socket = UdpSocket::bind(("127.0.0.1", 0)).or_else(|_| UdpSocket::bind(("0.0.0.0", 0))).context(operation)?;
    get_option(&socket, libc::SOL_SOCKET, SO_NETNS_COOKIE).context(operation)
}
