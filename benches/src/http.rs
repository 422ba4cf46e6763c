//! Short HTTP requests, each by a connection of its own: how many a second, and what processor time each costs, client, server
//! and switch included; through a director of each kind, beside plain routing. Everybody sits on one switch:
//!
//! ```text
//!   client (wrk) ──┬── router     routes; requests only, or both ways
//!   10.9.0.1 to 6  ├── tc, xdp    evenkeel on that hook: DR, TUN, NAT
//!                  ├── nft        DNAT in turn, with the kernel's connection tracking
//!                  ├── proxies    haproxy and nginx, which end the client's connection
//!                  └── s1, s2     nginx; every virtual address on lo
//! ```
//!
//! Where answers come back through the director, the client asks from an address that the servers reach by it.

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

use crate::instructions::{Attached, attach, program, programs};
use crate::packets::{ROUNDS, median};

const SERVERS: [(&str, &str); 2] = [("s1", "10.9.0.101"), ("s2", "10.9.0.102")];
/// Directors, their addresses, and the client's address whose answers come back through them.
const DIRECTORS: [(&str, &str, &str); 5] = [
    ("router", "10.9.0.10", "10.9.0.2"),
    ("tc", "10.9.0.11", "10.9.0.3"),
    ("xdp", "10.9.0.12", "10.9.0.4"),
    ("nft", "10.9.0.13", "10.9.0.5"),
    ("proxies", "10.9.0.14", "10.9.0.6"),
];
/// A measurement of one way.
const SECONDS: u64 = 2;
const CONNECTIONS: u32 = 32;
const SOON: Duration = Duration::from_secs(20);

/// What a director does with requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// There is no director.
    Nothing,
    Route,
    Dr,
    Tun,
    Nat,
    Dnat,
    Haproxy,
    Nginx,
}

/// A way to the servers: its name, the director (an index), and whether answers come back through it.
struct Way {
    name: &'static str,
    does: Does,
    director: usize,
    both: bool,
}

const fn way(name: &'static str, does: Does, director: usize, both: bool) -> Way {
    Way { name, does, director, both }
}

const WAYS: [Way; 12] = [
    way("no director", Does::Nothing, 0, false),
    way("routing, requests only", Does::Route, 0, false),
    way("evenkeel, DR, tc", Does::Dr, 1, false),
    way("evenkeel, DR, native XDP", Does::Dr, 2, false),
    way("evenkeel, TUN, tc", Does::Tun, 1, false),
    way("evenkeel, TUN, native XDP", Does::Tun, 2, false),
    way("routing, both ways", Does::Route, 0, true),
    way("evenkeel, NAT, tc", Does::Nat, 1, true),
    way("evenkeel, NAT, native XDP", Does::Nat, 2, true),
    way("nftables, DNAT", Does::Dnat, 3, true),
    way("haproxy, mode tcp", Does::Haproxy, 4, true),
    way("nginx, stream", Does::Nginx, 4, true),
];

/// Where the client asks for a way.
fn address(n: usize) -> Ipv4Addr {
    if WAYS[n].does == Does::Nothing { Ipv4Addr::new(10, 9, 0, 101) } else { Ipv4Addr::new(10, 9, 1, n as u8) }
}

/// One way: its requests a second, and microseconds of processor time for each.
pub struct Row {
    name: &'static str,
    both: bool,
    rate: f64,
    cpu_us: f64,
}

fn plug(lan: &Lan, host: &str, addr: &str) -> Result<()> {
    let port = format!("p-{host}");
    lan.add_link(("sw", &port), (host, "eth0"))?;
    lan.ip("sw", &format!("link set {port} master br0"))?;
    lan.ip(host, &format!("addr add {addr}/16 dev eth0"))?;
    Ok(())
}

/// The network, and the way of every packet.
fn build(dir: &Path) -> Result<Lan> {
    let mut lan = Lan::new(dir)?;
    lan.add_host("sw")?;
    lan.ip("sw", "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0")?;
    lan.ip("sw", "link set br0 up")?;
    lan.add_host("client")?;
    plug(&lan, "client", "10.9.0.1")?;
    for (host, addr) in SERVERS {
        lan.add_host(host)?;
        plug(&lan, host, addr)?;
        // Nobody but the directors answers for virtual addresses.
        lan.sysctl(host, "net/ipv4/conf/all/arp_ignore", "1")?;
    }
    for (host, addr, _) in DIRECTORS {
        lan.add_host(host)?;
        plug(&lan, host, addr)?;
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
    for (n, w) in WAYS.iter().enumerate().filter(|(_, w)| w.does != Does::Nothing) {
        let (host, gateway, back) = DIRECTORS[w.director];
        let vip = address(n);
        let source = if w.both { back } else { "10.9.0.1" };
        lan.ip("client", &format!("route add {vip}/32 via {gateway} src {source}"))?;
        if matches!(w.does, Does::Route | Does::Dr | Does::Tun) {
            for (server, _) in SERVERS {
                lan.ip(server, &format!("addr add {vip}/32 dev lo"))?;
            }
        }
        if w.does == Does::Route {
            let hops: String = SERVERS.iter().map(|s| format!(" nexthop via {}", s.1)).collect();
            lan.ip(host, &format!("route add {vip}/32{hops}"))?;
        } else {
            lan.ip(host, &format!("addr add {vip}/32 dev lo"))?;
        }
    }
    Ok(lan)
}

/// What unwraps tunnels on a server, until this value goes.
struct Unwraps<'a>(&'a Lan, &'static str);

impl Unwraps<'_> {
    fn dir(&self) -> PathBuf {
        evenkeel_sys::paths::bpf_dir(&self.0.instance(self.1))
    }

    fn new<'a>(lan: &'a Lan, host: &'static str) -> Result<Unwraps<'a>> {
        let tunnelled: Vec<IpAddr> =
            (0..WAYS.len()).filter(|n| WAYS[*n].does == Does::Tun).map(|n| address(n).into()).collect();
        let it = Unwraps(lan, host);
        let dir = it.dir();
        lan.run_in(host, || {
            let link = Netlink::new()?.link_by_name("eth0")?.context("eth0")?;
            Ok::<_, anyhow::Error>(decap::attach(&dir, &link, &tunnelled, None)?)
        })??;
        Ok(it)
    }
}

