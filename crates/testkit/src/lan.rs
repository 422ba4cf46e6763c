//! Networks of namespaces as Rust values: hosts, links, processes. Dropping the value removes everything, also when a
//! test panics; then the state of the hosts is written to files first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

/// A network of hosts. The process id makes names unique, so that tests can run in parallel.
pub struct Lan {
    prefix: String,
    hosts: Vec<String>,
    processes: Mutex<Vec<Process>>,
    /// The directory of logs, configurations and, after a failure, dumps.
    pub dir: PathBuf,
}

struct Process {
    host: String,
    name: String,
    child: Child,
}

/// A process in a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pid(pub u32);

fn run_command(program: &str, args: &[&str]) -> Result<String> {
    let out = Command::new(program).args(args).output().with_context(|| format!("run {program}"))?;
    if !out.status.success() {
        bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Removes namespaces of processes that were killed before they could remove them.
fn remove_stale_namespaces() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("ek").and_then(|r| r.split('x').next()?.parse::<u32>().ok());
        if let Some(pid) = owner
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            let _ = run_command("ip", &["netns", "del", &name]);
        }
    }
}

impl Lan {
    /// A network without hosts. `dir` is the directory of its files.
    pub fn new(dir: &Path) -> Result<Lan> {
        static N: AtomicU32 = AtomicU32::new(0);
        if !evenkeel_sys::user::is_root() {
            bail!("network namespaces need root");
        }
        remove_stale_namespaces();
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let prefix = format!("ek{}x{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed));
        let dir = dir.to_owned();
        Ok(Lan { prefix, hosts: Vec::new(), processes: Mutex::new(Vec::new()), dir })
    }

    /// The name of a host's namespace in `ip netns`.
    pub fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn namespace_path(&self, host: &str) -> PathBuf {
        Path::new("/run/netns").join(self.namespace(host))
    }

    /// The instance name of a daemon on a host, unique on this machine.
    pub fn instance(&self, host: &str) -> String {
        self.namespace(host)
    }

    /// Adds a host.
    pub fn add_host(&mut self, host: &str) -> Result<()> {
        run_command("ip", &["netns", "add", &self.namespace(host)]).context("make a network namespace")?;
        self.hosts.push(host.to_owned());
        self.ip(host, "link set lo up")?;
        // Without IPv6 there are no duplicate address detection and no router solicitations.
        self.sysctl(host, "net/ipv6/conf/default/disable_ipv6", "1")
    }

    /// Runs `ip ARGS` in a host and returns its output.
    pub fn ip(&self, host: &str, args: &str) -> Result<String> {
        let ns = self.namespace(host);
        let all: Vec<&str> = ["-n", &ns].into_iter().chain(args.split_whitespace()).collect();
        run_command("ip", &all)
    }

    /// Adds a link between two hosts, given as (host, device).
    pub fn add_link(&self, a: (&str, &str), b: (&str, &str)) -> Result<()> {
        let (na, nb) = (self.namespace(a.0), self.namespace(b.0));
        run_command("ip", &["link", "add", a.1, "netns", &na, "type", "veth", "peer", "name", b.1, "netns", &nb])?;
        for (host, dev) in [a, b] {
            self.ip(host, &format!("link set {dev} up"))?;
        }
        Ok(())
    }

    /// Sets a sysctl by its path below /proc/sys.
    pub fn sysctl(&self, host: &str, path: &str, value: &str) -> Result<()> {
        let file = format!("/proc/sys/{path}");
        let value = value.to_owned();
        self.run_in(host, move || fs::write(&file, value).with_context(|| format!("write {file}")))?
    }

    /// Runs a closure in a host's namespace, on a thread of its own.
    pub fn run_in<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = self.namespace_path(host);
        std::thread::scope(|s| {
            let thread = s.spawn(move || {
                evenkeel_sys::netns::enter(&path)?;
                Ok::<T, evenkeel_sys::Error>(work())
            });
            match thread.join() {
                Ok(done) => done.with_context(|| format!("enter {host}")),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts a thread in a host's namespace.
    pub fn spawn_thread_in(&self, host: &str, work: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
        let path = self.namespace_path(host);
        std::thread::spawn(move || match evenkeel_sys::netns::enter(&path) {
            Ok(()) => work(),
            Err(e) => eprintln!("{e}"),
        })
    }

    /// A command to run in a host. The caller sets its standard streams.
    pub fn command(&self, host: &str, program: &Path) -> Command {
        // Not `ip netns exec`, which mounts another /sys and hides the BPF file system.
        let mut c = Command::new("nsenter");
        c.arg(format!("--net={}", self.namespace_path(host).display())).arg(program);
        c
    }

    /// Starts a program in a host, with its output in the file `NAME.log`. It is killed when the network is dropped.
    pub fn spawn(&self, host: &str, name: &str, program: &Path, args: &[&str]) -> Result<Pid> {
        let path = self.dir.join(format!("{name}.log"));
        let log = fs::OpenOptions::new().create(true).append(true).open(&path)?;
        let child = self
            .command(host, program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let pid = Pid(child.id());
        let process = Process { host: host.to_owned(), name: name.to_owned(), child };
        self.processes.lock().map_err(|_| io::Error::other("poisoned"))?.push(process);
        Ok(pid)
    }

    /// Captures the last megabytes of a device's frames to `NAME.pcap0` and `NAME.pcap1`, for diagnosis. Without
    /// tcpdump nothing is captured.
    pub fn capture(&self, host: &str, dev: &str, name: &str) {
        let file = self.dir.join(format!("{name}.pcap")).to_string_lossy().into_owned();
        let args = ["-i", dev, "-s", "128", "-n", "-U", "-C", "4", "-W", "2", "-Z", "root", "-w", &file];
        let _ = self.spawn(host, "tcpdump", Path::new("tcpdump"), &args);
    }

    /// The output of a program so far.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Sends a signal to a process. Waits for its end, unless the signal does not end it (HUP, USR1, USR2, STOP, CONT).
    pub fn signal(&self, pid: Pid, signal: Signal) -> Result<()> {
        evenkeel_sys::signals::send_signal(pid.0, signal)?;
        if matches!(signal, Signal::SIGHUP | Signal::SIGUSR1 | Signal::SIGUSR2 | Signal::SIGSTOP | Signal::SIGCONT) {
            return Ok(());
        }
        let mut all = self.processes.lock().map_err(|_| io::Error::other("poisoned"))?;
        if let Some(i) = all.iter().position(|p| p.child.id() == pid.0) {
            let mut p = all.remove(i);
            p.child.wait()?;
        }
        Ok(())
    }

    /// The exit status of a process that has ended.
    pub fn exit_status(&self, pid: Pid) -> Option<std::process::ExitStatus> {
        let mut all = self.processes.lock().ok()?;
        let p = all.iter_mut().find(|p| p.child.id() == pid.0)?;
        p.child.try_wait().ok().flatten()
    }

    /// Writes the state of every host to files and prints the ends of logs, for diagnosis.
    fn dump_state(&self) {
        eprintln!("== the state of the hosts is in {}", self.dir.display());
        for host in &self.hosts {
            let mut text = String::new();
            for args in ["-br link", "addr", "route", "neigh"] {
                text += &format!("$ ip {args}\n{}\n", self.ip(host, args).unwrap_or_else(|e| e.to_string()));
            }
            let maps = evenkeel_sys::bpf::Maps::open(&evenkeel_sys::paths::bpf_dir(&self.instance(host)), false);
            if let Ok(maps) = maps {
                text += &format!("$ services\n{:#?}\n", maps.service_records());
                text += &format!("$ connections\n{:#?}\n", maps.connections());
                text += &format!("$ reasons\n{:?}\n", maps.packet_counters());
            }
            let socket = evenkeel_sys::paths::control_socket(&self.instance(host));
            if let Ok(status) = crate::control::send_request(&socket, &evenkeel_core::ipc::Request::Status) {
                text += &format!("$ status\n{status:#?}\n");
            }
            let _ = fs::write(self.dir.join(format!("{host}.dump")), text);
        }
        for p in self.processes.lock().into_iter().flat_map(|p| p.iter().map(|p| p.name.clone()).collect::<Vec<_>>()) {
            let log = self.log(&p);
            let tail: Vec<&str> = log.lines().rev().take(25).collect();
            eprintln!("-- the end of {p}.log");
            tail.iter().rev().for_each(|l| eprintln!("   {l}"));
        }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            self.dump_state();
        }
        for p in self.processes.get_mut().into_iter().flatten() {
            let _ = p.child.kill();
            let _ = p.child.wait();
            let _ = &p.host;
        }
        for host in &self.hosts {
            let instance = self.instance(host);
            // The second is of a real server that decapsulates tunnels.
            for dir in [
                evenkeel_sys::paths::bpf_dir(&instance),
                evenkeel_sys::paths::bpf_dir(&format!("{instance}-real-server")),
                evenkeel_sys::paths::run_dir(&instance),
            ] {
                let _ = remove_flat_dir(&dir);
            }
            let _ = run_command("ip", &["netns", "del", &self.namespace(host)]);
        }
    }
}

/// Removes a directory of files. remove_dir_all does not work on the BPF file system.
fn remove_flat_dir(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        fs::remove_file(entry.path())?;
    }
    fs::remove_dir(dir)
}

/// Polls until `poll` returns a value. Panics with `what` after `limit`.
pub fn eventually<T>(what: &str, limit: Duration, mut poll: impl FnMut() -> Option<T>) -> T {
    match wait_for(limit, &mut poll) {
        Some(found) => found,
        None => panic!("not within {limit:?}: {what}"),
    }
}

/// Polls until `poll` returns a value; `None` after `limit`.
pub fn wait_for<T>(limit: Duration, mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + limit;
    loop {
        if let Some(found) = poll() {
            return Some(found);
        }
        if Instant::now() > until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
