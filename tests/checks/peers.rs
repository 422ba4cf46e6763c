//! Real servers from Debian, and sockets that misbehave: each fails as it can fail, and the operator sees in which phase.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use evenkeel_core::health::Phase;
use evenkeel_core::ipc::{ServerStatus, ServiceStatus};
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, SOON};
use nix::sys::signal::Signal;

/// The host that is checked, and its address.
const PEER: &str = "192.168.1.3";

/// One service for each check, by the port of its virtual server; all of the same real server.
fn services(checks: &[(u16, &str)]) -> String {
    let one = |(port, check): &(u16, &str)| {
        format!(
            "virtual_server 192.168.1.100 {port} {{\n delay_loop 0.5\n delay_before_retry 0.1\n warmup 0\n \
             connect_timeout 1\n lvs_sched wrr\n lvs_method DR\n protocol TCP\n real_server {PEER} {port} {{\n{check}\n}}\n}}\n"
        )
    };
    checks.iter().map(one).collect()
}

fn http(path: &str, more: &str) -> String {
    format!("HTTP_GET {{\n retry 0\n {more}\n url {{\n path {path}\n }}\n}}\n")
}

fn service(net: &Net, port: u16) -> Option<ServiceStatus> {
    net.status("d1")?.services.into_iter().find(|s| s.port == port)
}

fn server(net: &Net, port: u16) -> Option<ServerStatus> {
    service(net, port)?.servers.into_iter().next()
}

/// Waits until a server is up, having been probed.
fn passes(net: &Net, port: u16) -> ServerStatus {
    eventually(&format!("{port} passes"), SOON, || {
        server(net, port).filter(|s| s.up && s.checks[0].last.as_ref().is_some_and(|l| l.passed()))
    })
}

/// Waits until a server is down because its probe failed in a phase, with these words.
fn fails(net: &Net, port: u16, phase: Phase, words: &str) {
    let as_expected = |s: &ServerStatus| {
        let last = s.checks[0].last.as_ref();
        !s.up
            && last.is_some_and(|l| l.failed == Some(phase) && l.detail.to_lowercase().contains(&words.to_lowercase()))
    };
    let seen = std::cell::RefCell::new(String::new());
    let done = evenkeel_testkit::lan::within(SOON, || {
        let s = server(net, port)?;
        *seen.borrow_mut() = format!("{:?} {:?}", s.up, s.checks[0].last);
        as_expected(&s).then_some(())
    });
    assert!(done.is_some(), "{port} does not fail at {phase:?} with `{words}`: {}", seen.borrow());
}

fn there(program: &str) -> bool {
    let found = Path::new(program).exists();
    if !found {
        eprintln!("skipped: it needs {program} (make test-deps)");
    }
    found
}

