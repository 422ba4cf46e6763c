//! `evenkeel status` and `evenkeel reload`

use std::process::ExitCode;

use anyhow::{Context, bail};
use evenkeel_core::bfd;
use evenkeel_core::ipc::{InstanceStatus, Reply, Request, ServerStatus, ServiceStatus, Status, TrackedStatus};
use evenkeel_core::model::{Found, TrackedObject};
use evenkeel_core::vrrp::State;
use evenkeel_sys::paths::control_socket;
use evenkeel_testkit::control::ask;

use crate::out::{self, duration};

pub fn call(instance: &str, request: &Request) -> anyhow::Result<Reply> {
    let socket = control_socket(instance);
    ask(&socket, request)
        .with_context(|| format!("no evenkeeld answers as instance `{instance}` (is it running, and are you root?)"))
}

/// Exit status 0: all is well; 1: something is not.
pub fn run(instance: &str, json: bool) -> anyhow::Result<ExitCode> {
    let Reply::Status(status) = call(instance, &Request::Status)? else { bail!("an unexpected answer") };
    if json {
        out::print(&format!("{}\n", serde_json::to_string_pretty(&status)?));
    } else {
        out::print(&text(&status, &Paint { on: out::colour() }));
    }
    let well = status.config_error.is_none()
        && status.warnings.is_empty()
        && status.instances.iter().all(|i| i.state != State::Fault)
        && status.services.iter().all(|s| s.up && s.servers.iter().any(|r| r.up));
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the configuration again.
pub fn reload(instance: &str) -> anyhow::Result<ExitCode> {
    match call(instance, &Request::Reload)? {
        Reply::Reloaded { steps } if steps.is_empty() => out::print("reloaded; nothing changed\n"),
        Reply::Reloaded { steps } => out::print(&format!("reloaded:\n  {}\n", steps.join("\n  "))),
        Reply::Refused { error } => bail!("refused, the old configuration stays in force:\n{error}"),
        _ => bail!("an unexpected answer"),
    }
    Ok(ExitCode::SUCCESS)
}

struct Paint {
    on: bool,
}

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    fn good(&self, t: &str) -> String {
        self.with("32", t)
    }
    fn bad(&self, t: &str) -> String {
        self.with("31", t)
    }
    fn dim(&self, t: &str) -> String {
        self.with("2", t)
    }
}

fn text(s: &Status, p: &Paint) -> String {
    let mut t = format!(
        "{}  evenkeel {}, pid {}, up {}, {}\n",
        s.router_id,
        s.version,
        s.pid,
        duration(s.uptime_ms),
        s.config_file
    );
    if let Some(e) = &s.config_error {
        t += &p.bad(&format!("the last reload was refused; the configuration before it is in force:\n{e}\n"));
    }
    for i in &s.instances {
        t += &instance(i, p);
    }
    if s.foreign_adverts > 0 {
        t += &format!("\n{} adverts for virtual routers that are not in the configuration\n", s.foreign_adverts);
    }
    for b in &s.bfd {
        let state = if b.state == bfd::State::Up { p.good("Up") } else { p.bad(&b.state.to_string()) };
        let ms = |us: u64| format!("{} ms", us as f64 / 1000.0);
        t += &format!("\nBFD {} with {}  {state} for {}", b.name, b.neighbour, duration(b.since_ms));
        t += &b.why.as_ref().map_or(String::new(), |w| format!(", because {w}"));
        t += &format!("\n  a packet each {}, lost after {}, ", ms(b.interval_us), ms(b.detection_us));
        t += &format!("{} sent, {} received", b.sent, b.received);
        let refused: Vec<String> = b.refused.iter().map(|(c, n)| format!("{c} {n}")).collect();
        t += &if refused.is_empty() { "\n".to_owned() } else { p.bad(&format!(", refused: {}\n", refused.join(", "))) };
    }
    for sc in &s.scripts {
        let state = match sc.good {
            Some(true) => p.good("succeeds"),
            Some(false) => p.bad("fails"),
            None => "not run yet".to_owned(),
        };
        t += &format!("\nscript {}  {state}  {} runs, last: {}\n", sc.name, sc.runs, sc.last);
    }
    for n in s.notified.iter().filter(|n| !n.ok) {
        let what = format!("{}, told of {} {}: {}", n.program, n.of, n.state, n.result);
        t += &p.bad(&format!("\n{what} after {} ms\n", n.took_ms));
    }
    let shown_already = |t: &&TrackedStatus| matches!(t.object, TrackedObject::Bfd(_));
    for tracked in s.tracked.iter().filter(|t| !shown_already(t)) {
        let state = match tracked.found {
            Some(Found::Good(true)) => p.good("as it should be"),
            Some(Found::Good(false)) => p.bad("not as it should be"),
            Some(Found::Number(_)) => "holds".to_owned(),
            None => "not looked at yet".to_owned(),
        };
        t += &format!("\n{}  {state}  {}\n", tracked.object, tracked.detail);
    }
    for order in &s.orders {
        t += &format!("\nby hand: {order}\n");
    }
    for v in &s.services {
        t += &service(v, p);
    }
    let load = &s.check_load;
    if load.checks > 0 {
        t += &format!("\nhealth checks  {} by {} probes, {} under way", load.checks, load.probes, load.running);
        if load.behind_ms >= 1000 {
            t += &p.bad(&format!(", {} behind", duration(load.behind_ms)));
        }
        t += "\n";
    }
    if let Some(e) = &s.dataplane.error {
        t += &p.bad(&format!("\npacket path: {e}\n"));
    }
    if !s.dataplane.detail.is_empty() {
        t += &format!("\ndata plane   {}{}\n", s.dataplane.detail, if s.dataplane.adopted { ", adopted" } else { "" });
    }
    if !s.dataplane.foreign.is_empty() {
        t += &format!("  left alone, as somebody else made them: {}\n", s.dataplane.foreign.join(", "));
    }
    for step in &s.dataplane.drift {
        t += &format!("  changed by somebody else, and left (hand_changes leave): it would take `{step}`\n");
    }
    if s.dataplane.repaired > 0 {
        t += &format!("  set back after changes by somebody else: {}\n", s.dataplane.repaired);
    }
    if !s.dataplane.hooks.is_empty() {
        let hooks: Vec<String> = s.dataplane.hooks.iter().map(|(d, h)| format!("{d} by {h}")).collect();
        let reasons: Vec<String> =
            s.dataplane.reasons.iter().filter(|(_, n)| *n > 0).map(|(r, n)| format!("{r} {n}")).collect();
        t += &format!("\npacket path  {}{}\n", hooks.join(", "), if s.dataplane.adopted { ", adopted" } else { "" });
        if !reasons.is_empty() {
            t += &format!("  packets: {}\n", reasons.join(", "));
        }
    }
    for w in &s.warnings {
        t += &p.bad(&format!("warning: {w}\n"));
    }
    t
}

