//! HTTP_GET and SSL_GET of nginx: digests, expressions, TLS, HTTP/2, and a server that is stopped and killed.

use std::fs;
use std::path::Path;
use std::process::Command;

use evenkeel_core::health::Phase;
use evenkeel_tests::{Net, SMALL_TABLE};
use nix::sys::signal::Signal;

use super::super::fixture::{PEER, http_check, server_status, services_config, wait_until_failed, wait_until_up};
use super::{is_installed, make_certificate, run_openssl};

/// The port of each URL: 8080 plain, 8443 to 8447 with TLS, 8081 with HTTP/2.
fn write_nginx_files(dir: &Path) {
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
}

/// The checks, by the port of their virtual server.
fn director_config(dir: &Path) -> String {
    let d = dir.display();
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
    format!("{SMALL_TABLE}{ssl}{}", services_config(&checks))
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
    write_nginx_files(&dir);
    let start = || {
        let conf = dir.join("nginx.conf");
        let args = ["-c", conf.to_str().expect("UTF-8"), "-g", "master_process off;"];
        net.lan.spawn("d2", "nginx", Path::new("/usr/sbin/nginx"), &args).expect("starts")
    };
    let nginx = start();
    net.start_daemon("d1", &director_config(&dir));

    for good in [1, 4, 6, 9, 10, 11, 13, 14, 15] {
        wait_until_up(&net, good);
    }
    wait_until_failed(&net, 2, Phase::Expect, "digest is 6f5902ac237024bdd0c176cb93063dc4");
    wait_until_failed(&net, 3, Phase::Expect, "does not match");
    wait_until_failed(&net, 5, Phase::Body, "not received completely within 4 s");
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
