use std::time::Duration;

use super::*;
use crate::model::*;

const EXAMPLE: &str = include_str!("../../../../packaging/examples/keepalived.conf");

fn parse_ok(text: &str) -> Config {
    let parsed = parse_text("test.conf", text);
    match parsed.valid_config() {
        Some(c) => c.clone(),
        None => panic!("refused:\n{}", parsed.render(false)),
    }
}

fn first_error(text: &str) -> (Diagnostic, String, (usize, usize)) {
    let parsed = parse_text("test.conf", text);
    assert!(parsed.valid_config().is_none(), "accepted: {text}");
    let d = parsed.diagnostics.iter().find(|d| d.severity == Severity::Error).expect("an error").clone();
    let (_, line, column) = parsed.sources.position(d.span.start);
    let at = (line, column);
    (d, parsed.render(false), at)
}

/// An instance around the lines under test.
fn instance_text(lines: &str) -> String {
    format!(
        "vrrp_instance V {{\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress {{\n192.0.2.1/32\n}}\n{lines}\n}}\n"
    )
}

#[test]
fn the_example_runs_as_it_stands() {
    let parsed = parse_text("keepalived.conf", EXAMPLE);
    assert!(parsed.diagnostics.is_empty(), "{}", parsed.render(false));
    let c = parsed.config;
    let i = &c.instances[0];
    assert_eq!((i.name.as_str(), i.vrid.get(), i.priority), ("VI_1", 51, 100));
    assert_eq!(i.auth, crate::model::Auth::Pass(crate::model::AuthPass(*b"1111\0\0\0\0")));
    assert_eq!(i.vips[0].to_string(), "192.168.1.100/24 dev eth0 label eth0:0");
    assert_eq!(i.tracks, [Track { object: TrackedObject::Script("chk_haproxy".into()), weight: 2, reverse: false }]);
    assert_eq!(c.scripts[0].command.argv, ["/usr/bin/killall", "-0", "haproxy"]);
    let v = &c.virtual_servers[0];
    assert_eq!(v.scheduler, Scheduler::Wrr);
    assert_eq!(v.persistence.map(|p| p.timeout_s), Some(50));
    let tcp = &v.servers[0].checks[0];
    assert_eq!((tcp.timing.retry, tcp.timing.delay_before_retry), (3, Duration::from_secs(3)));
    assert_eq!((tcp.timing.connect_timeout, tcp.timing.delay_loop), (Duration::from_secs(3), Duration::from_secs(6)));
    let http = &v.servers[1].checks[0];
    assert_eq!((http.timing.retry, http.timing.delay_before_retry), (1, Duration::from_secs(3)));
    let CheckKind::Http { urls, .. } = &http.kind else { panic!("not HTTP") };
    assert!(urls[0].accepts_status(204) && !urls[0].accepts_status(304));
}

#[test]
fn an_unknown_keyword_is_pointed_at_with_the_nearest_one() {
    let (d, shown, at) = first_error(&instance_text("    prioritee 100"));
    assert_eq!((d.code, at), ("unknown-keyword", (7, 5)));
    assert_eq!(d.help.as_deref(), Some("did you mean `priority`?"));
    assert!(shown.contains("test.conf:7:5") && shown.contains("^^^^^^^^^"), "{shown}");
}

#[test]
fn every_error_of_a_file_is_reported_in_one_pass() {
    let text = instance_text("state MASTR\npriority 300\nadvert_int soon");
    let parsed = parse_text("test.conf", &text);
    let codes: Vec<_> = parsed.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["unknown-value", "out-of-range", "not-a-number"]);
    assert_eq!(parsed.diagnostics[0].help.as_deref(), Some("did you mean `MASTER`?"));
}

