//! Interoperation with Debian's keepalived, BIRD and FRR.

mod bfd;
mod dumps;
mod matrix;
mod notify;
mod routes;
mod takeover;

use std::path::Path;

use evenkeel_testkit::lan::Pid;
use evenkeel_tests::Net;

/// Starts keepalived in the foreground on a host. `None` if it is not installed: the test is skipped.
pub fn start_keepalived(net: &Net, host: &str, config: &str) -> Option<Pid> {
    let program = Path::new("/usr/sbin/keepalived");
    if !program.exists() {
        eprintln!("skipped: this test needs Debian's keepalived (make test-deps)");
        return None;
    }
    let file = net.write_config(host, &format!("global_defs {{\n script_user root\n}}\n{config}"));
    let dir = net.lan.dir.join(format!("{host}-keepalived"));
    std::fs::create_dir_all(&dir).expect("writable");
    let pid_file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (p, r, c, b) = (pid_file("p"), pid_file("r"), pid_file("c"), pid_file("b"));
    let config = file.to_string_lossy().into_owned();
    let args = ["-n", "-l", "-P", "-f", &config, "-p", &p, "-r", &r, "-c", &c, "-b", &b];
    Some(net.lan.spawn(host, &format!("{host}-keepalived"), program, &args).expect("starts"))
}
