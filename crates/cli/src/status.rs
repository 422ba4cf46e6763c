//! `evenkeel status` and `evenkeel reload`

use std::process::ExitCode;

use anyhow::{Context, bail};
use evenkeel_core::bfd;
use evenkeel_core::ipc::{InstanceStatus, Reply, Request, ServerStatus, ServiceStatus, Status, TrackedStatus};
use evenkeel_core::model::{TrackResult, TrackedObject};
use evenkeel_core::vrrp::State;
use evenkeel_sys::paths::control_socket;
use evenkeel_testkit::control::send_request;

use crate::output::{self, format_duration};

pub fn call_daemon(instance: &str, request: &Request) -> anyhow::Result<Reply> {
    let socket = control_socket(instance);
    send_request(&socket, request)
        .with_context(|| format!("no evenkeeld answers as instance `{instance}` (is it running, and are you root?)"))
}

/// Exit status 0: all is well; 1: something is not.
pub fn run(instance: &str, json: bool) -> anyhow::Result<ExitCode> {
    let Reply::Status(status) = call_daemon(instance, &Request::Status)? else { bail!("an unexpected answer") };
    if json {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&status)?));
    } else {
        output::print(&format_status(&status, &Palette { on: output::is_colour_enabled() }));
    }
    let well = status.config_error.is_none()
        && status.warnings.is_empty()
        && status.instances.iter().all(|i| i.state != State::Fault)
        && status.services.iter().all(|s| s.up && s.servers.iter().any(|r| r.up));
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the configuration again.
pub fn reload(instance: &str) -> anyhow::Result<ExitCode> {
    match call_daemon(instance, &Request::Reload)? {
        Reply::Reloaded { steps } if steps.is_empty() => output::print("reloaded; nothing changed\n"),
        Reply::Reloaded { steps } => output::print(&format!("reloaded:\n  {}\n", steps.join("\n  "))),
        Reply::Rejected { error } => bail!("refused, the old configuration stays in force:\n{error}"),
        _ => bail!("an unexpected answer"),
    }
    Ok(ExitCode::SUCCESS)
}

struct Palette {
    on: bool,
}

impl Palette {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    fn ok(&self, t: &str) -> String {
        self.paint("32", t)
    }
    fn error(&self, t: &str) -> String {
        self.paint("31", t)
    }
    fn dim(&self, t: &str) -> String {
        self.paint("2", t)
    }
}

