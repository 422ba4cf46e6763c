//! VRRP instances in the text of `evenkeel status`.

use evenkeel_core::ipc::InstanceStatus;
use evenkeel_core::vrrp::State;

use super::Palette;
use crate::output::{format_counts, format_duration};

pub fn format_instance(i: &InstanceStatus, p: &Palette) -> String {
    let state = match i.state {
        State::Master => p.ok("MASTER"),
        State::Backup => "BACKUP".to_owned(),
        State::Fault => p.error("FAULT"),
        State::Init => "INIT".to_owned(),
    };
    let mut t = format!(
        "\n{}  {state} for {}, because {}\n  {} vrid {}, VRRPv{}, priority {}",
        i.name,
        format_duration(i.since_ms),
        i.reason,
        i.interface,
        i.vrid,
        i.version,
        i.priority
    );
    if i.priority != i.base_priority {
        t += &format!(" (base {})", i.base_priority);
    }
    match (i.state, i.master, i.master_priority) {
        (State::Master, ..) => {}
        (_, Some(master), Some(priority)) => t += &format!(", master is {master} with priority {priority}"),
        _ => t += ", no master known",
    }
    t += &format!("\n  adverts: {} sent, {} received", i.counters.adverts_sent, i.counters.adverts_received);
    let rejected: u64 = i.counters.rejected.values().sum();
    if rejected > 0 {
        t += &p.error(&format!(", {rejected} rejected ({})", format_counts(&i.counters.rejected)));
    }
    if i.counters.split_brain > 0 {
        t += &format!(", {} from another master", i.counters.split_brain);
    }
    t += "\n";
    t += &format_details(i, p);
    t
}

fn format_details(i: &InstanceStatus, p: &Palette) -> String {
    let mut t = String::new();
    let is_conflict = |peer: &&String| peer.contains(" are rejected: ") || peer.contains(" is master too, ");
    for peer in i.senders.iter().filter(is_conflict) {
        t += &p.error(&format!("  {peer}\n"));
    }
    if let Some(vmac) = &i.vmac {
        t += &format!("  virtual MAC interface {vmac}\n");
    }
    if !i.accept_mode {
        t += "  packets to its addresses are dropped (no_accept)\n";
    }
    for vip in &i.vips {
        t += &format!("  {}\n", if i.state == State::Master { vip.clone() } else { p.dim(vip) });
    }
    t
}
