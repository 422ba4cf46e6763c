//! Short HTTP requests, each on its own connection: requests per second and CPU time per request (client, server and
//! switch included), through evenkeel and other balancers, beside plain routing. All hosts are on one switch:
//!
//! ```text
//!   client (wrk) ──┬── router     routes; requests only, or both directions
//!   10.9.0.1 to 6  ├── tc, xdp    evenkeel by tc, by native XDP: DR, TUN, NAT
//!                  ├── nft        DNAT round robin, with connection tracking
//!                  ├── proxies    haproxy and nginx, which terminate the connection
//!                  └── s1, s2     nginx; every virtual address on lo
//! ```
//!
//! Where replies pass the director, the client uses a source address that the servers route through that director.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use evenkeel_sys::bpf::decap;
use evenkeel_sys::netlink::Netlink;
use evenkeel_sys::paths::control_socket;
use evenkeel_testkit::control::read_status;
use evenkeel_testkit::lan::{Lan, wait_for};

use crate::test_run::{ROUNDS, median};
use crate::veth::{XdpLink, attach_xdp, load_programs, program_fd};

const SERVERS: [(&str, &str); 2] = [("s1", "10.9.0.101"), ("s2", "10.9.0.102")];
/// Directors, their addresses, and the client's address that the servers route through them.
const DIRECTORS: [(&str, &str, &str); 5] = [
    ("router", "10.9.0.10", "10.9.0.2"),
    ("tc", "10.9.0.11", "10.9.0.3"),
    ("xdp", "10.9.0.12", "10.9.0.4"),
    ("nft", "10.9.0.13", "10.9.0.5"),
    ("proxies", "10.9.0.14", "10.9.0.6"),
];
/// Duration of one measurement.
const SECONDS: u64 = 2;
const CONNECTIONS: u32 = 32;
/// For a program to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// What the director does with requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Balancing {
    /// No director.
    None,
    Route,
    Dr,
    Tun,
    Nat,
    Dnat,
    Haproxy,
    Nginx,
}

/// A case of the benchmark.
struct Case {
    name: &'static str,
    balancing: Balancing,
    /// Index in [`DIRECTORS`].
    director: usize,
    /// Replies pass the director, too.
    replies: bool,
}

const fn case(name: &'static str, balancing: Balancing, director: usize, replies: bool) -> Case {
    Case { name, balancing, director, replies }
}

const CASES: [Case; 12] = [
    case("no director", Balancing::None, 0, false),
    case("routing, requests only", Balancing::Route, 0, false),
    case("evenkeel, DR, tc", Balancing::Dr, 1, false),
    case("evenkeel, DR, native XDP", Balancing::Dr, 2, false),
    case("evenkeel, TUN, tc", Balancing::Tun, 1, false),
    case("evenkeel, TUN, native XDP", Balancing::Tun, 2, false),
    case("routing, both directions", Balancing::Route, 0, true),
    case("evenkeel, NAT, tc", Balancing::Nat, 1, true),
    case("evenkeel, NAT, native XDP", Balancing::Nat, 2, true),
    case("nftables, DNAT", Balancing::Dnat, 3, true),
    case("haproxy, mode tcp", Balancing::Haproxy, 4, true),
    case("nginx, stream", Balancing::Nginx, 4, true),
];

/// The address to which the client sends the requests of a case.
fn address(n: usize) -> Ipv4Addr {
    if CASES[n].balancing == Balancing::None { Ipv4Addr::new(10, 9, 0, 101) } else { Ipv4Addr::new(10, 9, 1, n as u8) }
}

/// A measured case.
pub struct Row {
    name: &'static str,
    replies: bool,
    requests_per_s: f64,
    cpu_us: f64,
}

fn connect_to_switch(lan: &Lan, host: &str, addr: &str) -> Result<()> {
    let port = format!("p-{host}");
    lan.add_link(("sw", &port), (host, "eth0"))?;
    lan.ip("sw", &format!("link set {port} master br0"))?;
    lan.ip(host, &format!("addr add {addr}/16 dev eth0"))?;
    Ok(())
}

