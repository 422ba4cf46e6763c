//! `evenkeel demo`: the whole thing at work in network namespaces, told as it happens.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use evenkeel_core::ipc::Status;
use evenkeel_core::vrrp::State;
use evenkeel_sys::paths::control_socket;
use evenkeel_testkit::control::read_status;
use evenkeel_testkit::demo_network::{self, CLIENT, DIRECTORS, HttpLoad, SERVERS, Sample, VIP, longest_gap};
use evenkeel_testkit::frame_counter::FrameCounter;
use evenkeel_testkit::http::Server;
use evenkeel_testkit::lan::{Lan, Pid, wait_for};
use nix::sys::signal::Signal;
use serde::Serialize;

use crate::output;

/// How the demo runs.
#[derive(clap::Args)]
pub struct Options {
    /// The story as data
    #[arg(long)]
    pub json: bool,
    /// Leave everything running at the end, until Ctrl-C, to play with
    #[arg(long)]
    pub keep: bool,
    /// Where configurations and logs go
    #[arg(long, default_value = "/tmp/evenkeel-demo")]
    pub dir: PathBuf,
}

const PORT: u16 = 80;
const WEIGHTS: [u32; 3] = [1, 2, 3];
const REQUESTS: usize = 3000;
const PRIORITIES: [u8; 2] = [150, 100];
/// Where nothing is expected to fail.
const LOAD_TIMEOUT: Duration = Duration::from_secs(3);
/// Where the length of an outage is measured: a new attempt begins soon after the address has moved.
const PROBE_TIMEOUT: Duration = Duration::from_millis(30);

/// What happened, as data.
#[derive(Serialize, Default)]
struct Report {
    elected_master: String,
    election_ms: u64,
    requests: usize,
    requests_per_server: BTreeMap<String, u64>,
    distribution_error_percent: f64,
    client_address_seen: String,
    reply_frames_on_directors: u64,
    server_removed_after_ms: u64,
    failed_during_server_failure: usize,
    server_added_after_ms: u64,
    failover_gap_ms: u64,
    failover_bound_ms: u64,
    failed_outside_gaps: usize,
    restart_ms: u64,
    connections_kept: usize,
    requests_during_restart: usize,
    failed_during_restart: usize,
    total_ms: u64,
    passed: bool,
}

/// The file that a director runs.
fn director_config(director: usize) -> String {
    let (name, _) = DIRECTORS[director];
    let mut text = format!(
        "global_defs {{\n    router_id {name}\n    connection_table_size 65536\n}}\n\n\
         vrrp_instance VI_1 {{\n    state {state}\n    interface eth0\n    virtual_router_id 51\n    \
         priority {priority}\n    advert_int 1\n    authentication {{\n        auth_type PASS\n        \
         auth_pass 1111\n    }}\n    virtual_ipaddress {{\n        {VIP}/24 dev eth0 label eth0:0\n    }}\n}}\n\n\
         virtual_server {VIP} {PORT} {{\n    delay_loop 1\n    lb_algo wrr\n    lb_kind DR\n    protocol TCP\n    \
         retry 1\n    delay_before_retry 0.3\n    connect_timeout 1\n    warmup 0\n",
        state = if director == 0 { "MASTER" } else { "BACKUP" },
        priority = PRIORITIES[director],
    );
    for ((server, addr), weight) in SERVERS.iter().zip(WEIGHTS) {
        let check = if *server == "r1" {
            "TCP_CHECK {\n        }".to_owned()
        } else {
            "HTTP_GET {\n            url {\n                path /healthz\n            }\n        }".to_owned()
        };
        text += &format!("    real_server {addr} {PORT} {{\n        weight {weight}\n        {check}\n    }}\n");
    }
    text + "}\n"
}

struct Demo<'a> {
    lan: &'a Lan,
    daemon: PathBuf,
    started: Instant,
    quiet: bool,
    report: Report,
}

/// The daemon that belongs to this tool: beside it, or in the path.
pub fn daemon_path() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|p| p.with_file_name("evenkeeld"));
    beside.filter(|p| p.exists()).unwrap_or_else(|| PathBuf::from("evenkeeld"))
}

