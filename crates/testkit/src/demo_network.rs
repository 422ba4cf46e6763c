//! The network of the demo and of most tests: a client behind a router, two directors, three real servers, one switch.
//!
//! ```text
//!   client ──── router ────┬──── d1   192.168.1.2      VIP 192.168.1.100
//!  10.77.0.2   10.77.0.1   │
//!            192.168.1.1   ├──── d2   192.168.1.3
//!                          │
//!                          └──── r1, r2, r3   192.168.1.11, .12, .13   (VIP on lo, no ARP for it)
//! ```

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::http;
use crate::lan::Lan;

/// The virtual address.
pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 100);
/// The client's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Directors and their addresses.
pub const DIRECTORS: [(&str, Ipv4Addr); 2] =
    [("d1", Ipv4Addr::new(192, 168, 1, 2)), ("d2", Ipv4Addr::new(192, 168, 1, 3))];
/// Real servers and their addresses.
pub const SERVERS: [(&str, Ipv4Addr); 3] = [
    ("r1", Ipv4Addr::new(192, 168, 1, 11)),
    ("r2", Ipv4Addr::new(192, 168, 1, 12)),
    ("r3", Ipv4Addr::new(192, 168, 1, 13)),
];

/// Builds the switch and the directors only.
pub fn build_directors(dir: &Path) -> Result<Lan> {
    let mut lan = Lan::new(dir)?;
    lan.add_host("sw")?;
    lan.ip("sw", "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0")?;
    lan.ip("sw", "link set br0 up")?;
    for (name, addr) in DIRECTORS {
        lan.add_host(name)?;
        connect_to_switch(&lan, name, "eth0", &format!("{addr}/24"))?;
    }
    Ok(lan)
}

/// Builds the network. The device of every host is `eth0`; the second one of the router is `eth1`.
pub fn build(dir: &Path) -> Result<Lan> {
    let mut lan = build_directors(dir)?;
    for host in ["client", "router"] {
        lan.add_host(host)?;
    }
    lan.add_link(("client", "eth0"), ("router", "eth0"))?;
    lan.ip("client", "addr add 10.77.0.2/24 dev eth0")?;
    lan.ip("client", "route add default via 10.77.0.1")?;
    lan.ip("router", "addr add 10.77.0.1/24 dev eth0")?;
    connect_to_switch(&lan, "router", "eth1", "192.168.1.1/24")?;
    lan.sysctl("router", "net/ipv4/ip_forward", "1")?;
    for (name, _) in DIRECTORS {
        lan.ip(name, "route add default via 192.168.1.1")?;
    }
    for (name, addr) in SERVERS {
        lan.add_host(name)?;
        connect_to_switch(&lan, name, "eth0", &format!("{addr}/24"))?;
        lan.ip(name, "route add default via 192.168.1.1")?;
        // A real server for direct routing holds the virtual address and does not answer ARP for it.
        lan.sysctl(name, "net/ipv4/conf/all/arp_ignore", "1")?;
        lan.sysctl(name, "net/ipv4/conf/all/arp_announce", "2")?;
        lan.ip(name, &format!("addr add {VIP}/32 dev lo"))?;
    }
    Ok(lan)
}

/// The virtual IPv6 address.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x100);

/// Adds IPv6 addresses: the client has fd00:77::2, the router fd00:77::1 and fd00:1::1, the others fd00:1::N, where N
/// is the last number of their IPv4 address. Real servers have [`VIP6`] on `lo`.
pub fn add_ipv6(lan: &Lan) -> Result<()> {
    let add_address = |host: &str, dev: &str, addr: &str| -> Result<()> {
        lan.sysctl(host, &format!("net/ipv6/conf/{dev}/accept_dad"), "0")?;
        lan.sysctl(host, &format!("net/ipv6/conf/{dev}/disable_ipv6"), "0")?;
        lan.ip(host, &format!("addr add {addr} dev {dev} nodad"))?;
        Ok(())
    };
    add_address("client", "eth0", "fd00:77::2/64")?;
    add_address("router", "eth0", "fd00:77::1/64")?;
    add_address("router", "eth1", "fd00:1::1/64")?;
    lan.sysctl("router", "net/ipv6/conf/all/forwarding", "1")?;
    lan.ip("client", "-6 route add default via fd00:77::1")?;
    let hosts = DIRECTORS.iter().chain(&SERVERS);
    for (host, addr) in hosts {
        add_address(host, "eth0", &format!("fd00:1::{}/64", addr.octets()[3]))?;
        lan.ip(host, "-6 route add default via fd00:1::1")?;
    }
    for (host, _) in SERVERS {
        lan.sysctl(host, "net/ipv6/conf/lo/disable_ipv6", "0")?;
        lan.ip(host, &format!("addr add {VIP6}/128 dev lo"))?;
    }
    Ok(())
}

