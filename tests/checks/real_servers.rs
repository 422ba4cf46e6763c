//! Debian's servers as real servers: each fails in every way that can be arranged, and status shows in which phase.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use evenkeel_core::health::Phase;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT};
use nix::sys::signal::Signal;

use super::fixture::{
    PEER, http_check, listen, respond, server_status, services_config, wait_until_failed, wait_until_up,
};

fn is_installed(program: &str) -> bool {
    let found = Path::new(program).exists();
    if !found {
        eprintln!("skipped: it needs {program} (make test-deps)");
    }
    found
}

fn run_openssl(dir: &Path, args: &str) {
    let done = Command::new("openssl").current_dir(dir).args(args.split(' ')).output().expect("openssl runs");
    assert!(done.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Makes a certificate that the test's CA signs, valid for so many days.
fn make_certificate(dir: &Path, name: &str, host: &str, days: i32) {
    run_openssl(dir, &format!("req -newkey rsa:2048 -nodes -subj /CN={host} -keyout {name}.key -out {name}.csr"));
    fs::write(dir.join(format!("{name}.ext")), format!("subjectAltName=DNS:{host}\n")).expect("writable");
    run_openssl(
        dir,
        &format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile {name}.ext -out {name}.pem"
        ),
    );
}

#[test]
fn nginx_fails_in_every_way() {
    let _loud = crate::TIMING_LOCK.read();
    let Some(net) = Net::directors("nginx") else { return };
    if !is_installed("/usr/sbin/nginx") {
        return;
    }
    let dir = net.lan.dir.clone();
    run_openssl(&dir, "req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=Test -keyout ca.key -out ca.pem");
    make_certificate(&dir, "good", "www.example.org", 9);
    make_certificate(&dir, "old", "www.example.org", -1);
    make_certificate(&dir, "other", "other.example.org", 9);
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
    let plain = |path: &str, more: &str| http_check(path, &format!("connect_port 8080\n {more}"));
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
        (15, &http_check("/page\n digest 6f5902ac237024bdd0c176cb93063dc4", "connect_port 8081\n http_protocol h2")),
        (16, &http_check("/page", "connect_port 8080\n http_protocol h2")),
    ];
    let ssl = format!("SSL {{\n ca {d}/ca.pem\n certificate {d}/good.pem\n key {d}/good.key\n}}\n");
    let config = format!("{SMALL_TABLE}{ssl}{}", services_config(&checks));
    net.start_daemon("d1", &config);

    for good in [1, 4, 6, 9, 10, 11, 13, 14, 15] {
        wait_until_up(&net, good);
    }
    wait_until_failed(&net, 2, Phase::Expect, "digest is 6f5902ac237024bdd0c176cb93063dc4");
    wait_until_failed(&net, 3, Phase::Expect, "does not match");
    wait_until_failed(&net, 5, Phase::Body, "not answered whole within 4 s");
    wait_until_failed(&net, 7, Phase::Tls, "expired");
    wait_until_failed(&net, 8, Phase::Tls, "not valid for name");
    wait_until_failed(&net, 12, Phase::Tls, "");
    wait_until_failed(&net, 16, Phase::FirstByte, "");
    let phases: Vec<Phase> = server_status(&net, 6).expect("there").checks[0]
        .last_probe
        .clone()
        .expect("probed")
        .phases
        .iter()
        .map(|p| p.0)
        .collect();
    assert_eq!(phases, [Phase::Connect, Phase::Tls, Phase::FirstByte, Phase::Body]);

    fs::write(dir.join("broken"), "").expect("writable");
    wait_until_failed(&net, 4, Phase::Expect, "/fail answered 500");
    fs::remove_file(dir.join("broken")).expect("there");
    wait_until_up(&net, 4);

    // A stopped process: the kernel still accepts connections for it.
    net.lan.signal(nginx, Signal::SIGSTOP).expect("running");
    wait_until_failed(&net, 1, Phase::FirstByte, "no answer to /page for 1 s");
    wait_until_failed(&net, 6, Phase::Tls, "no answer for 1 s");
    net.lan.signal(nginx, Signal::SIGCONT).expect("stopped");
    wait_until_up(&net, 1);
    wait_until_up(&net, 6);
    net.lan.signal(nginx, Signal::SIGKILL).expect("running");
    wait_until_failed(&net, 1, Phase::Connect, "refused");
    start();
    let back = wait_until_up(&net, 1);
    let history: Vec<(bool, Option<Phase>)> = back.history.iter().map(|t| (t.up, t.phase)).collect();
    let (up, hung, gone) = ((true, None), (false, Some(Phase::FirstByte)), (false, Some(Phase::Connect)));
    assert_eq!(history[..4], [up, gone, up, hung], "the latest first");

    let out = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", net.lan.namespace("d1")))
        .arg(evenkeel_tests::program("evenkeel"))
        .args(["genhash", "-s", PEER, "-p", "8443", "-S", "-u", "/page"])
        .output()
        .expect("runs");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "MD5SUM = 6f5902ac237024bdd0c176cb93063dc4\n");
}

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

