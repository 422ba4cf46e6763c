//! Virtual services and their real servers in the text of `evenkeel status`.

use std::net::SocketAddr;

use evenkeel_core::ipc::{CheckStatus, ServerStatus, ServiceStatus};

use super::Palette;
use crate::output::format_duration;

pub fn format_service(v: &ServiceStatus, p: &Palette) -> String {
    let mut t = format!("\n{}  {}", v.name, v.scheduler);
    if let Some(group) = &v.group {
        t += &format!(", of group {group}");
    }
    if let Some(s) = v.persistence_s {
        t += &format!(", persistent {s} s");
    }
    t += &format!("  {} connections, {} packets, {} bytes\n", v.conns, v.in_packets, v.in_bytes);
    if let Some(reason) = &v.inactive {
        t += &format!("  not served here: {reason}\n");
    }
    if v.suspended {
        t += "  checks suspended: this host does not hold its address (ha_suspend)\n";
    }
    if !v.up || v.quorum != (1, 0) {
        let (quorum, hysteresis) = v.quorum;
        let hysteresis = if hysteresis > 0 { format!(" with hysteresis {hysteresis}") } else { String::new() };
        let state = if v.up { p.ok("quorum") } else { p.error("NO QUORUM") };
        t += &format!(
            "  {state} for {}: weight of healthy servers {}, quorum {quorum}{hysteresis}\n",
            format_duration(v.since_ms),
            v.healthy_weight
        );
    }
    if let Some(s) = &v.sorry_server {
        let state = if s.in_use { p.error("in use") } else { "not in use".to_owned() };
        t += &format!("  sorry server {}, {state}\n", SocketAddr::new(s.addr, s.port));
    }
    for server in &v.servers {
        t += &format_server(server, p);
    }
    t
}

fn format_server(r: &ServerStatus, p: &Palette) -> String {
    let state = if r.up { p.ok("up  ") } else { p.error("DOWN") };
    let weight = match r.effective_weight {
        Some(w) if w == r.weight => format!("weight {w}"),
        Some(w) => format!("weight {w} (configured {})", r.weight),
        None => "out of service".to_owned(),
    };
    let mut t = format!(
        "  {state} {}{}  {weight}  active {} inactive {}  {} connections  for {}  via {}\n",
        SocketAddr::new(r.addr, r.port),
        r.name.as_ref().map_or_else(String::new, |n| format!(" ({n})")),
        r.active,
        r.inactive,
        r.conns,
        format_duration(r.since_ms),
        r.next_hop
    );
    if r.retried_last_minute > 0 {
        t += &format!(
            "       in the last minute {} new connections, {} answered, {} tried again before an answer\n",
            r.new_last_minute, r.answered_last_minute, r.retried_last_minute
        );
    }
    for check in &r.checks {
        t += &format_check(check, p);
    }
    // The checks above tell the present state; earlier ones are shown if there were several.
    if let [_, _, ..] = r.history.as_slice() {
        let transitions: Vec<String> = r
            .history
            .iter()
            .take(4)
            .map(|h| format!("{} {} ago", if h.up { "up" } else { "down" }, format_duration(h.ago_ms)))
            .collect();
        t += &p.dim(&format!("       history: {}\n", transitions.join(", ")));
    }
    t
}

fn format_check(c: &CheckStatus, p: &Palette) -> String {
    let ms = |us: u64| format!("{}.{} ms", us / 1000, us % 1000 / 100);
    let last = c.last_probe.as_ref().map_or("no probe yet".to_owned(), |l| match l.failed {
        None => format!("{} in {}", l.detail, ms(l.took_us)),
        Some(phase) => p.error(&format!("failed at {} after {}: {}", phase.name(), ms(l.took_us), l.detail)),
    });
    let retries = if c.retries_used > 0 { format!(", {} failed, retrying", c.retries_used) } else { String::new() };
    let shared = if c.shared_by > 1 { p.dim(&format!(", shared by {}", c.shared_by)) } else { String::new() };
    format!("       {}  {last}{retries}{shared}\n", c.kind)
}
