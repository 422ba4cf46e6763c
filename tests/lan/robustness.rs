//! Robustness: malformed packets and unknown VRIDs, systemd notification, and a log that blocks.

use std::net::IpAddr;
use std::process::Command;

use evenkeel_core::model::{Auth, Transport, Vrid, VrrpVersion};
use evenkeel_core::vrrp::State;
use evenkeel_core::vrrp::packet::{
    Advert, AdvertAuth, ChecksumForm, IPPROTO_VRRP, IpHeader, MULTICAST_GROUP, VRRP_TTL,
};
use evenkeel_sys::netlink::Netlink;
use evenkeel_sys::wire::VrrpSocket;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, TEST_TIMEOUT, virtual_server, vrrp_instance};

#[test]
fn malformed_packets_and_unknown_vrids_are_counted_and_harmless() {
    let Some(net) = Net::new("rough") else { return };
    let config = vrrp_instance(100, "authentication {\nauth_type PASS\nauth_pass 1111\n}");
    net.start_daemon("d1", &format!("global_defs {{\n log_unknown_vrids\n}}\n{config}"));
    net.wait_state("d1", "V", State::Master);
    let good = Advert {
        vrid: Vrid::new(51).expect("a VRID"),
        priority: 200,
        interval: std::time::Duration::from_secs(1),
        addresses: vec![IpAddr::from([192, 168, 1, 100])],
    };
    let (src, group) = (IpAddr::from([192, 168, 1, 11]), IpAddr::V4(MULTICAST_GROUP));
    let ip = IpHeader { src, dst: group, ttl: VRRP_TTL, protocol: IPPROTO_VRRP, id: 1 };
    let packet = |a: &Advert, version| {
        a.encode_packet(version, AdvertAuth::unsigned(Auth::None), ChecksumForm::PseudoHeader, ip)
    };
    let unauthenticated = packet(&good, VrrpVersion::V2);
    let mut broken = unauthenticated.clone();
    broken[29] ^= 0xff;
    let v3 = packet(&good, VrrpVersion::V3);
    let unknown_vrid = packet(&Advert { vrid: Vrid::new(77).expect("a VRID"), ..good }, VrrpVersion::V2);
    let cut = |n| unauthenticated[..n].to_vec();
    let (short, empty, long) = (cut(21), cut(20), [&cut(20)[..], &[0xff; 1400]].concat());
    let sent = net.lan.run_in("r1", || {
        let link = Netlink::new()?.link_by_name("eth0")?.expect("eth0");
        let socket = VrrpSocket::new(Transport::Ipv4, "eth0", link.index, &[group])?;
        let mut n = 0;
        for _ in 0..50 {
            for m in [&unauthenticated, &broken, &v3, &unknown_vrid, &short, &empty, &long] {
                n += u64::from(socket.send(src, group, VRRP_TTL, m).is_ok());
            }
        }
        Ok::<_, evenkeel_sys::Error>(n)
    });
    assert!(sent.expect("entered").expect("sent") >= 300);
    let i = eventually("they were counted", TEST_TIMEOUT, || {
        let i = net.instance("d1", "V")?;
        (i.counters.rejected.len() >= 3).then_some(i)
    });
    assert_eq!(i.state, State::Master, "none of them changed the state: {:?}", i.counters);
    assert!(net.status("d1").expect("answers").unknown_vrid_adverts >= 50, "VRID 77 is not configured");
    let logged = net.lan.log("d1").lines().filter(|l| l.contains("rejected a VRRP packet")).count();
    assert!((1..=8).contains(&logged), "each reason is logged once, not {logged} times");
    let unknown_vrids = || {
        net.lan.log("d1").matches("eth0: 192.168.1.11 sends adverts of VRID 77, which is not configured here").count()
    };
    eventually("the log names it", TEST_TIMEOUT, || (unknown_vrids() > 0).then_some(()));
    assert_eq!(unknown_vrids(), 1, "once");
}

