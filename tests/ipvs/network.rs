//! The network of the recorded sessions, rebuilt from namespaces, and the replay of sessions on it.
//!
//! ```text
//!   c --brA-- gw --brB-- d r1 r2 r3      c 10.1.0.2 and 10.1.1.0/24, VIP 10.2.0.100 on d; the same for IPv6 in fd00:N::
//!             gw --brC-- t1 t2           r* on the director's link, t* behind the router gw
//! ```

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use evenkeel_sys::netns;
use evenkeel_sys::paths::{bpf_dir, run_dir};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::compare;

/// The directory of the sessions and their programs.
pub const TEST_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/ipvs");
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const HOSTS: &str = "127.0.0.1 localhost\n10.0.0.100 vip.example.test vip\n10.0.0.1 real1.example.test\n\
    10.0.0.3 averyveryveryverylongname.example.test\nfd00::100 vip6.example.test\n";

/// The network. It is built in a kernel of its own, or on this host next to other tests; then a prefix makes its names unique.
pub struct TestNetwork {
    /// The prefix of the namespaces' names.
    prefix: String,
    /// The directory of programs and their output.
    dir: PathBuf,
    /// Further environment variables of commands.
    env: Vec<(String, String)>,
    servers: Vec<Child>,
}

impl TestNetwork {
    /// A network whose namespaces have names with `prefix`. Its files are in `dir`.
    pub fn new(prefix: &str, dir: &Path) -> TestNetwork {
        let stage =
            TestNetwork { prefix: prefix.to_owned(), dir: dir.to_owned(), env: Vec::new(), servers: Vec::new() };
        stage.install_programs();
        stage
    }

    fn netns_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn netns_path(&self, name: &str) -> PathBuf {
        Path::new("/run/netns").join(self.netns_name(name))
    }

    /// Runs a command line in a namespace. Returns standard output and error together, and the exit status.
    fn run_in(&self, ns: &str, line: &str) -> (String, i32) {
        let path = self.netns_path(ns);
        std::thread::scope(|s| {
            let thread = s.spawn(|| {
                netns::enter(&path).expect("a namespace");
                if line.contains("ipvsadm") {
                    self.bind_name_files();
                }
                let file = self.dir.join(format!("out.{ns}"));
                let out = fs::File::create(&file).expect("a file");
                let status = self
                    .command(line)
                    .env("PATH", format!("{}:{DEFAULT_PATH}", self.dir.join("bin").display()))
                    .envs(self.env.iter().map(|(name, value)| (name, value)))
                    .stdin(Stdio::null())
                    .stdout(out.try_clone().expect("a file"))
                    .stderr(out)
                    .status()
                    .unwrap_or_else(|e| panic!("run {line}: {e}"));
                let text = fs::read(&file).expect("what it printed");
                (String::from_utf8_lossy(&text).into_owned(), status.code().unwrap_or(-1))
            });
            thread.join().expect("it ran")
        })
    }

    fn command(&self, line: &str) -> Command {
        // A shell only where it is needed: it takes a tenth of a second in user-mode Linux.
        if line.contains(['|', '<', '>', ';', '&', '"', '\'', '$', '\\', '*']) {
            let mut bash = Command::new("bash");
            bash.args(["-c", line]);
            return bash;
        }
        let mut words = line.split_whitespace();
        let first = words.next().expect("a command");
        // `Command` searches the path of this process and not the one that is set for the command.
        let ours = self.dir.join("bin").join(first);
        let mut command = if ours.exists() { Command::new(ours) } else { Command::new(first) };
        command.args(words);
        command
    }

    /// Mounts own files for name lookups, for this thread and the processes that it starts.
    fn bind_name_files(&self) {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
        for name in ["hosts", "resolv.conf"] {
            let file = format!("/etc/{name}");
            mount(Some(&self.dir.join(name)), file.as_str(), none, MsFlags::MS_BIND, none).expect("a mount");
        }
    }

