//! Tests of the extensions of evenkeel's `ipvsadm`, on evenkeel's packet path in a namespace of its own.

use std::io::Write;
use std::net::SocketAddrV4;
use std::process::{Output, Stdio};
use std::time::Duration;

use evenkeel_testkit::demo_network::{SERVERS, VIP};
use evenkeel_testkit::http;
use evenkeel_testkit::lan::eventually;
use evenkeel_tests::{Net, TEST_TIMEOUT, program, virtual_server};
use nix::sys::signal::Signal;

struct Ipvsadm {
    net: Net,
}

impl Ipvsadm {
    fn new(name: &str) -> Option<Ipvsadm> {
        Some(Ipvsadm { net: Net::directors(name)? })
    }

    /// Runs `ipvsadm ARGS` on a director with this standard input. Returns exit status, standard output and error.
    fn run(&self, host: &str, args: &str, input: &str) -> (i32, String, String) {
        let mut command = self.net.lan.command(host, &program("evenkeel"));
        command.args(["--instance", &self.net.lan.instance(host), "ipvsadm", "--dataplane", "xdp"]);
        let mut child = command
            .args(args.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("runs");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
        let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
        let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
        (status.code().unwrap_or(-1), text(stdout), text(stderr))
    }

    fn run_ok(&self, host: &str, args: &str) -> String {
        let (code, out, err) = self.run(host, args, "");
        assert_eq!((code, err.as_str()), (0, ""), "{args}");
        out
    }
}

const TABLE: &str = "\
-A -t 10.0.0.100:80 -s wlc -p 360 -M 255.255.255.0
-a -t 10.0.0.100:80 -r 10.0.0.9:8080 -m -w 5 -x 100 -y 50
-a -t 10.0.0.100:80 -r 192.168.0.2:80 -i -w 0 --tun-type ipip
-A -u [fd00::100]:53 -s sh -o -b sh-port
";

#[test]
fn a_complete_save_is_restored_whole_and_a_bad_one_changes_nothing() {
    let Some(ipvsadm) = Ipvsadm::new("ext-save") else { return };
    let (code, out, err) = ipvsadm.run("d1", "-R", &format!("{TABLE}--set 1000 50 70\n"));
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    let saved = ipvsadm.run_ok("d1", "-S -n --complete");
    assert!(saved.contains("-r 10.0.0.9:8080 -m -w 5 -x 100 -y 50\n"), "{saved}");
    assert!(saved.ends_with("--set 1000 50 70\n"), "{saved}");
    assert!(!ipvsadm.run_ok("d1", "-S -n").contains("-x 100"), "ipvsadm's own -S has no thresholds");

    assert_eq!(ipvsadm.run("d2", "-R --atomic", &saved).0, 0);
    assert_eq!(ipvsadm.run_ok("d2", "-S -n --complete"), saved);

    // One wrong line, in syntax or in meaning: nothing is changed.
    for bad in ["-A -t 10.0.0.200:80 -s rr\n-A -t 10.0.0.201:80 -w 3\n", "-C\n-a -t 10.0.0.202:80 -r 10.0.0.1 -m\n"] {
        let (code, _, err) = ipvsadm.run("d2", "-R --atomic", bad);
        assert!(
            code != 0 && err.contains("nothing was changed, because of `-a") | err.contains("`-A -t 10.0.0.201"),
            "{err}"
        );
        assert_eq!(ipvsadm.run_ok("d2", "-S -n --complete"), saved);
    }
    // The same table with another weight, after a flush: only one server is changed, and no service is removed in between.
    let other = saved.replace("-w 5", "-w 7");
    assert_eq!(ipvsadm.run("d2", "-R --atomic", &format!("# a comment\n-C\n{other}")).0, 0);
    assert_eq!(ipvsadm.run_ok("d2", "-S -n --complete"), other);
}

#[test]
fn listings_are_for_programs_and_in_order() {
    let Some(ipvsadm) = Ipvsadm::new("ext-list") else { return };
    ipvsadm.run("d1", "-R", TABLE);
    let json: serde_json::Value = serde_json::from_str(&ipvsadm.run_ok("d1", "-L --json")).expect("JSON");
    let web = json.as_array().expect("a list").iter().find(|s| s["id"]["address"]["port"] == 80).expect("the service");
    assert_eq!((&web["scheduler"], &web["timeout_s"]), (&"wlc".into(), &360.into()));
    let servers = web["servers"].as_array().expect("a list");
    assert_eq!(servers.len(), 2);
    let nat = servers.iter().find(|s| s["addr"] == "10.0.0.9").expect("the server");
    assert_eq!((&nat["weight"], &nat["method"], &nat["u_threshold"]), (&5.into(), &"masq".into(), &100.into()));
    let timeouts: serde_json::Value = serde_json::from_str(&ipvsadm.run_ok("d1", "-L --timeout --json")).expect("JSON");
    assert_eq!(timeouts["tcp_s"], 900);
    assert_eq!(ipvsadm.run_ok("d1", "-L -c --json"), "[]\n");

    let place = |text: &str, of: &str| text.find(of).unwrap_or_else(|| panic!("{of}: {text}"));
    let (usual, correct) = (ipvsadm.run_ok("d1", "-Ln"), ipvsadm.run_ok("d1", "-Ln --sort=correct"));
    assert!(place(&usual, "192.168.0.2") < place(&usual, "10.0.0.9"), "the order of ipvsadm");
    assert!(place(&correct, "192.168.0.2") > place(&correct, "10.0.0.9"), "the numerical order");
}

#[test]
fn our_options_are_rejected_where_they_make_no_sense() {
    let Some(ipvsadm) = Ipvsadm::new("ext-refused") else { return };
    for (args, text) in [
        ("-L --client 10.0.0.1", "they need -c"),
        ("-L -c --end", "--client or --state"),
        ("-S --atomic", "Illegal 'atomic' option with the 'save' command"),
        ("-A -t 10.0.0.1:80 --json", "Illegal 'json' option with the 'add-service' command"),
        ("-L -c --client here", "illegal client address `here' specified"),
        ("-L --sort=up", "invalid order `up' specified"),
        ("-L --dataplane other", "invalid data plane `other' specified"),
    ] {
        let (code, _, err) = ipvsadm.run("d1", args, "");
        assert!(code == 2 && err.contains(text), "{args}: {err}");
    }
}

#[test]
fn the_daemon_leaves_external_services_and_repairs_drift_in_its_own() {
    let Some(net) = Net::new("ext-hand") else { return };
    let _web = SERVERS.map(|(host, _)| http::Server::start(&net.lan, host, 80));
    let _more = SERVERS.map(|(host, _)| http::Server::start(&net.lan, host, 81));
    net.lan.ip("d1", &format!("addr add {VIP}/32 dev eth0")).expect("an address");
    // A permanent neighbour that an operator has added must stay.
    let mac = net.lan.ip("r3", "-br link show eth0").expect("a device");
    let mac = mac.split_whitespace().find(|w| w.matches(':').count() == 5).expect("an address").to_owned();
    net.lan.ip("d1", &format!("neigh replace 192.168.1.13 lladdr {mac} dev eth0 nud permanent")).expect("a neighbour");
    let ipvsadm = Ipvsadm { net };
    let config = |more: &str| {
        let servers = [("192.168.1.11", ""), ("192.168.1.12", "")];
        format!("global_defs {{\n connection_table_size 16384\n{more}\n}}\n{}", virtual_server("", &servers))
    };
    let pid = ipvsadm.net.start_daemon("d1", &config(""));
    let get = |port| {
        ipvsadm.net.lan.run_in("client", move || http::get(SocketAddrV4::new(VIP, port), Duration::from_secs(5)))
    };
    for command in ["-A -t 192.168.1.100:81 -s rr", "-a -t 192.168.1.100:81 -r 192.168.1.13:81 -g"] {
        assert_eq!(ipvsadm.run("d1", command, ""), (0, String::new(), String::new()), "{command}");
    }
    // The daemon resolves the next hop of the new server without being notified.
    eventually("the external service replies", TEST_TIMEOUT, || get(81).expect("the client").ok());
    let external =
        || ipvsadm.net.status("d1").map(|s| s.dataplane.external_services).filter(|f| *f == ["TCP 192.168.1.100:81"]);
    eventually("status shows it", TEST_TIMEOUT, external);

    // Drift is repaired.
    assert_eq!(ipvsadm.run("d1", "-e -t 192.168.1.100:80 -r 192.168.1.11:80 -g -w 9", "").0, 0);
    eventually("the weight is repaired", TEST_TIMEOUT, || (!ipvsadm.run_ok("d1", "-Ln").contains(" 9 ")).then_some(()));
    assert_eq!(ipvsadm.run("d1", "-D -t 192.168.1.100:80", "").0, 0);
    eventually("the service is repaired", TEST_TIMEOUT, || get(80).expect("the client").ok());

    // A reload, the next daemon and its stop leave the external service.
    ipvsadm.net.write_config("d1", &config(" hand_changes leave"));
    ipvsadm.net.reload("d1");
    ipvsadm.net.lan.signal(pid, Signal::SIGQUIT).expect("hands over");
    let pid = ipvsadm.net.start_daemon("d1", &config(""));
    get(81).expect("the client").expect("an answer");
    ipvsadm.net.lan.signal(pid, Signal::SIGTERM).expect("stops");
    let left = ipvsadm.run_ok("d1", "-S -n");
    assert_eq!(left, "-A -t 192.168.1.100:81 -s rr\n-a -t 192.168.1.100:81 -r 192.168.1.13:81 -g -w 1\n");
    get(81).expect("the client").expect("it goes on without any daemon");

    // Once the service is configured, it belongs to the daemon.
    let configured = config("").replace("192.168.1.100 80", "192.168.1.100 81").replace(" 80 {", " 81 {");
    let pid = ipvsadm.net.start_daemon("d1", &configured);
    eventually("it is the daemon's", TEST_TIMEOUT, || {
        ipvsadm.net.status("d1").filter(|s| s.dataplane.external_services.is_empty())
    });
    ipvsadm.net.lan.signal(pid, Signal::SIGTERM).expect("stops");
    let neighbour = ipvsadm.net.lan.ip("d1", "neigh show 192.168.1.13").expect("a neighbour");
    assert!(neighbour.contains("PERMANENT"), "{neighbour}");
    assert!(!evenkeel_sys::bpf::XdpBackend::is_loaded(&evenkeel_sys::paths::bpf_dir(&ipvsadm.net.lan.instance("d1"))));
}
