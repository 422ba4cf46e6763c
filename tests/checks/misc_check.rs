//! MISC_CHECK: a thousand programs at the same time, and weights that programs set.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use evenkeel_core::health::Phase;
use evenkeel_core::ipc::ServerStatus;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT};
use nix::sys::signal::Signal;

use super::fixture::{service_status, services_config, wait_until_failed};

fn write_script(net: &Net, name: &str, text: &str) -> String {
    let path = net.lan.dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    path.display().to_string()
}

/// The number of processes whose command line contains a word.
fn count_processes(word: &str) -> usize {
    let mut n = 0;
    evenkeel_sys::process::for_each_process(|_, _, line| n += usize::from(line.iter().any(|w| w.contains(word))));
    n
}

#[test]
fn a_thousand_programs_at_once_leave_no_process_behind() {
    let _loud = crate::TIMING_LOCK.read();
    let Some(net) = Net::directors("programs") else { return };
    let marker = format!("1000{}", std::process::id());
    let quick = write_script(&net, "quick.sh", "exit $(( $1 % 2 ))");
    // It starts other processes, waits for ever, and ignores SIGTERM.
    let hangs =
        write_script(&net, "hangs.sh", &format!("trap '' TERM\nsleep {marker} &\nsleep {marker}\nsleep {marker}"));
    let mut config = format!("{}script_user root\n}}\n", SMALL_TABLE.trim_end().trim_end_matches('}'));
    for n in 0..1000u32 {
        if n % 100 == 0 {
            config += &format!(
                "virtual_server 192.168.1.100 {} {{\ndelay_loop 3\nwarmup 0\nlvs_sched wrr\nlvs_method DR\nprotocol TCP\n",
                n / 100 + 1
            );
        }
        config += &format!(
            "real_server 10.1.{}.{} {{\nMISC_CHECK {{\nmisc_path \"{quick} {n}\"\n}}\n}}\n",
            n / 100,
            n % 100 + 1
        );
        if n % 100 == 99 {
            config += "}\n";
        }
    }
    config += &services_config(&[
        (50, format!("MISC_CHECK {{\nmisc_path \"{hangs}\"\nmisc_timeout 1\n}}").as_str()),
        (51, "MISC_CHECK {\nmisc_path \"/nowhere/at/all\"\n}"),
    ]);
    let d1 = net.start_daemon("d1", &config);
    wait_until_failed(&net, 50, Phase::Expect, "still running after 1 s");
    eventually("each program has run", TEST_TIMEOUT, || {
        let all = net.status("d1")?.services;
        let all: Vec<_> = all.iter().filter(|s| s.port <= 10).flat_map(|s| &s.servers).collect();
        let right = |(n, r): (usize, &&ServerStatus)| r.checks[0].last_probe.is_some() && r.up == (n % 2 == 0);
        (all.len() == 1000 && all.iter().enumerate().all(right)).then_some(())
    });
    let service = service_status(&net, 3).expect("there");
    assert_eq!((service.up, service.healthy_weight), (true, 50));
    wait_until_failed(&net, 51, Phase::Expect, "/nowhere/at/all");
    let pid = net.status("d1").expect("answers").pid;
    net.lan.signal(d1, Signal::SIGTERM).expect("running");
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    eventually("no process is left", TEST_TIMEOUT, || (count_processes(&marker) == 0).then_some(()));
}

#[test]
fn weights_of_programs_and_suspended_checks_take_effect_at_once() {
    let _loud = crate::TIMING_LOCK.read();
    let Some(net) = Net::new("weights") else { return };
    let weight = net.lan.dir.join("weight");
    fs::write(&weight, "0").expect("writable");
    let judge = write_script(&net, "judge.sh", &format!("exit $(cat {})", weight.display()));
    let global = format!("{}script_user root\n}}\n", SMALL_TABLE.trim_end().trim_end_matches('}'));
    let text = format!(
        "virtual_server_group web {{\n192.168.1.100 80\n192.168.1.101-103 8080\n}}\n\
         virtual_server group web {{\ndelay_loop 0.3\nwarmup 0\nlvs_sched wrr\nlvs_method DR\nprotocol TCP\nquorum 10\n\
         sorry_server 192.168.1.13 80\nreal_server 192.168.1.11 80 {{\nweight 10\nMISC_CHECK {{\nmisc_path {judge}\n\
         misc_dynamic\n}}\n}}\n}}\n\
         virtual_server 192.168.1.100 81 {{\ndelay_loop 0.3\nwarmup 0\nlvs_sched wrr\nlvs_method DR\nprotocol TCP\nha_suspend\n\
         real_server 192.168.1.12 81 {{\nTCP_CHECK {{\n}}\n}}\n}}\n"
    );
    net.start_daemon("d1", &format!("{global}{text}"));
    let of = |addr: Ipv4Addr, port: u16| {
        net.status("d1")
            .expect("answers")
            .services
            .into_iter()
            .find(|s| s.addr == addr && s.port == port)
            .expect("there")
    };
    let all = [(100, 80), (101, 8080), (102, 8080), (103, 8080)].map(|(n, p)| (Ipv4Addr::new(192, 168, 1, n), p));
    let wait = |what: &str, up: bool, in_force: Option<u32>| {
        for (addr, port) in all {
            eventually(&format!("{what} at {addr}"), TEST_TIMEOUT, || {
                let s = of(addr, port);
                let sorry = s.sorry_server.as_ref().is_some_and(|s| s.in_use);
                (s.up == up && sorry != up && s.servers[0].effective_weight == in_force).then_some(())
            });
        }
    };
    wait("the weight of the file", true, Some(10));
    assert_eq!(of(all[1].0, 8080).servers[0].checks[0].shared_by, 4, "one program for four addresses");
    fs::write(&weight, "42").expect("writable");
    wait("the program's weight", true, Some(40));
    fs::write(&weight, "7").expect("writable");
    wait("less than the quorum", false, None);
    fs::write(&weight, "12").expect("writable");
    wait("the quorum again", true, Some(10));

    // While its address is not on this director, no probe is sent; then the address is added.
    let suspended = of(all[0].0, 81);
    assert!(suspended.suspended && suspended.servers[0].checks[0].last_probe.is_none() && suspended.servers[0].up);
    net.lan.ip("d1", "addr add 192.168.1.100/32 dev eth0").expect("added");
    eventually("the check runs", TEST_TIMEOUT, || (!of(all[0].0, 81).servers[0].up).then_some(()));
}
