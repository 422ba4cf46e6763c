//! Notifications beside keepalived's: the same instances and events give the same FIFO lines and the same script
//! arguments.

use std::fs;
use std::path::Path;

use evenkeel_testkit::demo_network::VIP;
use evenkeel_testkit::lan::{Pid, eventually};
use evenkeel_tests::{Net, TEST_TIMEOUT, vrrp_instance};
use nix::sys::signal::Signal;

use crate::start_keepalived;

/// Writes a script that records its arguments, one line for each run. Returns its path, and the directory of the
/// records.
fn write_script(net: &Net, name: &str) -> (String, std::path::PathBuf) {
    let dir = net.lan.dir.join(name);
    fs::create_dir_all(&dir).expect("writable");
    let path = dir.join("n.sh");
    let text = format!(
        "#!/bin/sh\nfor a in \"$@\"; do printf '%s|' \"$a\"; done >>{0}/$$.part\nprintf '\\n' >>{0}/$$.part\ncat {0}/$$.part >>{0}/runs\nrm {0}/$$.part\n",
        dir.display()
    );
    fs::write(&path, text).expect("writable");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&path, mode).expect("writable");
    (path.display().to_string(), dir)
}

/// Starts a process that copies a FIFO to the file `lines` beside it.
fn read_fifo(net: &Net, host: &str, dir: &Path) -> Pid {
    let fifo = dir.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("made");
    let command = format!("exec cat {0}/fifo >{0}/lines", dir.display());
    net.lan.spawn(host, &format!("{host}-fifo"), Path::new("/bin/sh"), &["-c", &command]).expect("starts")
}

fn read_lines(dir: &Path, file: &str) -> Vec<String> {
    let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
    text.lines().map(|l| l.trim_matches('\0').to_owned()).collect()
}

fn notify_config(script: &str, dir: &Path) -> String {
    let notify = format!(
        "version 3\nadvert_int 0.2\nnotify \"{script} any\"\nnotify_master \"{script} m 'a b'\"\nnotify_backup \"{script} b\"\n\
         notify_fault \"{script} f\"\nnotify_stop \"{script} s\"\n"
    );
    format!(
        "global_defs {{\n script_user root\n vrrp_notify_fifo {}/fifo\n}}\n{}",
        dir.display(),
        vrrp_instance(150, &notify)
    )
}

/// Start, MASTER, link down and up, stop. Returns the lines of the FIFO, and the runs of scripts, sorted, because
/// keepalived starts several at once.
fn run_life_cycle(net: &Net, name: &str, start: impl Fn(&str) -> Option<Pid>) -> Option<(Vec<String>, Vec<String>)> {
    let (script, dir) = write_script(net, name);
    let reader = read_fifo(net, "d1", &dir);
    let pid = start(&notify_config(&script, &dir))?;
    let wait_for_lines = |n: usize| {
        eventually(&format!("{name}: {n} lines"), TEST_TIMEOUT, || (read_lines(&dir, "lines").len() >= n).then_some(()))
    };
    eventually("master", TEST_TIMEOUT, || net.has_address("d1", VIP).then_some(()));
    wait_for_lines(2);
    net.lan.ip("d1", "link set eth0 down").expect("down");
    wait_for_lines(3);
    net.lan.ip("d1", "link set eth0 up").expect("up");
    eventually("master again", TEST_TIMEOUT, || net.has_address("d1", VIP).then_some(()));
    wait_for_lines(5);
    net.lan.signal(pid, Signal::SIGTERM).expect("stops");
    wait_for_lines(6);
    eventually(&format!("{name}: twelve runs"), TEST_TIMEOUT, || (read_lines(&dir, "runs").len() >= 12).then_some(()));
    let _ = net.lan.signal(reader, Signal::SIGTERM);
    let mut runs = read_lines(&dir, "runs");
    runs.sort();
    Some((read_lines(&dir, "lines"), runs))
}

#[test]
fn scripts_and_fifos_get_the_notifications_that_keepalived_sends() {
    let Some(net) = Net::directors("interop-notify") else { return };
    let Some(keepalived) = run_life_cycle(&net, "keepalived", |c| start_keepalived(&net, "d1", c)) else { return };
    let evenkeel = run_life_cycle(&net, "evenkeel", |c| Some(net.start_daemon("d1", c))).expect("it starts");
    assert_eq!(evenkeel, keepalived);
    let expected = ["BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER", "STOP"].map(|s| format!("INSTANCE \"V\" {s} 150"));
    assert_eq!(evenkeel.0, expected);
    assert!(
        evenkeel.1.contains(&"m|a b|".to_owned()) && evenkeel.1.contains(&"any|INSTANCE|V|MASTER|150|".to_owned()),
        "{evenkeel:?}"
    );
}