fn openssl(dir: &Path, args: &str) {
    let done = Command::new("openssl").current_dir(dir).args(args.split(' ')).output().expect("openssl runs");
    assert!(done.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A certificate of our own authority, valid for so many days.
fn certificate(dir: &Path, name: &str, host: &str, days: i32) {
    openssl(dir, &format!("req -newkey rsa:2048 -nodes -subj /CN={host} -keyout {name}.key -out {name}.csr"));
    fs::write(dir.join(format!("{name}.ext")), format!("subjectAltName=DNS:{host}\n")).expect("writable");
    openssl(
        dir,
        &format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile {name}.ext -out {name}.pem"
        ),
    );
}

#[test]
fn nginx_fails_in_every_way() {
    let _loud = crate::QUIET.read();
    let Some(net) = Net::directors("nginx") else { return };
    if !there("/usr/sbin/nginx") {
        return;
    }
    let dir = net.lan.dir.clone();
    openssl(&dir, "req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=Test -keyout ca.key -out ca.pem");
    certificate(&dir, "good", "www.example.org", 9);
    certificate(&dir, "old", "www.example.org", -1);
    certificate(&dir, "other", "other.example.org", 9);
    let (d, www) = (dir.display(), dir.join("www"));
    fs::create_dir(&www).expect("new");
    fs::write(www.join("page"), "hello world\n").expect("writable");
    fs::write(www.join("large"), vec![b'x'; 100_000]).expect("writable");
    let tls = |port: u16, name: &str| {
        format!("server {{ listen {port} ssl; ssl_certificate {d}/{name}.pem; ssl_certificate_key {d}/{name}.key; }}\n")
    };
    let mutual =
        tls(8446, "good").replace("ssl;", &format!("ssl; ssl_verify_client on; ssl_client_certificate {d}/ca.pem;"));
    let conf = format!(
        "pid {d}/nginx.pid; error_log {d}/error.log; user root; daemon off; events {{ }}\n\
         http {{ access_log {d}/access.log; root {}; default_type text/plain;\n\
         server {{ listen 8080; location /slow {{ alias {}/large; limit_rate_after 1k; limit_rate 1k; }}\n\
         location /fail {{ if (-f {d}/broken) {{ return 500; }} alias {}/page; }} }}\n{}{}{} }}\n",
        www.display(),
        www.display(),
        www.display(),
        tls(8443, "good"),
        tls(8444, "old"),
        tls(8445, "other")
            + &mutual
            + &tls(8447, "good").replace("ssl;", "ssl http2;")
            + "server { listen 8081 http2; }\n",
    );
    fs::write(dir.join("nginx.conf"), conf).expect("writable");
    let start = || {
        let conf = dir.join("nginx.conf");
        let args = ["-c", conf.to_str().expect("UTF-8"), "-g", "master_process off;"];
        net.lan.spawn("d2", "nginx", Path::new("/usr/sbin/nginx"), &args).expect("starts")
    };
    let nginx = start();
    let secure = |port: u16, more: &str| {
        format!("SSL_GET {{\n retry 0\n connect_port {port}\n {more}\n url {{\n path /page\n }}\n}}\n")
    };
    let plain = |path: &str, more: &str| http(path, &format!("connect_port 8080\n {more}"));
    let digest = plain("/page\n digest 6f5902ac237024bdd0c176cb93063dc4\n regex \"^hel+o (?=world)\"", "");
    let wrong = plain("/page\n digest 00000000000000000000000000000000", "");
    let unlike = plain("/page\n regex \"good ?bye\"\n regex_options caseless", "");
    let checks = [
        (1, digest.as_str()),
        (2, &wrong),
        (3, &unlike),
        (4, &plain("/fail", "fast_recovery")),
        (5, &plain("/slow", "connect_timeout 3\n response_timeout 4")),
        (6, &secure(8443, "enable_sni\n virtualhost www.example.org")),
        (7, &secure(8444, "virtualhost www.example.org")),
        (8, &secure(8445, "virtualhost www.example.org")),
        (9, &secure(8445, "")),
        (10, &secure(8444, "tls_verify off")),
        (11, &secure(8443, "sni_name www.example.org\n http_protocol 1.1")),
        (12, &secure(8080, "")),
        (13, &secure(8446, "")),
        (14, &secure(8447, "http_protocol h2")),
        (15, &http("/page\n digest 6f5902ac237024bdd0c176cb93063dc4", "connect_port 8081\n http_protocol h2")),
        (16, &http("/page", "connect_port 8080\n http_protocol h2")),
    ];
    let ssl = format!("SSL {{\n ca {d}/ca.pem\n certificate {d}/good.pem\n key {d}/good.key\n}}\n");
    let config = format!("{SMALL_TABLE}{ssl}{}", services(&checks));
    net.start("d1", &config);

    for good in [1, 4, 6, 9, 10, 11, 13, 14, 15] {
        passes(&net, good);
    }
    fails(&net, 2, Phase::Expect, "digest is 6f5902ac237024bdd0c176cb93063dc4");
    fails(&net, 3, Phase::Expect, "does not match");
    fails(&net, 5, Phase::Body, "not answered whole within 4 s");
    fails(&net, 7, Phase::Tls, "expired");
    fails(&net, 8, Phase::Tls, "not valid for name");
    fails(&net, 12, Phase::Tls, "");
    fails(&net, 16, Phase::FirstByte, "");
    let phases: Vec<Phase> =
        server(&net, 6).expect("there").checks[0].last.clone().expect("probed").phases.iter().map(|p| p.0).collect();
    assert_eq!(phases, [Phase::Connect, Phase::Tls, Phase::FirstByte, Phase::Body]);

    fs::write(dir.join("broken"), "").expect("writable");
    fails(&net, 4, Phase::Expect, "/fail answered 500");
    fs::remove_file(dir.join("broken")).expect("there");
    passes(&net, 4);

    // Hung: the kernel still takes connections for it.
    net.lan.signal(nginx, Signal::SIGSTOP).expect("running");
    fails(&net, 1, Phase::FirstByte, "no answer to /page for 1 s");
    fails(&net, 6, Phase::Tls, "no answer for 1 s");
    net.lan.signal(nginx, Signal::SIGCONT).expect("stopped");
    passes(&net, 1);
    passes(&net, 6);
    net.lan.signal(nginx, Signal::SIGKILL).expect("running");
    fails(&net, 1, Phase::Connect, "refused");
    start();
    let back = passes(&net, 1);
    let history: Vec<(bool, Option<Phase>)> = back.history.iter().map(|t| (t.up, t.phase)).collect();
    let (up, hung, gone) = ((true, None), (false, Some(Phase::FirstByte)), (false, Some(Phase::Connect)));
    assert_eq!(history[..4], [up, gone, up, hung], "the last one first");

    let out = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", net.lan.ns("d1")))
        .arg(evenkeel_tests::program("evenkeel"))
        .args(["genhash", "-s", PEER, "-p", "8443", "-S", "-u", "/page"])
        .output()
        .expect("runs");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "MD5SUM = 6f5902ac237024bdd0c176cb93063dc4\n");
}

