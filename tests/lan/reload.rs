//! Reloads apply the difference only, and a file with an error is rejected as a whole.

use evenkeel_core::ipc::Reply;
use evenkeel_core::vrrp::State;
use evenkeel_testkit::demo_network::VIP;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, SMALL_TABLE, TEST_TIMEOUT, virtual_server, vrrp_instance};
use nix::sys::signal::Signal;

fn director_config(priority: u8, weight: u32) -> String {
    // Without checks, so that only reloads change the service.
    let service = virtual_server("lb_algo wrr", &[("192.168.1.11", ""), ("192.168.1.12", &format!("weight {weight}"))]);
    SMALL_TABLE.to_owned()
        + &vrrp_instance(priority, "version 3\nadvert_int 0.1")
        + &service.replace("TCP_CHECK {\n  }", "")
}

fn reload_steps(reply: Reply) -> Vec<String> {
    match reply {
        Reply::Reloaded { steps } => steps,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reload_changes_only_what_differs() {
    let Some(net) = Net::new("reload") else { return };
    let pid = net.start_daemon("d1", &director_config(100, 2));
    let master = net.wait_state("d1", "V", State::Master);
    assert_eq!(reload_steps(net.reload("d1")), [] as [String; 0], "the same file");
    net.write_config("d1", &director_config(100, 5));
    let plan = net.plan_reload("d1");
    assert_eq!(plan, ["change 192.168.1.12:80 of TCP 192.168.1.100:80, weight 5"]);
    assert_eq!(reload_steps(net.reload("d1")), plan, "a reload does what the plan says");
    net.write_config("d1", &director_config(120, 5));
    net.lan.signal(pid, Signal::SIGHUP).expect("sent");
    let i = eventually("the new priority", TEST_TIMEOUT, || net.instance("d1", "V").filter(|i| i.priority == 120));
    assert_eq!((i.state, i.counters.became_master), (State::Master, master.counters.became_master), "it stayed master");
    // A service, an address and an instance are removed.
    net.write_config(
        "d1",
        &vrrp_instance(120, "version 3\nadvert_int 0.1")
            .replace("192.168.1.100/24 dev eth0 label eth0:0", "192.168.1.99/32"),
    );
    let plan = net.plan_reload("d1");
    assert_eq!(plan[0], "remove service TCP 192.168.1.100:80");
    assert!(plan[2].starts_with("change instance V: add address 192.168.1.99/32 dev eth0, remove address"), "{plan:?}");
    assert_eq!(reload_steps(net.reload("d1")), plan, "a reload does what the plan says");
    eventually("the other address", TEST_TIMEOUT, || {
        (net.has_address("d1", "192.168.1.99".parse().expect("an address")) && !net.has_address("d1", VIP))
            .then_some(())
    });
    net.write_config("d1", "global_defs {\n router_id alone\n}\n");
    net.reload("d1");
    eventually("no address", TEST_TIMEOUT, || {
        (!net.has_address("d1", "192.168.1.99".parse().expect("an address"))).then_some(())
    });
}

#[test]
fn a_file_with_an_error_is_rejected_and_the_old_configuration_stays() {
    let Some(net) = Net::new("bad-reload") else { return };
    let pid = net.start_daemon("d1", &director_config(100, 2));
    net.wait_state("d1", "V", State::Master);
    let before = net.status("d1").expect("answers");
    for (bad, needle) in [
        (director_config(100, 9).replace("priority", "prioritee"), "did you mean `priority`?"),
        (director_config(100, 9).replace("interface eth0", "interface eth7"), "there is no such device"),
        (director_config(100, 9) + "}", "an extra `}`"),
        (String::new(), "configures nothing"),
    ] {
        net.write_config("d1", &bad);
        let Reply::Rejected { error } = net.reload("d1") else { panic!("taken: {bad}") };
        assert!(error.contains(needle), "{error}");
        net.lan.signal(pid, Signal::SIGHUP).expect("sent");
    }
    let after = net.status("d1").expect("answers");
    assert!(after.config_error.is_some());
    let weights = |s: &evenkeel_core::ipc::Status| -> Vec<_> {
        s.services[0].servers.iter().map(|r| (r.addr, r.weight, r.effective_weight)).collect()
    };
    assert_eq!(weights(&after), weights(&before), "no weight of the rejected files is in force");
    assert_eq!(after.instances[0].state, State::Master);
    net.write_config("d1", &director_config(100, 2));
    net.reload("d1");
    assert_eq!(net.status("d1").expect("answers").config_error, None);
}

#[test]
fn a_start_skips_blocks_with_errors_as_keepalived_does_and_reports_it() {
    let Some(net) = Net::new("lenient-start") else { return };
    let wrong = director_config(100, 2) + "virtual_serwer 192.168.1.100 81 {\n protocol TCP\n}\n";
    net.start_daemon("d1", &wrong);
    net.wait_state("d1", "V", State::Master);
    let status = net.status("d1").expect("answers");
    assert_eq!(status.services.len(), 1, "the valid blocks are in force");
    assert!(status.skipped_at_start.is_some_and(|e| e.starts_with("1 error in the file")));
    assert_eq!(status.config_error, None, "no reload was rejected");
    let Reply::Rejected { error } = net.reload("d1") else { panic!("taken: {wrong}") };
    assert!(error.contains("did you mean `virtual_server`?"), "{error}");
    let status = net.status("d1").expect("answers");
    assert!(status.config_error.is_some() && status.skipped_at_start.is_some());
    net.write_config("d1", &director_config(100, 2));
    net.reload("d1");
    let status = net.status("d1").expect("answers");
    assert_eq!((status.config_error, status.skipped_at_start), (None, None));
}

#[test]
fn attachments_follow_the_configuration() {
    let Some(net) = Net::new("attachments") else { return };
    let with = |attachment: &str| {
        format!("global_defs {{\n connection_table_size 16384\n dataplane_interface eth0 {attachment}\n}}\n")
    };
    let rest = vrrp_instance(100, "version 3\nadvert_int 0.1") + &virtual_server("", &[]);
    let pid = net.start_daemon("d1", &(with("tc") + &rest));
    let attachments = || net.status("d1").expect("answers").dataplane.attachments;
    assert!(attachments()[0].mode.starts_with("tc ("), "{:?}", attachments());
    net.write_config("d1", &(with("generic") + &rest));
    net.reload("d1");
    assert_eq!(attachments()[0].mode, "generic XDP");
    assert_eq!(attachments().len(), 1);
    let link = net.lan.ip("d1", "link show eth0").expect("lists");
    assert!(link.contains("xdpgeneric"), "{link}");
    // The next daemon has no services: it removes the services and attachments that were left.
    net.lan.signal(pid, Signal::SIGKILL).expect("killed");
    net.start_daemon("d1", &vrrp_instance(100, "version 3\nadvert_int 0.1"));
    assert!(!net.lan.ip("d1", "link show eth0").expect("lists").contains("xdp"));
    let listed = net.evenkeel("d1", &["ipvsadm", "-Ln"]);
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("192.168.1.100"));
}

#[test]
fn a_reload_happens_at_the_time_in_reload_time_file() {
    let Some(net) = Net::new("reload-time") else { return };
    let (when, mark) = (net.lan.dir.join("when"), net.lan.dir.join("reading"));
    let planned = |priority| {
        let (when, mark) = (when.display(), mark.display());
        format!("global_defs {{\n reload_time_file {when}\n reload_file {mark}\n}}\n{}", director_config(priority, 2))
    };
    net.start_daemon("d1", &planned(100));
    net.wait_state("d1", "V", State::Master);
    net.write_config("d1", &planned(120));
    std::fs::write(&when, "no time").expect("written");
    eventually("a warning", TEST_TIMEOUT, || net.lan.log("d1").contains("`no time` is not a time").then_some(()));
    let soon =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs() % 86_400 + 3;
    let (h, m, s) = (soon / 3600 % 24, soon / 60 % 60, soon % 60);
    std::fs::write(&when, format!("{h:02}:{m:02}:{s:02}Z\n")).expect("written");
    assert_eq!(net.instance("d1", "V").expect("there").priority, 100, "not before its time");
    eventually("the new priority", TEST_TIMEOUT, || net.instance("d1", "V").filter(|i| i.priority == 120));
    eventually("the file is gone", TEST_TIMEOUT, || (!when.exists() && !mark.exists()).then_some(()));
}
