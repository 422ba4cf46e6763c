//! The verdict of `evenkeeld -t`, compared with recordings and with the installed keepalived.

use std::path::PathBuf;
use std::process::Command;

use evenkeel_core::config::{Options, parse};
use evenkeel_tests::{is_root, program};

use crate::corpus::RecordedMachine;

/// 3,000 files that were not used in development: keywords of the corpus with other values, selected at random, with
/// the status of keepalived 2.2.7.
#[test]
fn of_held_back_files_99_in_100_get_the_same_verdict() {
    let (mut files, mut agree) = (0, 0);
    for line in include_str!("held-back.jsonl").lines() {
        let v: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let text = v["text"].as_str().expect("text");
        let parsed = parse("x", text.to_owned(), &RecordedMachine, &Options::default());
        files += 1;
        let same = (parsed.keepalived_exit_status() == 0) == (v["rc"].as_i64() == Some(0));
        agree += usize::from(same);
        if !same {
            println!("{}: keepalived {}, here {}", v["name"], v["rc"], parsed.keepalived_exit_status());
        }
    }
    assert!(files == 3000 && agree * 100 >= files * 99, "{agree} of {files} agree");
}

/// A network namespace with the interfaces of the recorded machine; dropping it deletes it.
struct Namespace(String);

impl Namespace {
    fn create(name: &str) -> Self {
        let name = format!("ek{name}{}", std::process::id());
        let ip =
            |args: &[&str]| assert!(Command::new("ip").args(args).status().expect("ip runs").success(), "ip {args:?}");
        ip(&["netns", "add", &name]);
        ip(&["-n", &name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1"]);
        ip(&["-n", &name, "link", "set", "eth0", "up"]);
        ip(&["-n", &name, "link", "set", "eth1", "up"]);
        Namespace(name)
    }

    fn run_check(&self, program: &str, file: &str) -> Option<i32> {
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &self.0, program, "-t", "-f", file]);
        c.output().expect("runs").status.code()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Runs both programs on every twentieth file of the corpus, in one namespace.
#[test]
fn the_program_exits_with_the_status_of_keepalived() {
    if !is_root() {
        return;
    }
    let machine = Namespace::create("cfg");
    let dir = std::env::temp_dir().join(format!("evenkeel-verdicts-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("writable");
    let ours: PathBuf = program("evenkeeld");
    let file = dir.join("test.conf");
    let (mut seen, mut wrong) = (0, Vec::new());
    for line in include_str!("keepalived-config.jsonl").lines().step_by(20) {
        let v: serde_json::Value = serde_json::from_str(line).expect("JSON");
        // Files on which the recorded versions disagree have no expected status.
        if v["rc_2_2_7"] != v["rc_2_4_3"] || v["rc_2_2_7"].as_i64().is_none_or(|n| n < 0) {
            continue;
        }
        std::fs::write(&file, v["text"].as_str().expect("text")).expect("writable");
        let path = file.to_str().expect("UTF-8");
        let (theirs, here) =
            (machine.run_check("keepalived", path), machine.run_check(ours.to_str().expect("UTF-8"), path));
        seen += 1;
        if theirs != here {
            wrong.push(format!("{}: keepalived {theirs:?}, here {here:?}", v["name"]));
        }
    }
    std::fs::remove_dir_all(&dir).expect("removable");
    assert!(seen > 60 && wrong.len() * 100 <= seen, "of {seen}:\n{}", wrong.join("\n"));
}

/// The samples of Debian's keepalived package, if its documentation is installed.
#[test]
fn keepaliveds_own_samples_get_its_status() {
    let Ok(samples) = std::fs::read_dir("/usr/share/doc/keepalived/samples") else { return };
    if !is_root() {
        return;
    }
    let machine = Namespace::create("smp");
    let ours = program("evenkeeld");
    for sample in samples.flatten().map(|e| e.path()) {
        let path = sample.to_str().expect("UTF-8");
        if !path.contains("keepalived.conf") || path.ends_with(".gz") {
            continue;
        }
        let (theirs, here) =
            (machine.run_check("keepalived", path), machine.run_check(ours.to_str().expect("UTF-8"), path));
        assert_eq!(here, theirs, "{path}");
    }
}

/// Weights that a sync group ignores, and those that it does not.
#[test]
fn weights_in_a_sync_group_get_keepaliveds_status() {
    if !is_root() {
        return;
    }
    let machine = Namespace::create("wgt");
    let ours = program("evenkeeld");
    let file = std::env::temp_dir().join(format!("evenkeel-weights-{}.conf", std::process::id()));
    let path = file.to_str().expect("UTF-8");
    let cases = [
        ("track_script", "w", ""),
        ("track_script", "w weight 0", ""),
        ("track_script", "w", "sync_group_tracking_weight"),
        ("track_script", "s", ""),
        ("track_script", "s weight 2", ""),
        ("track_interface", "eth1", ""),
        ("track_interface", "eth1 weight 4", ""),
        ("track_file", "f", ""),
        ("track_file", "f weight 0", ""),
        ("track_process", "p weight 3", ""),
        ("track_bfd", "b weight 2", ""),
    ];
    for (kind, line, group) in cases {
        let instance = |name: &str, id: u8, more: &str| {
            format!(
                "vrrp_instance {name} {{\n interface eth0\n virtual_router_id {id}\n virtual_ipaddress {{\n  10.9.9.{id}\n }}\n{more}}}\n"
            )
        };
        let text = format!(
            "global_defs {{\n script_user root\n enable_script_security\n}}\nvrrp_script s {{\n script /bin/true\n}}\n\
             vrrp_script w {{\n script /bin/true\n weight 3\n}}\nvrrp_track_file f {{\n file /etc/hostname\n}}\n\
             vrrp_track_process p {{\n process init\n}}\nbfd_instance b {{\n neighbor_ip 10.9.9.9\n source_ip 10.9.9.3\n}}\n\
             vrrp_sync_group G {{\n group {{\n  A\n  B\n }}\n {group}\n}}\n{}{}",
            instance("A", 1, &format!(" {kind} {{\n  {line}\n }}\n")),
            instance("B", 2, "")
        );
        std::fs::write(&file, text).expect("writable");
        let (theirs, here) =
            (machine.run_check("keepalived", path), machine.run_check(ours.to_str().expect("UTF-8"), path));
        assert_eq!(here, theirs, "{kind} {line} {group}");
    }
    std::fs::remove_file(&file).expect("removable");
}
