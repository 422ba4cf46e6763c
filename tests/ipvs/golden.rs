//! `ipvsadm` beside the real one: 45 sessions, recorded with Debian's ipvsadm 1.31 on the IPVS of Linux 6.1.
//!
//! `golden/NAME.cmds` has the commands, `golden/NAME.out` what was printed, with `[exit N]` behind a command that failed.
//! They are replayed with our program in its place: in user-mode Linux on that kernel's IPVS, and here on our own packet
//! path where nothing in a session is the kernel's own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use evenkeel_sys::paths::bpf_dir;
use evenkeel_testkit::uml;

use crate::network::{TEST_DIR, TestNetwork};

/// Modules that the sessions need besides what is loaded as it is asked for.
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

fn replay(sessions: &str) {
    if !evenkeel_tests::is_root() {
        return;
    }
    assert!(uml::is_installed(), "package user-mode-linux is missing: make test-deps");
    uml::run_test_in_guest("golden::guest", &[("SESSIONS", sessions)], MODULES, Duration::from_secs(600));
}

/// The sessions whose names begin with one of these words.
fn session_names(words: &str) -> Vec<String> {
    let file =
        |e: std::io::Result<fs::DirEntry>| e.ok()?.file_name().to_str()?.strip_suffix(".cmds").map(str::to_owned);
    let all = fs::read_dir(format!("{TEST_DIR}/golden")).expect("the sessions").filter_map(file);
    let mut names: Vec<String> = all.filter(|n| words.split_whitespace().any(|w| n.starts_with(w))).collect();
    names.sort();
    assert!(!names.is_empty(), "{words}");
    names
}

fn read_session(name: &str, what: &str) -> String {
    fs::read_to_string(format!("{TEST_DIR}/golden/{name}.{what}")).expect("a session")
}

#[test]
#[ignore = "runs inside user-mode Linux"]
fn guest() {
    let mut stage = TestNetwork::new("", Path::new("/run/stage"));
    let mut wrong = Vec::new();
    for name in session_names(&std::env::var("SESSIONS").expect("which sessions")) {
        match stage.replay_session(&name, &read_session(&name, "cmds"), &read_session(&name, "out")) {
            None => println!("{name}: the same"),
            Some(text) => {
                println!("{name}:\n{text}");
                wrong.push(name);
            }
        }
    }
    assert!(wrong.is_empty(), "not as recorded: {}", wrong.join(" "));
}

/// Commands that are the kernel's own, or that our packet path does not have: persistence engines, connection
/// synchronisation; a scheduler that the recorded kernel lacked; netfilter.
const UNSUPPORTED_COMMANDS: &[&str] = &["--pe ", "-daemon", "--daemon", "twos", "iptables", "sysctl"];
/// What belongs to such services in listings.
const UNSUPPORTED_LINES: &[&str] = &["100:5060", "100:5061"];

/// What of a session is left without that: of its commands, or of what was recorded. A changed sysctl ends it.
fn supported_part(text: &str) -> String {
    let (mut out, mut skipped) = (String::new(), false);
    for line in text.lines().take_while(|l| !l.contains("sysctl -w")) {
        let command = line.strip_prefix("$ ").or((!text.contains("\n$ ")).then_some(line));
        if let Some(command) = command {
            skipped = UNSUPPORTED_COMMANDS.iter().any(|n| command.contains(n));
        }
        if !skipped && !UNSUPPORTED_LINES.iter().any(|n| line.contains(n)) {
            out += line;
            out.push('\n');
        }
    }
    out
}

/// The sessions on our own packet path, on this machine. Left out are those of synchronisation (17, 42,
/// 48), of sysctls (26), of engines (45), of clients and servers behind NAT on the director itself (43, 47); 40, where IPVS
/// counts packets and we their pieces; 36, 39 and 46, which need netfilter and SCTP of this machine's kernel.
fn replay_on_xdp(sessions: &str) {
    if !evenkeel_tests::is_root() {
        return;
    }
    let part = sessions.split_whitespace().next().unwrap_or_default();
    let own = format!("ekgold{}x{part}", std::process::id());
    let dir = std::env::temp_dir().join(&own);
    let mut stage = TestNetwork::new(&format!("{own}-"), &dir);
    stage.set_env("EVENKEEL_DATAPLANE", "xdp");
    let mut wrong = Vec::new();
    for name in session_names(sessions) {
        let instance = format!("{own}-{}", &name[..2]);
        stage.set_env("EVENKEEL_INSTANCE", &instance);
        let (commands, was) =
            (supported_part(&read_session(&name, "cmds")), supported_part(&read_session(&name, "out")));
        match stage.replay_session(&name, &commands, &was) {
            None => println!("{name}: the same"),
            Some(text) => {
                println!("{name}:\n{text}");
                wrong.push(name);
            }
        }
        let pins = bpf_dir(&instance);
        for pin in fs::read_dir(&pins).into_iter().flatten().flatten() {
            let _ = fs::remove_file(pin.path());
        }
        let _ = fs::remove_dir(&pins);
    }
    drop(stage);
    let _ = fs::remove_dir_all(&dir);
    assert!(wrong.is_empty(), "not as recorded: {}", wrong.join(" "));
}

#[test]
fn commands_on_our_packet_path() {
    replay_on_xdp("01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 18 19 20 21 22 23 24 25");
}

#[test]
fn traffic_on_our_packet_path() {
    replay_on_xdp("30 31 32 33 34 35 37 38 41 44");
}

// Several kernels side by side: they sleep a lot.

#[test]
fn commands_and_listings() {
    replay("01 02 03 04 05 06 07 08 09 10 11 12");
}

#[test]
fn servers_tunnels_and_daemons() {
    replay("13 14 15 16 17 18 19");
}

#[test]
fn errors_saving_and_names() {
    replay("20 21 22 23 24 25");
}

#[test]
fn connections_of_every_method() {
    replay("30 31 32 33 34 35 36");
}

#[test]
fn overload_states_and_rates() {
    replay("37 38 39 40 41");
}

#[test]
fn synchronisation_and_engines() {
    replay("42 43 44 45 46 47 48");
}
