//! keepalived's recorded runs, once more, with evenkeeld in its place: the same servers fail at the same moments, and the
//! same must follow. All run at once, each in a namespace of its own; the slowest takes 34 s.
//!
//! Two things are not the recording's. Its real servers are ports of 127.0.0.1, forwarded to by NAT; ours are addresses,
//! by DR. And a sorry server joins before the last real server leaves, so that states are compared, not steps.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_core::ipc::Request;
use evenkeel_sys::paths::control_socket;
use evenkeel_testkit::control::send_request;
use evenkeel_testkit::lan::{Lan, eventually};
use evenkeel_tests::{TEST_TIMEOUT, is_root, program};
use nix::sys::signal::Signal;

use super::mock_servers::MockServers;
use super::recording::{Run, merge_steps, read_all};

/// A loaded machine may be this late.
const MAX_LATENESS_S: f64 = 1.5;

/// The address that stands for a recorded port.
fn address_of_port(port: u16) -> String {
    format!("127.0.1.{}", port - 8000)
}

/// The recorded configuration as ours, with its files in `dir`.
fn convert_config(text: &str, dir: &Path) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [word @ ("real_server" | "sorry_server"), "127.0.0.1", port, ..] => {
                let brace = if word == "real_server" { " {" } else { "" };
                out += &format!("{word} {} {port}{brace}\n", address_of_port(port.parse().expect("a port")));
            }
            ["global_defs", "{"] => out += "global_defs {\nconnection_table_size 16384\n",
            _ => out += &format!("{}\n", line.replace("NAT", "DR").replace("WORK", &dir.display().to_string())),
        }
    }
    out
}

/// The configuration with which the run `reload` began.
fn config_before_reload(conf: &str) -> String {
    conf.replace("weight 5\n", "weight 10\n").replace("8004", "8002")
}

struct Outcome {
    active_servers: Vec<(f64, BTreeMap<u16, u32>)>,
    requests: BTreeMap<u16, Vec<(f64, String)>>,
    mails: Vec<String>,
    fifo: Vec<String>,
    scripts: Vec<String>,
}

fn write_script(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
}

/// Reads a FIFO until it is told to stop.
fn spawn_fifo_reader(path: &Path) -> (Arc<std::sync::Mutex<Vec<u8>>>, std::fs::File) {
    use std::io::Read;
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("made");
    // Both ends, so that it opens at once and never ends.
    let mut fifo = fs::OpenOptions::new().read(true).write(true).open(path).expect("opens");
    let (all, keep) = (Arc::new(std::sync::Mutex::new(Vec::new())), fifo.try_clone().expect("a copy"));
    let heard = all.clone();
    std::thread::spawn(move || {
        let mut some = [0; 4096];
        while let Ok(n) = fifo.read(&mut some) {
            heard.lock().expect("whole").extend_from_slice(&some[..n]);
        }
    });
    (all, keep)
}

