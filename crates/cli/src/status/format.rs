//! The text of `evenkeel status`: the blocks in their order, and those that belong neither to an instance nor to a
//! service.

use std::collections::BTreeMap;

use evenkeel_core::bfd;
use evenkeel_core::ipc::{
    AttachmentStatus, BfdStatus, CheckLoad, DataPlaneStatus, DeviceLeftAlone, ScriptStatus, Status, TrackedStatus,
};
use evenkeel_core::model::{TrackResult, TrackedObject};

use super::Palette;
use super::instances::format_instance;
use super::services::format_service;
use crate::output::{format_counts, format_duration};

pub fn format_status(s: &Status, p: &Palette) -> String {
    let mut t = format!(
        "{}  evenkeel {}, pid {}, up {}, {}\n",
        s.router_id,
        s.version,
        s.pid,
        format_duration(s.uptime_ms),
        s.config_file
    );
    if let Some(e) = &s.config_error {
        t += &p.error(&format!("the last reload was rejected; the configuration before it is in force:\n{e}\n"));
    }
    if let Some(e) = &s.skipped_at_start {
        t += &p.error(&format!("the start skipped what is wrong in the file; the rest is in force:\n{e}\n"));
    }
    for i in &s.instances {
        t += &format_instance(i, p);
    }
    if s.unknown_vrid_adverts > 0 {
        t += &format!("\n{} adverts for VRIDs that are not configured\n", s.unknown_vrid_adverts);
    }
    for session in &s.bfd_sessions {
        t += &format_bfd_session(session, p);
    }
    for script in &s.scripts {
        t += &format_script(script, p);
    }
    for n in s.notifications.iter().filter(|n| !n.ok) {
        let run = format!("notify script {} for {} {}: {}", n.program, n.object, n.state, n.result);
        t += &p.error(&format!("\n{run} after {} ms\n", n.duration_ms));
    }
    // BFD sessions have blocks of their own.
    for tracked in s.tracked_objects.iter().filter(|t| !matches!(t.object, TrackedObject::Bfd(_))) {
        t += &format_tracked_object(tracked, p);
    }
    for change in &s.overrides {
        t += &format!("\noverride: {change}\n");
    }
    for service in &s.services {
        t += &format_service(service, p);
    }
    t += &format_check_load(&s.check_load, p);
    t += &format_data_plane(&s.dataplane, p);
    for f in &s.findings {
        t += &p.error(&format!("{}: {f} (for {})\n", f.severity, format_duration(f.since_ms)));
    }
    t
}

fn format_bfd_session(b: &BfdStatus, p: &Palette) -> String {
    let state = if b.state == bfd::State::Up { p.ok("Up") } else { p.error(&b.state.to_string()) };
    let ms = |us: u64| format!("{} ms", us as f64 / 1000.0);
    let mut t = format!("\nBFD {} with {}  {state} for {}", b.name, b.neighbour, format_duration(b.since_ms));
    if let Some(reason) = &b.last_down_reason {
        t += &format!(", because {reason}");
    }
    t += &format!("\n  interval {}, detection time {}, ", ms(b.interval_us), ms(b.detection_time_us));
    t += &format!("packets: {} sent, {} received", b.sent, b.received);
    if !b.rejected.is_empty() {
        t += &p.error(&format!(", rejected: {}", format_counts(&b.rejected)));
    }
    t + "\n"
}

fn format_script(s: &ScriptStatus, p: &Palette) -> String {
    let state = match s.good {
        Some(true) => p.ok("succeeds"),
        Some(false) => p.error("fails"),
        None => "not run yet".to_owned(),
    };
    format!("\nscript {}  {state}  {} runs, last: {}\n", s.name, s.runs, s.last_result)
}

fn format_tracked_object(t: &TrackedStatus, p: &Palette) -> String {
    let state = match t.result {
        Some(TrackResult::Good(true)) => p.ok("ok"),
        Some(TrackResult::Good(false)) => p.error("failed"),
        Some(TrackResult::Number(_)) => "value".to_owned(),
        None => "not checked yet".to_owned(),
    };
    format!("\n{}  {state}  {}\n", t.object, t.detail)
}

fn format_check_load(load: &CheckLoad, p: &Palette) -> String {
    if load.checks == 0 {
        return String::new();
    }
    let mut t = format!("\nhealth checks  {}, by {} probes, {} running", load.checks, load.probes, load.running);
    if load.queue_delay_ms >= 1000 {
        t += &p.error(&format!(", {} late", format_duration(load.queue_delay_ms)));
    }
    t + "\n"
}

fn format_attachment(a: &AttachmentStatus, p: &Palette) -> String {
    match &a.fault {
        None => format!("{} by {}", a.device, a.mode),
        Some(fault) => p.error(&format!("{} by {} ({fault})", a.device, a.mode)),
    }
}

fn format_data_plane(d: &DataPlaneStatus, p: &Palette) -> String {
    let mut t = String::new();
    let reused = if d.maps_reused { ", maps of the last daemon reused" } else { "" };
    if let Some(e) = &d.error {
        t += &p.error(&format!("\npacket path: {e}\n"));
    }
    if !d.detail.is_empty() {
        t += &format!("\ndata plane   {}{reused}\n", d.detail);
    }
    if !d.external_services.is_empty() {
        t += &format!("  external services, left alone: {}\n", d.external_services.join(", "));
    }
    for step in &d.drift {
        t += &format!("  drift, left alone (hand_changes leave); to repair it: {step}\n");
    }
    if d.repaired > 0 {
        t += &format!("  external changes repaired: {}\n", d.repaired);
    }
    if !d.attachments.is_empty() {
        let attachments: Vec<String> = d.attachments.iter().map(|a| format_attachment(a, p)).collect();
        t += &format!("\npacket path  {}{reused}\n", attachments.join(", "));
        for a in d.attachments.iter().filter(|a| !a.reason.is_empty()) {
            t += &format!("  {}: {}\n", a.device, a.reason);
        }
        t += &format_devices_left_alone(&d.devices_left_alone);
        if !d.local_clients.is_empty() {
            t += &format!("  local clients: {}\n", d.local_clients);
        }
        let counters: Vec<String> =
            d.packet_counters.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}")).collect();
        if !counters.is_empty() {
            t += &format!("  packets: {}\n", counters.join(", "));
        }
    }
    t
}

/// A line for each reason. A host may have thousands of containers.
fn format_devices_left_alone(all: &[DeviceLeftAlone]) -> String {
    const MAX_NAMES: usize = 8;
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for left in all {
        by_reason.entry(&left.reason).or_default().push(&left.device);
    }
    let line = |(reason, devices): (&str, Vec<&str>)| {
        let mut names = devices.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(", ");
        match devices.len() {
            0..=MAX_NAMES => {}
            n => names += &format!(" and {} others", n - MAX_NAMES),
        }
        format!("  {names} {} left alone: {reason}\n", if devices.len() == 1 { "is" } else { "are" })
    };
    by_reason.into_iter().map(line).collect()
}
