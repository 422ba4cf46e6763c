//! The recorded runs of keepalived, replayed with evenkeeld: the same servers fail at the same times, and evenkeeld
//! must do the same as keepalived. All runs are replayed at the same time, each in its own namespace; the slowest takes
//! 34 s.
//!
//! Two things differ from the recordings. Their real servers are ports of 127.0.0.1 with NAT; ours are addresses with
//! DR. And evenkeeld adds a sorry server before it removes the last real server, so that states are compared instead of
//! steps.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use evenkeel_core::ipc::Request;
use evenkeel_sys::paths::control_socket;
use evenkeel_testkit::control::send_request;
use evenkeel_testkit::lan::{Lan, Pid, eventually};
use evenkeel_tests::{TEST_TIMEOUT, is_root, program};
use nix::sys::signal::Signal;

use super::comparison::compare_behaviour;
use super::mock_servers::MockServers;
use super::recording::{Behaviour, Requests, Run, ServerStates, merge_steps, read_selected};

/// The port of the mail server.
const SMTP_PORT: u16 = 2525;

/// The address that stands for a recorded port.
pub fn address_of_port(port: u16) -> String {
    format!("127.0.1.{}", port - 8000)
}

/// Converts a recorded configuration: addresses for ports, DR for NAT, files in `dir`.
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
            // The scripts of the replay may lie below a directory that others can write to, such as /tmp.
            _ if line.trim() == "enable_script_security" => {}
            _ => out += &format!("{}\n", line.replace("NAT", "DR").replace("WORK", &dir.display().to_string())),
        }
    }
    out
}

/// The configuration at the start of the run `reload`.
fn config_before_reload(conf: &str) -> String {
    conf.replace("weight 5\n", "weight 10\n").replace("8004", "8002")
}

fn write_script(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
}

/// Makes a FIFO and reads it until the returned file is closed. Returns the bytes read so far.
fn spawn_fifo_reader(path: &Path) -> (Arc<Mutex<Vec<u8>>>, std::fs::File) {
    use std::io::Read;
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("made");
    // Opened for both directions: the open does not block, and the read never ends.
    let mut fifo = fs::OpenOptions::new().read(true).write(true).open(path).expect("opens");
    let (all, keep) = (Arc::new(Mutex::new(Vec::new())), fifo.try_clone().expect("a copy"));
    let received = all.clone();
    std::thread::spawn(move || {
        let mut some = [0; 4096];
        while let Ok(n) = fifo.read(&mut some) {
            received.lock().expect("whole").extend_from_slice(&some[..n]);
        }
    });
    (all, keep)
}

/// A run that is being replayed.
struct Replay<'r> {
    lan: &'r Lan,
    run: &'r Run,
    dir: PathBuf,
    conf: String,
    servers: MockServers,
    fifo: Arc<Mutex<Vec<u8>>>,
    /// Closes the FIFO at the end.
    _fifo_end: fs::File,
    pid: Pid,
    /// When the replay began: the zero of times in the servers' log, and of `wall_clock`.
    wall_clock: SystemTime,
    /// When the daemon started, s since the replay began: the zero of recorded times.
    started_s: f64,
    started: Instant,
}

/// Writes a file by a rename, so that no reader sees a part of it.
fn replace_file(dir: &Path, file: &str, text: &str) {
    let new = dir.join(format!("{file}.new"));
    fs::write(&new, text).expect("writable");
    fs::rename(&new, dir.join(file)).expect("writable");
}

