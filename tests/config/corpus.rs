//! The corpus: 1,882 small files, one for each block, keyword and value, with the exit statuses of `keepalived -t` of
//! 2.2.7 and 2.4.3.

use evenkeel_core::config::environment::{Environment, IprouteDirs, ProgramStatus};
use evenkeel_core::config::{Options, codes, parse};

/// The machine on which keepalived was recorded: interfaces eth0 and eth1, users root and nobody, common programs.
pub struct RecordedMachine;

impl Environment for RecordedMachine {
    fn env_variable(&self, name: &str) -> Option<String> {
        (name == "KA_TEST_ENV").then(|| "envval".to_owned())
    }
    fn host_name(&self) -> String {
        "low".to_owned()
    }
    fn has_interface(&self, name: &str) -> Option<bool> {
        Some(matches!(name, "lo" | "eth0" | "eth1"))
    }
    fn has_user(&self, name: &str) -> Option<bool> {
        Some(matches!(name, "root" | "nobody"))
    }
    fn has_group(&self, name: &str) -> Option<bool> {
        Some(matches!(name, "root" | "nogroup"))
    }
    fn iproute_id(&self, _: &IprouteDirs, _: &str, name: &str) -> Option<Option<u32>> {
        Some(matches!(name, "main" | "local" | "default" | "static" | "kernel" | "boot").then_some(4))
    }
    fn cpu_count(&self) -> Option<u32> {
        Some(2)
    }
    fn program_status(&self, path: &str) -> ProgramStatus {
        match path {
            "/bin/true" | "/bin/sh" | "/bin/cat" | "/usr/bin/true" => ProgramStatus::Safe,
            _ => ProgramStatus::Unusable("there is no such file".to_owned()),
        }
    }
}

/// Files that both versions of keepalived reject and that evenkeel accepts, with the reason.
const ACCEPTED_HERE: &[(&str, &str)] = &[
    (
        "global_defs__smtp_server__bad01",
        "the name is resolved when mail is sent, so that a resolver failure does not invalidate the file",
    ),
    (
        "global_defs__snmp_vs_stats_update_interval__good00",
        "a keyword of 2.3.0 with SNMP; both recorded versions were built without SNMP",
    ),
    (
        "vrrp_script__interval__good02",
        "2.4.3 accepts half a second, 2.2.7 does not; 2.4.3 rejected /bin/true for a symbolic link in its path",
    ),
    ("vrrp_script__timeout__good01", "as vrrp_script__interval__good02"),
    ("virtual_server.real_server.DNS_CHECK__name__good00", "keepalived treats a first label of one character as empty"),
];

#[test]
fn every_recorded_file_gets_keepaliveds_verdict() {
    let mut wrong = Vec::new();
    let mut statuses = 0;
    for line in include_str!("keepalived-config.jsonl").lines() {
        let v: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let (name, text) = (v["name"].as_str().expect("name"), v["text"].as_str().expect("text"));
        let old_and_new = (v["rc_2_2_7"].as_i64(), v["rc_2_4_3"].as_i64());
        let parsed = parse(name, text.to_owned(), &RecordedMachine, &Options::default());
        let ours = i64::from(parsed.keepalived_exit_status());
        let is_listed = ACCEPTED_HERE.iter().any(|(n, _)| *n == name);
        let agrees = match old_and_new {
            (Some(0), Some(0)) => ours == 0,
            (Some(0), _) | (_, Some(0)) => true, // the two versions disagree, so either verdict is right
            _ if is_listed => ours == 0,
            _ => ours != 0,
        };
        statuses += i64::from(old_and_new.0 == old_and_new.1 && old_and_new.0 != Some(ours) && !is_listed);
        if !agrees {
            wrong.push(format!("{name}: {old_and_new:?}, here {ours}\n{text}{}", parsed.render(false)));
        }
        for d in &parsed.diagnostics {
            assert!(codes::find(d.code).is_some(), "{} is not explained", d.code);
        }
    }
    assert!(wrong.is_empty(), "{} files:\n{}", wrong.len(), wrong.join("\n"));
    // Where both versions have one status, evenkeel has the same, with few exceptions.
    assert!(statuses <= MAX_STATUS_DIFFERENCES, "{statuses} statuses differ");
}

/// The number of files that both versions reject with another status than evenkeel: keepalived crashes, or exits with 5
/// where similar files give 2.
const MAX_STATUS_DIFFERENCES: i64 = 12;

/// A checker that keepalived accepts must be in the resulting configuration.
#[test]
fn every_checker_takes_effect() {
    let mut kinds = std::collections::BTreeSet::new();
    let mut missing = Vec::new();
    for line in include_str!("keepalived-config.jsonl").lines() {
        let v: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let (name, text) = (v["name"].as_str().expect("name"), v["text"].as_str().expect("text"));
        if !name.starts_with("virtual_server") {
            continue;
        }
        let parsed = parse(name, text.to_owned(), &RecordedMachine, &Options::default());
        let checks: Vec<&str> = parsed
            .config
            .virtual_servers
            .iter()
            .flat_map(|v| &v.servers)
            .flat_map(|r| r.checks.iter().map(|c| c.kind.keyword()))
            .collect();
        kinds.extend(checks.iter().map(|k| (*k).to_owned()));
        let accepted = (v["rc_2_2_7"].as_i64(), v["rc_2_4_3"].as_i64()) == (Some(0), Some(0));
        if accepted && text.contains("_CHECK {") && checks.is_empty() && parsed.valid_config().is_some() {
            missing.push(name.to_owned());
        }
    }
    assert!(missing.is_empty(), "no check results from {missing:?}");
    let all = ["DNS", "MISC", "PING", "SMTP", "TCP", "UDP"].map(|k| format!("{k}_CHECK"));
    for kind in all.into_iter().chain(["HTTP_GET".to_owned(), "SSL_GET".to_owned()]) {
        assert!(kinds.contains(&kind), "no {kind} took effect: {kinds:?}");
    }
}
