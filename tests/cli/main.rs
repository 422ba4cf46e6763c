//! The commands `evenkeel` and `evenkeeld`: exit statuses, messages and options.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use evenkeel_tests::{is_root, program};

fn write_file(name: &str, text: &str) -> PathBuf {
    let dir = program("evenkeel").parent().expect("target/PROFILE").join("cli-test");
    fs::create_dir_all(&dir).expect("writable");
    let path = dir.join(name);
    fs::write(&path, text).expect("writable");
    path
}

fn run(name: &str, args: &[&str]) -> (i32, String, String) {
    output_of(Command::new(program(name)).args(args).output().expect("runs"))
}

fn output_of(out: Output) -> (i32, String, String) {
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
}

const EXAMPLE: &str = include_str!("../../packaging/examples/keepalived.conf");

/// A configuration without a diagnostic on any host.
const VALID_CONFIG: &str = "virtual_server 192.0.2.1 80 {\n    lvs_sched rr\n    lvs_method DR\n    protocol TCP\n    \
                     real_server 127.0.0.1 80 {\n        weight 1\n    }\n}\n";

#[test]
fn check_finds_the_line_and_the_column() {
    let good = write_file("good.conf", VALID_CONFIG);
    let (code, out, err) = run("evenkeel", &["check", "--strict", good.to_str().expect("UTF-8")]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.ends_with("good.conf: usable, 0 errors, 0 warnings\n"), "{out}");
    let bad = write_file("bad.conf", &VALID_CONFIG.replace("lvs_method DR", "lvs_methud DR"));
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
    let good = write_file("t-good.conf", VALID_CONFIG);
    assert_eq!(run("evenkeeld", &["-t", "-f", good.to_str().expect("UTF-8")]).0, 0);
    let bad = write_file("t-bad.conf", "vrrp_instance {\n");
    assert_eq!(run("evenkeeld", &["-t", "-f", bad.to_str().expect("UTF-8")]).0, 5);
    assert_eq!(run("evenkeeld", &["-t", "-f", "/nonexistent"]).0, 4);
    let (code, _, err) = run("evenkeeld", &["-n", "-f", bad.to_str().expect("UTF-8")]);
    assert_eq!(code, 2);
    assert!(err.contains("is not usable; nothing was started"), "{err}");
}

#[test]
fn a_missing_device_is_one_clear_line_under_strict() {
    if !is_root() {
        return;
    }
    let f = write_file("device.conf", &EXAMPLE.replace("eth0", "nosuch0"));
    let name = format!("cli{}", std::process::id());
    let (code, _, err) =
        run("evenkeeld", &["-n", "-l", "--strict", "--instance", &name, "-f", f.to_str().expect("UTF-8")]);
    let _ = fs::remove_dir_all(evenkeel_sys::paths::run_dir(&name));
    assert_eq!(code, 1);
    assert!(err.contains("find device nosuch0: there is no such device"), "{err}");
}