/// Makes the first director the gateway of the real servers, for NAT.
pub fn route_replies_through_d1(lan: &Lan) -> Result<()> {
    lan.sysctl("d1", "net/ipv4/ip_forward", "1")?;
    for (host, _) in SERVERS {
        lan.ip(host, "route replace default via 192.168.1.2")?;
    }
    if lan.ip("d1", "-6 addr show dev eth0")?.contains("fd00:1::2/") {
        lan.sysctl("d1", "net/ipv6/conf/all/forwarding", "1")?;
        for (host, _) in SERVERS {
            lan.ip(host, "-6 route replace default via fd00:1::2")?;
        }
    }
    Ok(())
}

/// Connects a device of a host to the switch.
fn connect_to_switch(lan: &Lan, host: &str, dev: &str, addr: &str) -> Result<()> {
    let port = format!("p-{host}");
    lan.add_link((host, dev), ("sw", &port))?;
    lan.ip("sw", &format!("link set {port} master br0"))?;
    lan.ip(host, &format!("addr add {addr} dev {dev}"))?;
    Ok(())
}

/// One request of a load.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Start of the request, since the start of the load.
    pub started: Duration,
    /// The response or the error.
    pub outcome: Result<http::Response, String>,
    /// End of the request, since the start of the load.
    pub ended: Duration,
}

/// A load of HTTP requests from the client, one after the other in each thread, until it is stopped.
pub struct HttpLoad {
    stop: Arc<AtomicU64>,
    samples: Arc<Mutex<Vec<Sample>>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    started: Instant,
}

impl HttpLoad {
    /// Starts `clients` threads in the host `client`. `timeout` is the limit of each request.
    pub fn start(lan: &Lan, port: u16, clients: usize, timeout: Duration) -> HttpLoad {
        let stop = Arc::new(AtomicU64::new(u64::MAX));
        let samples = Arc::new(Mutex::new(Vec::new()));
        let started = Instant::now();
        let threads = (0..clients)
            .map(|_| {
                let (stop, samples) = (stop.clone(), samples.clone());
                lan.spawn_thread_in("client", move || {
                    let mut left = 0u64;
                    while left < stop.load(Ordering::Relaxed) {
                        left += 1;
                        let at = started.elapsed();
                        let outcome = http::get(SocketAddrV4::new(VIP, port), timeout).map_err(|e| format!("{e:#}"));
                        let failed = outcome.is_err();
                        let ended = started.elapsed();
                        if let Ok(mut s) = samples.lock() {
                            s.push(Sample { started: at, outcome, ended });
                        }
                        if failed {
                            std::thread::sleep(Duration::from_millis(5));
                        }
                    }
                })
            })
            .collect();
        HttpLoad { stop, samples, threads, started }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The number of requests that have ended.
    pub fn finished_requests(&self) -> usize {
        self.samples.lock().map_or(0, |s| s.len())
    }

    /// Stops the load and returns all requests in the order of their starts.
    pub fn finish(mut self) -> Vec<Sample> {
        self.stop.store(0, Ordering::Relaxed);
        for t in self.threads.drain(..) {
            let _ = t.join();
        }
        let mut all = self.samples.lock().map(|s| s.clone()).unwrap_or_default();
        all.sort_by_key(|s| s.started);
        all
    }
}

/// The longest time without a response: from the end of a successful request to the end of the next.
pub fn longest_gap(samples: &[Sample]) -> (Duration, Duration) {
    let mut ends: Vec<Duration> = samples.iter().filter(|s| s.outcome.is_ok()).map(|s| s.ended).collect();
    ends.sort();
    ends.windows(2).map(|w| (w[0], w[1])).max_by_key(|(a, b)| *b - *a).unwrap_or_default()
}
