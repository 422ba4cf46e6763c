//! The comparison of a recorded run of keepalived with our replay of it.

use std::fmt::Debug;

use super::recording::{Behaviour, Run, ServerStates};
use super::replay::address_of_port;

/// A loaded machine may be this late, s.
const MAX_LATENESS_S: f64 = 1.5;

/// Compares what keepalived and evenkeeld did. An error has the first difference.
pub fn compare_behaviour(run: &Run, ours: &Behaviour) -> Result<(), String> {
    let theirs = &run.behaviour;
    // The place of a check in its warm-up is random.
    let max_lateness = if run.name == "startup_many" { MAX_LATENESS_S + 2.0 } else { MAX_LATENESS_S };
    compare_active_servers(&theirs.active_servers, &ours.active_servers, max_lateness)?;
    same("FIFO", &theirs.fifo, &ours.fifo)?;
    same("scripts", &sorted(&theirs.scripts), &sorted(&ours.scripts))?;
    compare_mails(run, ours)?;
    let none = Vec::new();
    for (port, requests) in &theirs.requests {
        compare_requests(*port, requests, ours.requests.get(port).unwrap_or(&none), max_lateness)?;
    }
    Ok(())
}

fn same(what: &str, theirs: &dyn Debug, ours: &dyn Debug) -> Result<(), String> {
    let (theirs, ours) = (format!("{theirs:#?}"), format!("{ours:#?}"));
    if theirs == ours { Ok(()) } else { Err(format!("{what}: keepalived {theirs}\nevenkeel {ours}")) }
}

fn sorted(lines: &[String]) -> Vec<String> {
    let mut lines = lines.to_vec();
    lines.sort();
    lines
}

fn compare_active_servers(theirs: &ServerStates, ours: &ServerStates, max_lateness: f64) -> Result<(), String> {
    let states = |all: &ServerStates| all.iter().map(|(_, s)| s.clone()).collect::<Vec<_>>();
    same("active servers", &states(theirs), &states(ours))?;
    for ((their_time, state), (our_time, _)) in theirs.iter().zip(ours) {
        if (their_time - our_time).abs() > max_lateness {
            return Err(format!("{state:?} at {our_time:.3}, keepalived at {their_time:.3}"));
        }
    }
    Ok(())
}

/// keepalived sends a mail for each line about a real server in the FIFO, with exceptions: it also sends one for a
/// server that was up when its first MISC_CHECK passes, and it sends none for FILE_CHECKs, for `alpha` servers that
/// stay down, and at its stop. In these cases our mails agree with our FIFO.
fn compare_mails(run: &Run, ours: &Behaviour) -> Result<(), String> {
    let subject = |line: &String| {
        let (names, state) = line.split_once(' ')?.1.rsplit_once(' ')?;
        let (rs, vs) = names.split_once(' ')?;
        Some(format!("[golden] Realserver {rs} of virtual server {vs} - {state}"))
    };
    let expected: Vec<String> = ours.fifo.iter().filter(|l| l.starts_with("RS")).filter_map(subject).collect();
    let about_servers: Vec<String> = ours.mails.iter().filter(|m| m.contains("Realserver")).cloned().collect();
    same("mails", &sorted(&expected), &sorted(&about_servers))?;
    if ["misc_dynamic", "file_check", "tcp_alpha"].contains(&run.name.as_str()) {
        return Ok(());
    }
    same("mails", &sorted(&run.behaviour.mails), &sorted(&ours.mails))
}

fn compare_requests(
    port: u16,
    theirs: &[(f64, String)],
    ours: &[(f64, String)],
    max_lateness: f64,
) -> Result<(), String> {
    let normalized = |requests: &[(f64, String)]| -> Vec<String> {
        let one = |(_, request): &(f64, String)| {
            let request = request.replace(&address_of_port(port), "127.0.0.1");
            // The ID of a DNS query is random.
            if matches!(port, 8053 | 8054) { request.replace(&request[4..8], "") } else { request }
        };
        requests.iter().map(one).collect()
    };
    let (a, b) = (normalized(theirs), normalized(ours));
    // The stop may come before or after the last probe.
    let n = a.len().min(b.len());
    same(&format!("probes of {port}"), &&a[..n], &&b[..n])?;
    let lines_per_probe = if port == 8025 { 3 } else { 1 };
    if a.len().abs_diff(b.len()) > lines_per_probe {
        return Err(format!("probes of {port}: {} instead of {}", b.len(), a.len()));
    }
    for ((their_time, _), (our_time, request)) in theirs.iter().zip(ours) {
        if (their_time - our_time).abs() > max_lateness {
            return Err(format!("{request} at {our_time:.3}, keepalived at {their_time:.3}"));
        }
    }
    Ok(())
}