fn format_status(s: &Status, p: &Palette) -> String {
    let mut t = format!(
        "{}  evenkeel {}, pid {}, up {}, {}\n",
        s.router_id,
        s.version,
        s.pid,
        format_duration(s.uptime_ms),
        s.config_file
    );
    if let Some(e) = &s.config_error {
        t += &p.error(&format!("the last reload was refused; the configuration before it is in force:\n{e}\n"));
    }
    for i in &s.instances {
        t += &format_instance(i, p);
    }
    if s.unknown_vrid_adverts > 0 {
        t += &format!("\n{} adverts for virtual routers that are not in the configuration\n", s.unknown_vrid_adverts);
    }
    for b in &s.bfd_sessions {
        let state = if b.state == bfd::State::Up { p.ok("Up") } else { p.error(&b.state.to_string()) };
        let ms = |us: u64| format!("{} ms", us as f64 / 1000.0);
        t += &format!("\nBFD {} with {}  {state} for {}", b.name, b.neighbour, format_duration(b.since_ms));
        t += &b.last_down_reason.as_ref().map_or(String::new(), |w| format!(", because {w}"));
        t += &format!("\n  a packet each {}, lost after {}, ", ms(b.interval_us), ms(b.detection_time_us));
        t += &format!("{} sent, {} received", b.sent, b.received);
        let refused: Vec<String> = b.rejected.iter().map(|(c, n)| format!("{c} {n}")).collect();
        t += &if refused.is_empty() {
            "\n".to_owned()
        } else {
            p.error(&format!(", refused: {}\n", refused.join(", ")))
        };
    }
    for sc in &s.scripts {
        let state = match sc.good {
            Some(true) => p.ok("succeeds"),
            Some(false) => p.error("fails"),
            None => "not run yet".to_owned(),
        };
        t += &format!("\nscript {}  {state}  {} runs, last: {}\n", sc.name, sc.runs, sc.last_result);
    }
    for n in s.notifications.iter().filter(|n| !n.ok) {
        let what = format!("{}, told of {} {}: {}", n.program, n.object, n.state, n.result);
        t += &p.error(&format!("\n{what} after {} ms\n", n.duration_ms));
    }
    let shown_already = |t: &&TrackedStatus| matches!(t.object, TrackedObject::Bfd(_));
    for tracked in s.tracked_objects.iter().filter(|t| !shown_already(t)) {
        let state = match tracked.result {
            Some(TrackResult::Good(true)) => p.ok("as it should be"),
            Some(TrackResult::Good(false)) => p.error("not as it should be"),
            Some(TrackResult::Number(_)) => "holds".to_owned(),
            None => "not looked at yet".to_owned(),
        };
        t += &format!("\n{}  {state}  {}\n", tracked.object, tracked.detail);
    }
    for order in &s.overrides {
        t += &format!("\nby hand: {order}\n");
    }
    for v in &s.services {
        t += &format_service(v, p);
    }
    let load = &s.check_load;
    if load.checks > 0 {
        t += &format!("\nhealth checks  {} by {} probes, {} under way", load.checks, load.probes, load.running);
        if load.queue_delay_ms >= 1000 {
            t += &p.error(&format!(", {} behind", format_duration(load.queue_delay_ms)));
        }
        t += "\n";
    }
    if let Some(e) = &s.dataplane.error {
        t += &p.error(&format!("\npacket path: {e}\n"));
    }
    if !s.dataplane.detail.is_empty() {
        t += &format!(
            "\ndata plane   {}{}\n",
            s.dataplane.detail,
            if s.dataplane.maps_reused { ", adopted" } else { "" }
        );
    }
    if !s.dataplane.external_services.is_empty() {
        t += &format!("  left alone, as somebody else made them: {}\n", s.dataplane.external_services.join(", "));
    }
    for step in &s.dataplane.drift {
        t += &format!("  changed by somebody else, and left (hand_changes leave): it would take `{step}`\n");
    }
    if s.dataplane.repaired > 0 {
        t += &format!("  set back after changes by somebody else: {}\n", s.dataplane.repaired);
    }
    if !s.dataplane.attachments.is_empty() {
        let hooks: Vec<String> = s.dataplane.attachments.iter().map(|(d, h)| format!("{d} by {h}")).collect();
        let reasons: Vec<String> =
            s.dataplane.packet_counters.iter().filter(|(_, n)| *n > 0).map(|(r, n)| format!("{r} {n}")).collect();
        t +=
            &format!("\npacket path  {}{}\n", hooks.join(", "), if s.dataplane.maps_reused { ", adopted" } else { "" });
        if !reasons.is_empty() {
            t += &format!("  packets: {}\n", reasons.join(", "));
        }
    }
    for w in &s.warnings {
        t += &p.error(&format!("warning: {w}\n"));
    }
    t
}

fn format_instance(i: &InstanceStatus, p: &Palette) -> String {
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
        (_, Some(m), Some(mp)) => t += &format!(", master is {m} with priority {mp}"),
        _ => t += ", no master heard",
    }
    t += &format!("\n  adverts: {} sent, {} received", i.counters.adverts_sent, i.counters.adverts_received);
    let refused: u64 = i.counters.rejected.values().sum();
    if refused > 0 {
        let causes: Vec<String> = i.counters.rejected.iter().map(|(c, n)| format!("{c} {n}")).collect();
        t += &p.error(&format!(", {refused} refused ({})", causes.join(", ")));
    }
    if i.counters.split_brain > 0 {
        t += &format!(", another master heard {} times", i.counters.split_brain);
    }
    t += "\n";
    let is_conflict = |h: &&String| h.contains(" are rejected: ") || h.contains(" is master too, ");
    for h in i.accepted_senders.iter().filter(is_conflict) {
        t += &p.error(&format!("  {h}\n"));
    }
    if let Some(vmac) = &i.vmac {
        t += &format!("  on {vmac}, an interface of its own\n");
    }
    if !i.accept_mode {
        t += "  packets to its addresses are refused (no_accept)\n";
    }
    for v in &i.vips {
        t += &format!("  {}\n", if i.state == State::Master { v.clone() } else { p.dim(v) });
    }
    t
}

