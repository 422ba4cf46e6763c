//! 1,882 small files, one for each (block, keyword, value), with the statuses of `keepalived -t` 2.2.7 and 2.4.3.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use evenkeel_core::config::environment::{Environment, IprouteDirs, ProgramStatus, ReadError};
use evenkeel_core::config::{Options, parse};

/// The machine on which the recordings were made: eth0 and eth1, root and nobody, the usual programs.
pub struct RecordedMachine;

impl Environment for RecordedMachine {
    fn read_file(&self, _: &Path) -> Result<Vec<u8>, ReadError> {
        Err(ReadError::Missing)
    }
    fn glob(&self, _: &Path) -> Vec<PathBuf> {
        Vec::new()
    }
    fn env_variable(&self, name: &str) -> Option<String> {
        (name == "KA_TEST_ENV").then(|| "envval".to_owned())
    }
    fn host_name(&self) -> String {
        "low".to_owned()
    }
    fn random_seed(&self) -> u64 {
        1
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
    fn is_on_link(&self, _: IpAddr) -> Option<bool> {
        None
    }
}

/// Files that both versions of keepalived reject and that are accepted here.
const ACCEPTED_HERE: &[(&str, &str)] = &[
    (
        "global_defs__smtp_server__bad01",
        "names are resolved when mail is sent: a resolver that is down for a moment makes no file wrong",
    ),
    (
        "global_defs__snmp_vs_stats_update_interval__good00",
        "a keyword of 2.3.0 built with SNMP; neither recorded one is",
    ),
    (
        "vrrp_script__interval__good02",
        "2.4.3 takes half a second, 2.2.7 whole ones; 2.4.3 rejected /bin/true for its link",
    ),
    ("vrrp_script__timeout__good01", "as its interval"),
    (
        "virtual_server.real_server.DNS_CHECK__name__good00",
        "keepalived takes a first label of one character for an empty one",
    ),
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
        let listed = ACCEPTED_HERE.iter().any(|(n, _)| *n == name);
        let agrees = match old_and_new {
            (Some(0), Some(0)) => ours == 0,
            (Some(0), _) | (_, Some(0)) => true, // the two disagree, so either will do
            _ if listed => ours == 0,
            _ => ours != 0,
        };
        statuses += i64::from(old_and_new.0 == old_and_new.1 && old_and_new.0 != Some(ours) && !listed);
        if !agrees {
            wrong.push(format!("{name}: {old_and_new:?}, here {ours}\n{text}{}", parsed.render(false)));
        }
        // Nothing is wrong in silence, and nothing is reported that is not explained.
        for d in &parsed.diagnostics {
            assert!(evenkeel_core::config::codes::find(d.code).is_some(), "{} is not explained", d.code);
        }
    }
    assert!(wrong.is_empty(), "{} files:\n{}", wrong.len(), wrong.join("\n"));
    // Where both versions agree, so does the status itself, but for these few.
    assert!(statuses <= MAX_STATUS_DIFFERENCES, "{statuses} statuses differ");
}

/// Files rejected by both versions, and here with another status: keepalived crashes, or gives 5 where others give 2.
const MAX_STATUS_DIFFERENCES: i64 = 12;

/// What keepalived accepts of real servers and their checks must be in force here as well.
#[test]
fn every_checker_is_in_force() {
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
    assert!(missing.is_empty(), "no check is left of {missing:?}");
    let all = ["DNS", "MISC", "PING", "SMTP", "TCP", "UDP"].map(|k| format!("{k}_CHECK"));
    for kind in all.into_iter().chain(["HTTP_GET".to_owned(), "SSL_GET".to_owned()]) {
        assert!(kinds.contains(&kind), "no {kind} was in force: {kinds:?}");
    }
}