/// Builds the hosts, their addresses and routes.
fn build_network(dir: &Path) -> Result<Lan> {
    let mut lan = Lan::new(dir)?;
    lan.add_host("sw")?;
    lan.ip("sw", "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0")?;
    lan.ip("sw", "link set br0 up")?;
    lan.add_host("client")?;
    connect_to_switch(&lan, "client", "10.9.0.1")?;
    for (host, addr) in SERVERS {
        lan.add_host(host)?;
        connect_to_switch(&lan, host, addr)?;
        // Only directors answer ARP for virtual addresses.
        lan.sysctl(host, "net/ipv4/conf/all/arp_ignore", "1")?;
    }
    for (host, addr, _) in DIRECTORS {
        lan.add_host(host)?;
        connect_to_switch(&lan, host, addr)?;
        for path in ["conf/all/send_redirects", "conf/eth0/send_redirects"] {
            lan.sysctl(host, &format!("net/ipv4/{path}"), "0")?;
        }
        lan.sysctl(host, "net/ipv4/ip_forward", "1")?;
        lan.sysctl(host, "net/ipv4/fib_multipath_hash_policy", "1")?;
    }
    for host in ["client", "s1", "s2"].into_iter().chain(DIRECTORS.map(|d| d.0)) {
        for path in ["conf/all/rp_filter", "conf/eth0/rp_filter"] {
            lan.sysctl(host, &format!("net/ipv4/{path}"), "0")?;
        }
        lan.sysctl(host, "net/ipv4/ip_local_port_range", "1024 65535")?;
        lan.sysctl(host, "net/ipv4/tcp_tw_reuse", "1")?;
    }
    for (_, addr, back) in DIRECTORS {
        lan.ip("client", &format!("addr add {back}/16 dev eth0"))?;
        for (server, _) in SERVERS {
            lan.ip(server, &format!("route add {back}/32 via {addr}"))?;
        }
    }
    for (n, c) in CASES.iter().enumerate().filter(|(_, c)| c.balancing != Balancing::None) {
        let (host, gateway, back) = DIRECTORS[c.director];
        let vip = address(n);
        let source = if c.replies { back } else { "10.9.0.1" };
        lan.ip("client", &format!("route add {vip}/32 via {gateway} src {source}"))?;
        if matches!(c.balancing, Balancing::Route | Balancing::Dr | Balancing::Tun) {
            for (server, _) in SERVERS {
                lan.ip(server, &format!("addr add {vip}/32 dev lo"))?;
            }
        }
        if c.balancing == Balancing::Route {
            let hops: String = SERVERS.iter().map(|s| format!(" nexthop via {}", s.1)).collect();
            lan.ip(host, &format!("route add {vip}/32{hops}"))?;
        } else {
            lan.ip(host, &format!("addr add {vip}/32 dev lo"))?;
        }
    }
    Ok(lan)
}

/// Decapsulation of tunnels on a server. It stops when the value is dropped.
struct Decapsulation<'a>(&'a Lan, &'static str);

impl Decapsulation<'_> {
    fn dir(&self) -> PathBuf {
        evenkeel_sys::paths::bpf_dir(&self.0.instance(self.1))
    }

    fn new<'a>(lan: &'a Lan, host: &'static str) -> Result<Decapsulation<'a>> {
        let tunnelled: Vec<IpAddr> =
            (0..CASES.len()).filter(|n| CASES[*n].balancing == Balancing::Tun).map(|n| address(n).into()).collect();
        let it = Decapsulation(lan, host);
        let dir = it.dir();
        lan.run_in(host, || {
            let link = Netlink::new()?.link_by_name("eth0")?.context("eth0")?;
            Ok::<_, anyhow::Error>(decap::attach(&dir, &link, &tunnelled, None)?)
        })??;
        Ok(it)
    }
}

impl Drop for Decapsulation<'_> {
    fn drop(&mut self) {
        let dir = self.dir();
        let _ = self.0.run_in(self.1, || decap::detach(&dir, nix::net::if_::if_nametoindex("eth0").unwrap_or(0)));
    }
}

/// Starts nginx on the real servers, one process each.
fn start_servers(lan: &Lan) -> Result<()> {
    for (host, addr) in SERVERS {
        let home = lan.dir.join(host);
        fs::create_dir_all(&home)?;
        let at = home.display();
        let text = format!(
            "daemon off;\nmaster_process off;\nworker_processes 1;\npid {at}/pid;\nerror_log {at}/error.log;\n\
            events {{ worker_connections 4096; }}\nhttp {{\naccess_log off;\nclient_body_temp_path {at}/b;\n\
            proxy_temp_path {at}/p;\nfastcgi_temp_path {at}/f;\nuwsgi_temp_path {at}/u;\nscgi_temp_path {at}/s;\n\
            server {{\nlisten 80 backlog=4096;\nlocation / {{ return 200 \"{addr}\\n\"; }}\n}}\n}}\n"
        );
        start_program(lan, host, "nginx", &home.join("conf"), &text, Path::new("/usr/sbin/nginx"), &["-c"])?;
    }
    Ok(())
}

