//! A large configuration: read, checked and compared with what is in force, beside Debian's `keepalived -t` on the same
//! file in the same run.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use evenkeel_core::config::{Options, parse};
use evenkeel_core::plan::{desired_services, diff};
use evenkeel_sys::environment::HostEnvironment;

use crate::packets::{ROUNDS, median};

const SERVICES: u32 = 10_000;
const SERVERS: u32 = 4;

/// What was measured.
pub struct Figures {
    /// Read, checked and lowered, ms.
    parse_ms: f64,
    /// Compared with an empty data plane and with itself, ms.
    diff_ms: f64,
    /// `evenkeeld -t`, ms.
    ours_ms: f64,
    /// `keepalived -t`, ms.
    keepalived_ms: f64,
    /// Most memory of `evenkeeld -t`, MiB.
    memory_mib: f64,
    /// Lines of the file.
    lines: usize,
}

/// 10,000 virtual servers with four real servers each, every one with a check.
fn text() -> String {
    let mut t = String::from(
        "vrrp_instance V {\n    interface eth0\n    virtual_router_id 51\n    virtual_ipaddress {\n        10.0.0.250/24\n    }\n}\n",
    );
    for n in 0..SERVICES {
        let (hi, lo) = (n >> 8, n & 255);
        let _ = write!(
            t,
            "virtual_server 10.200.{hi}.{lo} 80 {{\n    delay_loop 6\n    lvs_sched wrr\n    lvs_method DR\n    protocol TCP\n"
        );
        for r in 0..SERVERS {
            let _ = write!(
                t,
                "    real_server 10.{}.{hi}.{lo} 80 {{\n        weight {}\n        TCP_CHECK {{\n            connect_timeout 3\n            \
                 retry 3\n            connect_port 80\n        }}\n    }}\n",
                100 + r,
                r + 1
            );
        }
        t.push_str("}\n");
    }
    t
}

/// A program's `-t` on a file, in milliseconds of wall-clock time.
fn config_test(namespace: &str, program: &Path, file: &Path) -> Result<f64> {
    let start = Instant::now();
    Command::new("ip")
        .args(["netns", "exec", namespace])
        .arg(program)
        .args(["-t", "-f"])
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("run {}", program.display()))?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// The most memory that children of this process have had, MiB (getrusage(2)).
fn children_mib() -> Result<f64> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN)?;
    Ok(usage.max_rss() as f64 / 1024.0)
}

pub fn run() -> Result<Figures> {
    let text = text();
    let (mut parse_ms, mut diff_ms) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let parsed = parse("big.conf", text.clone(), &HostEnvironment::new(), &Options::default());
        parse_ms.push(start.elapsed().as_secs_f64() * 1e3);
        ensure!(parsed.config.virtual_servers.len() == SERVICES as usize, "{}", parsed.render(false));
        let start = Instant::now();
        let desired = desired_services(&parsed.config.virtual_servers, &|_| None);
        ensure!(diff(&desired, &Default::default()).len() == (SERVICES * (SERVERS + 1)) as usize);
        ensure!(diff(&desired, &desired).is_empty());
        diff_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let namespace = format!("ekbench{}", std::process::id());
    let dir = std::env::temp_dir().join(&namespace);
    fs::create_dir_all(&dir)?;
    let file = dir.join("big.conf");
    fs::write(&file, &text)?;
    let ip = |args: &[&str]| Command::new("ip").args(args).status();
    ip(&["netns", "add", &namespace])?;
    ip(&["-n", &namespace, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1"])?;
    let daemon = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/evenkeeld"));
    let done = programs(&namespace, &daemon, &file);
    let _ = ip(&["netns", "del", &namespace]);
    let _ = fs::remove_dir_all(&dir);
    let (ours_ms, keepalived_ms, memory_mib) = done?;
    let (parse_ms, diff_ms) = (median(parse_ms), median(diff_ms));
    Ok(Figures { parse_ms, diff_ms, ours_ms, keepalived_ms, memory_mib, lines: text.lines().count() })
}

/// Both programs in turn, so that what disturbs one disturbs the other. Ours first, alone, for its memory.
fn programs(namespace: &str, daemon: &Path, file: &Path) -> Result<(f64, f64, f64)> {
    config_test(namespace, daemon, file)?;
    let memory = children_mib()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(config_test(namespace, daemon, file)?);
        theirs.push(config_test(namespace, Path::new("keepalived"), file)?);
    }
    Ok((median(ours), median(theirs), memory))
}

impl Figures {
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "case": "configuration, 10,000 virtual servers with 4 real servers each", "lines": self.lines, "parse_ms": self.parse_ms,
            "diff_ms": self.diff_ms, "evenkeeld_t_ms": self.ours_ms, "keepalived_t_ms": self.keepalived_ms,
            "evenkeeld_to_keepalived": self.ours_ms / self.keepalived_ms, "memory_mib": self.memory_mib,
        })
    }

    pub fn print(&self) {
        println!(
            "a configuration of {SERVICES} virtual servers with {SERVERS} real servers each, {} lines",
            self.lines
        );
        println!("  parse and check {:>6.0} ms, diff {:>4.0} ms", self.parse_ms, self.diff_ms);
        println!(
            "  evenkeeld -t    {:>6.0} ms, keepalived -t {:>4.0} ms: {:.2} of it; {:.0} MiB",
            self.ours_ms,
            self.keepalived_ms,
            self.ours_ms / self.keepalived_ms,
            self.memory_mib
        );
    }
}
