//! Broken servers and firewalls: each failure has its own phase and message, and none affects other checks.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use evenkeel_core::health::Phase;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT};

use super::fixture::{http_check, listen, respond, server_status, services_config, wait_until_failed, wait_until_up};

#[test]
fn broken_servers_are_distinguished() {
    let _loud = crate::TIMING_LOCK.read();
    let Some(net) = Net::directors("misbehave") else { return };
    let whole = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    listen(&net, 7001, |s| {
        std::thread::sleep(Duration::from_secs(1000));
        drop(s);
    });
    listen(&net, 7002, |s| {
        let _ = reset_on_close(&s);
    });
    listen(&net, 7003, |s| respond(s, |_| {}));
    listen(&net, 7004, |s| {
        respond(s, |s| {
            for b in whole.bytes().cycle().take(1000) {
                let _ = s.write_all(&[b]);
                std::thread::sleep(Duration::from_millis(300));
            }
        });
    });
    listen(&net, 7005, |s| {
        respond(s, |s| {
            let _ = s.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 500\r\n\r\nhello");
        });
    });
    listen(&net, 7006, |s| {
        respond(s, |s| {
            let _ = s.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 500\r\n\r\nhello");
            std::thread::sleep(Duration::from_secs(1000));
        });
    });
    listen(&net, 7007, |s| {
        respond(s, |s| {
            let _ = s.write_all(&[0xff; 300]);
        });
    });
    listen(&net, 7008, |mut s| {
        let _ = s.write_all(b"554 go away\r\n");
        let _ = s.read(&mut [0; 99]);
    });
    // A full backlog: the server never accepts, and two connections are in the queue.
    net.lan.spawn_thread_in("d2", || {
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        full.bind(&std::net::SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7009)).into()).expect("free");
        full.listen(0).expect("listens");
        let first: Vec<_> = (0..2)
            .map(|_| {
                let to = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 7009));
                TcpStream::connect_timeout(&to, Duration::from_millis(500))
            })
            .collect();
        std::thread::sleep(Duration::from_secs(1000));
        drop((full, first));
    });
    std::thread::sleep(Duration::from_secs(2));
    let at = |port: u16| http_check("/x", &format!("connect_port {port}"));
    let all: Vec<(u16, String)> = [
        (1, at(7001)),
        (2, at(7002)),
        (3, at(7003)),
        (4, http_check("/x", "connect_port 7004\n response_timeout 3")),
        (5, at(7005)),
        (6, at(7006)),
        (7, at(7007)),
        (8, "SMTP_CHECK {\n connect_port 7008\n}".to_owned()),
        (9, "TCP_CHECK {\n connect_port 7009\n}".to_owned()),
        (10, "TCP_CHECK {\n connect_ip 192.168.1.77\n}".to_owned()),
        (11, "TCP_CHECK {\n connect_port 7001\n}".to_owned()),
        (12, "TCP_CHECK {\n connect_port 7001\n bind_if nowhere0\n}".to_owned()),
        (
            13,
            "TCP_CHECK {\n connect_port 7001\n bindto 192.168.1.2\n bind_if eth0\n fwmark 7\n bind_port 999\n}"
                .to_owned(),
        ),
    ]
    .into();
    net.start_daemon("d1", &format!("{SMALL_TABLE}{}", services_config(&all)));
    wait_until_failed(&net, 1, Phase::FirstByte, "no answer to /x for 1 s");
    wait_until_failed(&net, 2, Phase::FirstByte, "reset");
    wait_until_failed(&net, 3, Phase::FirstByte, "");
    wait_until_failed(&net, 4, Phase::Body, "within 3 s");
    wait_until_failed(&net, 5, Phase::Body, "");
    wait_until_failed(&net, 6, Phase::Body, "stops after 5 bytes");
    wait_until_failed(&net, 7, Phase::Expect, "");
    wait_until_failed(&net, 8, Phase::Expect, "its greeting is \"554 go away\", expected 220");
    wait_until_failed(&net, 9, Phase::Connect, "no answer for 1 s");
    wait_until_failed(&net, 10, Phase::Connect, "no answer for 1 s");
    wait_until_up(&net, 11);
    wait_until_failed(&net, 12, Phase::Prepare, "nowhere0");
    wait_until_up(&net, 13);
}

/// Makes the close of a connection send RST.
fn reset_on_close(stream: &TcpStream) -> std::io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