impl<'r> Replay<'r> {
    /// Writes the files of a run, and starts its servers and the daemon.
    fn start(lan: &'r Lan, run: &'r Run) -> Replay<'r> {
        let dir = lan.dir.join(&run.name);
        fs::create_dir_all(&dir).expect("writable");
        let notify = format!("line=$(printf '%s|' \"$@\"); echo \"$line\" >>{}/notify.log", dir.display());
        write_script(&dir, "n.sh", &notify);
        write_script(&dir, "m.sh", &format!("exit $(cat {}/mrc)", dir.display()));
        write_script(&dir, "m2.sh", "sleep 30");
        replace_file(&dir, "mrc", "0");
        replace_file(&dir, "tf", "0\n");
        let (fifo, fifo_end) = spawn_fifo_reader(&dir.join("fifo"));
        let conf = convert_config(&run.conf, &dir);
        let reloads = run.events.iter().any(|(_, who, _)| who == "R");
        let first = if reloads { convert_config(&config_before_reload(&run.conf), &dir) } else { conf.clone() };
        replace_file(&dir, "conf", &first);

        let (zero, wall_clock) = (Instant::now(), SystemTime::now());
        let start_servers = || {
            let mut servers = MockServers::new(zero);
            run.servers().into_iter().for_each(|(port, kind)| servers.listen(port, kind));
            servers.listen(SMTP_PORT, "smtp");
            servers
        };
        let servers = lan.run_in(&run.name, start_servers).expect("the namespace exists");
        let path = dir.join("conf");
        let instance = lan.instance(&run.name);
        let args = ["-n", "-l", "-D", "-f", path.to_str().expect("UTF-8"), "--instance", &instance];
        let pid = lan.spawn(&run.name, &run.name, &program("evenkeeld"), &args).expect("starts");
        // Eighteen daemons at the same time start late. Recorded times count from the start of the daemon.
        let started_s = eventually("the daemon starts", TEST_TIMEOUT, || {
            lan.log(&run.name).lines().find_map(|l| Some(seconds_since(wall_clock, l.split_once("  INFO started")?.0)))
        });
        let started = zero + Duration::from_secs_f64(started_s);
        Replay { lan, run, dir, conf, servers, fifo, _fifo_end: fifo_end, pid, wall_clock, started_s, started }
    }

    fn sleep_until(&self, recorded_s: f64) {
        std::thread::sleep(Duration::from_secs_f64(recorded_s).saturating_sub(self.started.elapsed()));
    }

    /// Replays the events at their recorded times, and stops the daemon at the recorded end.
    fn replay_events(&mut self) {
        let run = self.run;
        for (at, who, what) in &run.events {
            // In the recording an event came just before a probe, which must see it here, too.
            self.sleep_until(*at - 0.2);
            match (who.as_str(), what.as_str()) {
                ("m", status) => replace_file(&self.dir, "mrc", status),
                ("f", number) => fs::write(self.dir.join("tf"), format!("{number}\n")).expect("writable"),
                ("R", _) => {
                    replace_file(&self.dir, "conf", &self.conf);
                    let socket = control_socket(&self.lan.instance(&run.name));
                    send_request(&socket, &Request::Reload).expect("answers");
                }
                (port, what) => {
                    let (port, servers): (u16, _) = (port.parse().expect("a port"), &mut self.servers);
                    let change = || match what {
                        "down" => servers.stop_listening(port),
                        "up" => servers.listen(port, "tcp"),
                        mode => servers.set_mode(port, mode),
                    };
                    self.lan.run_in(&run.name, change).expect("the namespace exists");
                }
            }
        }
        self.sleep_until(run.duration_s);
        self.lan.signal(self.pid, Signal::SIGTERM).expect("running");
        // Scripts and mails of the stop.
        std::thread::sleep(Duration::from_secs(2));
    }

    /// What the daemon did, with recorded names and times.
    fn behaviour(&self) -> Behaviour {
        let (requests, mails) = self.requests_and_mails();
        let fifo = String::from_utf8_lossy(&self.fifo.lock().expect("whole")).into_owned();
        let scripts = fs::read_to_string(self.dir.join("notify.log")).unwrap_or_default();
        Behaviour {
            active_servers: self.active_servers(),
            requests,
            mails,
            fifo: fifo.lines().map(to_recorded_names).collect(),
            scripts: scripts.lines().map(str::to_owned).collect(),
        }
    }

    /// The active servers, from the steps in the daemon's log.
    fn active_servers(&self) -> ServerStates {
        let port_of = |addr: &str| {
            let last = addr.split(':').next()?.strip_prefix("127.0.1.")?;
            last.parse::<u16>().ok().map(|n| n + 8000)
        };
        let (mut current, mut steps) = (BTreeMap::new(), ServerStates::new());
        for line in self.lan.log(&self.run.name).lines().take_while(|l| !l.contains(" stopping")) {
            let Some((stamp, text)) = line.split_once("  INFO ") else { continue };
            let words: Vec<&str> = text.split_whitespace().collect();
            let weight = || text.split("weight ").nth(1)?.split_whitespace().next()?.parse().ok();
            match (words.first(), words.get(1).and_then(|server| port_of(server))) {
                (Some(&("add" | "change")), Some(port)) => drop(current.insert(port, weight().expect("a weight"))),
                (Some(&"remove"), Some(port)) => drop(current.remove(&port)),
                _ => continue,
            }
            steps.push((seconds_since(self.wall_clock, stamp), current.clone()));
        }
        merge_steps(steps).into_iter().map(|(at, s)| (at - self.started_s, s)).collect()
    }

    /// The requests and the subjects of mails, from the log of the servers.
    fn requests_and_mails(&self) -> (Requests, Vec<String>) {
        let (mut requests, mut mail) = (Requests::new(), String::new());
        for (at, port, what) in self.servers.log.lock().expect("whole").iter() {
            let at = *at - self.started_s;
            if *port == SMTP_PORT {
                mail += what.strip_prefix("C: ").unwrap_or("");
            } else if at < self.run.duration_s {
                requests.entry(*port).or_default().push((at, what.clone()));
            }
        }
        // Folded header lines are one line (RFC 5322, 2.2.3).
        let mail = mail.replace("\\r\\n ", " ").replace("\\r\\n", "\n");
        let subjects = mail.lines().filter_map(|l| l.strip_prefix("Subject: "));
        (requests, subjects.map(to_recorded_names).collect())
    }
}

