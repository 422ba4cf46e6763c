//! Health checks: failed real servers are removed, healthy ones return, and the status has the reason.

use evenkeel_core::health::Phase;
use evenkeel_testkit::demo_network::SERVERS;
use evenkeel_testkit::http::Server;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT};

const CONFIG: &str = "virtual_server 192.168.1.100 80 {\n delay_loop 0.3\n delay_before_retry 0.1\n warmup 0\n \
    connect_timeout 1\n lb_kind DR\n protocol TCP\n \
    real_server 192.168.1.11 80 {\n  HTTP_GET {\n   url {\n    path /healthz\n    status_code 200 204-206\n   }\n  }\n }\n \
    real_server 192.168.1.12 80 {\n  inhibit_on_failure\n  TCP_CHECK {\n  }\n }\n \
    real_server 192.168.1.13 80 {\n  alpha\n  TCP_CHECK {\n  }\n }\n}\n";

#[test]
fn servers_are_removed_and_return_by_their_checks() {
    let Some(net) = Net::new("health") else { return };
    let mut r1 = Server::start(&net.lan, "r1", 80);
    let mut r2 = Server::start(&net.lan, "r2", 80);
    net.start_daemon("d1", &(SMALL_TABLE.to_owned() + CONFIG));
    let server = |i: usize| net.real_server("d1", SERVERS[i].1);
    let up = |i: usize, want: bool| {
        eventually(&format!("server {i} up: {want}"), TEST_TIMEOUT, || server(i).filter(|s| s.up == want))
    };
    assert!(!server(2).expect("configured").up, "with alpha a server is down at first");
    assert_eq!(server(2).expect("configured").effective_weight, None);
    up(0, true);
    up(1, true);

    r1.set_health(503);
    let s = up(0, false);
    let last = s.checks[0].last_probe.clone().expect("probed");
    assert_eq!(last.failed, Some(Phase::Expect));
    assert!(last.detail.ends_with("/healthz answered 503"), "{}", last.detail);
    assert_eq!(s.effective_weight, None, "out of the service");
    r1.set_health(204);
    up(0, true);

    r2.stop();
    let s = up(1, false);
    assert_eq!(s.effective_weight, Some(0), "inhibited, not removed");
    assert_eq!(s.checks[0].last_probe.as_ref().and_then(|l| l.failed), Some(Phase::Connect));
    let _r2 = Server::start(&net.lan, "r2", 80);
    up(1, true);
    let _r3 = Server::start(&net.lan, "r3", 80);
    assert_eq!(up(2, true).effective_weight, Some(1));
    r1.stop();
    assert_eq!(up(0, false).checks[0].last_probe.as_ref().and_then(|l| l.failed), Some(Phase::Connect));
}

#[test]
fn a_server_that_answers_garbage_or_nothing_fails_its_check() {
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener};
    let Some(net) = Net::new("garbage") else { return };
    for (host, garbage) in [("r1", true), ("r2", false)] {
        net.lan.spawn_thread_in(host, move || {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).expect("free");
            let mut open = Vec::new();
            for stream in listener.incoming().flatten().take(100) {
                let mut stream = stream;
                if garbage {
                    let _ = stream.write_all(&[0xff; 512]);
                }
                open.push(stream); // silent servers keep connections open and send nothing
            }
        });
    }
    let check = "  HTTP_GET {\n   url {\n    path /\n   }\n  }\n";
    let mut config = "virtual_server 192.168.1.100 80 {\n delay_loop 0.3\n delay_before_retry 0.1\n warmup 0\n \
        connect_timeout 0.5\n lb_kind DR\n protocol TCP\n"
        .to_owned();
    for addr in ["192.168.1.11", "192.168.1.12"] {
        config += &format!(" real_server {addr} 80 {{\n{check} }}\n");
    }
    net.start_daemon("d1", &(SMALL_TABLE.to_owned() + &config + "}\n"));
    let failed = |i: usize| {
        eventually("it fails", TEST_TIMEOUT, || {
            let s = net.real_server("d1", SERVERS[i].1)?;
            let last = s.checks[0].last_probe.clone()?;
            (!s.up).then_some(last)
        })
    };
    assert_eq!(failed(0).failed, Some(Phase::Expect));
    let silent = failed(1);
    assert_eq!(silent.failed, Some(Phase::FirstByte));
    assert!(silent.detail.contains("no answer to / for 0.5 s"), "{}", silent.detail);
}

