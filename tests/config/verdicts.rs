//! `evenkeeld -t`, the program, beside the recordings and beside Debian's keepalived.

use std::path::PathBuf;
use std::process::Command;

use evenkeel_core::config::{Options, parse};
use evenkeel_tests::{is_root, program};

use crate::corpus::Recorded;

/// 3,000 files that nobody looked at while the reader was written: keywords of the corpus with other values, drawn at
/// random, and what keepalived 2.2.7 said of them. Its agreement is part of the interface.
#[test]
fn of_files_held_back_99_in_100_get_the_same_verdict() {
    let (mut files, mut agree) = (0, 0);
    for line in include_str!("held-back.jsonl").lines() {
        let v: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let text = v["text"].as_str().expect("text");
        let parsed = parse("x", text.to_owned(), &Recorded, &Options::default());
        files += 1;
        let same = (parsed.keepalived_status() == 0) == (v["rc"].as_i64() == Some(0));
        agree += usize::from(same);
        if !same {
            println!("{}: keepalived {}, here {}", v["name"], v["rc"], parsed.keepalived_status());
        }
    }
    assert!(files == 3000 && agree * 100 >= files * 99, "{agree} of {files} agree");
}

/// A namespace with the interfaces of the recorded machine; gone when it is dropped.
struct Machine(String);

impl Machine {
    fn named(name: &str) -> Self {
        let name = format!("ek{name}{}", std::process::id());
        let ip =
            |args: &[&str]| assert!(Command::new("ip").args(args).status().expect("ip runs").success(), "ip {args:?}");
        ip(&["netns", "add", &name]);
        ip(&["-n", &name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1"]);
        ip(&["-n", &name, "link", "set", "eth0", "up"]);
        ip(&["-n", &name, "link", "set", "eth1", "up"]);
        Machine(name)
    }

    fn status(&self, program: &str, file: &str) -> Option<i32> {
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &self.0, program, "-t", "-f", file]);
        c.output().expect("runs").status.code()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// The programs themselves, on the same files in the same namespace: every twentieth file of the corpus.
#[test]
fn the_program_says_what_keepalived_says() {
    if !is_root() {
        return;
    }
    let machine = Machine::named("cfg");
    let dir = std::env::temp_dir().join(format!("evenkeel-verdicts-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("writable");
    let ours: PathBuf = program("evenkeeld");
    let file = dir.join("test.conf");
    let (mut seen, mut wrong) = (0, Vec::new());
    for line in include_str!("keepalived-config.jsonl").lines().step_by(20) {
        let v: serde_json::Value = serde_json::from_str(line).expect("JSON");
        // Where the recorded versions disagree there is nothing to agree with.
        if v["rc_2_2_7"] != v["rc_2_4_3"] || v["rc_2_2_7"].as_i64().is_none_or(|n| n < 0) {
            continue;
        }
        std::fs::write(&file, v["text"].as_str().expect("text")).expect("writable");
        let path = file.to_str().expect("UTF-8");
        let (theirs, here) = (machine.status("keepalived", path), machine.status(ours.to_str().expect("UTF-8"), path));
        seen += 1;
        if theirs != here {
            wrong.push(format!("{}: keepalived {theirs:?}, here {here:?}", v["name"]));
        }
    }
    std::fs::remove_dir_all(&dir).expect("removable");
    assert!(seen > 60 && wrong.len() * 100 <= seen, "of {seen}:\n{}", wrong.join("\n"));
}

/// The samples that Debian ships with keepalived, where documentation is installed.
#[test]
fn keepaliveds_own_samples_get_its_status() {
    let Ok(samples) = std::fs::read_dir("/usr/share/doc/keepalived/samples") else { return };
    if !is_root() {
        return;
    }
    let machine = Machine::named("smp");
    let ours = program("evenkeeld");
    for sample in samples.flatten().map(|e| e.path()) {
        let path = sample.to_str().expect("UTF-8");
        if !path.contains("keepalived.conf") || path.ends_with(".gz") {
            continue;
        }
        let (theirs, here) = (machine.status("keepalived", path), machine.status(ours.to_str().expect("UTF-8"), path));
        assert_eq!(here, theirs, "{path}");
    }
}
