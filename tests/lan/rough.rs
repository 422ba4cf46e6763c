//! What a network does to a daemon: malformed and foreign packets, an address shared with another master.

use std::net::IpAddr;

use evenkeel_core::model::{Auth, Transport, Vrid, VrrpVersion};
use evenkeel_core::vrrp::State;
use evenkeel_core::vrrp::wire::{Advert, Form, GROUP, IpHeader, PROTOCOL, TTL};
use evenkeel_sys::netlink::Netlink;
use evenkeel_sys::wire::VrrpSocket;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SOON, vrrp};

#[test]
fn malformed_and_foreign_packets_are_counted_and_harmless() {
    let Some(net) = Net::new("rough") else { return };
    net.start("d1", &vrrp(100, "authentication {\nauth_type PASS\nauth_pass 1111\n}"));
    net.wait_state("d1", "V", State::Master);
    let good = Advert {
        vrid: Vrid::new(51).expect("a VRID"),
        priority: 200,
        interval: std::time::Duration::from_secs(1),
        addresses: vec![IpAddr::from([192, 168, 1, 100])],
    };
    let (src, group) = (IpAddr::from([192, 168, 1, 11]), IpAddr::V4(GROUP));
    let ip = IpHeader { src, dst: group, ttl: TTL, protocol: PROTOCOL, id: 1 };
    let packet = |a: &Advert, version| a.packet(version, Auth::None, Form::PseudoHeader, ip, 0);
    let unauthenticated = packet(&good, VrrpVersion::V2);
    let mut broken = unauthenticated.clone();
    broken[29] ^= 0xff;
    let v3 = packet(&good, VrrpVersion::V3);
    let foreign = packet(&Advert { vrid: Vrid::new(77).expect("a VRID"), ..good }, VrrpVersion::V2);
    let cut = |n| unauthenticated[..n].to_vec();
    let (short, empty, long) = (cut(21), cut(20), [&cut(20)[..], &[0xff; 1400]].concat());
    let sent = net.lan.within("r1", || {
        let link = Netlink::new()?.link("eth0")?.expect("eth0");
        let socket = VrrpSocket::new(Transport::Ipv4, "eth0", link.index, &[group])?;
        let mut n = 0;
        for _ in 0..50 {
            for m in [&unauthenticated, &broken, &v3, &foreign, &short, &empty, &long] {
                n += u64::from(socket.send(src, group, TTL, m).is_ok());
            }
        }
        Ok::<_, evenkeel_sys::Error>(n)
    });
    assert!(sent.expect("entered").expect("sent") >= 300);
    let i = eventually("they were counted", SOON, || {
        let i = net.instance("d1", "V")?;
        (i.counters.refused.len() >= 3).then_some(i)
    });
    assert_eq!(i.state, State::Master, "none of them moved it: {:?}", i.counters);
    assert!(net.status("d1").expect("answers").foreign_adverts >= 50, "VRID 77 is nobody's");
    let told = net.lan.log("d1").lines().filter(|l| l.contains("was refused")).count();
    assert!((1..=8).contains(&told), "each cause is told once, not {told} times");
}

#[test]
fn systemd_hears_that_it_is_ready_alive_and_stopping() {
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;
    let Some(net) = Net::new("notify") else { return };
    let path = net.lan.dir.join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(SOON)).expect("settable");
    let file = net.write("d1", &vrrp(100, "version 3\nadvert_int 0.1"));
    let environment = format!("NOTIFY_SOCKET={}", path.display());
    let daemon = evenkeel_tests::program("evenkeeld");
    let instance = net.lan.instance("d1");
    let args = [
        &environment,
        daemon.to_str().expect("UTF-8"),
        "-n",
        "-l",
        "--log-format",
        "json",
        "-f",
        file.to_str().expect("UTF-8"),
        "--instance",
        &instance,
    ];
    let pid = net.lan.spawn("d1", "d1", Path::new("/usr/bin/env"), &args).expect("starts");
    let mut heard = String::new();
    let mut hear = |word: &str| {
        let mut buf = [0u8; 256];
        while !heard.contains(word) {
            let n = socket.recv(&mut buf).unwrap_or_else(|e| panic!("{word} was not said: {e}; heard {heard:?}"));
            heard += &String::from_utf8_lossy(&buf[..n]);
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    net.wait_state("d1", "V", State::Master);
    net.lan.signal(pid, nix::sys::signal::Signal::SIGTERM).expect("stops");
    hear("STOPPING=1");
    let log = net.lan.log("d1");
    let line = log.lines().find(|l| l.contains("BACKUP -> MASTER")).unwrap_or_else(|| panic!("{log}"));
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(line["fields"]["instance"], "V", "a log line has fields");
}
