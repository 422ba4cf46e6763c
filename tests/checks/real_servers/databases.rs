//! REDIS_CHECK, PGSQL_CHECK and MYSQL_CHECK of Debian's databases.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use evenkeel_core::health::Phase;
use evenkeel_testkit::lan::{Pid, eventually};
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT};
use nix::sys::signal::Signal;

use super::super::fixture::{listen, services_config, wait_until_failed, wait_until_up};
use super::is_installed;

/// Starts PostgreSQL, whose programs are in `bin`. Returns its data directory and its process.
fn start_postgres(net: &Net, bin: &Path) -> (PathBuf, Pid) {
    // PostgreSQL does not run as root, and its user has no access to the test's directory.
    let data = std::env::temp_dir().join(format!("evenkeel-pg-{}", std::process::id()));
    fs::create_dir(&data).expect("new");
    let as_postgres = |program: &str, args: &[&str]| {
        let path = bin.join(program).display().to_string();
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
    let pid = net.lan.spawn("d2", "postgres", Path::new("/usr/sbin/runuser"), &serve).expect("starts");
    (data, pid)
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
    let (data, pg) = start_postgres(&net, &postgres);
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
    mariadb_rejects_and_accepts_clients(&net);
}

fn mariadb_rejects_and_accepts_clients(net: &Net) {
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
            let last = wait_until_up(net, port).checks[0].last_probe.clone()?;
            last.detail.ends_with(words).then_some(())
        });
    };
    // No user may connect from the director; then one may.
    let maria = start("SELECT 1;\n");
    says(3, "is not allowed to connect to this MariaDB server");
    net.lan.signal(maria, Signal::SIGKILL).expect("running");
    start("CREATE USER evenkeel@'%';\n");
    says(3, "accepts clients");
    says(7, "accepts clients, but not this user");
    // More checks than max-connect-errors allows for broken handshakes.
    std::thread::sleep(Duration::from_secs(4));
    says(3, "accepts clients");
}