#[test]
fn without_privilege_each_says_so_in_one_line() {
    if !is_root() {
        return;
    }
    let f = write_file("nobody.conf", EXAMPLE);
    // Copies that the user nobody may execute.
    let dir = std::env::temp_dir().join(format!("evenkeel-cli-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("writable");
    // By a process of its own: a child that another test forks meanwhile would hold the copy open for writing, and a
    // program that is open for writing cannot be run (ETXTBSY).
    let copy = |name: &str| {
        let copied = Command::new("cp").arg(program(name)).arg(&dir).status();
        assert!(copied.is_ok_and(|s| s.success()), "{name} is copied");
        dir.join(name)
    };
    fs::copy(&f, dir.join("nobody.conf")).expect("copied");
    let as_nobody = |program: PathBuf, args: &[&str]| {
        output_of(Command::new(program).args(args).current_dir("/").uid(65534).gid(65534).output().expect("runs"))
    };
    let conf = dir.join("nobody.conf");
    let (code, _, err) = as_nobody(copy("evenkeeld"), &["-n", "-f", conf.to_str().expect("UTF-8")]);
    assert_eq!(code, 4);
    assert!(err.ends_with("evenkeeld: it must run as root, to hold addresses and to load the packet path\n"), "{err}");
    let (code, _, err) = as_nobody(copy("evenkeel"), &["demo"]);
    assert_eq!(code, 1);
    assert_eq!(err, "evenkeel: the demo needs root, to make network namespaces and to load the packet path\n");
    let (code, _, err) = as_nobody(dir.join("evenkeel"), &["status"]);
    assert!(code == 1 && err.starts_with("evenkeel: no evenkeeld answers as instance `main`"), "{err}");
    let (code, _, err) = as_nobody(dir.join("evenkeel"), &["ipvsadm", "-Ln"]);
    assert!(code == 2 && err.starts_with("Can't initialize ipvs:"), "{err}");
    fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn a_root_without_its_capabilities_is_told_which_it_lacks() {
    if !is_root() {
        return;
    }
    let f = write_file("caps.conf", EXAMPLE);
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
        let (code, _, err) = output_of(out);
        let name = format!("CAP_{}", cap.to_uppercase());
        assert_eq!(code, 4, "{err}");
        let message = format!("evenkeeld: missing capabilities {name}: grant them to the service or container\n");
        assert!(err.ends_with(&message), "{err}");
    }
}

#[test]
fn explain_knows_keywords_and_their_neighbours() {
    let (code, out, _) = run("evenkeel", &["explain", "priority"]);
    assert!(code == 0 && out.contains("the highest wins"), "{out}");
    let (code, _, err) = run("evenkeel", &["explain", "priorty"]);
    assert!(code == 1 && err.contains("did you mean `priority`?"), "{err}");
}

#[test]
fn explain_knows_codes_and_where_a_keyword_stands() {
    let (code, out, _) = run("evenkeel", &["explain", "duplicate-vrid"]);
    assert!(code == 0 && out.contains("RFC 9568"), "{out}");
    let (code, out, _) = run("evenkeel", &["explain", "lb_algo"]);
    assert!(code == 0 && out.contains("an old name of `lvs_sched`") && out.contains("in virtual_server"), "{out}");
    let (code, out, _) = run("evenkeel", &["explain"]);
    assert!(code == 0 && out.lines().count() > 531, "all keywords, a line each");
}

#[test]
fn strict_refuses_warnings_and_json_has_everything() {
    let f = write_file("strict.conf", &VALID_CONFIG.replace("weight 1", "weight 1 2"));
    let path = f.to_str().expect("UTF-8");
    assert_eq!(run("evenkeel", &["check", path]).0, 0);
    let (code, out, _) = run("evenkeel", &["check", "--strict", "--format", "json", path]);
    let v: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &v["usable"], &v["keepalived_exit_status"]), (1, &false.into(), &0.into()));
    let d = &v["diagnostics"][0];
    assert_eq!((d["code"].as_str(), d["severity"].as_str()), (Some("extra-words"), Some("warning")));
    assert_eq!((d["line"].as_u64(), d["column"].as_u64(), d["end_column"].as_u64()), (Some(6), Some(18), Some(19)));
}

#[test]
fn fmt_prints_writes_and_checks() {
    let f = write_file(
        "fmt.conf",
        "virtual_server   192.0.2.1 80 {\n lvs_sched rr #c\nlvs_method DR\nprotocol TCP\nreal_server 127.0.0.1 80 { weight 1 }\n}\n",
    );
    let path = f.to_str().expect("UTF-8");
    assert_eq!(run("evenkeel", &["fmt", "--check", path]).0, 1);
    let (code, out, _) = run("evenkeel", &["fmt", path]);
    assert!(code == 0 && out.contains("\n    lvs_sched rr #c\n") && out.contains("        weight 1\n    }\n"), "{out}");
    assert_eq!(run("evenkeel", &["fmt", "--write", path]).0, 0);
    assert_eq!(fs::read_to_string(&f).expect("there"), out);
    assert_eq!(run("evenkeel", &["fmt", "--check", path]).0, 0);
}

#[test]
fn plan_without_a_daemon_compares_with_nothing_and_refuses_a_bad_file() {
    let good = write_file("plan.conf", VALID_CONFIG);
    let (code, out, err) =
        run("evenkeel", &["--instance", "nobody", "plan", "-o", "json", good.to_str().expect("UTF-8")]);
    assert_eq!(code, 0, "{err}");
    let v: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(v["steps"][0], "add service TCP 192.0.2.1:80 rr");
    assert_eq!(v["steps"][1], "add 127.0.0.1:80 to TCP 192.0.2.1:80, weight 1");
    let bad = write_file("plan-bad.conf", "vrrp_instance V {\n");
    let (code, _, err) = run("evenkeel", &["--instance", "nobody", "plan", bad.to_str().expect("UTF-8")]);
    assert!(code == 1 && err.contains("the block of `vrrp_instance` is not closed"), "{err}");
}

