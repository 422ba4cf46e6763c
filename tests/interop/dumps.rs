//! The files that keepalived's signals request (data, statistics, JSON): equal to keepalived's, except times and
//! counters that change meanwhile.

use std::fs;
use std::path::Path;

use evenkeel_sys::signals::{forward_signal, sig_json, sig_stats_clear};
use evenkeel_testkit::demo_network::VIP;
use evenkeel_testkit::lan::{Pid, eventually};
use evenkeel_tests::{Net, TEST_TIMEOUT, program};
use nix::sys::signal::Signal;

const CONFIG: &str = "global_defs {\n script_user root\n enable_script_security\n}\n\
    vrrp_instance V {\n interface eth0\n virtual_router_id 51\n priority 150\n advert_int 1\n nopreempt\n \
    garp_master_delay 2\n garp_lower_prio_repeat 3\n authentication {\n auth_type PASS\n auth_pass secret\n }\n \
    notify \"/usr/bin/true any\"\n notify_master \"/usr/bin/true m 'a b'\"\n \
    virtual_ipaddress {\n 192.168.1.100/24 brd + dev eth0 label eth0:0\n 192.168.1.101\n }\n \
    virtual_ipaddress_excluded {\n fd99::200/64\n fd99::201\n }\n}\n\
    vrrp_instance W {\n interface eth0\n virtual_router_id 52\n priority 120\n version 3\n advert_int 0.5\n \
    preempt_delay 5\n higher_prio_send_advert\n unicast_src_ip 192.168.1.2\n unicast_peer {\n 192.168.1.3\n }\n \
    virtual_ipaddress {\n 192.168.1.102/32 dev eth0 scope host\n }\n}\n";

struct Dumps {
    json: serde_json::Value,
    stats: String,
    data: String,
}

/// Sends a signal and reads the file that it requests.
fn request_dump(pid: Pid, signal: i32, file: &Path) -> String {
    let _ = fs::remove_file(file);
    forward_signal(nix::unistd::Pid::from_raw(pid.0 as i32), signal);
    let mut before = String::new();
    eventually(&format!("{}", file.display()), TEST_TIMEOUT, || {
        // keepalived writes in pieces: the file is complete when it does not grow any more.
        let now = fs::read_to_string(file).ok()?;
        let done = !now.is_empty() && now == before;
        before.clone_from(&now);
        std::thread::sleep(std::time::Duration::from_millis(50));
        done.then_some(now)
    })
}

fn take_dumps(net: &Net, name: &str, run: &Path, args: &[&str]) -> Dumps {
    let dir = net.lan.dir.join(format!("{name}-dumps"));
    fs::create_dir_all(&dir).expect("writable");
    let (tmp, run) = (format!("TMPDIR={}", dir.display()), run.to_string_lossy().into_owned());
    let args: Vec<&str> = [tmp.as_str(), &run].into_iter().chain(args.iter().copied()).collect();
    let pid = net.lan.spawn("d1", name, Path::new("/usr/bin/env"), &args).expect("starts");
    eventually("master", TEST_TIMEOUT, || net.has_address("d1", VIP).then_some(()));
    eventually("of both", TEST_TIMEOUT, || {
        let text = net.lan.ip("d1", "-4 addr show dev eth0").ok()?;
        text.contains("192.168.1.102/").then_some(())
    });
    let text = request_dump(pid, sig_json(), &dir.join("keepalived.json"));
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    for i in json.as_array_mut().expect("an array") {
        i["data"]["last_transition"] = 0.into();
        i["stats"]["advert_sent"] = 0.into();
        if i["data"].get("auth_data").is_some() {
            i["data"]["auth_data"] = "hidden since keepalived 2.4".into();
        }
    }
    let stats = request_dump(pid, sig_stats_clear(), &dir.join("keepalived.stats"));
    let cleared = request_dump(pid, Signal::SIGUSR2 as i32, &dir.join("keepalived.stats"));
    assert!(stats.contains("Became master: 1") && cleared.contains("Became master: 0"), "{cleared}");
    let stats = stats.lines().filter(|l| !l.contains("Sent:")).collect::<Vec<_>>().join("\n");
    let data = request_dump(pid, Signal::SIGUSR1 as i32, &dir.join("keepalived.data"));
    net.lan.signal(pid, Signal::SIGTERM).expect("stops");
    Dumps { json, stats, data }
}

/// `json_version 2`: the same instances in an object, with the tracked processes.
#[test]
fn json_version_2_contains_tracked_processes() {
    let Some(net) = Net::directors("json-2") else { return };
    let file = net.lan.dir.join("dump.json");
    let global = format!("global_defs {{\n json_version 2\n json_dump_file {}\n}}\n", file.display());
    let process =
        "vrrp_track_process P {\n process evenkeeld\n quorum 1\n}\nvrrp_track_process Q {\n process none-such\n}\n";
    let pid = net.start_daemon(
        "d1",
        &format!("{global}{process}{}", evenkeel_tests::vrrp_instance(150, "track_process {\nP\nQ weight 2\n}")),
    );
    eventually("master", TEST_TIMEOUT, || net.has_address("d1", VIP).then_some(()));
    let j: serde_json::Value = serde_json::from_str(&request_dump(pid, sig_json(), &file)).expect("JSON");
    assert_eq!(j["vrrp"][0]["data"]["iname"], "V");
    let of = |i: usize, member: &str| j["track_process"][i][member].clone();
    assert_eq!((of(0, "name"), of(0, "have_quorum")), ("P".into(), true.into()), "{j}");
    assert_eq!(
        (of(1, "process"), of(1, "have_quorum"), of(1, "state")),
        ("none-such".into(), false.into(), "0 running".into())
    );
}

#[test]
fn dumps_are_keepaliveds() {
    let Some(net) = Net::directors("interop-dumps") else { return };
    let keepalived = Path::new("/usr/sbin/keepalived");
    if !keepalived.exists() {
        return eprintln!("skipped: this test needs Debian's keepalived (make test-deps)");
    }
    net.lan.sysctl("d1", "net/ipv6/conf/eth0/disable_ipv6", "0").expect("IPv6");
    let file = net.write_config("d1", CONFIG).to_string_lossy().into_owned();
    let at = |name: &str| net.lan.dir.join(name).to_string_lossy().into_owned();
    let (p, r) = (at("p"), at("r"));
    let args = ["-n", "-l", "-P", "-B", "-f", &file, "-p", &p, "-r", &r];
    let keepalived_dumps = take_dumps(&net, "keepalived", keepalived, &args);
    let instance = net.lan.instance("d1");
    let args = ["-n", "-l", "-f", &file, "--instance", &instance];
    let evenkeel_dumps = take_dumps(&net, "evenkeel", &program("evenkeeld"), &args);
    assert_eq!(evenkeel_dumps.json, keepalived_dumps.json);
    assert_eq!(evenkeel_dumps.stats, keepalived_dumps.stats);
    let known: Vec<&str> = keepalived_dumps.data.lines().collect();
    let unknown: Vec<&str> =
        evenkeel_dumps.data.lines().filter(|l| !l.contains("Last transition") && !known.contains(l)).collect();
    assert!(unknown.is_empty(), "keepalived has no such lines: {unknown:#?}\n{}", keepalived_dumps.data);
    assert!(evenkeel_dumps.data.lines().count() > 60, "{}", evenkeel_dumps.data);
}