/// Starts a program whose last argument is its configuration file.
fn start_program(
    lan: &Lan,
    host: &str,
    name: &str,
    file: &Path,
    text: &str,
    program: &Path,
    args: &[&str],
) -> Result<()> {
    fs::write(file, text)?;
    let file = file.to_string_lossy();
    let args: Vec<&str> = args.iter().copied().chain([&*file]).collect();
    lan.spawn(host, &format!("{host}-{name}"), program, &args)?;
    Ok(())
}

/// Starts evenkeeld on a director, with a service for each of the director's cases.
fn start_evenkeel(lan: &Lan, daemon: &Path, director: usize) -> Result<()> {
    let (host, _, _) = DIRECTORS[director];
    let mut text = format!("global_defs {{\ndataplane_interface eth0 {host}\nserve_any_address\n}}\n");
    for (n, c) in CASES.iter().enumerate().filter(|(_, c)| c.director == director) {
        let method = match c.balancing {
            Balancing::Dr => "DR",
            Balancing::Tun => "TUN",
            Balancing::Nat => "NAT",
            _ => continue,
        };
        let _ = write!(text, "virtual_server {} 80 {{\nlb_algo rr\nlvs_method {method}\nprotocol TCP\n", address(n));
        for (_, addr) in SERVERS {
            let _ = write!(text, "real_server {addr} 80 {{\n}}\n");
        }
        text += "}\n";
    }
    let instance = lan.instance(host);
    let args = ["-n", "-l", "--instance", &instance, "-f"];
    start_program(lan, host, "evenkeel", &lan.dir.join(format!("{host}.conf")), &text, daemon, &args)?;
    let answers = || read_status(&control_socket(&instance)).ok();
    wait_for(START_TIMEOUT, answers).with_context(|| format!("evenkeeld on {host} does not answer"))?;
    Ok(())
}

/// Prepares the switch's port for native XDP on its veth peer: a program on the port, which makes veth accept frames
/// from XDP, complete checksums, and no segments larger than the MTU.
fn prepare_port_for_xdp(lan: &Lan, pass: i32) -> Result<XdpLink> {
    for feature in ["tx", "txvlan", "tso", "gso"] {
        let mut ethtool = lan.command("sw", Path::new("ethtool"));
        let done = ethtool.args(["-K", "p-xdp", feature, "off"]).stdout(Stdio::null()).status()?;
        ensure!(done.success(), "ethtool -K p-xdp {feature} off");
    }
    attach_xdp(lan, "sw", "p-xdp", pass)
}

/// Starts the balancers that evenkeel is compared with.
fn start_peers(lan: &Lan) -> Result<()> {
    let vip = |balancing| CASES.iter().position(|c| c.balancing == balancing).map(address).context("a case");
    let [(_, one), (_, two)] = SERVERS;
    let rules = format!(
        "table ip t {{\nchain pre {{\ntype nat hook prerouting priority -100;\n\
        ip daddr {} tcp dport 80 dnat to numgen inc mod 2 map {{ 0 : {one}, 1 : {two} }}\n}}\n}}\n",
        vip(Balancing::Dnat)?
    );
    let file = lan.dir.join("nft.conf");
    fs::write(&file, rules)?;
    let done = lan.command("nft", Path::new("nft")).arg("-f").arg(&file).status()?;
    ensure!(done.success(), "nft -f {}", file.display());
    let text = format!(
        "global\nmaxconn 4000\ndefaults\nmode tcp\ntimeout connect 5s\ntimeout client 30s\ntimeout server 30s\n\
        listen l\nbind {}:80\nbalance roundrobin\nserver one {one}:80\nserver two {two}:80\n",
        vip(Balancing::Haproxy)?
    );
    start_program(
        lan,
        "proxies",
        "haproxy",
        &lan.dir.join("haproxy.cfg"),
        &text,
        Path::new("/usr/sbin/haproxy"),
        &["-f"],
    )?;
    // Two processes without a master process: killing a master would leave its workers running.
    for n in 1..=2 {
        let at = lan.dir.join(format!("stream{n}"));
        let text = format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\nmaster_process off;\n\
            pid {}.pid;\nerror_log {0}.log;\nevents {{ worker_connections 4096; }}\nstream {{\n\
            upstream u {{ server {one}:80; server {two}:80; }}\n\
            server {{ listen {}:80 backlog=4096 reuseport; proxy_pass u; }}\n}}\n",
            at.display(),
            vip(Balancing::Nginx)?
        );
        let name = format!("nginx{n}");
        start_program(lan, "proxies", &name, &at.with_extension("conf"), &text, Path::new("/usr/sbin/nginx"), &["-c"])?;
    }
    Ok(())
}

