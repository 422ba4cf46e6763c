//! The programs as a user meets them: exit statuses, one clear line each.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use evenkeel_tests::{is_root, program};

fn file(name: &str, text: &str) -> PathBuf {
    let dir = program("evenkeel").parent().expect("target/PROFILE").join("cli-test");
    fs::create_dir_all(&dir).expect("writable");
    let path = dir.join(name);
    fs::write(&path, text).expect("writable");
    path
}

fn run(name: &str, args: &[&str]) -> (i32, String, String) {
    seen(Command::new(program(name)).args(args).output().expect("runs"))
}

fn seen(out: Output) -> (i32, String, String) {
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
}

const EXAMPLE: &str = include_str!("../../packaging/examples/keepalived.conf");

/// Nothing is to be said of it on any machine.
const CLEAN: &str = "virtual_server 192.0.2.1 80 {\n    lvs_sched rr\n    lvs_method DR\n    protocol TCP\n    \
                     real_server 127.0.0.1 80 {\n        weight 1\n    }\n}\n";

#[test]
fn check_finds_the_line_and_the_column() {
    let good = file("good.conf", CLEAN);
    let (code, out, err) = run("evenkeel", &["check", "--strict", good.to_str().expect("UTF-8")]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.ends_with("good.conf: usable, 0 errors, 0 warnings\n"), "{out}");
    let bad = file("bad.conf", &CLEAN.replace("lvs_method DR", "lvs_methud DR"));
    let (code, _, err) = run("evenkeel", &["check", bad.to_str().expect("UTF-8")]);
    assert_eq!(code, 1);
    assert!(err.contains("bad.conf:3:5") && err.contains("did you mean `lvs_method`?"), "{err}");
    let (code, out, _) = run("evenkeel", &["check", "--format", "json", bad.to_str().expect("UTF-8")]);
    let v: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &v["usable"]), (1, &serde_json::json!(false)));
    assert_eq!((&v["diagnostics"][0]["line"], &v["diagnostics"][0]["column"]), (&3.into(), &5.into()));
}

#[test]
fn the_daemon_tests_a_file_with_keepaliveds_statuses() {
    let good = file("t-good.conf", CLEAN);
    assert_eq!(run("evenkeeld", &["-t", "-f", good.to_str().expect("UTF-8")]).0, 0);
    let bad = file("t-bad.conf", "vrrp_instance {\n");
    assert_eq!(run("evenkeeld", &["-t", "-f", bad.to_str().expect("UTF-8")]).0, 5);
    assert_eq!(run("evenkeeld", &["-t", "-f", "/nonexistent"]).0, 4);
    let (code, _, err) = run("evenkeeld", &["-n", "-f", bad.to_str().expect("UTF-8")]);
    assert_eq!(code, 2);
    assert!(err.contains("is not usable; nothing was started"), "{err}");
}

#[test]
fn a_missing_device_is_one_clear_line() {
    if !is_root() {
        return;
    }
    let f = file("device.conf", &EXAMPLE.replace("eth0", "nosuch0"));
    let name = format!("cli{}", std::process::id());
    let (code, _, err) = run("evenkeeld", &["-n", "-l", "--instance", &name, "-f", f.to_str().expect("UTF-8")]);
    let _ = fs::remove_dir_all(evenkeel_sys::paths::run_dir(&name));
    assert_eq!(code, 1);
    assert!(err.contains("find device nosuch0: there is no such device"), "{err}");
}

#[test]
fn without_privilege_each_says_so_in_one_line() {
    if !is_root() {
        return;
    }
    let f = file("nobody.conf", EXAMPLE);
    // Copies that nobody may run, wherever the build lies.
    let dir = std::env::temp_dir().join(format!("evenkeel-cli-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("writable");
    let copy = |name: &str| {
        fs::copy(program(name), dir.join(name)).expect("copied");
        dir.join(name)
    };
    fs::copy(&f, dir.join("nobody.conf")).expect("copied");
    let as_nobody = |program: PathBuf, args: &[&str]| {
        seen(Command::new(program).args(args).current_dir("/").uid(65534).gid(65534).output().expect("runs"))
    };
    let conf = dir.join("nobody.conf");
    let (code, _, err) = as_nobody(copy("evenkeeld"), &["-n", "-f", conf.to_str().expect("UTF-8")]);
    assert_eq!(code, 4);
    assert!(err.ends_with("evenkeeld: it needs root, to hold addresses and to load the packet path\n"), "{err}");
    let (code, _, err) = as_nobody(copy("evenkeel"), &["demo"]);
    assert_eq!(code, 1);
    assert_eq!(err, "evenkeel: the demo needs root, to make network namespaces and to load the packet path\n");
    let (code, _, err) = as_nobody(dir.join("evenkeel"), &["status"]);
    assert!(code == 1 && err.starts_with("evenkeel: no evenkeeld answers as instance `main`"), "{err}");
    let (code, _, err) = as_nobody(dir.join("evenkeel"), &["ipvsadm", "-Ln"]);
    assert!(code == 1 && err.starts_with("Can't initialize ipvs:"), "{err}");
    fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn a_root_without_its_capabilities_is_told_which_it_lacks() {
    if !is_root() {
        return;
    }
    let f = file("caps.conf", EXAMPLE);
    for cap in ["net_admin", "net_raw", "bpf"] {
        let drop = format!("-{cap}");
        let daemon = program("evenkeeld");
        let out = Command::new("setpriv")
            .args(["--bounding-set", &drop, "--inh-caps", &drop])
            .arg(daemon)
            .args(["-n", "-l", "-f"])
            .arg(&f)
            .output()
            .expect("setpriv runs");
        let (code, _, err) = seen(out);
        let name = format!("CAP_{}", cap.to_uppercase());
        assert_eq!(code, 4, "{err}");
        let told = format!("evenkeeld: it lacks {name}; give it back, or run it as a root that has it\n");
        assert!(err.ends_with(&told), "{err}");
    }
}

#[test]
fn explain_knows_keywords_and_their_neighbours() {
    let (code, out, _) = run("evenkeel", &["explain", "priority"]);
    assert!(code == 0 && out.contains("The highest becomes master"), "{out}");
    let (code, _, err) = run("evenkeel", &["explain", "priorty"]);
    assert!(code == 1 && err.contains("did you mean `priority`?"), "{err}");
}
