use evenkeel_core::ipvs::{Change, FwdMethod, SVC_F_PERSISTENT, ServiceId};

use super::super::action::ListTarget;
use super::super::options::OPTION_SPECS;
use super::*;

fn split_words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn parse_line(line: &str) -> Action {
    parse(&split_words(line), false).unwrap_or_else(|e| panic!("{line}: {e:?}")).0
}

#[test]
fn options_may_be_bundled_joined_with_their_values_and_long() {
    let list = |line| match parse_line(line) {
        Action::List(l) => l,
        other => panic!("{line}: {other:?}"),
    };
    let connections = ListOptions { target: ListTarget::Connections, numeric: true, ..ListOptions::default() };
    assert_eq!(list("-Lnc"), connections);
    assert_eq!(list("--list --numeric --connection"), connections);
    assert_eq!(list(""), ListOptions::default());
    assert!(matches!(list("-Lnt 10.0.0.1:80").target, ListTarget::Service(ServiceId::Address { port: 80, .. })));
    for line in [
        "-a -t 10.0.0.1:80 -r 10.0.0.2 -w4 -m",
        "-at10.0.0.1:80 -r10.0.0.2 -mw 4",
        "-a --tcp-service=10.0.0.1:80 --real-server 10.0.0.2 --weight=4 --masquerading",
    ] {
        let Action::Change(Change::AddDest(_, d)) = parse_line(line) else { panic!("{line}") };
        assert_eq!((d.weight, d.method, d.port), (4, FwdMethod::Masq, 80), "{line}");
    }
}

#[test]
fn persistence_without_a_timeout_has_ipvsadms_default() {
    for (line, time) in
        [("-A -t 10.0.0.1:80 -p", 360), ("-A -t 10.0.0.1:80 -p -s rr", 360), ("-A -t 10.0.0.1:80 -p60", 60)]
    {
        let Action::Change(Change::AddService(s)) = parse_line(line) else { panic!("{line}") };
        assert_eq!((s.timeout_s, s.has_flag(SVC_F_PERSISTENT)), (time, true), "{line}");
    }
}

/// Random sequences of options and values end with an action or with a message, and never with a panic.
#[test]
fn arguments_in_any_order_are_accepted_or_rejected() {
    let mut all: Vec<String> = OPTION_SPECS.iter().map(|s| format!("--{}", s.long)).collect();
    all.extend(OPTION_SPECS.iter().filter(|s| s.short != '\0').map(|s| format!("-{}", s.short)));
    all.extend(
        [
            "-Lnc",
            "-",
            "--",
            "-w=",
            "--weight=",
            "--x",
            "-é",
            "10.0.0.1:80",
            "[::1]:80",
            "[",
            "]:",
            ":",
            "0",
            "-1",
            "99999999999999999999",
            "rr",
            "",
            "=",
            "-t10.0.0.1:80",
            "ipip",
            "sh-port,",
            "master",
        ]
        .map(str::to_owned),
    );
    let mut seed = 7u64;
    let mut random_below = |sides: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 33) as usize % sides
    };
    let mut accepted = 0;
    for _ in 0..20_000 {
        let args: Vec<String> = (0..random_below(9)).map(|_| all[random_below(all.len())].clone()).collect();
        match parse(&args, random_below(2) == 0) {
            Ok(_) => accepted += 1,
            Err(CommandError(text, code)) => assert!(!text.is_empty() && matches!(code, 2 | 255), "{args:?}"),
        }
    }
    assert!(accepted > 100, "{accepted}");
}
