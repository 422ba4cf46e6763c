//! DNS_CHECK, SMTP_CHECK, UDP_CHECK and PING_CHECK of dnsmasq and aiosmtpd.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use evenkeel_core::health::Phase;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT};
use nix::sys::signal::Signal;

use super::super::fixture::{services_config, wait_until_failed, wait_until_up};
use super::is_installed;

#[test]
fn name_servers_mail_servers_and_pings() {
    let _loud = crate::TIMING_LOCK.read();
    let Some(net) = Net::directors("protocols") else { return };
    if !is_installed("/usr/sbin/dnsmasq") {
        return;
    }
    let args = [
        "-k",
        "-C",
        "/dev/null",
        "-p",
        "5353",
        "-i",
        "eth0",
        "-z",
        "-R",
        "-h",
        "--address=/known.example/192.0.2.9",
        "--local=/example/",
    ];
    let dns = net.lan.spawn("d2", "dnsmasq", Path::new("/usr/sbin/dnsmasq"), &args).expect("starts");
    let mail = ["-u", "-m", "aiosmtpd", "-n", "-l", "0.0.0.0:2525"];
    let mail = net.lan.spawn("d2", "aiosmtpd", Path::new("/usr/bin/python3"), &mail).expect("starts");
    let dns_check = |name: &str| format!("DNS_CHECK {{\n connect_port 5353\n retry 0\n type A\n name {name}\n}}");
    let checks = [
        (1, dns_check("known.example")),
        (2, dns_check("unknown.example")),
        (3, "SMTP_CHECK {\n connect_port 2525\n helo_name us.example.org\n}".to_owned()),
        (4, "PING_CHECK {\n}".to_owned()),
        (5, "UDP_CHECK {\n connect_port 5353\n payload 0000010000010000000000000000020001\n require_reply 0000\n retry 0\n}".to_owned()),
        (6, "UDP_CHECK {\n connect_port 9\n}".to_owned()),
    ];
    // The servers need some time until they listen.
    let listening = |port: u16| net.lan.run_in("d2", move || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
    eventually("the mail server listens", TEST_TIMEOUT, || listening(2525).ok().flatten());
    net.start_daemon("d1", &format!("{SMALL_TABLE}{}", services_config(&checks)));
    for good in [1, 3, 4, 5] {
        wait_until_up(&net, good);
    }
    assert!(
        wait_until_up(&net, 3).checks[0].last_probe.as_ref().is_some_and(|l| l.detail.starts_with("greets \"220 "))
    );
    wait_until_failed(&net, 2, Phase::Expect, "Non-Existent Domain");
    wait_until_failed(&net, 6, Phase::FirstByte, "refused");
    net.lan.signal(mail, Signal::SIGKILL).expect("running");
    net.lan.signal(dns, Signal::SIGKILL).expect("running");
    wait_until_failed(&net, 1, Phase::FirstByte, "refused");
    wait_until_failed(&net, 3, Phase::Connect, "refused");
    net.lan.ip("d2", "link set eth0 down").expect("cut");
    wait_until_failed(&net, 4, Phase::FirstByte, "");
    net.lan.ip("d2", "link set eth0 up").expect("mended");
    wait_until_up(&net, 4);
}
