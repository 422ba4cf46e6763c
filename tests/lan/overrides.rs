//! Overrides: real servers changed by `evenkeel server`, and services made by ipvsadm.

use std::net::{IpAddr, SocketAddrV4};
use std::time::Duration;

use evenkeel_core::ipc::ServerStatus;
use evenkeel_core::vrrp::State;
use evenkeel_testkit::demo_network::{SERVERS, VIP};
use evenkeel_testkit::http::{self, Server};
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT, virtual_server, vrrp_instance};
use nix::sys::signal::Signal;

/// Runs `evenkeel server ARGS`. Returns whether it succeeded, and its output.
fn run_server_command(net: &Net, args: &str) -> (bool, String) {
    let words: Vec<&str> = ["server"].into_iter().chain(args.split(' ')).collect();
    let out = net.evenkeel("d1", &words);
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
}

#[test]
fn servers_are_added_drained_and_weighed_without_a_reload() {
    let Some(net) = Net::new("overrides") else { return };
    let _all: Vec<Server> = SERVERS.iter().map(|(name, _)| Server::start(&net.lan, name, 80)).collect();
    let config = SMALL_TABLE.to_owned() + &virtual_server("", &[("192.168.1.11", "weight 4"), ("192.168.1.12", "")]);
    let d1 = net.start_daemon("d1", &config);
    let server = |n: usize| net.real_server("d1", SERVERS[n].1);
    let in_force = |n: usize, want: Option<u32>| {
        eventually(&format!("server {n} has {want:?}"), TEST_TIMEOUT, || {
            server(n).filter(|s| s.effective_weight == want)
        })
    };
    in_force(1, Some(1));
    let done = run_server_command(&net, "add 192.168.1.100:80 192.168.1.13 --weight 7");
    assert!(done.0 && done.1.contains("192.168.1.13 added to 192.168.1.100:80 with weight 7"), "{}", done.1);
    // Only after its check has passed.
    in_force(2, Some(7));
    assert_eq!(server(2).map(|s: ServerStatus| s.checks.len()), Some(1));
    assert!(run_server_command(&net, "drain all 192.168.1.11").0);
    assert!(run_server_command(&net, "weight 192.168.1.100:80 192.168.1.12 3 --until-reload").0);
    assert_eq!((in_force(0, Some(0)).up, in_force(1, Some(3)).weight), (true, 3));
    let text = String::from_utf8_lossy(&net.evenkeel("d1", &["status"]).stdout).into_owned();
    assert!(text.contains("override: 192.168.1.11 of every virtual server is drained\n"), "{text}");
    assert!(
        text.contains("override: 192.168.1.12 of 192.168.1.100:80 has weight 3, until the next reload\n"),
        "{text}"
    );

    for (bad, why) in [
        ("drain 192.168.1.100:80 10.9.9.9", "192.168.1.100:80 has no real server 10.9.9.9"),
        ("drain 192.168.1.100:81 192.168.1.11", "there is no virtual server 192.168.1.100:81"),
        ("add 192.168.1.100:80 192.168.1.11", "already has real server 192.168.1.11"),
        ("weight 192.168.1.100:80 192.168.1.11 3000000000", "too large"),
        ("drain 192.168.1.100:http 192.168.1.11", "no ADDRESS:PORT"),
        ("drain 192.168.1.100:80 app.example.org", "no address of a real server"),
    ] {
        let (ok, text) = run_server_command(&net, bad);
        assert!(!ok && text.contains(why), "{bad}: {text}");
    }

    // The next daemon keeps the overrides; a reload drops the one with --until-reload.
    net.lan.signal(d1, Signal::SIGKILL).expect("killed");
    net.start_daemon("d1", &config);
    in_force(0, Some(0));
    in_force(1, Some(3));
    in_force(2, Some(7));
    net.reload("d1");
    in_force(1, Some(1));
    in_force(0, Some(0));
    net.write_config("d1", &config.replace("weight 4", "weight 5"));
    net.reload("d1");
    assert_eq!(in_force(0, Some(0)).weight, 5, "the file is followed, the order as well");
    assert!(run_server_command(&net, "undrain all 192.168.1.11").0);
    in_force(0, Some(5));
    assert!(run_server_command(&net, "remove 192.168.1.100:80 192.168.1.13").0);
    assert!(run_server_command(&net, "remove 192.168.1.100:80 192.168.1.12").0);
    let left = || Some(net.status("d1")?.services[0].servers.iter().map(|s| s.addr).collect::<Vec<IpAddr>>());
    assert_eq!(left(), Some(vec![IpAddr::V4(SERVERS[0].1)]));
    assert!(run_server_command(&net, "undrain 192.168.1.100:80 192.168.1.12").0, "and back");
    in_force(1, Some(1));
    assert_eq!(net.status("d1").expect("answers").overrides, Vec::<String>::new());
}

#[test]
fn what_ipvsadm_makes_beside_a_daemon_without_services_is_served() {
    let Some(net) = Net::new("external-services") else { return };
    let _servers: Vec<Server> = SERVERS.iter().map(|(n, _)| Server::start(&net.lan, n, 80)).collect();
    net.start_daemon(
        "d1",
        &("global_defs {\n dataplane xdp\n connection_table_size 16384\n}\n".to_owned()
            + &vrrp_instance(100, "version 3\nadvert_int 0.1")),
    );
    net.wait_state("d1", "V", State::Master);
    for args in [
        &["-A", "-t", "192.168.1.100:80", "-s", "rr"][..],
        &["-a", "-t", "192.168.1.100:80", "-r", "192.168.1.11:80", "-g"],
    ] {
        let done = net.evenkeel("d1", &[&["ipvsadm", "--dataplane", "xdp"], args].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let ask = || net.lan.run_in("client", || http::get(SocketAddrV4::new(VIP, 80), Duration::from_secs(1)));
    eventually("an answer", TEST_TIMEOUT, || ask().expect("entered").ok());
    let status = net.status("d1").expect("answers");
    assert_eq!(status.dataplane.attachments.len(), 1, "{:?}", status.dataplane);
}
