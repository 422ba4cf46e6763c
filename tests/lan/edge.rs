//! The edge process, which makes health checks and runs scripts: if it dies or hangs, VRRP and forwarding continue.

use std::time::Duration;

use evenkeel_core::vrrp::State;
use evenkeel_testkit::demo_network::SERVERS;
use evenkeel_testkit::http::Server;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT, virtual_server, vrrp_instance};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A configuration with a script that counts as failed until it has succeeded (`init_fail`). An edge process that did
/// not inherit the results of its predecessor would cause a fail-over.
fn edge_config(dir: &std::path::Path) -> String {
    let caps = dir.join("caps");
    let script = format!("/bin/sh -c 'grep CapEff /proc/self/status > {}; sleep 0.1'", caps.display());
    format!(
        "{}script_user root\n}}\nvrrp_script s {{\nscript \"{script}\"\ninterval 0.5\ninit_fail\nrise 4\n}}\n{}{}",
        SMALL_TABLE.trim_end().trim_end_matches('}'),
        vrrp_instance(200, "track_script {\ns\n}"),
        virtual_server("", &[("192.168.1.11", ""), ("192.168.1.12", "")])
    )
}

/// CAP_NET_ADMIN and CAP_BPF, with which a process could change the network or load programs.
const PRIVILEGED_CAPS: u64 = 1 << 12 | 1 << 39;

fn effective_capabilities(text: &str) -> u64 {
    let field = text.lines().find_map(|l| l.strip_prefix("CapEff:")).expect("a field");
    u64::from_str_radix(field.trim(), 16).expect("a number")
}

#[test]
fn its_death_changes_no_state_and_another_one_is_started() {
    let Some(net) = Net::new("edge-dies") else { return };
    let mut r1 = Server::start(&net.lan, "r1", 80);
    let _r2 = Server::start(&net.lan, "r2", 80);
    let d1 = net.start_daemon("d1", &edge_config(&net.lan.dir));
    net.wait_state("d1", "V", State::Master);
    let server = |i: usize| net.real_server("d1", SERVERS[i].1).expect("configured");
    eventually("both are probed", TEST_TIMEOUT, || {
        [0, 1].iter().all(|i| server(*i).checks[0].last_probe.as_ref().is_some_and(|l| l.passed())).then_some(())
    });
    let first = net.edge_process("d1");
    let status = std::fs::read_to_string(format!("/proc/{first}/status")).expect("it runs");
    assert_eq!(effective_capabilities(&status) & PRIVILEGED_CAPS, 0, "{status}");
    let script = std::fs::read_to_string(net.lan.dir.join("caps")).expect("the script has run");
    assert_eq!(
        effective_capabilities(&script) & PRIVILEGED_CAPS,
        PRIVILEGED_CAPS,
        "a script that runs as root has root's capabilities: {script}"
    );

    for signal in [Signal::SIGKILL, Signal::SIGABRT] {
        let before = net.edge_process("d1");
        kill(Pid::from_raw(before as i32), signal).expect("it runs");
        eventually("another one", TEST_TIMEOUT, || (net.edge_process("d1") != before).then_some(()));
    }
    // The new one makes checks and runs scripts.
    r1.stop();
    eventually("r1 has left", TEST_TIMEOUT, || (!server(0).up).then_some(()));
    assert!(server(1).up);
    let ran = net.status("d1").expect("answers").scripts[0].runs;
    eventually("the script runs again", TEST_TIMEOUT, || (net.status("d1")?.scripts[0].runs > ran + 2).then_some(()));
    let i = net.instance("d1", "V").expect("configured");
    assert_eq!((i.state, i.counters.became_master), (State::Master, 1), "{i:?}");
    let status = net.status("d1").expect("answers");
    assert!(status.findings.iter().any(|f| f.reason.contains("has died 2 times")), "{:?}", status.findings);
    assert_eq!(server(1).history.len(), 0, "the server was never down: {:?}", server(1).history);

    // It ends with the daemon, even if the daemon is killed.
    let last = net.edge_process("d1");
    net.lan.signal(d1, Signal::SIGKILL).expect("dies");
    eventually("it is gone as well", TEST_TIMEOUT, || kill(Pid::from_raw(last as i32), None).is_err().then_some(()));
}

#[test]
fn one_that_hangs_is_replaced() {
    let Some(net) = Net::new("edge-hangs") else { return };
    let _r1 = Server::start(&net.lan, "r1", 80);
    let _r2 = Server::start(&net.lan, "r2", 80);
    net.start_daemon("d1", &edge_config(&net.lan.dir));
    net.wait_state("d1", "V", State::Master);
    let first = net.edge_process("d1");
    kill(Pid::from_raw(first as i32), Signal::SIGSTOP).expect("it runs");
    eventually("another one", Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_millis(500));
        (net.edge_process("d1") != first).then_some(())
    });
    assert!(net.lan.log("d1").contains("did not answer for 15s"));
    eventually("it checks", TEST_TIMEOUT, || {
        net.real_server("d1", SERVERS[0].1)?.checks[0].last_probe.as_ref()?.passed().then_some(())
    });
    assert_eq!(net.instance("d1", "V").expect("configured").counters.became_master, 1);
}