/// Runs it.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if !evenkeel_sys::user::is_root() {
        bail!("the demo needs root, to make network namespaces and to load the packet path");
    }
    for tool in ["ip", "nsenter"] {
        let found = std::process::Command::new(tool).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.with_context(|| format!("the demo needs the program `{tool}` (packages iproute2 and util-linux)"))?;
    }
    let _ = fs::remove_dir_all(&options.dir);
    let lan = demo_network::build(&options.dir)?;
    let mut story = Demo {
        lan: &lan,
        daemon: daemon_path(),
        started: Instant::now(),
        quiet: options.json,
        report: Report::default(),
    };
    let mut servers: Vec<Server> = SERVERS.iter().map(|(name, _)| Server::start(&lan, name, PORT)).collect();
    story.run_steps(&mut servers, options)?;
    let good = story.report.passed;
    if options.json {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&story.report)?));
    }
    if options.keep {
        wait_for_interrupt(&lan);
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn wait_for_interrupt(lan: &Lan) {
    output::print("\nEverything is left running. Each host is a namespace; enter one with, for example:\n");
    for host in ["client", "router", "d1", "d2", "r1", "r2", "r3"] {
        output::print(&format!("  nsenter --net=/run/netns/{} bash\n", lan.namespace(host)));
    }
    for (name, _) in DIRECTORS {
        output::print(&format!("  evenkeel --instance {} status\n", lan.instance(name)));
    }
    output::print(&format!("  EVENKEEL_INSTANCE={} ipvsadm -Ln          (evenkeel ipvsadm -Ln)\n", lan.instance("d2")));
    output::print("Ctrl-C ends it and removes everything.\n");
    let mut set = nix::sys::signal::SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    if set.thread_block().is_ok() {
        let _ = set.wait();
    }
}

impl Demo<'_> {
    fn print_step(&self, text: &str) {
        if !self.quiet {
            output::print(&format!("{:6.1} s  {text}\n", self.started.elapsed().as_secs_f64()));
        }
    }

    fn status(&self, host: &str) -> Option<Status> {
        read_status(&control_socket(&self.lan.instance(host))).ok()
    }

    fn start_daemon(&self, director: usize) -> anyhow::Result<Pid> {
        let (name, _) = DIRECTORS[director];
        let file = self.lan.dir.join(format!("{name}.conf"));
        let instance = self.lan.instance(name);
        let args = ["-n", "-l", "-f", path_str(&file)?, "--instance", &instance];
        let pid = self.lan.spawn(name, name, &self.daemon, &args)?;
        // It answers, or it has ended and said why.
        self.wait_for("a daemon's start", 30, || {
            if self.lan.exit_status(pid).is_some() {
                return Some(Err(self.lan.log(name).lines().last().unwrap_or("it said nothing").to_owned()));
            }
            self.status(name).filter(|s| s.pid == pid.0).map(Ok)
        })?
        .map_err(|why| anyhow::anyhow!("evenkeeld did not start on {name}: {why}"))?;
        Ok(pid)
    }

    fn wait_for<T>(&self, what: &str, seconds: u64, look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        wait_for(Duration::from_secs(seconds), look).with_context(|| {
            let logs: Vec<String> = DIRECTORS.iter().map(|(d, _)| format!("-- {d}\n{}", self.lan.log(d))).collect();
            format!("{what} did not happen within {seconds} s\n{}", logs.join("\n"))
        })
    }

    fn is_master(&self, host: &str) -> Option<()> {
        self.status(host)?.instances.iter().all(|i| i.state == State::Master).then_some(())
    }

    fn is_server_up(&self, director: &str, server: &str) -> Option<bool> {
        let addr = SERVERS.iter().find(|(n, _)| *n == server)?.1;
        let s = self.status(director)?;
        s.services.first()?.servers.iter().find(|r| r.addr == addr).map(|r| r.up)
    }

    fn run_steps(&mut self, servers: &mut [Server], options: &Options) -> anyhow::Result<()> {
        self.print_step("a client behind a router, two directors, three real servers: seven hosts and a switch");
        for (i, (name, _)) in DIRECTORS.iter().enumerate() {
            let file = options.dir.join(format!("{name}.conf"));
            fs::write(&file, director_config(i)).with_context(|| format!("write {}", file.display()))?;
            self.print_step(&format!("{name} will run {}", file.display()));
        }
        let begun = Instant::now();
        let d1 = self.start_daemon(0)?;
        let d2 = self.start_daemon(1)?;
        self.wait_for("a master", 20, || self.is_master("d1"))?;
        self.report.elected_master = "d1".into();
        self.report.election_ms = begun.elapsed().as_millis() as u64;
        if let Some(i) = self.status("d1").and_then(|s| s.instances.into_iter().next()) {
            self.print_step(&format!("d1 is MASTER for {VIP}: {}", i.reason));
        }
        let hooks = self.status("d1").map(|s| s.dataplane.attachments).unwrap_or_default();
        for (dev, hook) in hooks {
            self.print_step(&format!("d1 catches packets on {dev} by {hook}"));
        }
        let watches: Vec<FrameCounter> =
            DIRECTORS.iter().map(|(d, _)| FrameCounter::replies(self.lan, d, (VIP, PORT))).collect();

        self.measure_distribution()?;
        let outside = self.fail_real_server(servers)? + self.recover_real_server(servers)?;
        let outside = outside + self.fail_over(d1)?;
        self.report.reply_frames_on_directors = watches.iter().map(FrameCounter::count).sum();
        self.print_step(&format!(
            "reply packets seen by the directors so far: {} (they go from the real servers straight to the router)",
            self.report.reply_frames_on_directors
        ));
        self.restart_daemon(d2)?;
        self.report.failed_outside_gaps = outside + self.report.failed_during_restart;
        self.report.total_ms = self.started.elapsed().as_millis() as u64;
        let r = &mut self.report;
        r.passed = r.distribution_error_percent <= 2.0
            && r.client_address_seen == CLIENT.to_string()
            && r.reply_frames_on_directors == 0
            && r.failed_outside_gaps == 0;
        let verdict = if self.report.passed { "all of it as it should be" } else { "NOT all of it as it should be" };
        self.print_step(&format!(
            "requests that failed outside the announced gaps: {}; {verdict}",
            self.report.failed_outside_gaps
        ));
        Ok(())
    }

    fn measure_distribution(&mut self) -> anyhow::Result<()> {
        let load = HttpLoad::start(self.lan, PORT, 4, LOAD_TIMEOUT);
        self.wait_for("3,000 requests", 60, || (load.finished_requests() >= REQUESTS).then_some(()))?;
        let samples = load.finish();
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        let mut clients: BTreeMap<String, u64> = BTreeMap::new();
        for a in samples.iter().filter_map(|s| s.outcome.as_ref().ok()) {
            *seen.entry(a.server.clone()).or_default() += 1;
            *clients.entry(a.client_address.clone()).or_default() += 1;
        }
        let total: u64 = seen.values().sum();
        let weights: u32 = WEIGHTS.iter().sum();
        let mut off: f64 = 0.0;
        for ((name, _), weight) in SERVERS.iter().zip(WEIGHTS) {
            let share = *seen.get(*name).unwrap_or(&0) as f64 / total.max(1) as f64;
            off = off.max((share - f64::from(weight) / f64::from(weights)).abs() * 100.0);
        }
        let failed = samples.iter().filter(|s| s.outcome.is_err()).count();
        if failed > 0 {
            bail!("{failed} of {} requests failed with nothing wrong", samples.len());
        }
        let shares: Vec<String> = SERVERS
            .iter()
            .zip(WEIGHTS)
            .map(|((n, _), w)| format!("{n} (weight {w}) {}", seen.get(*n).unwrap_or(&0)))
            .collect();
        self.print_step(&format!("{total} requests: {}; off by {off:.2} %", shares.join(", ")));
        let client = clients.keys().cloned().collect::<Vec<_>>().join(", ");
        self.print_step(&format!("the real servers saw the client as {client}"));
        let r = &mut self.report;
        (r.requests, r.requests_per_server, r.distribution_error_percent, r.client_address_seen) =
            (samples.len(), seen, off, client);
        Ok(())
    }

    /// A real server dies under load. Returns failures outside the time in which it was dying.
    fn fail_real_server(&mut self, servers: &mut [Server]) -> anyhow::Result<usize> {
        let load = HttpLoad::start(self.lan, PORT, 2, LOAD_TIMEOUT);
        std::thread::sleep(Duration::from_millis(300));
        let died = load.elapsed();
        servers[1].stop();
        self.print_step("r2's web server dies");
        self.wait_for("r2's leaving", 20, || (self.is_server_up("d1", "r2") == Some(false)).then_some(()))?;
        let left = load.elapsed();
        std::thread::sleep(Duration::from_millis(500));
        let samples = load.finish();
        let failed = |s: &&Sample| s.outcome.is_err();
        let inside = |s: &&Sample| s.ended >= died && s.started <= left + Duration::from_millis(20);
        let dying = samples.iter().filter(failed).filter(inside).count();
        let outside = samples.iter().filter(failed).count() - dying;
        let took = (left - died).as_millis() as u64;
        self.print_step(&format!("r2 has left the service after {took} ms; {dying} of {} requests met it while it was dying, {outside} failed otherwise", samples.len()));
        (self.report.server_removed_after_ms, self.report.failed_during_server_failure) = (took, dying);
        Ok(outside)
    }

    fn recover_real_server(&mut self, servers: &mut [Server]) -> anyhow::Result<usize> {
        let load = HttpLoad::start(self.lan, PORT, 2, LOAD_TIMEOUT);
        let begun = Instant::now();
        servers[1] = Server::start(self.lan, "r2", PORT);
        self.print_step("r2's web server is started again");
        self.wait_for("r2's return", 20, || (self.is_server_up("d1", "r2") == Some(true)).then_some(()))?;
        let took = begun.elapsed().as_millis() as u64;
        self.wait_for("a request to r2", 10, || (servers[1].requests() > 0).then_some(()))?;
        let failed = load.finish().iter().filter(|s| s.outcome.is_err()).count();
        self.print_step(&format!("r2 is back in the service after {took} ms and answers requests; {failed} failed"));
        self.report.server_added_after_ms = took;
        Ok(failed)
    }

    /// The master's plug is pulled. Returns failures outside the gap.
    fn fail_over(&mut self, d1: Pid) -> anyhow::Result<usize> {
        // Patient clients tell what is lost; impatient ones only how long it takes.
        let load = HttpLoad::start(self.lan, PORT, 2, LOAD_TIMEOUT);
        let probe = HttpLoad::start(self.lan, PORT, 2, PROBE_TIMEOUT);
        std::thread::sleep(Duration::from_millis(1000));
        let skew = 1000 * (256 - u64::from(PRIORITIES[1])) / 256;
        self.report.failover_bound_ms = 3000 + skew;
        // Right behind an advert, which is when it takes longest.
        let adverts = || Some(self.status("d1")?.instances.first()?.counters.adverts_sent);
        let sent = adverts();
        self.wait_for("d1's next advert", 5, || (adverts() > sent).then_some(()))?;
        self.lan.ip("sw", "link set p-d1 down")?;
        self.lan.signal(d1, Signal::SIGKILL)?;
        self.print_step("d1 loses power right behind an advert: its link is cut and its daemon killed");
        self.wait_for("d2's taking over", 20, || self.is_master("d2"))?;
        if let Some(i) = self.status("d2").and_then(|s| s.instances.into_iter().next()) {
            self.print_step(&format!("d2 is MASTER: {}", i.reason));
        }
        std::thread::sleep(Duration::from_millis(1500));
        let (from, to) = longest_gap(&probe.finish());
        let samples = load.finish();
        // Requests under way when the address moved may end a little before or after. The two loads began within a
        // moment of each other.
        let slack = Duration::from_millis(100);
        let failed = |s: &&Sample| s.outcome.is_err();
        let outside =
            samples.iter().filter(failed).filter(|s| s.ended + slack < from || s.started > to + slack).count();
        self.report.failover_gap_ms = (to - from).as_millis() as u64;
        self.print_step(&format!(
            "the longest gap a client saw: {} ms (the protocol's bound: 3 adverts + skew = {} ms); {outside} requests failed outside it",
            self.report.failover_gap_ms, self.report.failover_bound_ms
        ));
        Ok(outside)
    }

    /// The surviving daemon is killed and started again, under load.
    fn restart_daemon(&mut self, d2: Pid) -> anyhow::Result<()> {
        let load = HttpLoad::start(self.lan, PORT, 2, LOAD_TIMEOUT);
        std::thread::sleep(Duration::from_millis(500));
        let before = self.status("d2").map(|s| s.pid);
        let begun = Instant::now();
        self.lan.signal(d2, Signal::SIGKILL)?;
        self.print_step("d2's daemon is killed with -9; nobody but the packet path is left");
        std::thread::sleep(Duration::from_millis(1000));
        self.start_daemon(1)?;
        self.wait_for("the new daemon's being master", 20, || {
            let s = self.status("d2")?;
            (Some(s.pid) != before && s.dataplane.maps_reused).then_some(())?;
            self.is_master("d2")
        })?;
        self.report.restart_ms = begun.elapsed().as_millis() as u64;
        std::thread::sleep(Duration::from_millis(1000));
        let samples = load.finish();
        let failed = samples.iter().filter(|s| s.outcome.is_err()).count();
        let log = self.lan.log("d2");
        let adopted = log.lines().rev().find_map(|l| {
            let (_, rest) = l.split_once("adopted ")?;
            rest.split_whitespace().nth(3)?.parse().ok()
        });
        self.report.connections_kept = adopted.unwrap_or(0);
        (self.report.requests_during_restart, self.report.failed_during_restart) = (samples.len(), failed);
        self.print_step(&format!(
            "a new daemon is MASTER again after {} ms and has adopted {} connections; {} requests meanwhile, {failed} failed",
            self.report.restart_ms,
            self.report.connections_kept,
            samples.len()
        ));
        Ok(())
    }
}

fn path_str(p: &Path) -> anyhow::Result<&str> {
    p.to_str().context("a path that is not UTF-8")
}
