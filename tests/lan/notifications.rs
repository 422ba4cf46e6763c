//! Mail, notify scripts that run in order (`notify_ordered`), and programs that read a FIFO.

use std::fs;
use std::path::Path;

use evenkeel_core::vrrp::State;
use evenkeel_testkit::lan::{Pid, eventually};
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT, virtual_server, vrrp_instance};
use nix::sys::signal::Signal;

/// Starts an SMTP server on a host, Debian's aiosmtpd, which prints the mails that it receives.
fn start_smtp_sink(net: &Net, host: &str, more: &[&str]) -> Option<Pid> {
    let python = Path::new("/usr/bin/python3");
    let there = std::process::Command::new(python).args(["-c", "import aiosmtpd"]).status();
    if !there.is_ok_and(|s| s.success()) {
        eprintln!("skipped: this test needs Debian's python3-aiosmtpd (make test-deps)");
        return None;
    }
    let mut args = vec!["-u", "-m", "aiosmtpd", "-n", "-l", "127.0.0.1:2525"];
    args.extend(more);
    Some(net.lan.spawn(host, &format!("{host}-mail"), python, &args).expect("starts"))
}

/// The received mails, with unfolded headers (RFC 5322, 2.2.3).
fn read_mails(net: &Net, host: &str) -> Vec<String> {
    let text = fs::read_to_string(net.lan.dir.join(format!("{host}-mail.log"))).unwrap_or_default();
    let text = text.replace("\r\n", "\n").replace("\n ", " ");
    text.split("MESSAGE FOLLOWS").skip(1).map(str::to_owned).collect()
}

#[test]
fn mails_report_instances_and_real_servers() {
    let Some(net) = Net::new("mail") else { return };
    if start_smtp_sink(&net, "d1", &[]).is_none() {
        return;
    }
    let global = "connection_table_size 16384\nrouter_id harbour\nsmtp_server 127.0.0.1 2525\n\
        notification_email {\nops@example.org\nnight@example.org\n}\nnotification_email_from director@example.org\n";
    let global = SMALL_TABLE.replace(" connection_table_size 16384\n", global);
    let servers = virtual_server("", &[("192.168.1.11", "")]);
    net.start_daemon("d1", &format!("{global}{}{servers}", vrrp_instance(200, "smtp_alert\n")));
    let with = |subject: &str| {
        let subject = format!("Subject: [harbour] {subject}\n");
        eventually(&subject, TEST_TIMEOUT, || read_mails(&net, "d1").into_iter().find(|l| l.contains(&subject)))
    };
    with("VRRP Instance V - Entering BACKUP state");
    let master = with("VRRP Instance V - Entering MASTER state");
    for line in
        ["From: director@example.org\n", "To: ops@example.org, night@example.org\n", "BACKUP -> MASTER: no advert"]
    {
        assert!(master.contains(line), "{line}\n{master}");
    }
    // No process listens there: the check fails.
    let down = with("Realserver [192.168.1.11]:tcp:80 of virtual server [192.168.1.100]:tcp:80 - DOWN");
    assert!(down.contains("Connection refused"), "{down}");
}

#[test]
fn a_relay_that_cannot_be_trusted_gets_no_mail() {
    let Some(net) = Net::directors("mail-tls") else { return };
    let (key, cert) = (net.lan.dir.join("key.pem"), net.lan.dir.join("cert.pem"));
    let subject = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost", "-keyout"];
    let made = std::process::Command::new("openssl").args(subject).arg(&key).arg("-out").arg(&cert).output();
    if !made.is_ok_and(|m| m.status.success()) {
        eprintln!("skipped: this test needs openssl");
        return;
    }
    let paths = [&key, &cert].map(|p| p.to_str().expect("UTF-8").to_owned());
    if start_smtp_sink(&net, "d1", &["--tlscert", &paths[1], "--tlskey", &paths[0]]).is_none() {
        return;
    }
    let global =
        "global_defs {\nsmtp_server localhost 2525\nsmtp_tls starttls\nnotification_email {\nops@example.org\n}\n}\n";
    net.start_daemon("d1", &format!("{global}{}", vrrp_instance(200, "smtp_alert\n")));
    eventually("the log has the reason", TEST_TIMEOUT, || {
        net.lan.log("d1").to_lowercase().contains("certificate").then_some(())
    });
    assert!(read_mails(&net, "d1").is_empty());
}