/// Debian's databases, each in the checked host's namespace, with its files in the test's directory.
#[test]
fn databases_that_accept_no_clients_fail() {
    let _loud = crate::TIMING_LOCK.read();
    let Some(net) = Net::directors("databases") else { return };
    let initdb = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().next();
    let Some(postgres) = initdb.map(|e| e.path().join("bin")).filter(|p| p.join("initdb").exists()) else {
        eprintln!("skipped: it needs Debian's postgresql (make test-deps)");
        return;
    };
    if !is_installed("/usr/bin/redis-server") {
        return;
    }
    // PostgreSQL does not run as root, and its user has no access to the test's directory.
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
    net.start_daemon("d1", &format!("{SMALL_TABLE}{}", services_config(&checks)));
    wait_until_up(&net, 1);
    assert!(wait_until_up(&net, 2).checks[0].last_probe.as_ref().is_some_and(|l| l.detail.contains("NOAUTH")));
    wait_until_failed(&net, 4, Phase::Expect, "not PostgreSQL's");
    wait_until_failed(&net, 5, Phase::Expect, "expected +PONG");
    wait_until_failed(&net, 6, Phase::Expect, "not MySQL's");
    // "Smart shutdown": it accepts no new clients, but existing ones continue.
    let server: u32 = fs::read_to_string(data.join("postmaster.pid"))
        .ok()
        .and_then(|t| t.lines().next()?.parse().ok())
        .expect("runs");
    let _client = net.lan.run_in("d2", || {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, 5432)).expect("connects");
        client.write_all(b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0").expect("sent");
        let _ = client.read(&mut [0; 1024]);
        client
    });
    evenkeel_sys::signals::send_signal(server, Signal::SIGTERM).expect("running");
    wait_until_failed(&net, 1, Phase::Expect, "shutting down (57P03)");
    net.lan.signal(redis, Signal::SIGSTOP).expect("running");
    wait_until_failed(&net, 2, Phase::FirstByte, "no answer for 1 s");
    net.lan.signal(redis, Signal::SIGCONT).expect("stopped");
    wait_until_up(&net, 2);
    evenkeel_sys::signals::send_signal(server, Signal::SIGQUIT).expect("running");
    eventually("PostgreSQL has ended", TEST_TIMEOUT, || net.lan.exit_status(pg));
    fs::remove_dir_all(&data).expect("ours");

    if !Path::new("/usr/sbin/mariadbd").exists() {
        eprintln!("skipped in part: MariaDB is not installed");
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
        eventually(&format!("{port} says {words}"), TEST_TIMEOUT, || {
            let last = wait_until_up(&net, port).checks[0].last_probe.clone()?;
            last.detail.ends_with(words).then_some(())
        });
    };
    // No user may connect from the director; then one may.
    let maria = start("SELECT 1;\n");
    says(3, "is not allowed to connect to this MariaDB server");
    net.lan.signal(maria, Signal::SIGKILL).expect("running");
    start("CREATE USER evenkeel@'%';\n");
    says(3, "takes clients");
    says(7, "takes clients, though not us");
    // More checks than max-connect-errors allows for broken handshakes.
    std::thread::sleep(Duration::from_secs(4));
    says(3, "takes clients");
}

/// A server with Debian's gRPC, which encodes the messages itself.
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
fn grpc_services_report_whether_they_serve() {
    let _loud = crate::TIMING_LOCK.read();
    let Some(net) = Net::directors("grpc") else { return };
    let there = Command::new("/usr/bin/python3").args(["-c", "import grpc"]).status();
    if !there.is_ok_and(|s| s.success()) {
        eprintln!("skipped: it needs Debian's python3-grpcio (make test-deps)");
        return;
    }
    let dir = net.lan.dir.clone();
    run_openssl(&dir, "req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=Test -keyout ca.key -out ca.pem");
    make_certificate(&dir, "good", "www.example.org", 9);
    fs::write(dir.join("server.py"), GRPC_SERVER).expect("writable");
    let path = |name: &str| dir.join(name).display().to_string();
    let args = ["-u", &path("server.py"), &path("resting"), &path("good.key"), &path("good.pem")];
    let server = net.lan.spawn("d2", "grpc-server", Path::new("/usr/bin/python3"), &args).expect("starts");
    listen(&net, 7001, |s| respond(s, |s| drop(s.write_all(b"HTTP/1.0 200 OK\r\n\r\n"))));
    let listening = || net.lan.run_in("d2", || TcpStream::connect((Ipv4Addr::LOCALHOST, 50051)).ok());
    eventually("gRPC listens", TEST_TIMEOUT, || listening().ok().flatten());
    let checks = [
        (1, "GRPC_CHECK {\n retry 0\n connect_port 50051\n}"),
        (2, "GRPC_CHECK {\n retry 0\n connect_port 50051\n service unknown.Service\n}"),
        (3, "GRPC_CHECK {\n connect_port 50052\n service shop.Cart\n tls\n sni_name www.example.org\n}"),
        (4, "GRPC_CHECK {\n connect_port 50052\n tls\n sni_name other.example.org\n}"),
        (5, "GRPC_CHECK {\n connect_port 7001\n}"),
    ];
    let ssl = format!("SSL {{\n ca {}\n}}\n", path("ca.pem"));
    net.start_daemon("d1", &format!("{SMALL_TABLE}{ssl}{}", services_config(&checks)));
    wait_until_up(&net, 1);
    wait_until_up(&net, 3);
    wait_until_failed(&net, 2, Phase::Expect, "gRPC status 5: no such service");
    wait_until_failed(&net, 4, Phase::Tls, "not valid for name");
    wait_until_failed(&net, 5, Phase::FirstByte, "");
    fs::write(dir.join("resting"), "").expect("writable");
    wait_until_failed(&net, 1, Phase::Expect, "NOT_SERVING");
    fs::remove_file(dir.join("resting")).expect("there");
    wait_until_up(&net, 1);
    net.lan.signal(server, Signal::SIGSTOP).expect("running");
    wait_until_failed(&net, 1, Phase::FirstByte, "no answer for 1 s");
}