#[test]
fn keywords_of_keepalived_that_do_nothing_yet_are_reported_once() {
    let text = format!("SSL {{\npassword a\npassword b\n}}\n{}", instance_text(""));
    let parsed = parse_text("test.conf", &text);
    assert!(parsed.valid_config().is_some());
    let codes: Vec<_> = parsed.diagnostics.iter().map(|d| (d.severity, d.code)).collect();
    assert_eq!(codes, [(Severity::Warning, "not-in-force")]);
}

#[test]
fn comments_quotes_and_braces_as_keepalived_reads_them() {
    let c = parse_ok(
        "vrrp_instance V{ # glued\n! a comment\ninterface eth0#glued\nvirtual_router_id 1\n\
                virtual_ipaddress\n{\n192.0.2.1/24 }\nvirtual_ipaddress_excluded { 192.0.2.2 }\n}\r\n",
    );
    let i = &c.instances[0];
    assert_eq!(i.interface, "eth0");
    assert_eq!(i.vips[0].prefix, 24);
    assert_eq!(i.vips_excluded[0].prefix, 32);
}

#[test]
fn braces_that_do_not_match_are_pointed_at() {
    let (d, _, at) = first_error("vrrp_instance V {\ninterface eth0\nvirtual_router_id 1\n");
    assert_eq!((d.code, at), ("missing-brace", (1, 17)));
    let (d, _, at) = first_error(&(instance_text("") + "}\n"));
    assert_eq!((d.code, at.1), ("unexpected-brace", 1));
}

#[test]
fn two_addresses_on_a_line_are_refused_as_keepalived_does() {
    let (d, ..) = first_error(
        "vrrp_instance V {\ninterface e\nvirtual_router_id 1\nvirtual_ipaddress { 192.0.2.1 192.0.2.2 }\n}\n",
    );
    assert_eq!(d.code, "unknown-word");
    assert_eq!(d.help.as_deref(), Some("put each address on a line of its own"));
}

#[test]
fn a_vrid_used_twice_shows_both_places() {
    let two = "vrrp_instance A {\ninterface e\nvirtual_router_id 7\n}\nvrrp_instance B {\ninterface e\nvirtual_router_id 7\n}\n";
    let (d, shown, _) = first_error(two);
    assert_eq!(d.code, "duplicate-vrid");
    assert!(shown.contains("first used here"), "{shown}");
}

#[test]
fn times_are_checked_against_the_version() {
    let (d, ..) = first_error(&instance_text("advert_int 0.5"));
    assert_eq!(d.code, "advert-int");
    let c = parse_ok(&instance_text("version 3\nadvert_int 0.05"));
    assert_eq!(c.instances[0].advert_int, Duration::from_millis(50));
    let (d, ..) = first_error(&instance_text("version 3\nadvert_int 41"));
    assert_eq!(d.code, "advert-int");
}

#[test]
fn defaults_are_keepaliveds() {
    let c = parse_ok(&instance_text(""));
    let i = &c.instances[0];
    assert_eq!((i.priority, i.version, i.advert_int), (100, VrrpVersion::V2, Duration::from_secs(1)));
    assert_eq!((i.garp.master_repeat, i.garp.master_delay), (5, Duration::from_secs(5)));
    let c = parse_ok(&instance_text("state MASTER"));
    assert_eq!(c.instances[0].priority, 255, "state MASTER without a priority means the owner's");
}

#[test]
fn missing_keywords_and_unknown_schedulers_are_reported() {
    let server =
        |lines: &str| format!("virtual_server 192.0.2.1 80 {{\n{lines}\nreal_server 192.0.2.9 80 {{\n}}\n}}\n");
    for (lines, code) in [
        ("lb_kind DR", "missing-keyword"),
        ("protocol TCP", "missing-keyword"),
        ("lb_kind DR\nprotocol TCP\nlb_algo wrrr", "unknown-value"),
    ] {
        assert_eq!(first_error(&server(lines)).0.code, code, "{lines}");
    }
    let mark = "virtual_server fwmark 7 {\nlb_kind DR\nreal_server 192.0.2.9 80 {\n}\n}\n";
    assert!(parse_ok(mark).virtual_servers[0].key.fwmark == 7);
}

