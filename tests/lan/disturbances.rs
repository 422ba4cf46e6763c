//! Disturbances of attachments and devices by others: afterwards packets flow again without a restart, or `status` names
//! what is in the way, and its exit status is not 0.

use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use evenkeel_core::vrrp::State;
use evenkeel_sys::paths::bpf_dir;
use evenkeel_testkit::demo_network::VIP;
use evenkeel_testkit::http::{self, Server};
use evenkeel_testkit::lan::{eventually, wait_for};
use evenkeel_tests::{Net, TEST_TIMEOUT, program, virtual_server, vrrp_instance};

/// Packets must flow again within this time. The daemon looks every two seconds; a loaded machine is slower.
const RECOVERY_LIMIT: Duration = Duration::from_secs(20);

/// What must be so after a disturbance.
enum After {
    /// Packets flow, and no finding is left.
    Flows,
    /// `status` has a finding with this text until the second script has been run; then packets flow.
    Named(&'static str, &'static str),
}

use After::{Flows, Named};

/// Scripts for the shell on the director: $PINS is the pin directory, $LINK the pin of eth0's link, $OTHER another
/// namespace, $OWN the director's, $DIR the directory of the test. MODE is one of tcx, clsact, generic.
type Disturbance = (&'static str, &'static str, After);

const OF_LINKS: &[Disturbance] = &[
    ("the link is detached", "bpftool link detach pinned $LINK", Flows),
    ("the link is detached twice", "bpftool link detach pinned $LINK; rm $LINK", Flows),
    ("the pin of the link is removed", "rm $LINK", Flows),
    ("the pin of the link is another object", "rm $LINK; bpftool map pin pinned $PINS/settings $LINK", Flows),
    ("the pin of the link is moved away", "mv $LINK $PINS/elsewhere; sleep 3; rm -f $PINS/elsewhere", Flows),
    ("the pin of a map is removed", "rm $PINS/conns", Flows),
    ("all pins of maps are removed", "rm $PINS/s* $PINS/d* $PINS/c*", Flows),
    ("the pin directory is removed", "rm -r $PINS", Flows),
    ("the pin directory is removed and the link detached", "bpftool link detach pinned $LINK; rm -r $PINS", Flows),
];

const OF_CLSACT: &[Disturbance] = &[
    ("the filter is deleted", "tc filter del dev eth0 ingress", Flows),
    ("the qdisc is deleted", "tc qdisc del dev eth0 clsact", Flows),
    (
        "the filter is replaced",
        "tc filter replace dev eth0 ingress prio 228 handle 1 bpf da obj $DIR/drop.o sec tc",
        Flows,
    ),
];

const OF_TC: &[Disturbance] = &[
    (
        "an XDP program takes all packets",
        "ip link set dev eth0 xdpgeneric obj $DIR/drop.o sec xdp",
        Named("gets the packets before the packet path", "ip link set dev eth0 xdpgeneric off"),
    ),
    (
        "a filter behind the packet path drops the replies to health checks",
        "tc qdisc replace dev eth0 clsact; tc filter add dev eth0 ingress prio 999 protocol ip bpf da obj $DIR/drop.o sec tc",
        Named("DOWN", "tc filter del dev eth0 ingress prio 999"),
    ),
];

const OF_DEVICES: &[Disturbance] = &[
    ("the MAC address changes", "ip link set eth0 address 02:11:22:33:44:55", Flows),
    (
        "the MAC address changes while it is down",
        "ip link set eth0 down; ip link set eth0 address 02:11:22:33:44:66; ip link set eth0 up; ip route add default via 192.168.1.1",
        Flows,
    ),
    ("the MTU changes", "ip link set eth0 mtu 1400; sleep 1; ip link set eth0 mtu 1500", Flows),
    (
        "it is down for a moment",
        "ip link set eth0 down; sleep 0.5; ip link set eth0 up; ip route add default via 192.168.1.1",
        Flows,
    ),
    ("it loses its carrier", "ip -n $SWITCH link set p-d1 down; sleep 1; ip -n $SWITCH link set p-d1 up", Flows),
    (
        "its addresses are flushed",
        "ip addr flush dev eth0; ip addr add 192.168.1.2/24 dev eth0; ip route add default via 192.168.1.1",
        Flows,
    ),
    ("its neighbours are flushed", "ip neigh flush dev eth0", Flows),
    (
        "the default route goes and comes",
        "ip route del default; sleep 0.5; ip route add default via 192.168.1.1",
        Flows,
    ),
    ("it is promiscuous", "ip link set eth0 promisc on; sleep 0.5; ip link set eth0 promisc off", Flows),
    (
        "its offloads change",
        "ethtool -K eth0 gro off tso off rx off; sleep 0.5; ethtool -K eth0 gro on tso on rx on",
        Flows,
    ),
    (
        "it is renamed",
        "ip link set eth0 down; ip link set eth0 name eth9; ip link set eth9 up",
        Named(
            "FAULT",
            "ip link set eth9 down; ip link set eth9 name eth0; ip link set eth0 up; ip route add default via 192.168.1.1",
        ),
    ),
    (
        "it moves to another namespace and back",
        "ip link set eth0 netns $OTHER; sleep 1; ip -n $OTHER link set eth0 netns $OWN; ip addr add 192.168.1.2/24 dev eth0; \
         ip link set eth0 up; ip route add default via 192.168.1.1",
        Flows,
    ),
    (
        "it is deleted and made again",
        "ip link del eth0; sleep 1; ip link add eth0 type veth peer name p-d1 netns $SWITCH; ip -n $SWITCH link set p-d1 master br0 up; \
         ip addr add 192.168.1.2/24 dev eth0; ip link set eth0 up; ip route add default via 192.168.1.1",
        Flows,
    ),
    (
        "it becomes the port of a bridge and comes back",
        "ip link add br9 type bridge; ip link set eth0 master br9; ip link set br9 up; sleep 1; ip link del br9",
        Flows,
    ),
    (
        "a macvlan is added to it and goes",
        "ip link add mv9 link eth0 type macvlan; ip link set mv9 up; sleep 0.5; ip link del mv9",
        Flows,
    ),
    (
        "twenty devices come and go",
        "for i in $(seq 20); do ip link add v$i type veth peer name w$i; done; for i in $(seq 20); do ip link del v$i; done",
        Flows,
    ),
];

