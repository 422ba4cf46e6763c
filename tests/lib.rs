//! Helpers of the tests: the programs under test, networks of hosts with daemons, and blocks of configuration.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use evenkeel_core::ipc::{InstanceStatus, Reply, Request, ServerStatus, Status};
use evenkeel_core::vrrp::State;
use evenkeel_sys::paths::control_socket;
use evenkeel_testkit::control::{read_status, send_request};
use evenkeel_testkit::demo_network;
use evenkeel_testkit::lan::{Lan, Pid, eventually};
use nix::sys::signal::Signal;

/// The limit of a wait. It is generous for a loaded machine with two CPUs.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A program of this workspace, built beside the test.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    let path = test.parent().and_then(Path::parent).expect("target/PROFILE/deps").join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace`", path.display());
    path
}

/// For tests that need root: false, with a note that the test is skipped, for other users.
pub fn is_root() -> bool {
    let root = evenkeel_sys::user::is_root();
    if !root {
        eprintln!("skipped: this test needs root");
    }
    root
}

/// The hosts of a test, and the daemons on them.
pub struct Net {
    /// The hosts.
    pub lan: Lan,
}

impl Net {
    /// The demo network. Its files are in target/lan/NAME. `None` if the test must be skipped.
    pub fn new(name: &str) -> Option<Net> {
        Net::build(name, demo_network::build)
    }

    /// Only the directors of the demo network, and the switch between them.
    pub fn directors(name: &str) -> Option<Net> {
        Net::build(name, demo_network::build_directors)
    }

    fn build(name: &str, build: fn(&Path) -> anyhow::Result<Lan>) -> Option<Net> {
        let net = Net::with(name, build)?;
        net.lan.capture("sw", "br0", "switch");
        Some(net)
    }

    /// A network of its own kind, made by `build` with a directory for its files.
    pub fn with(name: &str, build: fn(&Path) -> anyhow::Result<Lan>) -> Option<Net> {
        if !is_root() {
            return None;
        }
        let target = program("evenkeeld").parent().and_then(Path::parent).expect("target").to_owned();
        let dir = target.join("lan").join(name);
        let _ = fs::remove_dir_all(&dir);
        let lan = build(&dir).unwrap_or_else(|e| panic!("build the network: {e:#}"));
        Some(Net { lan })
    }

    /// Gives the directors IPv6 addresses: d1 has fd99::2, d2 has fd99::3.
    pub fn add_ipv6_to_directors(&self) {
        for (host, addr) in [("d1", "fd99::2"), ("d2", "fd99::3")] {
            self.lan.sysctl(host, "net/ipv6/conf/eth0/disable_ipv6", "0").expect("IPv6 is enabled");
            self.lan.ip(host, &format!("addr add {addr}/64 dev eth0 nodad")).expect("the address is added");
        }
    }

    /// Writes a shell script to a file in the network's directory and returns its path.
    pub fn write_script(&self, name: &str, text: &str) -> String {
        let path = self.lan.dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("target is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the script is made executable");
        path.display().to_string()
    }

    /// Writes a host's configuration.
    pub fn write_config(&self, host: &str, config: &str) -> PathBuf {
        let path = self.lan.dir.join(format!("{host}.conf"));
        // By renaming, as an editor does: the daemon may be reading the file.
        let new = path.with_extension("new");
        fs::write(&new, config).expect("target is writable");
        fs::rename(&new, &path).expect("target is writable");
        path
    }

    /// Starts a daemon with this configuration and waits until it answers.
    pub fn start_daemon(&self, host: &str, config: &str) -> Pid {
        self.start_daemon_program(host, config, &program("evenkeeld"))
    }

    /// The same with a given program, for daemons of another version.
    pub fn start_daemon_program(&self, host: &str, config: &str, program: &Path) -> Pid {
        let path = self.write_config(host, config);
        let instance = self.lan.instance(host);
        let args = ["-n", "-l", "-D", "-f", path.to_str().expect("UTF-8"), "--instance", &instance];
        let pid = self.lan.spawn(host, host, program, &args).expect("starts");
        eventually("the daemon answers", TEST_TIMEOUT, || match self.lan.exit_status(pid) {
            Some(status) => panic!("the daemon on {host} ended with {status}:\n{}", self.lan.log(host)),
            None => self.status(host).filter(|s| s.pid == pid.0),
        });
        pid
    }