#[test]
fn systemd_is_notified_of_readiness_watchdog_and_stop() {
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;
    let Some(net) = Net::new("notify") else { return };
    let path = net.lan.dir.join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(TEST_TIMEOUT)).expect("settable");
    let file = net.write_config("d1", &vrrp_instance(100, "version 3\nadvert_int 0.1"));
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
    let mut received = String::new();
    let mut wait_for_word = |word: &str| {
        let mut buf = [0u8; 256];
        while !received.contains(word) {
            let n = socket.recv(&mut buf).unwrap_or_else(|e| panic!("{word} was not sent: {e}; received {received:?}"));
            received += &String::from_utf8_lossy(&buf[..n]);
        }
    };
    wait_for_word("READY=1");
    wait_for_word("WATCHDOG=1");
    net.wait_state("d1", "V", State::Master);
    net.lan.signal(pid, nix::sys::signal::Signal::SIGTERM).expect("stops");
    wait_for_word("STOPPING=1");
    let log = net.lan.log("d1");
    let line = log.lines().find(|l| l.contains("BACKUP -> MASTER")).unwrap_or_else(|| panic!("{log}"));
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(line["fields"]["instance"], "V", "a log line has fields");
}

/// A writer to the log blocks, and addresses move all the same.
#[test]
fn a_log_that_blocks_does_not_delay_a_fail_over() {
    let Some(net) = Net::directors("blocked-log") else { return };
    let fifo = net.lan.dir.join("log");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("made");
    // The test holds it open, so that the daemon can open it, and it is empty until the daemon has started.
    let mut log = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).expect("open");
    let fast = "version 3\nadvert_int 0.1\n";
    let d1 = net.start_daemon("d1", &vrrp_instance(200, fast));
    net.wait_state("d1", "V", State::Master);
    let config = net.write_config("d2", &vrrp_instance(100, fast));
    let instance = net.lan.instance("d2");
    let path = |p: &std::path::Path| p.to_str().expect("UTF-8").to_owned();
    let (config, fifo) = (path(&config), path(&fifo));
    let args = ["-n", "-D", "-f", &config, "--instance", &instance, "-g", &fifo];
    net.lan.spawn("d2", "d2", &evenkeel_tests::program("evenkeeld"), &args).expect("starts");
    net.wait_state("d2", "V", State::Backup);
    // Fill it: the next log line blocks for ever.
    let flags = nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_RDWR;
    nix::fcntl::fcntl(&log, nix::fcntl::FcntlArg::F_SETFL(flags)).expect("set");
    while std::io::Write::write(&mut log, &[b'.'; 512]).is_ok() {}
    net.lan.signal(d1, nix::sys::signal::Signal::SIGKILL).expect("dies");
    net.lan.ip("sw", "link set p-d1 down").expect("cut");
    eventually("d2 takes over", TEST_TIMEOUT, || {
        net.has_address("d2", evenkeel_testkit::demo_network::VIP).then_some(())
    });
    net.lan.ip("sw", "link set p-d2 down").expect("cut");
    eventually("d2 gives up", TEST_TIMEOUT, || {
        (!net.has_address("d2", evenkeel_testkit::demo_network::VIP)).then_some(())
    });
    net.lan.ip("sw", "link set p-d2 up").expect("restored");
    eventually("d2 takes over again", TEST_TIMEOUT, || {
        net.has_address("d2", evenkeel_testkit::demo_network::VIP).then_some(())
    });
}

#[test]
fn nobody_else_can_take_a_lock_of_ours() {
    use std::os::unix::process::CommandExt;
    let Some(net) = Net::new("locks") else { return };
    net.start_daemon("d1", &(vrrp_instance(100, "") + &virtual_server("", &[("192.168.1.11", "weight 1")])));
    let instance = net.lan.instance("d1");
    let (run, pins) = (evenkeel_sys::paths::run_dir(&instance), evenkeel_sys::paths::bpf_dir(&instance));
    assert!(run.join("lock").exists() && pins.join("settings").exists());
    for path in [run.clone(), run.join("lock"), pins.clone(), run.parent().expect("a parent").to_owned()] {
        let mut command = Command::new("flock");
        let ended = command.args(["-n", "-s"]).arg(&path).arg("true").uid(65_533).gid(65_533).output();
        let stderr = String::from_utf8_lossy(&ended.expect("flock runs").stderr).into_owned();
        assert!(stderr.contains("Permission denied"), "{}: {stderr}", path.display());
    }
}
