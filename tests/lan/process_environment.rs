//! The environment of the daemon's processes: network namespace, scripts at startup and shutdown, CPU affinity,
//! scheduling, limits, umask.

use std::fs;
use std::process::{Command, Stdio};

use evenkeel_core::vrrp::State;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, TEST_TIMEOUT, program, vrrp_instance};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn the_file_names_a_namespace_and_scripts_that_run_once() {
    let Some(net) = Net::directors("surroundings") else { return };
    let script_log = net.lan.dir.join("script_log");
    let script = |name: &str| {
        let addresses = "$(ip -o -4 addr show dev eth0 | grep -c 192.168.1.100)";
        net.write_script(name, &format!("echo {name} {addresses} >>{}", script_log.display()))
    };
    let text = format!(
        "net_namespace {}\nglobal_defs {{\n script_user root\n startup_script {}\n shutdown_script {}\n shutdown_script_timeout 5\n}}\n{}",
        net.lan.namespace("d1"),
        script("first"),
        script("last"),
        vrrp_instance(255, "")
    );
    let file = net.write_config("d1", &text);
    // The daemon is started in the namespace of the test, which has no such eth0.
    let mut daemon = Command::new(program("evenkeeld"))
        .args(["-n", "-l", "--strict", "--instance", &net.lan.instance("d1"), "-f"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(fs::File::create(net.lan.dir.join("d1.log")).expect("writable"))
        .spawn()
        .expect("starts");
    net.wait_state("d1", "V", State::Master);
    assert!(net.has_address("d1", [192, 168, 1, 100].into()), "inside the namespace");
    let pid = net.status("d1").expect("a status").pid;
    // There is a supervisor and a worker process; the script has run once only.
    kill(Pid::from_raw(pid as i32), None).expect("it runs");
    kill(Pid::from_raw(daemon.id() as i32), Signal::SIGTERM).expect("it runs");
    eventually("it ends", TEST_TIMEOUT, || daemon.try_wait().expect("waits"));
    assert_eq!(
        fs::read_to_string(&script_log).expect("a script_log"),
        "first 0\nlast 0\n",
        "before the address and after it"
    );
}

#[test]
fn threads_run_where_the_file_says_and_files_have_its_mode_bits() {
    let Some(net) = Net::directors("affinity") else { return };
    // Without a check or a script there is no edge process.
    let script = "vrrp_script s {\n script /bin/true\n}\n";
    let cpus = "vrrp_cpu_affinity 0\n checker_cpu_affinity 0\n checker_priority -3\n checker_rt_priority 7\n checker_rlimit_rttime 900000\n checker_no_swap\n umask IRWXO|IWGRP\n vrrp_no_swap\n";
    net.start_daemon(
        "d1",
        &format!(
            "global_defs {{\n {cpus} script_user root\n}}\n{script}{}",
            vrrp_instance(255, "track_script {\n s\n}")
        ),
    );
    net.wait_state("d1", "V", State::Master);
    let pid = net.status("d1").expect("a status").pid;
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
    let edge = net.edge_process("d1").to_string();
    let field = |thread: &str, name: &str| {
        let processes = children.split_whitespace().chain([edge.as_str()]);
        let tasks = processes.filter_map(|p| fs::read_dir(format!("/proc/{p}/task")).ok()).flatten().flatten();
        let comm = |t: &fs::DirEntry| fs::read_to_string(t.path().join("comm")).unwrap_or_default();
        let task = tasks.into_iter().find(|t| comm(t).trim() == thread).expect("a thread");
        let text = fs::read_to_string(task.path().join("status")).expect("it runs");
        let value = text.lines().find_map(|l| l.strip_prefix(name)).expect("a field");
        value.trim_start_matches(':').trim().to_owned()
    };
    for thread in ["router", "evenkeel-edge"] {
        assert_eq!(field(thread, "Cpus_allowed_list"), "0", "{thread}");
    }
    assert_eq!(field("router", "Umask"), "0027");
    assert_eq!(field("evenkeel-edge", "Umask"), "0027");
    assert_ne!(field("evenkeel-edge", "VmLck"), "0 kB");
    // After the name, which ends with the last bracket: nice value, real-time priority, policy (proc_pid_stat(5)).
    let stat = fs::read_to_string(format!("/proc/{edge}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    assert_eq!((fields[16], fields[37], fields[38]), ("-3", "7", "2"), "SCHED_RR is 2: {stat}");
    let limits = fs::read_to_string(format!("/proc/{edge}/limits")).expect("it runs");
    assert!(limits.lines().any(|l| l.starts_with("Max realtime timeout") && l.contains(" 900000 ")), "{limits}");
}