fn instance(i: &InstanceStatus, p: &Paint) -> String {
    let state = match i.state {
        State::Master => p.good("MASTER"),
        State::Backup => "BACKUP".to_owned(),
        State::Fault => p.bad("FAULT"),
        State::Init => "INIT".to_owned(),
    };
    let mut t = format!(
        "\n{}  {state} for {}, because {}\n  {} vrid {}, VRRPv{}, priority {}",
        i.name,
        duration(i.since_ms),
        i.because,
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
    let refused: u64 = i.counters.refused.values().sum();
    if refused > 0 {
        let causes: Vec<String> = i.counters.refused.iter().map(|(c, n)| format!("{c} {n}")).collect();
        t += &p.bad(&format!(", {refused} refused ({})", causes.join(", ")));
    }
    if i.counters.split_brain > 0 {
        t += &format!(", another master heard {} times", i.counters.split_brain);
    }
    t += "\n";
    let strange = |h: &&String| h.contains("speaks as master");
    for h in i.hears.iter().filter(strange) {
        t += &p.bad(&format!("  {h}\n"));
    }
    if let Some(vmac) = &i.vmac {
        t += &format!("  on {vmac}, an interface of its own\n");
    }
    if !i.accepts {
        t += "  packets to its addresses are refused (no_accept)\n";
    }
    for v in &i.vips {
        t += &format!("  {}\n", if i.state == State::Master { v.clone() } else { p.dim(v) });
    }
    t
}

fn service(v: &ServiceStatus, p: &Paint) -> String {
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
        let words = format!("weight {} of healthy servers, quorum {needed}{h}", v.live_weight);
        let state = if v.up { p.good("quorum") } else { p.bad("NO QUORUM") };
        t += &format!("  {state} for {}: {words}\n", duration(v.since_ms));
    }
    if let Some(s) = &v.sorry {
        let how = if s.in_force { p.bad("takes all connections") } else { "stands by".to_owned() };
        t += &format!("  sorry server {}:{} {how}\n", s.addr, s.port);
    }
    for r in &v.servers {
        t += &server(r, p);
    }
    t
}

fn server(r: &ServerStatus, p: &Paint) -> String {
    let state = if r.up { p.good("up  ") } else { p.bad("DOWN") };
    let weight = match r.weight_in_force {
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
        duration(r.since_ms),
        r.next_hop
    );
    for c in &r.checks {
        let ms = |us: u64| format!("{}.{} ms", us / 1000, us % 1000 / 100);
        let last = c.last.as_ref().map_or("no probe yet".to_owned(), |l| match l.failed {
            None => format!("{} in {}", l.detail, ms(l.took_us)),
            Some(phase) => p.bad(&format!("failed at {} after {}: {}", phase.name(), ms(l.took_us), l.detail)),
        });
        let forgiven = if c.forgiven > 0 { format!(", {} forgiven", c.forgiven) } else { String::new() };
        let shared = if c.shared > 1 { p.dim(&format!(", shared by {}", c.shared)) } else { String::new() };
        t += &format!("       {}  {last}{forgiven}{shared}\n", c.kind);
    }
    // Why it is down is said by its checks; how often it was is not.
    if let [_, _, ..] = r.history.as_slice() {
        let times: Vec<String> = r
            .history
            .iter()
            .take(4)
            .map(|h| format!("{} {} ago", if h.up { "up" } else { "down" }, duration(h.ago_ms)))
            .collect();
        t += &p.dim(&format!("       was {}\n", times.join(", ")));
    }
    t
}
