//! Discovery of real servers by name, with Debian's dnsmasq as name server: changes are applied, and the last servers
//! stay while no name server answers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use evenkeel_testkit::demo_network::{SERVERS, VIP};
use evenkeel_testkit::http;
use evenkeel_testkit::lan::{Pid, eventually};
use evenkeel_tests::{Net, TEST_TIMEOUT, program};
use nix::sys::signal::Signal;

/// Starts a name server on the director's loopback with these options.
fn start_dnsmasq(net: &Net, lines: &[&str]) -> Pid {
    let mut args = vec!["-k", "-C", "/dev/null", "-p", "53", "-i", "lo", "-z", "-R", "-h", "--local=/example.org/"];
    args.extend(lines);
    net.lan.spawn("d1", "dnsmasq", Path::new("/usr/sbin/dnsmasq"), &args).expect("starts")
}

/// Starts the daemon with its own resolv.conf.
fn start_daemon(net: &Net, config: &str) -> Pid {
    let file = net.write_config("d1", config);
    let resolv = net.lan.dir.join("resolv.conf");
    fs::write(&resolv, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").expect("writable");
    let line = format!(
        "mount --make-rprivate / && mount --bind {} /etc/resolv.conf && exec {} -n -l -f {} --instance {}",
        resolv.display(),
        program("evenkeeld").display(),
        file.display(),
        net.lan.instance("d1")
    );
    let pid = net.lan.spawn("d1", "d1", Path::new("unshare"), &["-m", "sh", "-c", &line]).expect("starts");
    eventually("the daemon answers", TEST_TIMEOUT, || net.status("d1"));
    pid
}

/// The servers of the first service: last octet, port, weight, and whether the server is up.
fn servers(net: &Net) -> BTreeSet<(u8, u16, u32, bool)> {
    let service = net.status("d1").and_then(|s| s.services.into_iter().next());
    let last = |a: std::net::IpAddr| a.to_string().rsplit('.').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    service.map_or_else(BTreeSet::new, |s| s.servers.iter().map(|r| (last(r.addr), r.port, r.weight, r.up)).collect())
}

#[test]
fn resolved_servers_follow_changes_and_stay_while_no_name_server_answers() {
    if !Path::new("/usr/sbin/dnsmasq").exists() {
        return;
    }
    let Some(net) = Net::new("checks-names") else { return };
    let _web = SERVERS.map(|(host, _)| http::Server::start(&net.lan, host, 80));
    net.lan.ip("d1", &format!("addr add {VIP}/32 dev eth0")).expect("an address");
    let config = format!(
        "global_defs {{\n name_refresh 1\n connection_table_size 16384\n}}\nvirtual_server {VIP} 80 {{\n delay_loop 0.5\n \
         delay_before_retry 0.2\n warmup 0\n connect_timeout 1\n lb_kind DR\n protocol TCP\n \
         real_server app.example.org 80 {{\n  weight 3\n  TCP_CHECK {{\n  }}\n }}\n}}\n"
    );
    let dns = start_dnsmasq(
        &net,
        &["--host-record=app.example.org,192.168.1.11", "--host-record=app.example.org,192.168.1.12"],
    );
    let pid = start_daemon(&net, &config);
    let up = |all: &[u8]| all.iter().map(|n| (*n, 80, 3, true)).collect::<BTreeSet<_>>();
    eventually("both addresses", TEST_TIMEOUT, || (servers(&net) == up(&[11, 12])).then_some(()));
    let get = || {
        net.lan.run_in("client", || http::get(std::net::SocketAddrV4::new(VIP, 80), TEST_TIMEOUT)).expect("the client")
    };
    eventually("requests are answered", TEST_TIMEOUT, || get().ok());
    assert!(!net.evenkeel("d1", &["status"]).stdout.is_empty());
    let shown = String::from_utf8_lossy(&net.evenkeel("d1", &["status"]).stdout).into_owned();
    assert!(shown.contains("192.168.1.11:80 (app.example.org)"), "{shown}");

    // Without a name server nothing changes, and status reports the failure. A restart of the daemon changes nothing,
    // too.
    net.lan.signal(dns, Signal::SIGKILL).expect("ends");
    let warned =
        || net.status("d1").filter(|s| s.findings.iter().any(|f| f.reason.contains("its 2 last servers are kept")));
    eventually("the failure is reported", TEST_TIMEOUT, warned);
    assert_eq!(servers(&net), up(&[11, 12]));
    net.lan.signal(pid, Signal::SIGQUIT).expect("hands over");
    start_daemon(&net, &config);
    assert_eq!(servers(&net).iter().map(|s| s.0).collect::<Vec<_>>(), [11, 12]);

    // One address is replaced by another.
    let dns = start_dnsmasq(
        &net,
        &["--host-record=app.example.org,192.168.1.12", "--host-record=app.example.org,192.168.1.13"],
    );
    eventually("the other addresses", TEST_TIMEOUT, || (servers(&net) == up(&[12, 13])).then_some(()));
    get().expect("an answer");

    // SRV records: ports, weights, and only the best priority.
    net.lan.signal(dns, Signal::SIGKILL).expect("ends");
    let srv = config
        .replace("real_server app.example.org 80", "real_server srv _http._tcp.example.org")
        .replace("lb_kind DR", "lb_kind NAT");
    start_dnsmasq(
        &net,
        &[
            "--host-record=r1.example.org,192.168.1.11",
            "--host-record=r2.example.org,192.168.1.12",
            "--host-record=r3.example.org,192.168.1.13",
            "--srv-host=_http._tcp.example.org,r1.example.org,80,1,5",
            "--srv-host=_http._tcp.example.org,r2.example.org,81,1,0",
            "--srv-host=_http._tcp.example.org,r3.example.org,80,2,5",
        ],
    );
    net.write_config("d1", &srv);
    net.reload("d1");
    let wanted = BTreeSet::from([(11, 80, 15, true), (12, 81, 3, false)]);
    eventually("the records' servers", TEST_TIMEOUT, || (servers(&net) == wanted).then_some(()));
}
