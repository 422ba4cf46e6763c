//! A network namespace for packets that never leave it: every route leads through a gateway with a permanent neighbour
//! entry.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};

/// The gateway's hardware address.
pub const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The commands of `ip` that set up the namespace: IPv4 and IPv6 on `d0`.
const IP_COMMANDS: [&str; 10] = [
    "link set lo up",
    "link add d0 address 02:00:00:00:00:d0 type veth peer name d1",
    "link set d1 up",
    "link set d0 up",
    "addr add 10.2.0.10/24 dev d0",
    "addr add fd00:2::10/64 dev d0 nodad",
    "neigh add 10.2.0.1 lladdr 02:00:00:00:00:01 dev d0",
    "neigh add fd00:2::1 lladdr 02:00:00:00:00:01 dev d0",
    "route add default via 10.2.0.1",
    "-6 route add default via fd00:2::1",
];

/// Runs a closure in such a namespace, on a thread of its own. Needs root.
pub fn run_in_routed_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
        for line in IP_COMMANDS {
            let done = Command::new("ip").args(line.split(' ')).status().context("run ip")?;
            ensure!(done.success(), "ip {line}");
        }
        for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{file}"), "1").with_context(|| format!("write {file}"))?;
        }
        Ok(work())
    };
    std::thread::scope(|s| s.spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}