#[test]
fn a_removed_instance_is_notified_as_deleted_and_servers_as_up_and_down() {
    let Some(net) = Net::directors("notify-lvs") else { return };
    let (script, dir) = write_script(&net, "evenkeel");
    let reader = read_fifo(&net, "d1", &dir);
    let text = |instance: &str| {
        format!(
            "global_defs {{\n script_user root\n connection_table_size 16384\n notify_fifo {}/fifo\n}}\n\
             {instance}virtual_server 192.168.1.100 80 {{\n delay_loop 0.3\n delay_before_retry 0.1\n retry 1\n warmup 0\n connect_timeout 1\n \
             lvs_sched rr\n lvs_method DR\n protocol TCP\n real_server 192.168.1.11 80 {{\n  notify_up \"{script} up\"\n  notify_down \"{script} down\"\n  \
             TCP_CHECK {{\n   connect_port 81\n  }}\n }}\n}}\n",
            dir.display()
        )
    };
    let instance = vrrp_instance(150, "version 3\nadvert_int 0.1\nnotify_deleted\n");
    net.start_daemon("d1", &text(&instance));
    let has = |line: &str| {
        eventually(line, TEST_TIMEOUT, || read_lines(&dir, "lines").contains(&line.to_owned()).then_some(()))
    };
    has("INSTANCE \"V\" MASTER 150");
    // No process listens on port 81.
    has("RS [192.168.1.11]:tcp:80 [192.168.1.100]:tcp:80 DOWN");
    eventually("the script", TEST_TIMEOUT, || read_lines(&dir, "runs").contains(&"down|".to_owned()).then_some(()));
    net.write_config("d1", &text(""));
    net.reload("d1");
    has("INSTANCE \"V\" DELETED 150");
    let _ = net.lan.signal(reader, Signal::SIGTERM);
}

/// Two instances on two links, in a sync group.
fn sync_group_config(script: &str, dir: &Path) -> String {
    let times = "version 3\nadvert_int 0.2\n";
    format!(
        "global_defs {{\n script_user root\n vrrp_notify_fifo {}/fifo\n}}\n\
         vrrp_sync_group G {{\n group {{\n  V\n  W\n }}\n notify \"{script} any\"\n notify_master \"{script} m\"\n \
         notify_fault \"{script} f\"\n}}\n{}\
         vrrp_instance W {{\n interface w0\n virtual_router_id 52\n priority 120\n {times} virtual_ipaddress {{\n  10.9.0.100/24\n }}\n}}\n",
        dir.display(),
        vrrp_instance(150, times)
    )
}

/// Start, steps, stop. A step is a command of `ip`, or `write FILE TEXT`, with the number of FIFO lines that it causes.
/// Returns the lines of each stage, sorted, because members of a group are notified in the order of their timers; and
/// the runs of scripts.
fn run_stages(
    net: &Net,
    name: &str,
    text: impl Fn(&str, &Path) -> String,
    (first, steps, last, runs): (usize, &[(&str, usize)], usize, usize),
    start: impl Fn(&str) -> Option<Pid>,
) -> Option<(Vec<Vec<String>>, Vec<String>)> {
    let (script, dir) = write_script(net, name);
    let reader = read_fifo(net, "d1", &dir);
    let pid = start(&text(&script, &dir))?;
    let mut seen = 0;
    let mut out = Vec::new();
    let mut stage = |n: usize| {
        let all = eventually(&format!("{name}: {n} more lines after {out:?}"), TEST_TIMEOUT, || {
            Some(read_lines(&dir, "lines")).filter(|l| l.len() >= seen + n)
        });
        let mut new = all.get(seen..).unwrap_or_default().to_vec();
        seen = all.len();
        new.sort();
        out.push(new);
    };
    eventually("master", TEST_TIMEOUT, || net.has_address("d1", VIP).then_some(()));
    stage(first);
    for (command, n) in steps {
        match command.strip_prefix("write ").and_then(|c| c.split_once(' ')) {
            Some((file, text)) => fs::write(dir.join(file), text).expect("writable"),
            None => drop(net.lan.ip("d1", command).expect("done")),
        }
        stage(*n);
    }
    net.lan.signal(pid, Signal::SIGTERM).expect("stops");
    stage(last);
    eventually(&format!("{name}: {runs} runs"), TEST_TIMEOUT, || {
        (read_lines(&dir, "runs").len() >= runs).then_some(())
    });
    let _ = net.lan.signal(reader, Signal::SIGTERM);
    let mut runs = read_lines(&dir, "runs");
    runs.sort();
    Some((out, runs))
}