#[test]
fn includes_and_conditions_are_read_from_the_disk() {
    let dir = write_file("x", "").parent().expect("a directory").join("inc");
    fs::create_dir_all(&dir).expect("writable");
    fs::write(dir.join("a.conf"), VALID_CONFIG).expect("writable");
    fs::write(dir.join("b.conf"), "wrong_keyword 1\n").expect("writable");
    let main = write_file("include.conf", "@one include nothing\ninclude inc/[ab].conf\n@two $N=5\n");
    let (code, _, err) = run("evenkeel", &["check", "-i", "two", main.to_str().expect("UTF-8")]);
    assert_eq!(code, 1);
    assert!(err.contains("inc/b.conf:1:1") && err.contains("included from here"), "{err}");
    assert_eq!(run("evenkeeld", &["-t", "-i", "two", "-f", main.to_str().expect("UTF-8")]).0, 5);
    let strict = write_file("strict-include.conf", "includea nosuch*.conf\n");
    assert_eq!(run("evenkeeld", &["-t", "-f", strict.to_str().expect("UTF-8")]).0, 6);
}

#[test]
fn the_daemon_gives_keepaliveds_status_2_for_a_missing_parameter() {
    let f = write_file("missing.conf", "vrrp_instance V {\n    priority\n}\n");
    assert_eq!(run("evenkeeld", &["-t", "-f", f.to_str().expect("UTF-8")]).0, 2);
}

/// Options that occur in unit files and scripts written for keepalived.
#[test]
fn keepaliveds_options_are_taken() {
    if !is_root() {
        return;
    }
    let name = format!("opt{}", std::process::id());
    let dir = std::env::temp_dir().join(&name);
    fs::create_dir_all(&dir).expect("writable");
    let path = |file: &str| dir.join(file).to_str().expect("UTF-8").to_owned();
    let dumps = format!("global_defs {{\n json_dump_file {}\n}}\n", path("j"));
    fs::write(path("c.conf"), dumps + &EXAMPLE.replace("eth0", "nosuch0")).expect("writable");
    let (conf, log) = (path("c.conf"), path("log"));
    let (p, r, c, b) = (path("p"), path("r"), path("c"), path("b"));
    let args = [
        "-f",
        &conf,
        "--instance",
        &name,
        "-n",
        "-D",
        "-P",
        "-S",
        "7",
        "-g",
        &log,
        "--flush-log-file",
        "-G",
        "-u",
        "077",
        "-X",
        "-d",
        "-p",
        &p,
        "-r",
        &r,
        "-c",
        &c,
        "-b",
        &b,
        "-a",
        "-m",
        "-M",
        "-e",
        "-x",
        "--ignore-sigint",
        "--all",
    ];
    let mut daemon = Command::new(program("evenkeeld")).args(args).spawn().expect("starts");
    let pid = daemon.id().to_string();
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let text = || fs::read_to_string(&log).unwrap_or_default();
    while !text().contains("started") {
        assert!(std::time::Instant::now() < limit && daemon.try_wait().expect("waited").is_none(), "{}", text());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for file in [&p, &r, &c, &b] {
        assert_eq!(fs::read_to_string(file).expect("written").trim(), pid);
    }
    assert!(text().contains("the configuration in force") && text().contains("virtual_servers: []"), "-P, -d");
    assert_eq!(fs::metadata(&log).expect("there").permissions().mode() & 0o777, 0o600, "-u");
    let kill = |signal: &str| Command::new("kill").args([signal, &pid]).status().expect("runs");
    kill(&format!("-{}", run("evenkeeld", &["--signum=JSON"]).1.trim()));
    while fs::read_to_string(path("j")).map_or(true, |t| !t.contains("\"iname\"")) {
        assert!(std::time::Instant::now() < limit, "json_dump_file: {}", text());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    kill("-INT");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(daemon.try_wait().expect("waited").is_none(), "--ignore-sigint");
    kill("-TERM");
    assert!(daemon.wait().expect("ends").success());
    assert!(!std::path::Path::new(&p).exists() && !std::path::Path::new(&b).exists());
    let _ = fs::remove_dir_all(&dir);
    let _ = fs::remove_dir_all(evenkeel_sys::paths::run_dir(&name));
}
