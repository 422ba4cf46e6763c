//! The steps of the demo.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use evenkeel_core::ipc::Status;
use evenkeel_core::vrrp::State;
use evenkeel_sys::bpf::Maps;
use evenkeel_sys::paths::{bpf_dir, control_socket};
use evenkeel_testkit::control::read_status;
use evenkeel_testkit::demo_network::{DIRECTORS, HttpLoad, SERVERS, Sample, VIP, longest_gap};
use evenkeel_testkit::frame_counter::FrameCounter;
use evenkeel_testkit::http::Server;
use evenkeel_testkit::lan::{Lan, Pid, wait_for};
use nix::sys::signal::Signal;

use super::report::Report;
use super::{PORT, PRIORITIES, WEIGHTS, director_config};
use crate::output;

/// Requests of the first load.
const REQUESTS: usize = 3000;
/// Timeout of requests that must not fail.
const LOAD_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of requests that measure an outage: a new attempt follows soon after the address has moved.
const PROBE_TIMEOUT: Duration = Duration::from_millis(30);

/// A demo that runs.
pub struct Demo<'a> {
    lan: &'a Lan,
    daemon: PathBuf,
    started: Instant,
    quiet: bool,
    pub report: Report,
}

fn failed(samples: &[Sample]) -> impl Iterator<Item = &Sample> {
    samples.iter().filter(|s| s.outcome.is_err())
}