    /// Runs commands of ip(8) in a namespace, or in the current one. All have to succeed.
    fn ip(&self, ns: Option<&str>, batch: &str) {
        let mut command = Command::new("ip");
        if let Some(ns) = ns {
            command.args(["-n", &self.netns_name(ns)]);
        }
        let mut child = command.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip runs");
        child.stdin.take().expect("a pipe").write_all(batch.as_bytes()).expect("it reads");
        assert!(child.wait().expect("it ends").success(), "ip {ns:?}:\n{batch}");
    }

    fn sysctl(&self, ns: &str, settings: &[(&str, &str)]) {
        netns::run_in(Some(&self.netns_path(ns)), || {
            for (name, value) in settings {
                let file = format!("/proc/sys/net/{name}");
                fs::write(&file, value).unwrap_or_else(|e| panic!("{file}: {e}"));
            }
            Ok(())
        })
        .expect("a namespace");
    }

    /// Adds a host with eth0 on a bridge of the router.
    fn add_host(&self, name: &str, net: u8, host: u8) {
        let bridge = ["brA", "brB", "brC"][usize::from(net) - 1];
        let (own, gw) = (self.netns_name(name), self.netns_name("gw"));
        self.ip(None, &format!("netns add {own}\nlink add v{name} netns {gw} type veth peer name eth0 netns {own}\n"));
        // Packets have complete checksums, as on a real link.
        for (ns, dev) in [(name, "eth0".to_owned()), ("gw", format!("v{name}"))] {
            self.run_in(ns, &format!("ethtool -K {dev} tx off gso off"));
        }
        self.ip(Some("gw"), &format!("link set v{name} master {bridge} up\n"));
        self.sysctl(name, &[("ipv4/conf/all/rp_filter", "0"), ("ipv4/conf/default/rp_filter", "0")]);
        // The kernel must not choose ports that the recordings use, because the comparison does not mask these. The
        // setting is for both families.
        self.sysctl(name, &[("ipv4/ip_local_reserved_ports", "40000-40099")]);
        self.ip(
            Some(name),
            &format!(
                "link set eth0 address 02:00:00:00:0{net}:{host:02}\nlink set lo up\nlink set eth0 up\n\
                 addr add 10.{net}.0.{host}/24 dev eth0\naddr add fd00:{net}::{host}/64 dev eth0 nodad\n\
                 route add default via 10.{net}.0.1\nroute add default via fd00:{net}::1\n"
            ),
        );
        self.sysctl(name, &[("ipv4/conf/eth0/rp_filter", "0")]);
    }

    /// Builds everything but the director.
    fn build(&self) {
        self.ip(None, &format!("netns add {}\n", self.netns_name("gw")));
        self.sysctl(
            "gw",
            &[
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
                ("ipv4/conf/all/send_redirects", "0"),
                ("ipv4/conf/default/send_redirects", "0"),
            ],
        );
        for (net, bridge) in [(1, "brA"), (2, "brB"), (3, "brC")] {
            self.ip(
                Some("gw"),
                &format!(
                    "link add {bridge} type bridge forward_delay 0\nlink set {bridge} address 02:00:00:00:0{net}:01 up\n\
                     addr add 10.{net}.0.1/24 dev {bridge}\naddr add fd00:{net}::1/64 dev {bridge} nodad\n"
                ),
            );
        }
        self.ip(Some("gw"), "link set lo up\n");
        for (name, net, host) in
            [("c", 1, 2), ("r1", 2, 11), ("r2", 2, 12), ("r3", 2, 13), ("t1", 3, 11), ("t2", 3, 12)]
        {
            self.add_host(name, net, host);
        }
        self.ip(Some("c"), "route add local 10.1.1.0/24 dev lo\nroute add local fd00:1:1::/64 dev lo\n");
        self.ip(Some("gw"), "route add 10.1.1.0/24 via 10.1.0.2\nroute add fd00:1:1::/64 via fd00:1::2\n");
        self.sysctl("c", &[("ipv6/ip_nonlocal_bind", "1")]);
        for name in ["r1", "r2", "r3", "t1", "t2"] {
            self.sysctl(name, &[("ipv4/conf/all/arp_ignore", "1"), ("ipv4/conf/all/arp_announce", "2")]);
            self.ip(Some(name), "addr add 10.2.0.100/32 dev lo\naddr add fd00:2::100/128 dev lo nodad\n");
        }
        for name in ["t1", "t2"] {
            if self.run_in(name, "ip link set tunl0 up").1 == 0 {
                self.sysctl(name, &[("ipv4/conf/tunl0/rp_filter", "0")]);
                continue;
            }
            // Some kernels have no tunl0; evenkeel decapsulates there.
            let evenkeel = evenkeel_tests::program("evenkeel");
            let up = format!(
                "{} --instance {} real-server up 10.2.0.100 --tunnel",
                evenkeel.display(),
                self.netns_name(name)
            );
            let (text, status) = self.run_in(name, &up);
            assert_eq!(status, 0, "{text}");
        }
        // Replies from a server's own address (NAT) go through the director, replies from the VIP (DR, TUN) do not.
        for (name, host) in [("r1", 11), ("r2", 12), ("r3", 13)] {
            self.ip(
                Some(name),
                &format!(
                    "rule add from 10.2.0.{host} lookup 100\nroute add default via 10.2.0.10 table 100\n\
                     route add 10.2.0.0/24 dev eth0 table 100\n"
                ),
            );
            let six = format!(
                "-6 rule add from fd00:2::{host} lookup 100\n-6 route add default via fd00:2::10 table 100\n\
                 -6 route add fd00:2::/64 dev eth0 table 100\n"
            );
            for line in six.lines() {
                let (text, status) = self.run_in(name, &format!("ip {line}"));
                assert_eq!(status, 0, "{line}: {text}");
            }
        }
    }

