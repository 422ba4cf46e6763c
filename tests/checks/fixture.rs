//! A director that checks one other host: configurations, servers in that host, and waiting for results.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use evenkeel_core::health::Phase;
use evenkeel_core::ipc::{ServerStatus, ServiceStatus};
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, TEST_TIMEOUT};

/// The address of the host that is checked.
pub const PEER: &str = "192.168.1.3";

/// One virtual server for each check, by its port. All have the same real server.
pub fn services_config<T: AsRef<str>>(checks: &[(u16, T)]) -> String {
    let one = |(port, check): &(u16, T)| {
        let check = check.as_ref();
        format!(
            "virtual_server 192.168.1.100 {port} {{\n delay_loop 0.5\n delay_before_retry 0.1\n warmup 0\n \
             connect_timeout 1\n lvs_sched wrr\n lvs_method DR\n protocol TCP\n real_server {PEER} {port} {{\n{check}\n}}\n}}\n"
        )
    };
    checks.iter().map(one).collect()
}

/// An HTTP_GET of one path, without retries.
pub fn http_check(path: &str, more: &str) -> String {
    format!("HTTP_GET {{\n retry 0\n {more}\n url {{\n path {path}\n }}\n}}\n")
}

/// The status of a virtual server.
pub fn service_status(net: &Net, port: u16) -> Option<ServiceStatus> {
    net.status("d1")?.services.into_iter().find(|s| s.port == port)
}

/// The status of its real server.
pub fn server_status(net: &Net, port: u16) -> Option<ServerStatus> {
    service_status(net, port)?.servers.into_iter().next()
}

/// Waits until a server is up and was probed.
pub fn wait_until_up(net: &Net, port: u16) -> ServerStatus {
    eventually(&format!("{port} passes"), TEST_TIMEOUT, || {
        server_status(net, port).filter(|s| s.up && s.checks[0].last_probe.as_ref().is_some_and(|l| l.passed()))
    })
}

/// Waits until a server is down because its probe failed in this phase, with this text in its detail.
pub fn wait_until_failed(net: &Net, port: u16, phase: Phase, words: &str) {
    let as_expected = |s: &ServerStatus| {
        let last = s.checks[0].last_probe.as_ref();
        !s.up
            && last.is_some_and(|l| l.failed == Some(phase) && l.detail.to_lowercase().contains(&words.to_lowercase()))
    };
    let seen = std::cell::RefCell::new(String::new());
    let done = evenkeel_testkit::lan::wait_for(TEST_TIMEOUT, || {
        let s = server_status(net, port)?;
        *seen.borrow_mut() = format!("{:?} {:?}", s.up, s.checks[0].last_probe);
        as_expected(&s).then_some(())
    });
    assert!(done.is_some(), "{port} does not fail at {phase:?} with `{words}`: {}", seen.borrow());
}

/// Listens in the checked host, and calls `each` for each connection.
pub fn listen(net: &Net, port: u16, each: impl Fn(TcpStream) + Send + Sync + Clone + 'static) {
    net.lan.spawn_thread_in("d2", move || {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("free");
        for stream in listener.incoming().flatten() {
            let each = each.clone();
            std::thread::spawn(move || each(stream));
        }
    });
}

/// Reads a request, and then calls `say` to respond.
pub fn respond(mut stream: TcpStream, say: impl FnOnce(&mut TcpStream)) {
    let _ = stream.read(&mut [0; 4096]);
    say(&mut stream);
}