fn replay_run(lan: &Lan, run: &Run) -> Outcome {
    let dir = lan.dir.join(&run.name);
    fs::create_dir_all(&dir).expect("writable");
    write_script(&dir, "n.sh", &format!("line=$(printf '%s|' \"$@\"); echo \"$line\" >>{}/notify.log", dir.display()));
    write_script(&dir, "m.sh", &format!("exit $(cat {}/mrc)", dir.display()));
    write_script(&dir, "m2.sh", "sleep 30");
    let put = |file: &str, text: &str| {
        let new = dir.join(format!("{file}.new"));
        fs::write(&new, text).expect("writable");
        fs::rename(&new, dir.join(file)).expect("writable");
    };
    put("mrc", "0");
    put("tf", "0\n");
    let (fifo, _keep) = spawn_fifo_reader(&dir.join("fifo"));
    let conf = convert_config(&run.conf, &dir);
    let reloads = run.events.iter().any(|(_, who, _)| who == "R");
    put("conf", &if reloads { convert_config(&config_before_reload(&run.conf), &dir) } else { conf.clone() });

    let (zero, wall) = (Instant::now(), std::time::SystemTime::now());
    let mut servers = lan
        .run_in(&run.name, || {
            let mut servers = MockServers::new(zero);
            run.servers().into_iter().for_each(|(port, kind)| servers.listen(port, kind));
            servers.listen(2525, "smtp");
            servers
        })
        .expect("the namespace is there");
    let path = dir.join("conf");
    let instance = lan.instance(&run.name);
    let args = ["-n", "-l", "-D", "-f", path.to_str().expect("UTF-8"), "--instance", &instance];
    let pid = lan.spawn(&run.name, &run.name, &program("evenkeeld"), &args).expect("starts");
    // A machine with eighteen daemons starts them late. What is done to them is done at the recorded times from there.
    let begun = eventually("it starts", TEST_TIMEOUT, || {
        lan.log(&run.name).lines().find_map(|l| Some(seconds_since(wall, l.split_once("  INFO started")?.0)))
    });
    let start = zero + Duration::from_secs_f64(begun);
    let rest = |until: f64| std::thread::sleep(Duration::from_secs_f64(until).saturating_sub(start.elapsed()));
    for (at, who, what) in &run.events {
        // It was done just before a probe, and must be so here too.
        rest(*at - 0.2);
        match (who.as_str(), what.as_str()) {
            ("m", status) => put("mrc", status),
            ("f", number) => fs::write(dir.join("tf"), format!("{number}\n")).expect("writable"),
            ("R", _) => {
                put("conf", &conf);
                send_request(&control_socket(&instance), &Request::Reload).expect("answers");
            }
            (port, what) => {
                let port: u16 = port.parse().expect("a port");
                lan.run_in(&run.name, || match what {
                    "down" => servers.stop_listening(port),
                    "up" => servers.listen(port, "tcp"),
                    mode => servers.set_mode(port, mode),
                })
                .expect("the namespace is there");
            }
        }
    }
    rest(run.duration_s);
    lan.signal(pid, Signal::SIGTERM).expect("running");
    // Programs and mails of the stop.
    std::thread::sleep(Duration::from_secs(2));

    let port_of = |addr: &str| addr.split(':').next()?.strip_prefix("127.0.1.")?.parse::<u16>().ok().map(|n| n + 8000);
    let (mut now, mut in_force) = (BTreeMap::new(), Vec::new());
    let log = lan.log(&run.name);
    for line in log.lines().take_while(|l| !l.contains(" stopping")) {
        let Some((stamp, text)) = line.split_once("  INFO ") else { continue };
        let words: Vec<&str> = text.split_whitespace().collect();
        let weight = || text.split("weight ").nth(1)?.split_whitespace().next()?.parse().ok();
        match words[..] {
            ["add" | "change", server, ..] if port_of(server).is_some() => {
                now.insert(port_of(server).expect("seen"), weight().expect("a weight"));
            }
            ["remove", server, ..] if port_of(server).is_some() => {
                now.remove(&port_of(server).expect("seen"));
            }
            _ => continue,
        }
        in_force.push((seconds_since(wall, stamp), now.clone()));
    }
    let mut asked: BTreeMap<u16, Vec<(f64, String)>> = BTreeMap::new();
    let mut letters = String::new();
    for (at, port, what) in servers.log.lock().expect("whole").iter() {
        if *port == 2525 {
            letters += what.strip_prefix("C: ").unwrap_or("");
        } else if *at - begun < run.duration_s {
            asked.entry(*port).or_default().push((*at - begun, what.clone()));
        }
    }
    // Folded lines are one (RFC 5322, 2.2.3).
    let letters = letters.replace("\\r\\n ", " ").replace("\\r\\n", "\n");
    let mails: Vec<&str> = letters.lines().filter_map(|l| l.strip_prefix("Subject: ")).collect();
    let fifo = String::from_utf8_lossy(&fifo.lock().expect("whole")).into_owned();
    let scripts = fs::read_to_string(dir.join("notify.log")).unwrap_or_default();
    Outcome {
        active_servers: merge_steps(in_force).into_iter().map(|(at, s)| (at - begun, s)).collect(),
        requests: asked,
        mails: mails.iter().map(|m| to_recorded_names(m)).collect(),
        fifo: fifo.lines().map(to_recorded_names).collect(),
        scripts: scripts.lines().map(str::to_owned).collect(),
    }
}

/// Seconds from `start` to the time of day that a log line begins with.
fn seconds_since(start: std::time::SystemTime, stamp: &str) -> f64 {
    let day = |s: f64| s.rem_euclid(86_400.0);
    let begun = day(start.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64());
    let time: Vec<f64> = stamp[11..].trim_end_matches('Z').split(':').map(|n| n.parse().expect("a number")).collect();
    day(time[0] * 3600.0 + time[1] * 60.0 + time[2] - begun)
}

/// `[127.0.1.11]:tcp:80`, which stands for a recorded port, as it was recorded.
fn to_recorded_names(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("[127.0.1.") {
        let (head, tail) = rest.split_at(at);
        let number: String = tail[9..].chars().take_while(char::is_ascii_digit).collect();
        let port = number.parse::<u16>().expect("ours") + 8000;
        let tail = &tail[9 + number.len() + 1..];
        let protocol = &tail[1..4];
        out += &format!("{head}[127.0.0.1]:{protocol}:{port}");
        rest = &tail[7..]; // `:tcp:80`
    }
    out + rest
}

