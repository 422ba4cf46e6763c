//! Recordings of `ipvsadm`: 45 sessions of Debian's ipvsadm 1.31 on the IPVS of Linux 6.1, replayed with evenkeel's
//! `ipvsadm`.
//!
//! `golden/NAME.cmds` has the commands, `golden/NAME.out` their output, with `[exit N]` after a command that failed. They are
//! replayed in user-mode Linux on that kernel's IPVS, and on this host on evenkeel's packet path, without the parts that only
//! the kernel has. `EVENKEEL_RECORDING=PART_OF_A_NAME` selects sessions.

use std::fs;
use std::path::Path;
use std::time::Duration;

use evenkeel_sys::paths::bpf_dir;
use evenkeel_testkit::{recordings, uml};

use crate::network::{TEST_DIR, TestNetwork};

/// The modules that the sessions need and that the kernel does not load on demand.
const MODULES: &[&str] = &[
    "ip_vs",
    "ip_vs_rr",
    "ip_vs_wrr",
    "ip_vs_lc",
    "ip_vs_wlc",
    "ip_vs_lblc",
    "ip_vs_lblcr",
    "ip_vs_dh",
    "ip_vs_sh",
    "ip_vs_sed",
    "ip_vs_nq",
    "ip_vs_fo",
    "ip_vs_ovf",
    "ip_vs_mh",
    "ip_vs_pe_sip",
    "nf_conntrack",
    "veth",
    "dummy",
    "bridge",
    "ipv6",
    "ipip",
    "sctp",
    "iptable_mangle",
    "xt_mark",
    "xt_tcpudp",
    "xt_multiport",
];

/// Replays sessions in user-mode Linux. `numbers` are the first two digits of their names.
fn replay(numbers: &str) {
    let sessions = session_names(numbers).join(" ");
    if !evenkeel_tests::is_root() || sessions.is_empty() {
        return;
    }
    assert!(uml::is_installed(), "package user-mode-linux is missing: make test-deps");
    uml::run_test_in_guest("golden::guest", &[("SESSIONS", &sessions)], MODULES, Duration::from_secs(600));
}

/// The selected sessions whose names start with one of these prefixes.
fn session_names(prefixes: &str) -> Vec<String> {
    let stem =
        |e: std::io::Result<fs::DirEntry>| e.ok()?.file_name().to_str()?.strip_suffix(".cmds").map(str::to_owned);
    let all = fs::read_dir(format!("{TEST_DIR}/golden")).expect("the sessions").filter_map(stem);
    let mut names: Vec<String> =
        all.filter(|n| prefixes.split_whitespace().any(|prefix| n.starts_with(prefix))).collect();
    assert!(!names.is_empty(), "no session has a name that starts with {prefixes}");
    names.retain(|n| recordings::is_selected(n));
    names.sort();
    names
}

fn read_session(name: &str, extension: &str) -> String {
    fs::read_to_string(format!("{TEST_DIR}/golden/{name}.{extension}")).expect("a session")
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn guest() {
    let mut network = TestNetwork::new("", Path::new("/run/stage"));
    let mut failed = Vec::new();
    for name in session_names(&std::env::var("SESSIONS").expect("the sessions")) {
        match network.replay_session(&name, &read_session(&name, "cmds"), &read_session(&name, "out")) {
            None => println!("{name}: as recorded"),
            Some(text) => {
                println!("{name}:\n{text}");
                failed.push(name);
            }
        }
    }
    assert!(failed.is_empty(), "not as recorded: {}", failed.join(" "));
}

/// Commands that only the kernel has: persistence engines, sync daemons, netfilter, sysctls, and twos, which the recorded
/// kernel lacked.
const UNSUPPORTED_COMMANDS: &[&str] = &["--pe ", "-daemon", "--daemon", "twos", "iptables", "sysctl"];
/// Lines of listings that show services of such commands.
const UNSUPPORTED_LINES: &[&str] = &["100:5060", "100:5061"];

/// The part of a session's commands or output that evenkeel's packet path supports. It ends at the first changed sysctl.
fn supported_part(text: &str) -> String {
    let (mut out, mut is_skipped) = (String::new(), false);
    for line in text.lines().take_while(|l| !l.contains("sysctl -w")) {
        let command = line.strip_prefix("$ ").or((!text.contains("\n$ ")).then_some(line));
        if let Some(command) = command {
            is_skipped = UNSUPPORTED_COMMANDS.iter().any(|n| command.contains(n));
        }
        if !is_skipped && !UNSUPPORTED_LINES.iter().any(|n| line.contains(n)) {
            out += line;
            out.push('\n');
        }
    }
    out
}

/// Replays sessions on evenkeel's packet path on this host.
///
/// The tests leave out the sessions of sync daemons (17, 42, 48), of sysctls (26), of persistence engines (45), of clients
/// and servers behind NAT on the director itself (43, 47), session 40, where IPVS counts packets and evenkeel counts
/// fragments, and 36, 39 and 46, which need netfilter and SCTP in this host's kernel.
fn replay_on_xdp(numbers: &str) {
    if !evenkeel_tests::is_root() {
        return;
    }
    let first = numbers.split_whitespace().next().unwrap_or_default();
    let own = format!("ekgold{}x{first}", std::process::id());
    let dir = std::env::temp_dir().join(&own);
    let mut network = TestNetwork::new(&format!("{own}-"), &dir);
    network.set_env("EVENKEEL_DATAPLANE", "xdp");
    let mut failed = Vec::new();
    for name in session_names(numbers) {
        let instance = format!("{own}-{}", &name[..2]);
        network.set_env("EVENKEEL_INSTANCE", &instance);
        let (commands, recorded) =
            (supported_part(&read_session(&name, "cmds")), supported_part(&read_session(&name, "out")));
        match network.replay_session(&name, &commands, &recorded) {
            None => println!("{name}: as recorded"),
            Some(text) => {
                println!("{name}:\n{text}");
                failed.push(name);
            }
        }
        let pins = bpf_dir(&instance);
        for pin in fs::read_dir(&pins).into_iter().flatten().flatten() {
            let _ = fs::remove_file(pin.path());
        }
        let _ = fs::remove_dir(&pins);
    }
    drop(network);
    let _ = fs::remove_dir_all(&dir);
    assert!(failed.is_empty(), "not as recorded: {}", failed.join(" "));
}

#[test]
fn recorded_commands_on_our_packet_path() {
    replay_on_xdp("01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 18 19 20 21 22 23 24 25");
}

#[test]
fn recorded_traffic_on_our_packet_path() {
    replay_on_xdp("30 31 32 33 34 35 37 38 41 44");
}

// One kernel for each test. The tests run at the same time, because the sessions mostly wait.

#[test]
fn recorded_commands_and_listings() {
    replay("01 02 03 04 05 06 07 08 09 10 11 12");
}

#[test]
fn recorded_servers_tunnels_and_sync_daemons() {
    replay("13 14 15 16 17 18 19");
}

#[test]
fn recorded_errors_saving_and_names() {
    replay("20 21 22 23 24 25");
}

#[test]
fn recorded_connections_of_every_method() {
    replay("30 31 32 33 34 35 36");
}

#[test]
fn recorded_overload_states_and_rates() {
    replay("37 38 39 40 41");
}

#[test]
fn recorded_synchronisation_and_engines() {
    replay("42 43 44 45 46 47 48");
}