#[test]
fn firewalls_are_distinguished() {
    let _loud = crate::TIMING_LOCK.read();
    let Some(net) = Net::directors("walls") else { return };
    if !std::path::Path::new("/usr/sbin/nft").exists() {
        return;
    }
    for port in 7031..=7035 {
        listen(&net, port, |s| {
            respond(s, |s| drop(s.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")));
        });
    }
    // Drop; two kinds of reject; connections of which only the handshake passes, blocked in the one direction or the
    // other.
    let rules = "table inet wall {\n chain in {\n type filter hook input priority 0;\n tcp dport 7031 drop\n \
        tcp dport 7032 reject with icmp type admin-prohibited\n tcp dport 7033 reject with tcp reset\n \
        tcp dport 7034 tcp flags & (syn | psh) == psh drop\n }\n \
        chain out {\n type filter hook output priority 0;\n tcp sport 7035 tcp flags & (syn | psh) == psh drop\n }\n}\n";
    let file = net.lan.dir.join("wall.nft");
    std::fs::write(&file, rules).expect("writable");
    let nft = |args: &[&str]| {
        let status = net.lan.command("d2", "/usr/sbin/nft".as_ref()).args(args).status().expect("runs");
        assert!(status.success());
    };
    nft(&["-f", &file.display().to_string()]);
    let all: Vec<(u16, String)> = (1..=5).map(|n| (n, http_check("/x", &format!("connect_port 703{n}")))).collect();
    net.start_daemon("d1", &format!("{SMALL_TABLE}{}", services_config(&all)));
    wait_until_failed(&net, 1, Phase::Connect, "no answer for 1 s");
    wait_until_failed(&net, 2, Phase::Connect, "host"); // EHOSTUNREACH
    wait_until_failed(&net, 3, Phase::Connect, "refused");
    wait_until_failed(&net, 4, Phase::FirstByte, "no answer to /x for 1 s");
    wait_until_failed(&net, 5, Phase::FirstByte, "no answer to /x for 1 s");
    nft(&["delete", "table", "inet", "wall"]);
    for (port, _) in all {
        wait_until_up(&net, port);
    }
}

/// The responses of a server, probe by probe: good or bad.
const RESPONSES: &str = "+-++--+-+-+++-";

#[test]
fn every_transition_of_a_flapping_server_is_in_the_history() {
    let _loud = crate::TIMING_LOCK.read();
    let Some(net) = Net::directors("flaps") else { return };
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    listen(&net, 7020, move |s| {
        let response = RESPONSES.as_bytes().get(count.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or(b'-');
        let status = if response == b'+' { "200 OK" } else { "503 Busy" };
        respond(s, |s| drop(s.write_all(format!("HTTP/1.0 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())));
    });
    std::thread::sleep(Duration::from_millis(300));
    let strict = http_check("/", "connect_port 7020\n delay_loop 0.2");
    net.start_daemon("d1", &format!("{SMALL_TABLE}{}", services_config(&[(1, &strict)])));
    eventually("all responses were sent", TEST_TIMEOUT, || {
        (requests.load(Ordering::SeqCst) > RESPONSES.len() + 2).then_some(())
    });
    let s = server_status(&net, 1).expect("there");
    assert!(!s.up);
    // One failure takes it down (`retry 0`). The URL that failed must pass, and then the whole list of URLs, which has
    // one entry: two consecutive good responses bring it up.
    let (mut up, mut good, mut wanted) = (true, 0, Vec::new());
    for response in RESPONSES.bytes() {
        good = if response == b'+' { good + 1 } else { 0 };
        let then = if up { good > 0 } else { good == 2 };
        if then != up {
            up = then;
            wanted.push(up);
        }
    }
    let seen: Vec<bool> = s.history.iter().rev().map(|t| t.up).collect();
    assert_eq!(seen, wanted, "{:?}", s.history);
}

#[test]
fn responses_near_the_timeout_pass_or_fail_and_leave_no_connection() {
    let _loud = crate::TIMING_LOCK.read();
    let Some(net) = Net::directors("timeouts") else { return };
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    listen(&net, 7021, move |s| {
        let begun = Instant::now();
        let n = count.fetch_add(1, Ordering::SeqCst);
        respond(s, |s| {
            // Around the timeout of one second: before, at and after it.
            let when = Duration::from_micros(998_500 + 500 * (n as u64 % 6));
            std::thread::sleep(when.saturating_sub(begun.elapsed()));
            let _ = s.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n");
            let _ = s.read(&mut [0; 16]);
        });
    });
    std::thread::sleep(Duration::from_millis(300));
    // Twenty paths are twenty probes; equal probes would be shared.
    let all: Vec<(u16, String)> =
        (1..=20).map(|n| (n, http_check(&format!("/{n}"), "connect_port 7021\n delay_loop 0.1"))).collect();
    net.start_daemon("d1", &format!("{SMALL_TABLE}{}", services_config(&all)));
    let process = net.edge_process("d1");
    let open = || std::fs::read_dir(format!("/proc/{process}/fd")).expect("a process").count();
    eventually("many probes ran", TEST_TIMEOUT, || (requests.load(Ordering::SeqCst) > 60).then_some(()));
    let early = open();
    eventually("more probes ran", TEST_TIMEOUT, || (requests.load(Ordering::SeqCst) > 160).then_some(()));
    let late = open();
    assert!(late <= early + 20, "each check has one connection at most: {early}, then {late}");
    for (port, _) in &all {
        // Without retries the state of the server is the result of its last probe.
        eventually("state and last result agree", TEST_TIMEOUT, || {
            let s = server_status(&net, *port)?;
            let last = s.checks[0].last_probe.as_ref()?;
            let known = last.passed() || last.detail.contains("no answer to");
            assert!(known, "{last:?}");
            (s.up == last.passed()).then_some(())
        });
    }
}