fn shell(net: &Net, script: &str) {
    let index = net.lan.ip("d1", "-o link show").unwrap_or_default();
    let index = index.lines().find(|l| l.contains(" eth0@") || l.contains(" eth0:")).and_then(|l| l.split(':').next());
    let pins = bpf_dir(&net.lan.instance("d1"));
    let kind = if net.status("d1").is_some_and(|s| s.dataplane.attachments.iter().any(|a| a.mode.contains("XDP"))) {
        "generic"
    } else {
        "tc"
    };
    let mut command = net.lan.command("d1", Path::new("sh"));
    command.args(["-c", script]).env("PINS", &pins).env("DIR", &net.lan.dir);
    command.env("LINK", pins.join(format!("link-{kind}-{}", index.unwrap_or("0"))));
    command.env("OTHER", net.lan.namespace("sw")).env("OWN", net.lan.namespace("d1"));
    command.env("SWITCH", net.lan.namespace("sw"));
    let out = command.output().expect("sh runs");
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
}

fn flows(net: &Net) -> Option<()> {
    let get = || http::get(SocketAddrV4::new(VIP, 80), Duration::from_secs(1)).ok();
    net.lan.run_in("client", move || (0..3).all(|_| get().is_some())).ok()?.then_some(())
}

fn is_well(net: &Net) -> Option<()> {
    let s = net.status("d1")?;
    (s.findings.is_empty() && s.dataplane.attachments.iter().all(|a| a.fault.is_none())).then_some(())
}

/// The exit status of `evenkeel status`, and its text.
fn status_command(net: &Net) -> (i32, String) {
    let out = Command::new(program("evenkeel")).args(["--instance", &net.lan.instance("d1"), "status"]).output();
    let out = out.expect("it runs");
    (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&out.stdout).into_owned())
}

fn start(name: &str, choice: &str) -> Option<(Net, Vec<Server>)> {
    let net = Net::new(name)?;
    let servers = ["r1", "r2"].map(|r| Server::start(&net.lan, r, 80));
    let drop = "__attribute__((section(\"xdp\"))) int drop_xdp(void *c) { return 1; }\n\
        __attribute__((section(\"tc\"))) int drop_tc(void *c) { return 2; }\n";
    let (source, object) = (net.lan.dir.join("drop.c"), net.lan.dir.join("drop.o"));
    std::fs::write(&source, drop).expect("writable");
    let built = Command::new("clang-19")
        .args(["-target", "bpf", "-O2", "-g", "-c"])
        .arg(&source)
        .arg("-o")
        .arg(object)
        .status();
    assert!(built.is_ok_and(|s| s.success()), "clang builds the program that drops");
    let config = format!("global_defs {{\n connection_table_size 16384\n dataplane_interface eth0 {choice}\n}}\n")
        + &vrrp_instance(150, "version 3\nadvert_int 0.1")
        + &virtual_server("lb_algo rr", &[("192.168.1.11", "weight 1"), ("192.168.1.12", "weight 1")]);
    net.start_daemon("d1", &config);
    net.wait_state("d1", "V", State::Master);
    eventually("packets flow", TEST_TIMEOUT, || flows(&net));
    Some((net, servers.into()))
}

/// Disturbs the director in each way, one after another.
fn disturb(net: &Net, all: &[&[Disturbance]]) {
    let pid = net.status("d1").expect("answers").pid;
    let mut failed = Vec::new();
    for (name, script, after) in all.iter().copied().flatten() {
        eventually("all is well before", TEST_TIMEOUT, || flows(net).and_then(|()| is_well(net)));
        let start = Instant::now();
        shell(net, script);
        if let Named(text, undo) = after {
            let named = wait_for(RECOVERY_LIMIT, || {
                Some(status_command(net)).filter(|(code, t)| *code != 0 && t.contains(text))
            });
            if named.is_none() {
                failed.push(format!("{name}: status does not say \"{text}\":\n{}", status_command(net).1));
            }
            shell(net, undo);
        }
        match wait_for(RECOVERY_LIMIT, || flows(net).and_then(|()| is_well(net))) {
            Some(()) => println!("{name}: {} ms", start.elapsed().as_millis()),
            None => failed.push(format!("{name}: packets do not flow:\n{}", status_command(net).1)),
        }
    }
    assert_eq!(net.status("d1").expect("answers").pid, pid, "the daemon was not restarted");
    assert!(failed.is_empty(), "{}\n{}", failed.join("\n"), net.lan.log("d1"));
}

#[test]
fn disturbances_of_tc_are_repaired_or_named() {
    let Some((net, _servers)) = start("disturbed-tc", "tc") else { return };
    let mode = net.status("d1").expect("answers").dataplane.attachments[0].mode.clone();
    let of_mode = if mode.contains("tcx") { OF_LINKS } else { OF_CLSACT };
    disturb(&net, &[of_mode, OF_TC, OF_DEVICES]);
}

#[test]
fn disturbances_of_xdp_are_repaired_or_named() {
    let Some((net, _servers)) = start("disturbed-xdp", "generic") else { return };
    disturb(&net, &[OF_LINKS, OF_DEVICES]);
}