    /// The status of the daemon on a host, if it answers.
    pub fn status(&self, host: &str) -> Option<Status> {
        read_status(&control_socket(&self.lan.instance(host))).ok()
    }

    /// A VRRP instance of the daemon on a host.
    pub fn instance(&self, host: &str, name: &str) -> Option<InstanceStatus> {
        self.status(host)?.instances.into_iter().find(|i| i.name == name)
    }

    /// A real server of the first service of the daemon on a host.
    pub fn real_server(&self, host: &str, addr: Ipv4Addr) -> Option<ServerStatus> {
        self.status(host)?.services.into_iter().next()?.servers.into_iter().find(|r| r.addr == addr)
    }

    /// Waits until an instance is in a state.
    pub fn wait_state(&self, host: &str, name: &str, state: State) -> InstanceStatus {
        eventually(&format!("{name} on {host} is {state}"), TEST_TIMEOUT, || {
            self.instance(host, name).filter(|i| i.state == state)
        })
    }

    /// The edge process of the daemon on a host, which makes health checks and runs scripts.
    pub fn edge_process(&self, host: &str) -> u32 {
        let children = |pid: u32| -> Vec<u32> {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            let lists = tasks.filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
            lists.flat_map(|l| l.split_whitespace().filter_map(|c| c.parse().ok()).collect::<Vec<_>>()).collect()
        };
        eventually("an edge process", TEST_TIMEOUT, || {
            let parent = self.status(host)?.pid;
            let comm = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            children(parent).into_iter().flat_map(children).find(|p| comm(*p).trim() == "evenkeel-edge")
        })
    }

    /// Has the daemon reload.
    pub fn reload(&self, host: &str) -> Reply {
        send_request(&control_socket(&self.lan.instance(host)), &Request::Reload).expect("answers")
    }

    /// The steps that a reload would take.
    pub fn plan_reload(&self, host: &str) -> Vec<String> {
        let file = self.lan.dir.join(format!("{host}.conf")).display().to_string();
        match send_request(&control_socket(&self.lan.instance(host)), &Request::Plan { file }).expect("answers") {
            Reply::Plan { steps } => steps,
            other => panic!("{other:?}"),
        }
    }

    /// True if `eth0` of a host has an address.
    pub fn has_address(&self, host: &str, addr: Ipv4Addr) -> bool {
        self.lan.ip(host, "-4 addr show dev eth0").is_ok_and(|t| t.contains(&format!("inet {addr}/")))
    }

    /// Runs `evenkeel ARGS` for the daemon on a host.
    pub fn evenkeel(&self, host: &str, args: &[&str]) -> Output {
        Command::new(program("evenkeel"))
            .args(["--instance", &self.lan.instance(host)])
            .args(args)
            .output()
            .expect("runs")
    }
}

/// A `vrrp_instance` block named V for the demo network.
pub fn vrrp_instance(priority: u8, more: &str) -> String {
    format!(
        "vrrp_instance V {{\n interface eth0\n virtual_router_id 51\n priority {priority}\n \
         virtual_ipaddress {{\n  192.168.1.100/24 dev eth0 label eth0:0\n }}\n{more}\n}}\n"
    )
}

/// A `virtual_server` block of the demo network's virtual address, with a TCP check of each server every half second.
pub fn virtual_server(more: &str, servers: &[(&str, &str)]) -> String {
    let mut text = format!(
        "virtual_server 192.168.1.100 80 {{\n delay_loop 0.5\n delay_before_retry 0.2\n warmup 0\n \
         connect_timeout 1\n lb_kind DR\n protocol TCP\n{more}\n"
    );
    for (addr, more) in servers {
        text += &format!(" real_server {addr} 80 {{\n  TCP_CHECK {{\n  }}\n{more}\n }}\n");
    }
    text + "}\n"
}

/// The worker process of a daemon; `supervisor` is the process that was started.
pub fn worker_pid(supervisor: Pid) -> u32 {
    let path = format!("/proc/{0}/task/{0}/children", supervisor.0);
    let children = fs::read_to_string(path).expect("the supervisor runs");
    children.split_whitespace().next().and_then(|c| c.parse().ok()).expect("it has a worker process")
}

/// Sends a signal to a process that is not a child of the test.
pub fn send_signal(pid: u32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal).expect("the process runs");
}

/// A `global_defs` block with a small connection table, to save memory.
pub const SMALL_TABLE: &str = "global_defs {\n connection_table_size 16384\n}\n";