fn format_service(v: &ServiceStatus, p: &Palette) -> String {
    let mut t = format!("\n{} {}:{}  {}", v.protocol, v.addr, v.port, v.scheduler);
    if let Some(g) = &v.group {
        t += &format!(", of group {g}");
    }
    if let Some(s) = v.persistence_s {
        t += &format!(", persistent {s} s");
    }
    t += &format!("  {} connections, {} packets, {} bytes\n", v.conns, v.in_packets, v.in_bytes);
    if v.suspended {
        t += "  not checked: its address is not here (ha_suspend)\n";
    }
    if !v.up || v.quorum != (1, 0) {
        let (needed, hysteresis) = v.quorum;
        let h = if hysteresis > 0 { format!(" with hysteresis {hysteresis}") } else { String::new() };
        let words = format!("weight {} of healthy servers, quorum {needed}{h}", v.healthy_weight);
        let state = if v.up { p.ok("quorum") } else { p.error("NO QUORUM") };
        t += &format!("  {state} for {}: {words}\n", format_duration(v.since_ms));
    }
    if let Some(s) = &v.sorry_server {
        let how = if s.in_use { p.error("takes all connections") } else { "stands by".to_owned() };
        t += &format!("  sorry server {}:{} {how}\n", s.addr, s.port);
    }
    for r in &v.servers {
        t += &format_server(r, p);
    }
    t
}

fn format_server(r: &ServerStatus, p: &Palette) -> String {
    let state = if r.up { p.ok("up  ") } else { p.error("DOWN") };
    let weight = match r.effective_weight {
        Some(w) if w == r.weight => format!("weight {w}"),
        Some(w) => format!("weight {w} (of {})", r.weight),
        None => "out of service".to_owned(),
    };
    let mut t = format!(
        "  {state} {}:{}{}  {weight}  active {} inactive {}  {} connections  for {}  via {}\n",
        r.addr,
        r.port,
        r.name.as_ref().map_or_else(String::new, |n| format!(" ({n})")),
        r.active,
        r.inactive,
        r.conns,
        format_duration(r.since_ms),
        r.next_hop
    );
    for c in &r.checks {
        let ms = |us: u64| format!("{}.{} ms", us / 1000, us % 1000 / 100);
        let last = c.last_probe.as_ref().map_or("no probe yet".to_owned(), |l| match l.failed {
            None => format!("{} in {}", l.detail, ms(l.took_us)),
            Some(phase) => p.error(&format!("failed at {} after {}: {}", phase.name(), ms(l.took_us), l.detail)),
        });
        let forgiven = if c.retries_used > 0 { format!(", {} forgiven", c.retries_used) } else { String::new() };
        let shared = if c.shared_by > 1 { p.dim(&format!(", shared by {}", c.shared_by)) } else { String::new() };
        t += &format!("       {}  {last}{forgiven}{shared}\n", c.kind);
    }
    // Why it is down is said by its checks; how often it was is not.
    if let [_, _, ..] = r.history.as_slice() {
        let times: Vec<String> = r
            .history
            .iter()
            .take(4)
            .map(|h| format!("{} {} ago", if h.up { "up" } else { "down" }, format_duration(h.ago_ms)))
            .collect();
        t += &p.dim(&format!("       was {}\n", times.join(", ")));
    }
    t
}