#[test]
fn ordered_programs_run_one_after_another_and_end_with_the_last_state() {
    let Some(net) = Net::directors("ordered") else { return };
    let log = net.lan.dir.join("runs");
    let notify_script =
        net.write_script("notify.sh", &format!("echo begin $3 >>{0}; sleep 1; echo end $3 >>{0}", log.display()));
    let hangs = net.write_script("hangs.sh", "sleep 1000");
    let notify = format!("version 3\nadvert_int 0.1\nnotify {notify_script}\nnotify_fault {hangs}\n");
    net.start_daemon(
        "d1",
        &format!("global_defs {{\nnotify_ordered 2\nscript_user root\n}}\n{}", vrrp_instance(200, &notify)),
    );
    net.wait_state("d1", "V", State::Master);
    // Many changes while a program sleeps.
    for _ in 0..6 {
        net.lan.ip("sw", "link set p-d1 down").expect("cut");
        net.wait_state("d1", "V", State::Fault);
        net.lan.ip("sw", "link set p-d1 up").expect("restored");
        net.wait_state("d1", "V", State::Master);
    }
    let lines = || fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    let last = || lines().last().is_some_and(|l| l == "end MASTER").then_some(());
    eventually("the last state is notified", TEST_TIMEOUT, || {
        last()?;
        std::thread::sleep(std::time::Duration::from_secs(4)); // and no further script runs
        last()
    });
    let lines = lines();
    for pair in lines.chunks(2) {
        assert_eq!(pair[0].replace("begin", "end"), pair[1], "they overlap: {lines:?}");
    }
    assert!(lines.len() < 2 * 13, "states that had passed are skipped: {lines:?}");
    let notified = net.status("d1").expect("answers").notifications;
    if let Some(n) = notified.iter().find(|n| n.program == hangs) {
        assert_eq!((n.ok, n.result.as_str()), (false, "still running after 2 s"));
    }
    let n = notified.iter().find(|n| n.program == notify_script).expect("it was run");
    assert_eq!((n.ok, n.state.as_str(), n.object.as_str()), (true, "MASTER", "INSTANCE V"));
}

#[test]
fn a_reader_of_a_fifo_is_started_kept_and_ended() {
    let Some(net) = Net::directors("reader") else { return };
    let (fifo, pid, lines) = (net.lan.dir.join("fifo"), net.lan.dir.join("pid"), net.lan.dir.join("lines"));
    let reader =
        net.write_script("reader.sh", &format!("echo $$ >{}; exec cat \"$2\" >>{}", pid.display(), lines.display()));
    let global = format!(
        "global_defs {{\nscript_user root\nnotify_fifo {}\nnotify_fifo_script \"{reader} word\"\n}}\n",
        fifo.display()
    );
    let d1 = net.start_daemon("d1", &format!("{global}{}", vrrp_instance(200, "")));
    net.wait_state("d1", "V", State::Master);
    let has = |line: &str| fs::read_to_string(&lines).unwrap_or_default().contains(line).then_some(());
    eventually("the reader gets it", TEST_TIMEOUT, || has("INSTANCE \"V\" MASTER 200"));
    let running = || fs::read_to_string(&pid).ok()?.trim().parse::<u32>().ok();
    let first = running().expect("it runs");
    net.lan.signal(Pid(first), Signal::SIGKILL).expect("dies");
    let second = eventually("it is started again", TEST_TIMEOUT, || running().filter(|p| *p != first));
    net.lan.signal(d1, Signal::SIGTERM).expect("stops");
    eventually("it ends with the daemon", TEST_TIMEOUT, || {
        (!Path::new(&format!("/proc/{second}")).exists()).then_some(())
    });
}