fn compare_outcome(run: &Run, ours: &Outcome) -> Result<(), String> {
    let same = |what: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
        let (a, b) = (format!("{a:#?}"), format!("{b:#?}"));
        if a == b { Ok(()) } else { Err(format!("{what}: keepalived {a}\nevenkeel {b}")) }
    };
    let states = |all: &[(f64, BTreeMap<u16, u32>)]| all.iter().map(|(_, s)| s.clone()).collect::<Vec<_>>();
    same("in force", &states(&run.active_servers), &states(&ours.active_servers))?;
    // Where in its warm-up a check begins is chance.
    let late = if run.name == "startup_many" { MAX_LATENESS_S + 2.0 } else { MAX_LATENESS_S };
    for ((theirs, state), (mine, _)) in run.active_servers.iter().zip(&ours.active_servers) {
        if (theirs - mine).abs() > late {
            return Err(format!("{state:?} at {mine:.3}, keepalived at {theirs:.3}"));
        }
    }
    same("FIFO", &run.fifo, &ours.fifo)?;
    let sorted = |all: &[String]| {
        let mut all = all.to_vec();
        all.sort();
        all
    };
    same("scripts", &sorted(&run.scripts), &sorted(&ours.scripts))?;
    // keepalived mails of what it tells the FIFO; but of a server that was up as well, if its first MISC_CHECK says so, and
    // not of FILE_CHECKs, of `alpha` servers that stay down, and of its stop. Here the two agree.
    let told = |line: &String| {
        let (what, state) = line.split_once(' ')?.1.rsplit_once(' ')?;
        let (rs, vs) = what.split_once(' ')?;
        Some(format!("[golden] Realserver {rs} of virtual server {vs} - {state}"))
    };
    let of_servers = |all: &[String]| sorted(all).into_iter().filter(|m| m.contains("Realserver")).collect::<Vec<_>>();
    let expected = sorted(&ours.fifo.iter().filter(|l| l.starts_with("RS")).filter_map(told).collect::<Vec<_>>());
    same("mails", &expected, &of_servers(&ours.mails))?;
    if !["misc_dynamic", "file_check", "tcp_alpha"].contains(&run.name.as_str()) {
        same("mails", &sorted(&run.mails), &sorted(&ours.mails))?;
    }
    for (port, theirs) in &run.requests {
        let empty = Vec::new();
        let mine = ours.requests.get(port).unwrap_or(&empty);
        let words = |all: &[(f64, String)], own: bool| -> Vec<String> {
            let one = |(_, what): &(f64, String)| {
                let what = if own { what.replace(&address_of_port(*port), "127.0.0.1") } else { what.clone() };
                // A question's number is chance.
                if matches!(port, 8053 | 8054) { what.replace(&what[4..8], "") } else { what }
            };
            all.iter().map(one).collect()
        };
        let (a, b) = (words(theirs, false), words(mine, true));
        // The stop may fall before or behind the last probe.
        let n = a.len().min(b.len());
        same(&format!("probes of {port}"), &&a[..n], &&b[..n])?;
        let lines = if *port == 8025 { 3 } else { 1 };
        if a.len().abs_diff(b.len()) > lines {
            return Err(format!("probes of {port}: {} instead of {}", b.len(), a.len()));
        }
        for ((theirs, _), (mine, what)) in theirs.iter().zip(mine) {
            if (theirs - mine).abs() > late {
                return Err(format!("{what} at {mine:.3}, keepalived at {theirs:.3}"));
            }
        }
    }
    Ok(())
}

#[test]
fn recorded_runs_of_keepalived_go_the_same_way() {
    let _quiet = crate::TIMING_LOCK.write();
    if !is_root() {
        return;
    }
    let runs = read_all();
    assert_eq!(runs.len(), 18);
    let dir = program("evenkeeld").parent().and_then(Path::parent).expect("target").join("lan/replay");
    let _ = fs::remove_dir_all(&dir);
    let mut lan = Lan::new(&dir).expect("a network");
    for run in &runs {
        lan.add_host(&run.name).expect("a namespace");
    }
    let failures: Vec<String> = std::thread::scope(|s| {
        let play = |run| {
            let lan = &lan;
            move || compare_outcome(run, &replay_run(lan, run)).err().map(|why| format!("{}: {why}", run.name))
        };
        let threads: Vec<_> = runs.iter().map(|run| s.spawn(play(run))).collect();
        threads.into_iter().filter_map(|t| t.join().expect("no panic")).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