#[test]
fn a_new_daemon_does_not_bring_a_dead_server_back() {
    let Some(net) = Net::new("dead-stays") else { return };
    let _r1 = Server::start(&net.lan, "r1", 80);
    let mut r2 = Server::start(&net.lan, "r2", 80);
    let config = SMALL_TABLE.to_owned()
        + &evenkeel_tests::virtual_server("", &[("192.168.1.11", ""), ("192.168.1.12", "")])
            .replace("warmup 0", "warmup 30");
    // With a long warm-up the second daemon has made no probe when its status is read.
    let first = net.start_daemon("d1", &config.replace("warmup 30", "warmup 0"));
    r2.stop();
    eventually("r2 has left", TEST_TIMEOUT, || net.real_server("d1", SERVERS[1].1).filter(|s| !s.up));
    net.lan.signal(first, nix::sys::signal::Signal::SIGKILL).expect("killed");
    net.start_daemon("d1", &config);
    let s = net.real_server("d1", SERVERS[1].1).expect("configured");
    assert_eq!((s.up, s.effective_weight), (false, None));
    assert!(net.real_server("d1", SERVERS[0].1).expect("configured").up);
}

#[test]
fn a_server_without_the_virtual_address_fails_its_check() {
    use evenkeel_core::vrrp::State;
    use std::net::TcpListener;
    let Some(net) = Net::new("through") else { return };
    let _r1 = Server::start(&net.lan, "r1", 80);
    let _r2 = Server::start(&net.lan, "r2", 80);
    net.lan.spawn_thread_in("r3", || {
        let listener = TcpListener::bind((SERVERS[2].1, 80)).expect("free");
        listener.incoming().flatten().for_each(drop);
    });
    net.lan.ip("r2", "addr del 192.168.1.100/32 dev lo").expect("it was there");
    let servers =
        evenkeel_tests::virtual_server("", &SERVERS.map(|(_, a)| a.to_string()).each_ref().map(|a| (a.as_str(), "")))
            .replace("TCP_CHECK {\n", "TCP_CHECK {\n through_service\n");
    for (host, priority) in [("d1", 200), ("d2", 100)] {
        net.start_daemon(host, &format!("{SMALL_TABLE}{}{servers}", evenkeel_tests::vrrp_instance(priority, "")));
    }
    net.wait_state("d1", "V", State::Master);
    // The master holds the address itself, the backup does not; the check must fail on both.
    for director in ["d1", "d2"] {
        let ends = |i: usize, failed: Option<Phase>, words: &str| {
            eventually(&format!("{director}: server {i} {failed:?}"), TEST_TIMEOUT, || {
                let s = net.real_server(director, SERVERS[i].1)?;
                let last = s.checks[0].last_probe.as_ref()?;
                (last.failed == failed && last.detail.contains(words)).then_some(())
            });
        };
        ends(0, None, "connected, also at 192.168.1.100:80");
        ends(1, Some(Phase::FirstByte), "does it hold that address on `lo`?");
        ends(2, Some(Phase::Expect), "it refuses connections to 192.168.1.100:80");
    }
    net.lan.ip("r2", "addr add 192.168.1.100/32 dev lo").expect("restored");
    for director in ["d1", "d2"] {
        eventually("it is up", TEST_TIMEOUT, || net.real_server(director, SERVERS[1].1).filter(|s| s.up));
    }
    // It holds the address and answers ARP for it: clients would bypass the director.
    net.lan.sysctl("r2", "net/ipv4/conf/all/arp_ignore", "0").expect("a setting");
    for director in ["d1", "d2"] {
        eventually("it is found out", TEST_TIMEOUT, || {
            let s = net.real_server(director, SERVERS[1].1)?;
            let last = s.checks[0].last_probe.as_ref()?;
            (last.failed == Some(Phase::Expect) && last.detail.contains("arp_ignore=1")).then_some(())
        });
    }
    net.lan.sysctl("r2", "net/ipv4/conf/all/arp_ignore", "1").expect("a setting");
    for director in ["d1", "d2"] {
        eventually("it is up", TEST_TIMEOUT, || net.real_server(director, SERVERS[1].1).filter(|s| s.up));
    }
}