impl Drop for Unwraps<'_> {
    fn drop(&mut self) {
        let dir = self.dir();
        let _ = self.0.run_in(self.1, || decap::detach(&dir, nix::net::if_::if_nametoindex("eth0").unwrap_or(0)));
    }
}

/// The web servers, one process each.
fn serve(lan: &Lan) -> Result<()> {
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
        start(lan, host, "nginx", &home.join("conf"), &text, Path::new("/usr/sbin/nginx"), &["-c"])?;
    }
    Ok(())
}

/// A program that takes its configuration by a file.
fn start(lan: &Lan, host: &str, name: &str, file: &Path, text: &str, program: &Path, args: &[&str]) -> Result<()> {
    fs::write(file, text)?;
    let file = file.to_string_lossy();
    let args: Vec<&str> = args.iter().copied().chain([&*file]).collect();
    lan.spawn(host, &format!("{host}-{name}"), program, &args)?;
    Ok(())
}

/// Our daemon, with a service for each of its director's ways.
fn evenkeel(lan: &Lan, daemon: &Path, director: usize) -> Result<()> {
    let (host, _, _) = DIRECTORS[director];
    let mut text = format!("global_defs {{\ndataplane_interface eth0 {host}\n}}\n");
    for (n, w) in WAYS.iter().enumerate().filter(|(_, w)| w.director == director) {
        let method = match w.does {
            Does::Dr => "DR",
            Does::Tun => "TUN",
            Does::Nat => "NAT",
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
    start(lan, host, "evenkeel", &lan.dir.join(format!("{host}.conf")), &text, daemon, &args)?;
    let answers = || read_status(&control_socket(&instance)).ok();
    wait_for(SOON, answers).with_context(|| format!("the daemon on {host} does not answer"))?;
    Ok(())
}

/// What veth needs for XDP on its peer: a receiver that takes frames from it, sums that are made, segments as on a wire.
fn able(lan: &Lan, pass: i32) -> Result<Attached> {
    for feature in ["tx", "txvlan", "tso", "gso"] {
        let mut ethtool = lan.command("sw", Path::new("ethtool"));
        let done = ethtool.args(["-K", "p-xdp", feature, "off"]).stdout(Stdio::null()).status()?;
        ensure!(done.success(), "ethtool -K p-xdp {feature} off");
    }
    attach(lan, "sw", "p-xdp", pass)
}

/// The peers.
fn peers(lan: &Lan) -> Result<()> {
    let vip = |does| WAYS.iter().position(|w| w.does == does).map(address).context("a way");
    let [(_, one), (_, two)] = SERVERS;
    let rules = format!(
        "table ip t {{\nchain pre {{\ntype nat hook prerouting priority -100;\n\
        ip daddr {} tcp dport 80 dnat to numgen inc mod 2 map {{ 0 : {one}, 1 : {two} }}\n}}\n}}\n",
        vip(Does::Dnat)?
    );
    let file = lan.dir.join("nft.conf");
    fs::write(&file, rules)?;
    let done = lan.command("nft", Path::new("nft")).arg("-f").arg(&file).status()?;
    ensure!(done.success(), "nft -f {}", file.display());
    let text = format!(
        "global\nmaxconn 4000\ndefaults\nmode tcp\ntimeout connect 5s\ntimeout client 30s\ntimeout server 30s\n\
        listen l\nbind {}:80\nbalance roundrobin\nserver one {one}:80\nserver two {two}:80\n",
        vip(Does::Haproxy)?
    );
    start(lan, "proxies", "haproxy", &lan.dir.join("haproxy.cfg"), &text, Path::new("/usr/sbin/haproxy"), &["-f"])?;
    // Two processes without a master, which would leave them behind when it is killed.
    for n in 1..=2 {
        let at = lan.dir.join(format!("stream{n}"));
        let text = format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\nmaster_process off;\n\
            pid {}.pid;\nerror_log {0}.log;\nevents {{ worker_connections 4096; }}\nstream {{\n\
            upstream u {{ server {one}:80; server {two}:80; }}\n\
            server {{ listen {}:80 backlog=4096 reuseport; proxy_pass u; }}\n}}\n",
            at.display(),
            vip(Does::Nginx)?
        );
        let name = format!("nginx{n}");
        start(lan, "proxies", &name, &at.with_extension("conf"), &text, Path::new("/usr/sbin/nginx"), &["-c"])?;
    }
    Ok(())
}

/// Jiffies that this machine's processors have been busy for.
fn busy() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let all: Vec<u64> = stat.lines().next().unwrap_or("").split_whitespace().filter_map(|w| w.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq
    ensure!(all.len() > 6, "/proc/stat: {stat}");
    Ok(all[0] + all[1] + all[2] + all[5] + all[6])
}

/// Requests a second, and microseconds of both processors' time for each.
fn measure(lan: &Lan, n: usize) -> Result<(f64, f64)> {
    let hz = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("the clock's ticks")? as f64;
    let mut wrk = lan.command("client", Path::new("wrk"));
    wrk.args(["-t", "1", "-c", &CONNECTIONS.to_string(), "-d", &SECONDS.to_string(), "-H", "Connection: close"]);
    let before = busy()?;
    let out = wrk.arg(format!("http://{}/", address(n))).output().context("wrk")?;
    let spent = (busy()? - before) as f64 / hz;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    // "  12345 requests in 2.01s, 1.23MB read"
    let line = text.lines().find(|l| l.contains(" requests in ")).with_context(|| format!("wrk says: {text}"))?;
    let mut words = line.split_whitespace();
    let requests: f64 = words.next().and_then(|w| w.parse().ok()).with_context(|| format!("wrk says: {line}"))?;
    let took = words.nth(2).and_then(|w| w.strip_suffix("s,")?.parse::<f64>().ok());
    let took = took.with_context(|| format!("wrk says: {line}"))?;
    ensure!(requests > 1000.0 && !text.contains("Socket errors"), "{}: {text}", WAYS[n].name);
    Ok((requests / took, spent * 1e6 / requests))
}

/// Every way in turn, some rounds of them.
pub fn run() -> Result<Vec<Row>> {
    let dir = std::env::temp_dir().join(format!("evenkeel-http-{}", std::process::id()));
    let daemon = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/evenkeeld"));
    ensure!(daemon.exists(), "{} is not there: make", daemon.display());
    let lan = build(&dir)?;
    let programs = programs()?;
    let _able = able(&lan, program(&programs, "pass")?)?;
    serve(&lan)?;
    let unwrapping = SERVERS.iter().map(|(host, _)| Unwraps::new(&lan, host)).collect::<Result<Vec<_>>>()?;
    peers(&lan)?;
    for director in [1, 2] {
        evenkeel(&lan, &daemon, director)?;
    }
    for (n, w) in WAYS.iter().enumerate() {
        let connects = || {
            let to = (address(n), 80).into();
            lan.run_in("client", || TcpStream::connect_timeout(&to, Duration::from_millis(500))).ok()?.ok()
        };
        wait_for(SOON, connects).with_context(|| format!("{}: nobody answers", w.name))?;
    }
    let mut seen: Vec<(Vec<f64>, Vec<f64>)> = WAYS.iter().map(|_| Default::default()).collect();
    for _ in 0..ROUNDS {
        for (n, (rates, costs)) in seen.iter_mut().enumerate() {
            let (rate, cost) = measure(&lan, n)?;
            rates.push(rate);
            costs.push(cost);
        }
    }
    drop(unwrapping);
    drop(lan);
    let _ = fs::remove_dir_all(&dir);
    let row = |(w, (rates, costs)): (&Way, (Vec<f64>, Vec<f64>))| Row {
        name: w.name,
        both: w.both,
        rate: median(rates),
        cpu_us: median(costs),
    };
    Ok(WAYS.iter().zip(seen).map(row).collect())
}

impl Row {
    /// Processor time beside that through a router by which answers come back as they do here.
    fn to_routing(&self, all: &[Row]) -> f64 {
        let routed = all.iter().find(|r| r.both == self.both && r.name.starts_with("routing"));
        self.cpu_us / routed.map_or(f64::NAN, |r| r.cpu_us)
    }
}

/// For people.
pub fn print(rows: &[Row]) {
    println!("{:<36} {:>12} {:>16} {:>12}", "short HTTP requests", "a second", "us of CPU each", "to routing");
    for r in rows {
        println!("{:<36} {:>12.0} {:>16.1} {:>12.2}", r.name, r.rate, r.cpu_us, r.to_routing(rows));
    }
}

/// For machines.
pub fn json(rows: &[Row]) -> Vec<serde_json::Value> {
    let one = |r: &Row| {
        serde_json::json!({"case": format!("short HTTP requests, {}", r.name), "per_second": r.rate, "cpu_us": r.cpu_us,
            "cpu_to_routing": r.to_routing(rows)})
    };
    rows.iter().map(one).collect()
}