#[test]
fn a_mark_has_members_by_address_protocol_and_port() {
    let text = |plane: &str, lines: &str| {
        format!(
            "global_defs {{\ndataplane {plane}\n}}\nvirtual_server fwmark 7 {{\nlb_kind DR\nlb_algo rr\n{lines}\n\
             real_server 192.0.2.9 80 {{\n}}\n}}\n"
        )
    };
    let lines = "member 192.0.2.1-20 tcp 80-90\nmember 2001:db8::/64 UDP 53\nmember 192.0.2.7";
    let config = parse_ok(&text("xdp", lines));
    let seen = |m: &MarkRule| format!("{} {} {:?} {:?}", m.first, m.last, m.protocol, m.ports);
    assert_eq!(
        config.virtual_servers[0].mark_rules.iter().map(seen).collect::<Vec<_>>(),
        [
            "192.0.2.1 192.0.2.20 Some(Tcp) (80, 90)",
            "2001:db8:: 2001:db8::ffff:ffff:ffff:ffff Some(Udp) (53, 53)",
            "192.0.2.7 192.0.2.7 None (0, 65535)",
        ]
    );
    assert_eq!(config.ipvs_only_feature(), None, "our own packet path marks them");
    assert!(parse_ok(&text("auto", "")).ipvs_only_feature().is_some(), "marks of netfilter are IPVS's");
    for (lines, code) in [
        ("member 192.0.2.300", "not-an-address"),
        ("member 192.0.2.1 icmp", "unknown-value"),
        ("member 192.0.2.1 tcp 90-80", "not-a-number"),
    ] {
        assert_eq!(first_error(&text("xdp", lines)).0.code, code, "{lines}");
    }
    for (plane, lines, word) in [("ipvs", lines, "no effect with `dataplane ipvs`"), ("xdp", "", "only if tc")] {
        let shown = parse_text("test.conf", &text(plane, lines)).render(false);
        assert!(shown.contains(word), "{plane}: {shown}");
    }
}

#[test]
fn services_are_of_both_families_all_methods_and_every_scheduler() {
    let service = |at: &str, lines: &str, server: &str| {
        let text = format!("virtual_server {at} 80 {{\n{lines}\nprotocol TCP\nlb_algo rr\n{server}\n}}\n");
        parse_ok(&text).virtual_servers[0].clone()
    };
    let nat = service("192.0.2.1", "lb_kind NAT", "real_server 10.0.0.1 8080 {\n}\nreal_server 10.0.0.2 {\n}");
    let ports: Vec<_> = nat.servers.iter().map(|r| (r.method, r.key.port)).collect();
    assert_eq!(ports, [(ForwardingMethod::Nat, 8080), (ForwardingMethod::Nat, 80)]);
    let v6 = service(
        "2001:db8::1",
        "lb_kind DR\npersistence_timeout 9\npersistence_granularity 64",
        "real_server 2001:db8::9 80 {\n}",
    );
    assert_eq!(v6.persistence.map(|p| p.mask.to_string()).as_deref(), Some("ffff:ffff:ffff:ffff::"));
    assert_eq!(v6.servers[0].key.to_string(), "[2001:db8::9]:80");
    let mixed = service("192.0.2.1", "lb_kind TUN type gue port 6080 csum", "real_server 2001:db8::9 80 {\n}");
    let tunnel = Tunnel { kind: TunnelKind::Gue(6080), checksum: TunnelChecksum::Full };
    assert_eq!(mixed.servers[0].method, ForwardingMethod::Tun(tunnel));
    for s in Scheduler::ALL {
        let text = format!(
            "virtual_server 192.0.2.1 80 {{\nlb_kind DR\nprotocol TCP\nlb_algo {s}\nreal_server 192.0.2.9 80 {{\n}}\n}}\n"
        );
        assert_eq!(parse_ok(&text).virtual_servers[0].scheduler, s);
    }
    let sh = service("192.0.2.1", "lb_kind DR\nlvs_sched sh\nsh-port\nflag-1", "real_server 192.0.2.9 80 {\n}");
    let flags = SchedulerFlags { fallback: true, ..SchedulerFlags::default() };
    assert_eq!(
        sh.scheduler_flags, flags,
        "the last scheduler counts, rr; sh-port is not its flag, flag-1 is anybody's"
    );
}

