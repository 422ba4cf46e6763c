//! Attachments as they are: read back from the kernel, and repaired where somebody has changed them.
//!
//! Others may detach a program (`bpftool link detach`, `tc filter del`), replace it, remove a pin or the whole pin
//! directory, or put a program of theirs in front. The daemon holds a descriptor of each link, so that a removed pin
//! detaches nothing; it is made again for the next daemon.

use std::os::fd::AsFd;

use libbpf_rs::{TC_INGRESS, TcHookBuilder};
use nix::net::if_::if_nametoindex;

use super::attach::{Attachment, Attachments, CLSACT_HANDLE, CLSACT_PRIORITY, pin_path};
use super::bpf_link::{BpfLink, DeviceProgram, device_program, program_id, tcx_programs, xdp_program};
use super::packet_path::PacketPath;
use crate::Result;
use crate::netlink::Link;

/// An attachment that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttachmentFault {
    /// The program is not attached any more.
    Detached,
    /// Another program is attached in its place.
    Replaced(DeviceProgram),
    /// The link's pin is gone, so that the program ends with the daemon.
    PinRemoved,
    /// Another program gets the packets first.
    InFront(DeviceProgram),
}

impl std::fmt::Display for AttachmentFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AttachmentFault::Detached => f.write_str("the program is detached"),
            AttachmentFault::Replaced(p) => write!(f, "{p} is attached in place of the packet path"),
            AttachmentFault::PinRemoved => f.write_str("the pin of the link is gone"),
            AttachmentFault::InFront(p) => {
                write!(f, "{p} gets the packets before the packet path; what it takes is not balanced")
            }
        }
    }
}

impl AttachmentFault {
    /// Whether packets may miss the packet path, and attaching again mends that.
    pub fn is_repairable(&self) -> bool {
        !matches!(self, AttachmentFault::InFront(_))
    }
}

impl Attachments {
    /// What is wrong with attachments at this moment, by the name of the device.
    pub fn faults(&self, path: &PacketPath) -> Vec<(&str, AttachmentFault)> {
        self.attached.iter().filter_map(|a| Some((a.name.as_str(), fault(a, path)?))).collect()
    }

    /// Repairs what can be repaired. Returns what was wrong, and the error if it still is.
    pub fn repair(&mut self, path: &PacketPath, links: &[Link]) -> Vec<(String, AttachmentFault, Result<()>)> {
        let faults = |a: &Attachment| Some((a.ifindex, fault(a, path).filter(AttachmentFault::is_repairable)?));
        let broken: Vec<(u32, AttachmentFault)> = self.attached.iter().filter_map(faults).collect();
        let mut out = Vec::new();
        for (ifindex, fault) in broken {
            let Some(link) = links.iter().find(|l| l.index == ifindex) else { continue };
            let Some(a) = self.attached.iter().find(|a| a.ifindex == ifindex) else { continue };
            let choice = a.choice;
            let repaired = match &a.link {
                Some(l) if fault == AttachmentFault::PinRemoved => {
                    let pin = pin_path(&path.dir, a.mode, ifindex);
                    let _ = std::fs::remove_file(&pin); // somebody may have pinned another object there
                    l.pin(&pin)
                }
                _ => self.attach(path, link, choice).map(|_| ()),
            };
            out.push((link.name.clone(), fault, repaired));
        }
        out
    }
}

/// What is wrong with an attachment.
fn fault(a: &Attachment, path: &PacketPath) -> Option<AttachmentFault> {
    let name = if a.mode.is_xdp() { "evenkeel_xdp" } else { "evenkeel_tc" };
    let own = path.program_fd(name).ok().and_then(program_id)?;
    let Some(link) = &a.link else { return clsact_fault(a.ifindex, &a.name, own) };
    let info = link.info()?;
    if info.ifindex != a.ifindex {
        // With its device the attachment goes too.
        let exists = if_nametoindex(a.name.as_str()) == Ok(a.ifindex);
        return exists.then_some(AttachmentFault::Detached);
    }
    if info.program != own {
        return Some(AttachmentFault::Replaced(device_program(info.program)));
    }
    let pinned = BpfLink::open(&pin_path(&path.dir, a.mode, a.ifindex)).and_then(|l| l.info());
    if pinned.is_none_or(|p| p.id != info.id) {
        return Some(AttachmentFault::PinRemoved);
    }
    program_in_front(a, own).map(|id| AttachmentFault::InFront(device_program(id)))
}

/// The program that gets a device's packets before the own one: XDP before tc, and of tcx the programs before it. The
/// decapsulation program of a real server belongs there.
fn program_in_front(a: &Attachment, own: u32) -> Option<u32> {
    if a.mode.is_xdp() {
        return None;
    }
    let before = tcx_programs(a.ifindex).into_iter().take_while(|id| *id != own);
    let is_other = |id: &u32| !device_program(*id).name.starts_with("evenkeel");
    xdp_program(a.ifindex).into_iter().chain(before).find(is_other)
}

fn clsact_fault(ifindex: u32, name: &str, own: u32) -> Option<AttachmentFault> {
    // The builder requires a descriptor, which a query does not use.
    let unused = std::fs::File::open("/dev/null").ok()?;
    let mut tc = TcHookBuilder::new(unused.as_fd());
    let mut tc = tc.ifindex(ifindex as i32).handle(CLSACT_HANDLE).priority(CLSACT_PRIORITY).hook(TC_INGRESS);
    match tc.query() {
        Ok(id) if id == own => None,
        Ok(id) => Some(AttachmentFault::Replaced(device_program(id))),
        Err(_) => (if_nametoindex(name) == Ok(ifindex)).then_some(AttachmentFault::Detached),
    }
}
