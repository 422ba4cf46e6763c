//! A large configuration: time to parse, check and diff it, beside Debian's `keepalived -t` on the same file in the
//! same run.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use evenkeel_core::config::{Options, parse};
use evenkeel_core::plan::{desired_services, diff};
use evenkeel_sys::environment::HostEnvironment;

use crate::test_run::{ROUNDS, median};

const SERVICES: u32 = 10_000;
const SERVERS: u32 = 4;

pub struct Report {
    /// Parse, check and lower, ms.
    parse_ms: f64,
    /// Diff with an empty data plane and with itself, ms.
    diff_ms: f64,
    /// `evenkeeld -t`, ms.
    evenkeeld_ms: f64,
    /// `keepalived -t`, ms.
    keepalived_ms: f64,
    /// Peak resident memory of `evenkeeld -t`, MiB.
    memory_mib: f64,
    /// Lines of the configuration file.
    lines: usize,
}

/// 10,000 virtual servers with four real servers each, every real server with a check.
fn config_text() -> String {
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

/// Runs `PROGRAM -t -f FILE`. Returns milliseconds of wall-clock time.
fn run_config_test(namespace: &str, program: &Path, file: &Path) -> Result<f64> {
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

/// Peak resident memory of the largest child of this process so far, MiB (getrusage(2)).
fn peak_child_mib() -> Result<f64> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN)?;
    Ok(usage.max_rss() as f64 / 1024.0)
}

pub fn run() -> Result<Report> {
    let text = config_text();
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
    let done = compare_programs(&namespace, &daemon, &file);
    let _ = ip(&["netns", "del", &namespace]);
    let _ = fs::remove_dir_all(&dir);
    let (evenkeeld_ms, keepalived_ms, memory_mib) = done?;
    let (parse_ms, diff_ms) = (median(parse_ms), median(diff_ms));
    Ok(Report { parse_ms, diff_ms, evenkeeld_ms, keepalived_ms, memory_mib, lines: text.lines().count() })
}

/// Runs both programs in turn, so that a disturbance of the machine affects both. evenkeeld runs once alone first, to
/// measure its memory. Returns evenkeeld's and keepalived's ms, and MiB.
fn compare_programs(namespace: &str, daemon: &Path, file: &Path) -> Result<(f64, f64, f64)> {
    run_config_test(namespace, daemon, file)?;
    let memory = peak_child_mib()?;
    let (mut evenkeeld, mut keepalived) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        evenkeeld.push(run_config_test(namespace, daemon, file)?);
        keepalived.push(run_config_test(namespace, Path::new("keepalived"), file)?);
    }
    Ok((median(evenkeeld), median(keepalived), memory))
}

impl Report {
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "case": "configuration, 10,000 virtual servers with 4 real servers each", "lines": self.lines, "parse_ms": self.parse_ms,
            "diff_ms": self.diff_ms, "evenkeeld_t_ms": self.evenkeeld_ms, "keepalived_t_ms": self.keepalived_ms,
            "evenkeeld_to_keepalived": self.evenkeeld_ms / self.keepalived_ms, "memory_mib": self.memory_mib,
        })
    }

    pub fn print(&self) {
        println!(
            "a configuration of {SERVICES} virtual servers with {SERVERS} real servers each, {} lines",
            self.lines
        );
        println!("  parse and check {:>6.0} ms, diff {:>4.0} ms", self.parse_ms, self.diff_ms);
        println!(
            "  evenkeeld -t    {:>6.0} ms, keepalived -t {:>4.0} ms: ratio {:.2}; {:.0} MiB",
            self.evenkeeld_ms,
            self.keepalived_ms,
            self.evenkeeld_ms / self.keepalived_ms,
            self.memory_mib
        );
    }
}