/// keepalived.conf(5), `lvs_sync_daemon`: without an id, the instance's VRID; 0 without an instance.
#[test]
fn synchronisation_takes_its_id_from_the_instance_and_knows_its_old_form() {
    let instance = |more: &str| {
        format!(
            "vrrp_instance V {{\ninterface eth0\nvirtual_router_id 51\n{more}\nvirtual_ipaddress {{\n192.0.2.1\n}}\n}}\n"
        )
    };
    let sync = |global: &str, more: &str| {
        let setup = parse_ok(&format!("global_defs {{\n{global}\n}}\n{}", instance(more))).global.sync;
        setup.map(|s| (s.interface, s.instance, s.syncid))
    };
    let v = Some("V".to_owned());
    assert_eq!(sync("lvs_sync_daemon eth1 V", ""), Some(("eth1".into(), v.clone(), Some(51))));
    assert_eq!(sync("lvs_sync_daemon eth1 V id 7", ""), Some(("eth1".into(), v.clone(), Some(7))));
    assert_eq!(sync("lvs_sync_daemon eth1", ""), Some(("eth1".into(), None, None)));
    assert_eq!(sync("", "lvs_sync_daemon_interface eth2"), Some(("eth2".into(), v, Some(51))));
}

#[test]
fn the_packet_path_is_tuned_in_ipvss_words() {
    let text = "global_defs {\nlvs_timeouts tcp 7200 udp 30 tcpfin 0\nconn_reuse_mode 3\nexpire_nodest_conn\nsecure_tcp on\n}\n";
    let t = parse_ok(text).global.tuning;
    assert_eq!((t.tcp_s, t.tcpfin_s, t.udp_s, t.conn_reuse_mode), (7200, 120, 30, 3), "0 keeps the kernel's");
    assert!(t.expire_nodest_conn && t.secure_tcp && !t.sloppy_tcp);
    let removal = |how: &str| {
        let text = format!(
            "virtual_server 192.0.2.1 80 {{\nlvs_sched rr\nlvs_method DR\nprotocol TCP\n{how}\nreal_server 192.0.2.9 80 {{\n}}\n}}\n"
        );
        parse_text("test.conf", &text).valid_config().map(|c| c.virtual_servers[0].removal_policy)
    };
    assert_eq!(removal("removed_server drain 30"), Some(RemovalPolicy::Drain(30)));
    assert_eq!(removal("removed_server reschedule"), Some(RemovalPolicy::Reschedule));
    assert_eq!(removal(""), Some(RemovalPolicy::Drop));
    assert_eq!((removal("removed_server drain"), removal("removed_server keep")), (None, None));
}

#[test]
fn an_undefined_script_is_an_error_with_the_nearest_name() {
    let text = "vrrp_script chk_web {\nscript /bin/true\n}\n".to_owned() + &instance_text("track_script {\nchk_wb\n}");
    let (d, ..) = first_error(&text);
    assert_eq!((d.code, d.help.as_deref()), ("undefined-script", Some("did you mean `chk_web`?")));
}

