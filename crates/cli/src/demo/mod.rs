//! `evenkeel demo`: two directors, three real servers and a client in network namespaces; load, failures and a
//! fail-over, with each step printed as it happens.
//!
//! The network is the testkit's demo network. tests/lan/demo.rs runs the demo as a test.

mod report;
mod steps;

use std::fs;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, bail};
use evenkeel_testkit::demo_network::{self, DIRECTORS, SERVERS, VIP};
use evenkeel_testkit::http::Server;
use evenkeel_testkit::lan::Lan;
use nix::sys::signal::Signal;

use self::steps::Demo;
use crate::output;

#[derive(clap::Args)]
#[command(
    after_help = "Needs root, and the programs ip and nsenter. It makes network namespaces of its own, and removes them.\n\n\
                        Exit status: 0 all results are as expected, 1 they are not.\n\n\
                        Example:\n  evenkeel demo --keep"
)]
pub struct Options {
    /// Print the results as JSON at the end, instead of each step
    #[arg(long)]
    pub json: bool,
    /// Keep everything running at the end, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Directory of configurations and logs; it is deleted first
    #[arg(long, default_value = "/tmp/evenkeel-demo")]
    pub dir: PathBuf,
}

const PORT: u16 = 80;
/// Weights of the real servers.
const WEIGHTS: [u32; 3] = [1, 2, 3];
/// VRRP priorities of the directors.
const PRIORITIES: [u8; 2] = [150, 100];

/// The configuration file of a director.
fn director_config(director: usize) -> String {
    let (name, _) = DIRECTORS[director];
    let mut text = format!(
        "global_defs {{\n    router_id {name}\n    connection_table_size 65536\n}}\n\n\
         vrrp_instance VI_1 {{\n    state {state}\n    interface eth0\n    virtual_router_id 51\n    \
         priority {priority}\n    advert_int 1\n    authentication {{\n        auth_type PASS\n        \
         auth_pass 1111\n    }}\n    virtual_ipaddress {{\n        {VIP}/24 dev eth0 label eth0:0\n    }}\n}}\n\n\
         virtual_server {VIP} {PORT} {{\n    delay_loop 1\n    lb_algo wrr\n    lb_kind DR\n    protocol TCP\n    \
         retry 1\n    delay_before_retry 0.3\n    connect_timeout 1\n    warmup 0\n",
        state = if director == 0 { "MASTER" } else { "BACKUP" },
        priority = PRIORITIES[director],
    );
    for ((server, addr), weight) in SERVERS.iter().zip(WEIGHTS) {
        let check = if *server == "r1" {
            "TCP_CHECK {\n        }".to_owned()
        } else {
            "HTTP_GET {\n            url {\n                path /healthz\n            }\n        }".to_owned()
        };
        text += &format!("    real_server {addr} {PORT} {{\n        weight {weight}\n        {check}\n    }}\n");
    }
    text + "}\n"
}

/// evenkeeld beside this program, or in the search path.
fn daemon_path() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|p| p.with_file_name("evenkeeld"));
    beside.filter(|p| p.exists()).unwrap_or_else(|| PathBuf::from("evenkeeld"))
}

pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if !evenkeel_sys::user::is_root() {
        bail!("the demo needs root, to make network namespaces and to load the packet path");
    }
    for tool in ["ip", "nsenter"] {
        let found = std::process::Command::new(tool).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.with_context(|| format!("the demo needs the program `{tool}` (packages iproute2 and util-linux)"))?;
    }
    let _ = fs::remove_dir_all(&options.dir);
    let lan = demo_network::build(&options.dir)?;
    let mut servers: Vec<Server> = SERVERS.iter().map(|(name, _)| Server::start(&lan, name, PORT)).collect();
    let mut demo = Demo::new(&lan, daemon_path(), options.json);
    demo.run_steps(&mut servers)?;
    let passed = demo.report.passed;
    if options.json {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&demo.report)?));
    }
    if options.keep {
        wait_for_interrupt(&lan);
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints how to use the network, and waits for Ctrl-C.
fn wait_for_interrupt(lan: &Lan) {
    output::print("\nEverything is kept running. Each host is a network namespace; to enter one:\n");
    for host in ["client", "router", "d1", "d2", "r1", "r2", "r3"] {
        output::print(&format!("  nsenter --net=/run/netns/{} bash\n", lan.namespace(host)));
    }
    for (name, _) in DIRECTORS {
        output::print(&format!("  evenkeel --instance {} status\n", lan.instance(name)));
    }
    output::print(&format!("  evenkeel --instance {} ipvsadm -Ln\n", lan.instance("d2")));
    output::print("Ctrl-C stops and removes everything.\n");
    let mut set = nix::sys::signal::SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    if set.thread_block().is_ok() {
        let _ = set.wait();
    }
}