impl<'a> Demo<'a> {
    /// `quiet`: the steps are not printed.
    pub fn new(lan: &'a Lan, daemon: PathBuf, quiet: bool) -> Demo<'a> {
        Demo { lan, daemon, started: Instant::now(), quiet, report: Report::default() }
    }

    pub fn run_steps(&mut self, servers: &mut [Server]) -> anyhow::Result<()> {
        self.print_step("a client behind a router, two directors, three real servers: seven hosts and a switch");
        let [d1, d2] = self.start_directors()?;
        let counters: Vec<FrameCounter> =
            DIRECTORS.iter().map(|(d, _)| FrameCounter::replies(self.lan, d, (VIP, PORT))).collect();

        self.measure_distribution()?;
        let mut failed_outside = self.fail_real_server(servers)? + self.recover_real_server(servers)?;
        failed_outside += self.fail_over(d1)?;
        self.report.reply_frames_on_directors = counters.iter().map(FrameCounter::count).sum();
        self.print_step(&format!(
            "reply packets that passed a director so far: {} (real servers send replies directly to the router)",
            self.report.reply_frames_on_directors
        ));
        self.restart_daemon(d2)?;
        self.report.failed_outside_gaps = failed_outside + self.report.failed_during_restart;
        self.report.total_ms = self.started.elapsed().as_millis() as u64;
        self.report.passed = self.report.is_as_expected();
        let verdict =
            if self.report.passed { "all results are as expected" } else { "NOT all results are as expected" };
        self.print_step(&format!(
            "requests that failed outside the expected gaps: {}; {verdict}",
            self.report.failed_outside_gaps
        ));
        Ok(())
    }

    fn print_step(&self, text: &str) {
        if !self.quiet {
            output::print(&format!("{:6.1} s  {text}\n", self.started.elapsed().as_secs_f64()));
        }
    }

    fn status(&self, host: &str) -> Option<Status> {
        read_status(&control_socket(&self.lan.instance(host))).ok()
    }

    fn is_master(&self, host: &str) -> Option<()> {
        self.status(host)?.instances.iter().all(|i| i.state == State::Master).then_some(())
    }

    fn print_mastership(&self, host: &str) {
        if let Some(i) = self.status(host).and_then(|s| s.instances.into_iter().next()) {
            self.print_step(&format!("{host} is MASTER for {VIP}: {}", i.reason));
        }
    }

    fn is_server_up(&self, director: &str, server: &str) -> Option<bool> {
        let addr = SERVERS.iter().find(|(n, _)| *n == server)?.1;
        let s = self.status(director)?;
        s.services.first()?.servers.iter().find(|r| r.addr == addr).map(|r| r.up)
    }

    /// Polls until `poll` returns a value; after `seconds` fails with the logs of both daemons.
    fn wait_for<T>(&self, what: &str, seconds: u64, poll: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        wait_for(Duration::from_secs(seconds), poll).with_context(|| {
            let logs: Vec<String> = DIRECTORS.iter().map(|(d, _)| format!("-- {d}\n{}", self.lan.log(d))).collect();
            format!("{what}: not within {seconds} s\n{}", logs.join("\n"))
        })
    }

    fn config_file(&self, director: usize) -> PathBuf {
        self.lan.dir.join(format!("{}.conf", DIRECTORS[director].0))
    }

    fn start_daemon(&self, director: usize) -> anyhow::Result<Pid> {
        let (name, _) = DIRECTORS[director];
        let file = self.config_file(director);
        let instance = self.lan.instance(name);
        let args = ["-n", "-l", "-f", file.to_str().context("a path in UTF-8")?, "--instance", &instance];
        let pid = self.lan.spawn(name, name, &self.daemon, &args)?;
        // It answers, or it has exited with an error in its log.
        self.wait_for("the start of a daemon", 30, || {
            if self.lan.exit_status(pid).is_some() {
                return Some(Err(self.lan.log(name).lines().last().unwrap_or("it logged nothing").to_owned()));
            }
            self.status(name).filter(|s| s.pid == pid.0).map(Ok)
        })?
        .map_err(|why| anyhow::anyhow!("evenkeeld did not start on {name}: {why}"))?;
        Ok(pid)
    }

    fn start_directors(&mut self) -> anyhow::Result<[Pid; 2]> {
        for (i, (name, _)) in DIRECTORS.iter().enumerate() {
            let file = self.config_file(i);
            fs::write(&file, director_config(i)).with_context(|| format!("write {}", file.display()))?;
            self.print_step(&format!("configuration of {name}: {}", file.display()));
        }
        let started = Instant::now();
        let pids = [self.start_daemon(0)?, self.start_daemon(1)?];
        self.wait_for("a master", 20, || self.is_master("d1"))?;
        self.report.elected_master = "d1".into();
        self.report.election_ms = started.elapsed().as_millis() as u64;
        self.print_mastership("d1");
        for a in self.status("d1").map(|s| s.dataplane.attachments).unwrap_or_default() {
            self.print_step(&format!("the packet path of d1 is attached to {} by {}", a.device, a.mode));
        }
        Ok(pids)
    }

    /// Compares the distribution of requests with the weights.
    fn measure_distribution(&mut self) -> anyhow::Result<()> {
        let load = HttpLoad::start(self.lan, PORT, 4, LOAD_TIMEOUT);
        self.wait_for("3,000 requests", 60, || (load.finished_requests() >= REQUESTS).then_some(()))?;
        let samples = load.finish();
        let mut per_server: BTreeMap<String, u64> = BTreeMap::new();
        let mut clients: BTreeMap<String, u64> = BTreeMap::new();
        for response in samples.iter().filter_map(|s| s.outcome.as_ref().ok()) {
            *per_server.entry(response.server.clone()).or_default() += 1;
            *clients.entry(response.client_address.clone()).or_default() += 1;
        }
        let total: u64 = per_server.values().sum();
        let weights: u32 = WEIGHTS.iter().sum();
        let count = |name: &str| *per_server.get(name).unwrap_or(&0);
        let mut error: f64 = 0.0;
        for ((name, _), weight) in SERVERS.iter().zip(WEIGHTS) {
            let share = count(name) as f64 / total.max(1) as f64;
            error = error.max((share - f64::from(weight) / f64::from(weights)).abs() * 100.0);
        }
        let failed = failed(&samples).count();
        if failed > 0 {
            bail!("{failed} of {} requests failed while nothing was wrong", samples.len());
        }
        let shares: Vec<String> =
            SERVERS.iter().zip(WEIGHTS).map(|((n, _), w)| format!("{n} (weight {w}) {}", count(n))).collect();
        self.print_step(&format!("{total} requests: {}; largest error {error:.2} %", shares.join(", ")));
        let client = clients.keys().cloned().collect::<Vec<_>>().join(", ");
        self.print_step(&format!("the real servers saw the client as {client}"));
        let r = &mut self.report;
        r.requests = samples.len();
        (r.requests_per_server, r.distribution_error_percent, r.client_address_seen) = (per_server, error, client);
        Ok(())
    }

    /// Stops a real server under load. Returns how many requests failed before the failure or after the server's
    /// removal.
    fn fail_real_server(&mut self, servers: &mut [Server]) -> anyhow::Result<usize> {
        let load = HttpLoad::start(self.lan, PORT, 2, LOAD_TIMEOUT);
        std::thread::sleep(Duration::from_millis(300));
        let stopped = load.elapsed();
        servers[1].stop();
        self.print_step("the web server of r2 stops");
        let is_removed = || (self.is_server_up("d1", "r2") == Some(false)).then_some(());
        self.wait_for("the removal of r2 from the service", 20, is_removed)?;
        let removed = load.elapsed();
        std::thread::sleep(Duration::from_millis(500));
        let samples = load.finish();
        let during = |s: &&Sample| s.ended >= stopped && s.started <= removed + Duration::from_millis(20);
        let failed_during = failed(&samples).filter(during).count();
        let failed_outside = failed(&samples).count() - failed_during;
        let ms = (removed - stopped).as_millis() as u64;
        self.print_step(&format!(
            "r2 was removed from the service after {ms} ms; {failed_during} of {} requests failed until then, \
             {failed_outside} at other times",
            samples.len()
        ));
        (self.report.server_removed_after_ms, self.report.failed_during_server_failure) = (ms, failed_during);
        Ok(failed_outside)
    }

    /// Starts the real server again. Returns how many requests failed.
    fn recover_real_server(&mut self, servers: &mut [Server]) -> anyhow::Result<usize> {
        let load = HttpLoad::start(self.lan, PORT, 2, LOAD_TIMEOUT);
        let started = Instant::now();
        servers[1] = Server::start(self.lan, "r2", PORT);
        self.print_step("the web server of r2 starts again");
        let is_up = || (self.is_server_up("d1", "r2") == Some(true)).then_some(());
        self.wait_for("the return of r2 to the service", 20, is_up)?;
        let ms = started.elapsed().as_millis() as u64;
        self.wait_for("a request to r2", 10, || (servers[1].requests() > 0).then_some(()))?;
        let failed = failed(&load.finish()).count();
        self.print_step(&format!("r2 is in the service again after {ms} ms and gets requests; {failed} failed"));
        self.report.server_added_after_ms = ms;
        Ok(failed)
    }

    /// Cuts the master off. Returns how many requests failed outside the gap.
    fn fail_over(&mut self, d1: Pid) -> anyhow::Result<usize> {
        // Requests with a long timeout show what is lost; those with a short one show how long the outage is.
        let load = HttpLoad::start(self.lan, PORT, 2, LOAD_TIMEOUT);
        let probe = HttpLoad::start(self.lan, PORT, 2, PROBE_TIMEOUT);
        std::thread::sleep(Duration::from_millis(1000));
        let skew_ms = 1000 * (256 - u64::from(PRIORITIES[1])) / 256;
        self.report.failover_bound_ms = 3000 + skew_ms;
        // Right after an advert, when a fail-over takes longest.
        let adverts = || Some(self.status("d1")?.instances.first()?.counters.adverts_sent);
        let sent = adverts();
        self.wait_for("the next advert of d1", 5, || (adverts() > sent).then_some(()))?;
        self.lan.ip("sw", "link set p-d1 down")?;
        self.lan.signal(d1, Signal::SIGKILL)?;
        self.print_step("d1 fails right after an advert: its link is cut and its daemon killed");
        self.wait_for("the fail-over to d2", 20, || self.is_master("d2"))?;
        self.print_mastership("d2");
        std::thread::sleep(Duration::from_millis(1500));
        let (gap_start, gap_end) = longest_gap(&probe.finish());
        let samples = load.finish();
        // A request in progress when the address moves may end a little before or after. The two loads were started
        // within a few milliseconds.
        let slack = Duration::from_millis(100);
        let is_outside = |s: &&Sample| s.ended + slack < gap_start || s.started > gap_end + slack;
        let failed_outside = failed(&samples).filter(is_outside).count();
        self.report.failover_gap_ms = (gap_end - gap_start).as_millis() as u64;
        self.print_step(&format!(
            "the longest gap for a client: {} ms (the protocol's bound: 3 adverts + skew = {} ms); {failed_outside} requests \
             failed outside it",
            self.report.failover_gap_ms, self.report.failover_bound_ms
        ));
        Ok(failed_outside)
    }

    /// Kills the daemon of the only director under load, and starts another.
    fn restart_daemon(&mut self, d2: Pid) -> anyhow::Result<()> {
        let load = HttpLoad::start(self.lan, PORT, 2, LOAD_TIMEOUT);
        std::thread::sleep(Duration::from_millis(500));
        let before = self.status("d2").map(|s| s.pid);
        let started = Instant::now();
        self.lan.signal(d2, Signal::SIGKILL)?;
        self.print_step("the daemon of d2 is killed (SIGKILL); the packet path goes on without it");
        std::thread::sleep(Duration::from_millis(1000));
        self.start_daemon(1)?;
        self.wait_for("the mastership of the new daemon", 20, || {
            let s = self.status("d2")?;
            (Some(s.pid) != before && s.dataplane.maps_reused).then_some(())?;
            self.is_master("d2")
        })?;
        self.report.restart_ms = started.elapsed().as_millis() as u64;
        let maps = Maps::open(&bpf_dir(&self.lan.instance("d2")), false).context("open the maps of d2")?;
        self.report.connections_kept = maps.connections().len();
        std::thread::sleep(Duration::from_millis(1000));
        let samples = load.finish();
        let failed = failed(&samples).count();
        (self.report.requests_during_restart, self.report.failed_during_restart) = (samples.len(), failed);
        self.print_step(&format!(
            "a new daemon is MASTER after {} ms and has {} connections of the old one; {} requests meanwhile, {failed} failed",
            self.report.restart_ms,
            self.report.connections_kept,
            samples.len()
        ));
        Ok(())
    }
}