/// Adds links to d1: `w0` with its peer `w1`, and so on.
fn add_links(net: &Net, names: &[char]) {
    for n in names {
        for command in [
            format!("link add {n}0 type veth peer name {n}1"),
            format!("link set {n}0 up"),
            format!("link set {n}1 up"),
        ] {
            net.lan.ip("d1", &command).expect("set up");
        }
    }
}

#[test]
fn a_sync_group_changes_as_keepalived_has_it() {
    let Some(net) = Net::directors("interop-sync-group") else { return };
    add_links(&net, &['w']);
    net.lan.ip("d1", "addr add 10.9.0.1/24 dev w0").expect("set up");
    let steps = (6, &[("link set w1 down", 3), ("link set w1 up", 6)][..], 3, 9);
    let Some(keepalived) =
        run_stages(&net, "keepalived", sync_group_config, steps, |c| start_keepalived(&net, "d1", c))
    else {
        return;
    };
    let evenkeel =
        run_stages(&net, "evenkeel", sync_group_config, steps, |c| Some(net.start_daemon("d1", c))).expect("it starts");
    assert_eq!(evenkeel, keepalived);
}

/// An instance that tracks one link without a weight, and others that raise or lower its priority.
fn track_interface_config(_: &str, dir: &Path) -> String {
    format!(
        "global_defs {{\n vrrp_notify_fifo {}/fifo\n vrrp_notify_priority_changes\n}}\n{}",
        dir.display(),
        vrrp_instance(
            150,
            "version 3\nadvert_int 0.2\ntrack_interface {\n t0\n u0 weight 10\n v0 weight -20\n w0 weight 40 reverse\n \
             x0 weight -60 reverse\n}"
        )
    )
}

#[test]
fn tracked_interfaces_do_what_they_do_in_keepalived() {
    let Some(net) = Net::directors("interop-track") else { return };
    add_links(&net, &['t', 'u', 'v', 'w', 'x']);
    let steps = [
        ("link set u1 down", 1),
        ("link set u1 up", 1),
        ("link set v1 down", 1),
        ("link set v1 up", 1),
        ("link set w1 down", 1),
        ("link set w1 up", 1),
        ("link set x0 down", 1),
        ("link set x0 up", 1),
        ("link set t1 down", 1),
        ("link set t1 up", 2),
        ("link del u0", 1),
    ];
    let steps = (3, &steps[..], 1, 0);
    let Some(keepalived) =
        run_stages(&net, "keepalived", track_interface_config, steps, |c| start_keepalived(&net, "d1", c))
    else {
        return;
    };
    add_links(&net, &['u']);
    let evenkeel = run_stages(&net, "evenkeel", track_interface_config, steps, |c| Some(net.start_daemon("d1", c)))
        .expect("it starts");
    assert_eq!(evenkeel, keepalived);
}

/// An instance that tracks two files with weights, and a third without.
fn track_file_config(_: &str, dir: &Path) -> String {
    let at = dir.display();
    format!(
        "global_defs {{\n vrrp_notify_fifo {at}/fifo\n vrrp_notify_priority_changes\n}}\n\
         track_file a {{\n file {at}/a\n init_file 5\n}}\n\
         track_file b {{\n file {at}/b\n weight 2 reverse\n init_file 0 overwrite\n}}\n\
         track_file c {{\n file {at}/c\n weight 0\n init_file\n}}\n{}",
        vrrp_instance(100, "version 3\nadvert_int 0.2\ntrack_file {\n a\n b\n c\n}")
    )
}

#[test]
fn tracked_files_do_what_they_do_in_keepalived() {
    let Some(net) = Net::directors("interop-files") else { return };
    let steps = [
        ("write a 30", 1),
        ("write a -40\n", 1),
        ("write b 10", 1),
        ("write b -10", 1),
        ("write c 1", 1),
        ("write c 0", 2),
        ("write a -254", 1),
        ("write a 0", 2),
    ];
    let steps = (3, &steps[..], 1, 0);
    let Some(keepalived) =
        run_stages(&net, "keepalived", track_file_config, steps, |c| start_keepalived(&net, "d1", c))
    else {
        return;
    };
    let evenkeel =
        run_stages(&net, "evenkeel", track_file_config, steps, |c| Some(net.start_daemon("d1", c))).expect("it starts");
    assert_eq!(evenkeel, keepalived);
}