/// A listener in the peer, which does something with each connection.
fn listen(net: &Net, port: u16, each: impl Fn(TcpStream) + Send + Sync + Clone + 'static) {
    net.lan.spawn_within("d2", move || {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("free");
        for stream in listener.incoming().flatten() {
            let each = each.clone();
            std::thread::spawn(move || each(stream));
        }
    });
}

/// Reads a request, and then says something.
fn answer(mut stream: TcpStream, say: impl FnOnce(&mut TcpStream)) {
    let _ = stream.read(&mut [0; 4096]);
    say(&mut stream);
}

#[test]
fn sockets_that_misbehave_are_told_apart() {
    let _loud = crate::QUIET.read();
    let Some(net) = Net::directors("misbehave") else { return };
    let whole = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    listen(&net, 7001, |s| {
        std::thread::sleep(Duration::from_secs(1000));
        drop(s);
    });
    listen(&net, 7002, |s| {
        let _ = socket2_linger(&s);
    });
    listen(&net, 7003, |s| answer(s, |_| {}));
    listen(&net, 7004, |s| {
        answer(s, |s| {
            for b in whole.bytes().cycle().take(1000) {
                let _ = s.write_all(&[b]);
                std::thread::sleep(Duration::from_millis(300));
            }
        });
    });
    listen(&net, 7005, |s| {
        answer(s, |s| {
            let _ = s.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 500\r\n\r\nhello");
        });
    });
    listen(&net, 7006, |s| {
        answer(s, |s| {
            let _ = s.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 500\r\n\r\nhello");
            std::thread::sleep(Duration::from_secs(1000));
        });
    });
    listen(&net, 7007, |s| {
        answer(s, |s| {
            let _ = s.write_all(&[0xff; 300]);
        });
    });
    listen(&net, 7008, |mut s| {
        let _ = s.write_all(b"554 go away\r\n");
        let _ = s.read(&mut [0; 99]);
    });
    // A full backlog: nobody accepts, and others have come first.
    net.lan.spawn_within("d2", || {
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
    let at = |port: u16| http("/x", &format!("connect_port {port}"));
    let all: Vec<(u16, String)> = [
        (1, at(7001)),
        (2, at(7002)),
        (3, at(7003)),
        (4, http("/x", "connect_port 7004\n response_timeout 3")),
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
    let checks: Vec<(u16, &str)> = all.iter().map(|(p, c)| (*p, c.as_str())).collect();
    net.start("d1", &format!("{SMALL_TABLE}{}", services(&checks)));
    fails(&net, 1, Phase::FirstByte, "no answer to /x for 1 s");
    fails(&net, 2, Phase::FirstByte, "reset");
    fails(&net, 3, Phase::FirstByte, "");
    fails(&net, 4, Phase::Body, "within 3 s");
    fails(&net, 5, Phase::Body, "");
    fails(&net, 6, Phase::Body, "stops after 5 bytes");
    fails(&net, 7, Phase::Expect, "");
    fails(&net, 8, Phase::Expect, "its greeting is \"554 go away\", expected 220");
    fails(&net, 9, Phase::Connect, "no answer for 1 s");
    fails(&net, 10, Phase::Connect, "no answer for 1 s");
    passes(&net, 11);
    fails(&net, 12, Phase::Prepare, "nowhere0");
    passes(&net, 13);
}

/// Closing it resets the connection.
fn socket2_linger(stream: &TcpStream) -> std::io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

#[test]
fn name_servers_mail_servers_and_pings() {
    let _loud = crate::QUIET.read();
    let Some(net) = Net::directors("protocols") else { return };
    if !there("/usr/sbin/dnsmasq") {
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
    let checks: Vec<(u16, &str)> = checks.iter().map(|(p, c)| (*p, c.as_str())).collect();
    // They take their time to listen.
    let listening = |port: u16| net.lan.within("d2", move || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
    eventually("the mail server listens", SOON, || listening(2525).ok().flatten());
    net.start("d1", &format!("{SMALL_TABLE}{}", services(&checks)));
    for good in [1, 3, 4, 5] {
        passes(&net, good);
    }
    assert!(passes(&net, 3).checks[0].last.as_ref().is_some_and(|l| l.detail.starts_with("greets \"220 ")));
    fails(&net, 2, Phase::Expect, "Non-Existent Domain");
    fails(&net, 6, Phase::FirstByte, "refused");
    net.lan.signal(mail, Signal::SIGKILL).expect("running");
    net.lan.signal(dns, Signal::SIGKILL).expect("running");
    fails(&net, 1, Phase::FirstByte, "refused");
    fails(&net, 3, Phase::Connect, "refused");
    net.lan.ip("d2", "link set eth0 down").expect("cut");
    fails(&net, 4, Phase::FirstByte, "");
    net.lan.ip("d2", "link set eth0 up").expect("mended");
    passes(&net, 4);
}

fn script(net: &Net, name: &str, text: &str) -> String {
    let path = net.lan.dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    path.display().to_string()
}

/// How many processes run whose command line holds a word.
fn running(word: &str) -> usize {
    let mut n = 0;
    evenkeel_sys::process::each(|_, _, line| n += usize::from(line.iter().any(|w| w.contains(word))));
    n
}

#[test]
fn a_thousand_programs_at_once_leave_nothing_behind() {
    let _loud = crate::QUIET.read();
    let Some(net) = Net::directors("programs") else { return };
    let marker = format!("1000{}", std::process::id());
    let quick = script(&net, "quick.sh", "exit $(( $1 % 2 ))");
    // It starts others, waits for ever, and does not want to end.
    let hangs = script(&net, "hangs.sh", &format!("trap '' TERM\nsleep {marker} &\nsleep {marker}\nsleep {marker}"));
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
    config += &services(&[
        (50, &format!("MISC_CHECK {{\nmisc_path \"{hangs}\"\nmisc_timeout 1\n}}")),
        (51, "MISC_CHECK {\nmisc_path \"/nowhere/at/all\"\n}"),
    ]);
    let d1 = net.start("d1", &config);
    fails(&net, 50, Phase::Expect, "still running after 1 s");
    eventually("each has run", SOON, || {
        let all = net.status("d1")?.services;
        let all: Vec<_> = all.iter().filter(|s| s.port <= 10).flat_map(|s| &s.servers).collect();
        let right = |(n, r): (usize, &&ServerStatus)| r.checks[0].last.is_some() && r.up == (n % 2 == 0);
        (all.len() == 1000 && all.iter().enumerate().all(right)).then_some(())
    });
    let service = service(&net, 3).expect("there");
    assert_eq!((service.up, service.live_weight), (true, 50));
    fails(&net, 51, Phase::Expect, "/nowhere/at/all");
    let pid = net.status("d1").expect("answers").pid;
    net.lan.signal(d1, Signal::SIGTERM).expect("running");
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    eventually("nothing is left", SOON, || (running(&marker) == 0).then_some(()));
}

#[test]
fn what_a_reload_or_a_weight_does_is_seen_at_once() {
    let _loud = crate::QUIET.read();
    let Some(net) = Net::new("weights") else { return };
    let weight = net.lan.dir.join("weight");
    fs::write(&weight, "0").expect("writable");
    let judge = script(&net, "judge.sh", &format!("exit $(cat {})", weight.display()));
    let global = format!("{}script_user root\n}}\n", SMALL_TABLE.trim_end().trim_end_matches('}'));
    let text = format!(
        "virtual_server_group web {{\n192.168.1.100 80\n192.168.1.101-103 8080\n}}\n\
         virtual_server group web {{\ndelay_loop 0.3\nwarmup 0\nlvs_sched wrr\nlvs_method DR\nprotocol TCP\nquorum 10\n\
         sorry_server 192.168.1.13 80\nreal_server 192.168.1.11 80 {{\nweight 10\nMISC_CHECK {{\nmisc_path {judge}\n\
         misc_dynamic\n}}\n}}\n}}\n\
         virtual_server 192.168.1.100 81 {{\ndelay_loop 0.3\nwarmup 0\nlvs_sched wrr\nlvs_method DR\nprotocol TCP\nha_suspend\n\
         real_server 192.168.1.12 81 {{\nTCP_CHECK {{\n}}\n}}\n}}\n"
    );
    net.start("d1", &format!("{global}{text}"));
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
            eventually(&format!("{what} at {addr}"), SOON, || {
                let s = of(addr, port);
                let sorry = s.sorry.as_ref().is_some_and(|s| s.in_force);
                (s.up == up && sorry != up && s.servers[0].weight_in_force == in_force).then_some(())
            });
        }
    };
    wait("the weight of the file", true, Some(10));
    assert_eq!(of(all[1].0, 8080).servers[0].checks[0].shared, 4, "one program for four addresses");
    fs::write(&weight, "42").expect("writable");
    wait("the program's weight", true, Some(40));
    fs::write(&weight, "7").expect("writable");
    wait("less than the quorum", false, None);
    fs::write(&weight, "12").expect("writable");
    wait("the quorum again", true, Some(10));

    // Its address is not here, so that nobody asks; and then it is.
    let suspended = of(all[0].0, 81);
    assert!(suspended.suspended && suspended.servers[0].checks[0].last.is_none() && suspended.servers[0].up);
    net.lan.ip("d1", "addr add 192.168.1.100/32 dev eth0").expect("added");
    eventually("it is checked", SOON, || (!of(all[0].0, 81).servers[0].up).then_some(()));
}

/// Debian's databases, each in the peer's namespace, with its files in the test's directory.
#[test]
fn databases_that_take_no_clients_fail() {
    let _loud = crate::QUIET.read();
    let Some(net) = Net::directors("databases") else { return };
    let initdb = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().next();
    let Some(postgres) = initdb.map(|e| e.path().join("bin")).filter(|p| p.join("initdb").exists()) else {
        eprintln!("skipped: it needs Debian's postgresql (make test-deps)");
        return;
    };
    if !there("/usr/bin/redis-server") {
        return;
    }
    // PostgreSQL does not run as root. Its user may not look into this directory.
    let data = std::env::temp_dir().join(format!("evenkeel-pg-{}", std::process::id()));
    fs::create_dir(&data).expect("new");
    let as_postgres = |program: &str, args: &[&str]| {
        let path = postgres.join(program).display().to_string();
        let all: Vec<&str> = ["-u", "postgres", "--", &path].into_iter().chain(args.iter().copied()).collect();
        all.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let d = data.display().to_string();
    assert!(Command::new("chown").args(["postgres", &d]).status().is_ok_and(|s| s.success()));
    let made = Command::new("runuser").args(as_postgres("initdb", &["-D", &d, "-A", "trust", "-N"])).output();
    assert!(made.is_ok_and(|m| m.status.success()), "initdb");
    let serve =
        as_postgres("postgres", &["-D", &d, "-c", "listen_addresses=*", "-c", "max_connections=4", "-k", &d, "-F"]);
    let serve: Vec<&str> = serve.iter().map(String::as_str).collect();
    let pg = net.lan.spawn("d2", "postgres", Path::new("/usr/sbin/runuser"), &serve).expect("starts");
    let redis = ["--port", "6379", "--protected-mode", "no", "--save", "", "--requirepass", "secret"];
    let redis = net.lan.spawn("d2", "redis", Path::new("/usr/bin/redis-server"), &redis).expect("starts");
    let http = "HTTP/1.0 400 Bad Request\r\n\r\n";
    listen(&net, 7001, move |mut s| {
        let _ = s.write_all(http.as_bytes());
        while matches!(s.read(&mut [0; 99]), Ok(n) if n > 0) {}
    });
    let checks = [
        (1, "PGSQL_CHECK {\n connect_port 5432\n}"),
        (2, "REDIS_CHECK {\n connect_port 6379\n}"),
        (3, "MYSQL_CHECK {\n connect_port 3306\n}"),
        (7, "MYSQL_CHECK {\n connect_port 3306\n user nobody\n}"),
        (4, "PGSQL_CHECK {\n connect_port 7001\n}"),
        (5, "REDIS_CHECK {\n connect_port 7001\n}"),
        (6, "MYSQL_CHECK {\n connect_port 7001\n}"),
    ];
    net.start("d1", &format!("{SMALL_TABLE}{}", services(&checks)));
    passes(&net, 1);
    assert!(passes(&net, 2).checks[0].last.as_ref().is_some_and(|l| l.detail.contains("NOAUTH")));
    fails(&net, 4, Phase::Expect, "not PostgreSQL's");
    fails(&net, 5, Phase::Expect, "expected +PONG");
    fails(&net, 6, Phase::Expect, "not MySQL's");
    // It takes no new clients any more, but those that are there go on: "smart shutdown".
    let server: u32 = fs::read_to_string(data.join("postmaster.pid"))
        .ok()
        .and_then(|t| t.lines().next()?.parse().ok())
        .expect("runs");
    let _client = net.lan.within("d2", || {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, 5432)).expect("connects");
        client.write_all(b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0").expect("sent");
        let _ = client.read(&mut [0; 1024]);
        client
    });
    evenkeel_sys::signals::signal(server, Signal::SIGTERM).expect("running");
    fails(&net, 1, Phase::Expect, "shutting down (57P03)");
    net.lan.signal(redis, Signal::SIGSTOP).expect("running");
    fails(&net, 2, Phase::FirstByte, "no answer for 1 s");
    net.lan.signal(redis, Signal::SIGCONT).expect("stopped");
    passes(&net, 2);
    evenkeel_sys::signals::signal(server, Signal::SIGQUIT).expect("running");
    eventually("PostgreSQL has ended", SOON, || net.lan.ended(pg));
    fs::remove_dir_all(&data).expect("ours");

    if !Path::new("/usr/sbin/mariadbd").exists() {
        eprintln!("MariaDB is not here, and not tried");
        return;
    }
    let dir = net.lan.dir.join("mariadb");
    let d = dir.display().to_string();
    let made = Command::new("mariadb-install-db").args(["--user=root", &format!("--datadir={d}")]).output();
    assert!(made.is_ok_and(|m| m.status.success()), "mariadb-install-db");
    let start = |users: &str| {
        let init = dir.join("init.sql");
        fs::write(&init, users).expect("writable");
        let (socket, datadir, init) =
            (format!("--socket={d}/s"), format!("--datadir={d}"), format!("--init-file={}", init.display()));
        let args = [
            "--no-defaults",
            "--user=root",
            &datadir,
            &socket,
            &init,
            "--bind-address=0.0.0.0",
            "--max-connect-errors=3",
            "--pid-file=pid",
            "--skip-name-resolve",
        ];
        net.lan.spawn("d2", "mariadb", Path::new("/usr/sbin/mariadbd"), &args).expect("starts")
    };
    let says = |port: u16, words: &str| {
        eventually(&format!("{port} says {words}"), SOON, || {
            let last = passes(&net, port).checks[0].last.clone()?;
            last.detail.ends_with(words).then_some(())
        });
    };
    // Nobody may come from there, and then somebody may.
    let maria = start("SELECT 1;\n");
    says(3, "is not allowed to connect to this MariaDB server");
    net.lan.signal(maria, Signal::SIGKILL).expect("running");
    start("CREATE USER evenkeel@'%';\n");
    says(3, "takes clients");
    says(7, "takes clients, though not us");
    // More checks than broken handshakes would be forgiven.
    std::thread::sleep(Duration::from_secs(4));
    says(3, "takes clients");
}

/// Debian's gRPC, with the protocol's messages by hand.
const GRPC_SERVER: &str = r"
import os, sys, grpc
from concurrent import futures
class Health(grpc.GenericRpcHandler):
    def service(self, call):
        if call.method == '/grpc.health.v1.Health/Check':
            return grpc.unary_unary_rpc_method_handler(check)
def check(request, context):
    if request[2:] == b'unknown.Service':
        context.abort(grpc.StatusCode.NOT_FOUND, 'no such service')
    return b'\x08\x02' if os.path.exists(sys.argv[1]) else b'\x08\x01'
server = grpc.server(futures.ThreadPoolExecutor())
server.add_generic_rpc_handlers((Health(),))
key, cert = (open(f, 'rb').read() for f in sys.argv[2:4])
server.add_insecure_port('0.0.0.0:50051')
server.add_secure_port('0.0.0.0:50052', grpc.ssl_server_credentials(((key, cert),)))
server.start()
server.wait_for_termination()
";

#[test]
fn grpc_says_whether_it_serves() {
    let _loud = crate::QUIET.read();
    let Some(net) = Net::directors("grpc") else { return };
    let there = Command::new("/usr/bin/python3").args(["-c", "import grpc"]).status();
    if !there.is_ok_and(|s| s.success()) {
        eprintln!("skipped: it needs Debian's python3-grpcio (make test-deps)");
        return;
    }
    let dir = net.lan.dir.clone();
    openssl(&dir, "req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=Test -keyout ca.key -out ca.pem");
    certificate(&dir, "good", "www.example.org", 9);
    fs::write(dir.join("server.py"), GRPC_SERVER).expect("writable");
    let path = |name: &str| dir.join(name).display().to_string();
    let args = ["-u", &path("server.py"), &path("resting"), &path("good.key"), &path("good.pem")];
    let server = net.lan.spawn("d2", "grpc-server", Path::new("/usr/bin/python3"), &args).expect("starts");
    listen(&net, 7001, |s| answer(s, |s| drop(s.write_all(b"HTTP/1.0 200 OK\r\n\r\n"))));
    let listening = || net.lan.within("d2", || TcpStream::connect((Ipv4Addr::LOCALHOST, 50051)).ok());
    eventually("gRPC listens", SOON, || listening().ok().flatten());
    let checks = [
        (1, "GRPC_CHECK {\n retry 0\n connect_port 50051\n}"),
        (2, "GRPC_CHECK {\n retry 0\n connect_port 50051\n service unknown.Service\n}"),
        (3, "GRPC_CHECK {\n connect_port 50052\n service shop.Cart\n tls\n sni_name www.example.org\n}"),
        (4, "GRPC_CHECK {\n connect_port 50052\n tls\n sni_name other.example.org\n}"),
        (5, "GRPC_CHECK {\n connect_port 7001\n}"),
    ];
    let ssl = format!("SSL {{\n ca {}\n}}\n", path("ca.pem"));
    net.start("d1", &format!("{SMALL_TABLE}{ssl}{}", services(&checks)));
    passes(&net, 1);
    passes(&net, 3);
    fails(&net, 2, Phase::Expect, "gRPC status 5: no such service");
    fails(&net, 4, Phase::Tls, "not valid for name");
    fails(&net, 5, Phase::FirstByte, "");
    fs::write(dir.join("resting"), "").expect("writable");
    fails(&net, 1, Phase::Expect, "NOT_SERVING");
    fs::remove_file(dir.join("resting")).expect("there");
    passes(&net, 1);
    net.lan.signal(server, Signal::SIGSTOP).expect("running");
    fails(&net, 1, Phase::FirstByte, "no answer for 1 s");
}