/// The seconds from `start` to the time at the beginning of a log line.
fn seconds_since(start: std::time::SystemTime, stamp: &str) -> f64 {
    let day = |s: f64| s.rem_euclid(86_400.0);
    let begun = day(start.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64());
    let time: Vec<f64> = stamp[11..].trim_end_matches('Z').split(':').map(|n| n.parse().expect("a number")).collect();
    day(time[0] * 3600.0 + time[1] * 60.0 + time[2] - begun)
}

/// Replaces names such as `[127.0.1.11]:tcp:80` by the recorded ones, `[127.0.0.1]:tcp:8011`.
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

#[test]
fn recorded_runs_of_keepalived_go_the_same_way() {
    let _alone = crate::TIMING_LOCK.write();
    if !is_root() {
        return;
    }
    let runs = read_selected();
    assert!(runs.len() == 18 || std::env::var_os("EVENKEEL_RECORDING").is_some(), "{} recordings", runs.len());
    let dir = program("evenkeeld").parent().and_then(Path::parent).expect("target").join("lan/replay");
    let _ = fs::remove_dir_all(&dir);
    let mut lan = Lan::new(&dir).expect("a network");
    for run in &runs {
        lan.add_host(&run.name).expect("a namespace");
    }
    let replay_and_compare = |run: &Run| {
        let mut replay = Replay::start(&lan, run);
        replay.replay_events();
        compare_behaviour(run, &replay.behaviour()).err().map(|why| format!("{}: {why}", run.name))
    };
    let failures: Vec<String> = std::thread::scope(|s| {
        let threads: Vec<_> = runs.iter().map(|run| s.spawn(move || replay_and_compare(run))).collect();
        threads.into_iter().filter_map(|t| t.join().expect("no panic")).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