/// Clock ticks that this machine's CPUs have been busy.
fn busy_ticks() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let all: Vec<u64> = stat.lines().next().unwrap_or("").split_whitespace().filter_map(|c| c.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq
    ensure!(all.len() > 6, "/proc/stat: {stat}");
    Ok(all[0] + all[1] + all[2] + all[5] + all[6])
}

/// Requests per second, and microseconds of CPU time per request.
fn measure(lan: &Lan, n: usize) -> Result<(f64, f64)> {
    let hz = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("the clock's ticks")? as f64;
    let mut wrk = lan.command("client", Path::new("wrk"));
    wrk.args(["-t", "1", "-c", &CONNECTIONS.to_string(), "-d", &SECONDS.to_string(), "-H", "Connection: close"]);
    let before = busy_ticks()?;
    let out = wrk.arg(format!("http://{}/", address(n))).output().context("wrk")?;
    let spent = (busy_ticks()? - before) as f64 / hz;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    // "  12345 requests in 2.01s, 1.23MB read"
    let line = text
        .lines()
        .find(|l| l.contains(" requests in "))
        .with_context(|| format!("unexpected output of wrk: {text}"))?;
    let mut words = line.split_whitespace();
    let requests: f64 =
        words.next().and_then(|c| c.parse().ok()).with_context(|| format!("unexpected output of wrk: {line}"))?;
    let took = words.nth(2).and_then(|c| c.strip_suffix("s,")?.parse::<f64>().ok());
    let took = took.with_context(|| format!("unexpected output of wrk: {line}"))?;
    ensure!(requests > 1000.0 && !text.contains("Socket errors"), "{}: {text}", CASES[n].name);
    Ok((requests / took, spent * 1e6 / requests))
}

/// Measures all cases in turn, [`ROUNDS`] times.
pub fn run() -> Result<Vec<Row>> {
    let dir = std::env::temp_dir().join(format!("evenkeel-http-{}", std::process::id()));
    let daemon = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/evenkeeld"));
    ensure!(daemon.exists(), "{} is missing: run `make`", daemon.display());
    let lan = build_network(&dir)?;
    let programs = load_programs()?;
    let _pass = prepare_port_for_xdp(&lan, program_fd(&programs, "pass")?)?;
    start_servers(&lan)?;
    let decapsulation = SERVERS.iter().map(|(host, _)| Decapsulation::new(&lan, host)).collect::<Result<Vec<_>>>()?;
    start_peers(&lan)?;
    for director in [1, 2] {
        start_evenkeel(&lan, &daemon, director)?;
    }
    for (n, c) in CASES.iter().enumerate() {
        let connects = || {
            let to = (address(n), 80).into();
            lan.run_in("client", || TcpStream::connect_timeout(&to, Duration::from_millis(500))).ok()?.ok()
        };
        wait_for(START_TIMEOUT, connects)
            .with_context(|| format!("{}: no connection within the time limit", c.name))?;
    }
    let mut samples: Vec<(Vec<f64>, Vec<f64>)> = CASES.iter().map(|_| Default::default()).collect();
    for _ in 0..ROUNDS {
        for (n, (rates, costs)) in samples.iter_mut().enumerate() {
            let (rate, cost) = measure(&lan, n)?;
            rates.push(rate);
            costs.push(cost);
        }
    }
    drop(decapsulation);
    drop(lan);
    let _ = fs::remove_dir_all(&dir);
    let row = |(c, (rates, costs)): (&Case, (Vec<f64>, Vec<f64>))| Row {
        name: c.name,
        replies: c.replies,
        requests_per_s: median(rates),
        cpu_us: median(costs),
    };
    Ok(CASES.iter().zip(samples).map(row).collect())
}

impl Row {
    /// CPU time relative to plain routing with the same path of replies.
    fn cpu_to_routing(&self, all: &[Row]) -> f64 {
        let routed = all.iter().find(|r| r.replies == self.replies && r.name.starts_with("routing"));
        self.cpu_us / routed.map_or(f64::NAN, |r| r.cpu_us)
    }
}

pub fn print(rows: &[Row]) {
    println!("{:<36} {:>12} {:>16} {:>12}", "short HTTP requests", "a second", "us of CPU each", "to routing");
    for r in rows {
        println!("{:<36} {:>12.0} {:>16.1} {:>12.2}", r.name, r.requests_per_s, r.cpu_us, r.cpu_to_routing(rows));
    }
}

pub fn to_json(rows: &[Row]) -> Vec<serde_json::Value> {
    let row_json = |r: &Row| {
        serde_json::json!({"case": format!("short HTTP requests, {}", r.name), "per_second": r.requests_per_s, "cpu_us": r.cpu_us,
            "cpu_to_routing": r.cpu_to_routing(rows)})
    };
    rows.iter().map(row_json).collect()
}