#[test]
fn nothing_that_can_be_written_makes_it_panic() {
    use proptest::prelude::*;
    let words = prop::sample::select(vec![
        "vrrp_instance",
        "V",
        "{",
        "}",
        "\n",
        "interface",
        "eth0",
        "virtual_router_id",
        "300",
        "-1",
        "\"",
        "\\",
        "#",
        "!",
        "virtual_ipaddress",
        "1.2.3.4/33",
        "dev",
        "label",
        "track_script",
        "virtual_server",
        "80",
        "real_server",
        "HTTP_GET",
        "url",
        "path",
        "é",
        "\u{feff}",
        "\0",
        "weight",
        "brd",
        "+",
        "global_defs",
        "99999999999999999999",
        "0.0000001",
    ]);
    proptest!(|(parts in prop::collection::vec(words, 0..60), gap in prop::bool::ANY)| {
        let text = parts.join(if gap { " " } else { "" });
        let parsed = parse_text("x", &text);
        parsed.render(false);
    });
}

#[test]
fn a_value_is_small() {
    // A large file has half a million of them.
    assert!(size_of::<value::Value>() <= 32, "{}", size_of::<value::Value>());
}

#[test]
fn expansion_ends_whatever_it_is_asked_for() {
    let limit = |text: &str| {
        let parsed = parse_text("x", text);
        assert!(parsed.diagnostics.iter().any(|d| d.code == "expansion-limit"), "{text}: {}", parsed.render(false));
    };
    limit("~SEQ(A,1,100000) ~SEQ(B,1,100000) x${A}${B}\n");
    limit("$A=x${A}\n$A\n");
    // Names that double each other thirty times and come to nothing.
    let double: String = (0..30).map(|n| format!("$A{n}=${{A{0}}}${{A{0}}}\n", n + 1)).collect();
    limit(&(double + "$A30=\n${A0}\n"));
    // A definition of three lines that each name it.
    limit("$X=${X}\\\n${X}\\\n${X}\nrouter_id ${X}\n");
    // Found by fuzzing: the same mistake, six million times.
    limit("~SEQ(V,272,1) ~SEQ(V,1,22711)~SEQ(V,3,.1)ceaa\n$A=1\n~SEQ(V,1,999999) $A~SEQ(V,3,.1)${V}\n");
    limit("$X=~SEQ(V,${V},.1)x\n~SEQ(V,1,99999) $X\n");
}

#[test]
fn a_definition_may_name_what_stands_below_it_and_its_lines_lead_back() {
    let text = "$BODY= \\\ninterface ${IF} \\\nvirtual_router_id 300\n$IF=eth0\nvrrp_instance V {\n  $BODY\n}\n";
    let parsed = parse_text("test.conf", text);
    let d = parsed.diagnostics.iter().find(|d| d.code == "out-of-range").expect("a diagnostic");
    let written = parsed.sources.written_location(d.span);
    assert_eq!(parsed.sources.position(written.span.start), ("test.conf", 6, 3), "at the line as written");
    assert_eq!(written.expanded_line.as_deref(), Some("virtual_router_id 300"));
    let defined = written.definition.expect("a definition");
    assert_eq!(parsed.sources.position(defined.start).1, 3, "and at what replaces it");
}

#[test]
fn an_old_keyword_has_weights_count_in_a_group_as_well() {
    let config = |keyword: &str| {
        let text = format!(
            "vrrp_script w {{\n script /bin/true\n weight 3\n}}\nvrrp_sync_group G {{\n group {{\n  V\n }}\n {keyword}\n}}\n{}",
            instance_text("track_script {\nw\n}")
        );
        parse_text("test.conf", &text).config
    };
    let weights = |keyword: &str| config(keyword).instances[0].tracks.iter().map(|t| t.weight).collect::<Vec<_>>();
    assert!(weights("").is_empty());
    assert_eq!(weights("sync_group_tracking_weight"), [3]);
    assert_eq!(weights("global_tracking"), [3]);
}

/// A reload rejects a file that configures nothing, by this comparison.
#[test]
fn an_empty_file_has_the_default_configuration() {
    assert_eq!(parse_text("empty.conf", "").config, crate::model::Config::default());
    assert_eq!(parse_text("empty.conf", "global_defs {\n}\n").config, crate::model::Config::default());
}