    /// Removes and adds the director, to get an empty IPVS: each network namespace has an IPVS of its own.
    fn rebuild_director(&self) {
        if self.netns_path("d").exists() {
            self.ip(None, &format!("netns del {}\n", self.netns_name("d")));
            // The namespace is removed after the command has returned.
            while self.run_in("gw", "ip link show vd").1 == 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        self.add_host("d", 2, 10);
        self.ip(
            Some("d"),
            "addr add 10.2.0.100/32 dev eth0\naddr add fd00:2::100/128 dev eth0 nodad preferred_lft 0\n",
        );
        self.sysctl(
            "d",
            &[
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv4/conf/all/send_redirects", "0"),
                ("ipv4/conf/eth0/send_redirects", "0"),
            ],
        );
        self.ip(
            Some("gw"),
            "neigh replace 10.2.0.10 lladdr 02:00:00:00:02:10 dev brB\n\
             neigh replace 10.2.0.100 lladdr 02:00:00:00:02:10 dev brB\n\
             neigh replace fd00:2::100 lladdr 02:00:00:00:02:10 dev brB\n",
        );
    }

    /// Starts a Python program that runs until the end of the test.
    fn spawn_server(&mut self, ns: &str, args: &[&str]) {
        let log = self.dir.join(format!("serve.{ns}.{}", self.servers.len()));
        let started = netns::run_in(Some(&self.netns_path(ns)), || {
            let log = fs::File::create(&log).expect("a file");
            let mut python = Command::new("/usr/bin/python3");
            python.args(args).stdin(Stdio::null()).stderr(log.try_clone().expect("a file")).stdout(log);
            Ok(python.spawn().expect("python3 runs"))
        });
        self.servers.push(started.expect("a namespace"));
    }

    fn terminate_processes(&self, ns: &str) {
        let out = Command::new("ip").args(["netns", "pids", &self.netns_name(ns)]).output().expect("ip runs");
        let pids = String::from_utf8_lossy(&out.stdout).into_owned();
        for pid in pids.lines().filter_map(|p| p.trim().parse().ok()) {
            let _ = signal::kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    /// Installs the programs under the names that the sessions use, and the files for name lookups.
    fn install_programs(&self) {
        let bin = self.dir.join("bin");
        fs::create_dir_all(&bin).expect("writable");
        let evenkeel = evenkeel_tests::program("evenkeel");
        for name in ["ipvsadm", "ipvsadm-save", "ipvsadm-restore"] {
            symlink(&evenkeel, bin.join(name)).expect("a link");
        }
        for name in ["get", "sip", "sctp"] {
            let file = bin.join(name);
            fs::write(&file, format!("#!/bin/sh\nexec /usr/bin/python3 {TEST_DIR}/guest/{name}.py \"$@\"\n"))
                .expect("a script");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a script");
        }
        fs::write(self.dir.join("hosts"), HOSTS).expect("writable");
        fs::write(self.dir.join("resolv.conf"), "").expect("writable");
    }

    /// Runs the commands of a session. Returns their output in the format of the recordings.
    fn run_session(&self, commands: &str) -> String {
        let mut out = String::new();
        for line in commands.lines().filter(|l| !l.is_empty()) {
            if line.starts_with('#') {
                out += &format!("{line}\n");
                continue;
            }
            out += &format!("$ {line}\n");
            let (ns, command) = match line.strip_prefix('@').and_then(|l| l.split_once(' ')) {
                Some((ns, command)) => (ns, command),
                None => ("d", line),
            };
            let (text, status) = self.run_in(ns, command);
            out += &text;
            if !text.is_empty() && !text.ends_with('\n') {
                out.push('\n');
            }
            if status != 0 {
                out += &format!("[exit {status}]\n");
            }
            if command.ends_with('&') {
                // Commands that start at the same time would finish in any order.
                std::thread::sleep(Duration::from_millis(700));
            }
        }
        out
    }

    /// Builds the network and starts the servers for sessions with traffic.
    fn start_servers(&mut self) {
        self.build();
        for name in ["r1", "r2", "r3", "t1", "t2"] {
            self.spawn_server(name, &[&format!("{TEST_DIR}/guest/echod.py"), name, "80"]);
        }
        self.spawn_server("r1", &[&format!("{TEST_DIR}/guest/echod.py"), "r1", "81"]);
        self.spawn_server("r1", &[&format!("{TEST_DIR}/guest/sctp.py"), "serve", "90"]);
        std::thread::sleep(Duration::from_secs(2));
    }

    /// Replays a session with these commands. Returns the lines that differ from `recorded`, if any.
    pub fn replay_session(&mut self, name: &str, commands: &str, recorded: &str) -> Option<String> {
        let kind = commands.lines().next().and_then(|l| l.strip_prefix("#!traffic")).map(str::trim);
        match kind {
            None => {
                self.ip(None, &format!("netns add {}\n", self.netns_name("d")));
                self.ip(Some("d"), "link set lo up\n");
            }
            Some(kind) => {
                if !self.netns_path("gw").exists() {
                    self.start_servers();
                }
                self.rebuild_director();
                if kind == "backup" {
                    self.add_host("b", 2, 20);
                    self.ip(Some("d"), "addr del 10.2.0.100/32 dev eth0\naddr add 10.2.0.100/32 dev eth0\n");
                }
                if kind == "local" {
                    self.spawn_server("d", &[&format!("{TEST_DIR}/guest/echod.py"), "d", "80"]);
                    std::thread::sleep(Duration::from_millis(1500));
                }
                self.run_in("c", "ping -qc1 -W2 10.2.0.10");
            }
        }
        let got = self.run_session(commands);
        match kind {
            None => self.ip(None, &format!("netns del {}\n", self.netns_name("d"))),
            Some(kind) => {
                self.terminate_processes("c");
                self.terminate_processes("d");
                if kind == "backup" {
                    self.ip(None, &format!("netns del {}\n", self.netns_name("b")));
                }
            }
        }
        compare::difference(name, recorded, &got)
    }

    /// Sets an environment variable for the following commands.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|(n, _)| n != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }
}

impl Drop for TestNetwork {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        for name in ["t1", "t2"].map(|n| self.netns_name(n)) {
            for dir in [bpf_dir(&format!("{name}-real-server")), run_dir(&name)] {
                for file in fs::read_dir(&dir).into_iter().flatten().flatten() {
                    let _ = fs::remove_file(file.path());
                }
                let _ = fs::remove_dir(&dir);
            }
        }
        for ns in ["c", "d", "b", "r1", "r2", "r3", "t1", "t2", "gw"] {
            if self.netns_path(ns).exists() {
                let _ = Command::new("ip").args(["netns", "del", &self.netns_name(ns)]).status();
            }
        }
    }
}
