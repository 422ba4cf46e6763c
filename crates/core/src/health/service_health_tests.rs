use std::net::IpAddr;

use super::*;
use crate::config::parse_text;

fn key(n: u8) -> ServerKey {
    ServerKey { addr: IpAddr::from([10, 0, 0, n]), port: 80 }
}

/// A service of three servers of weight 10 with a TCP_CHECK each.
fn service(more: &str, server: &str) -> VirtualServer {
    let rs = |n| format!("real_server 10.0.0.{n} 80 {{\nweight 10\n{server}\nTCP_CHECK {{\n}}\n}}\n");
    let all: String = (1..=3).map(rs).collect();
    let text = format!("virtual_server 192.0.2.1 80 {{\nlvs_sched wrr\nlvs_method DR\nprotocol TCP\n{more}\n{all}}}\n");
    let parsed = parse_text("t", &text);
    parsed.valid_config().unwrap_or_else(|| panic!("{}", parsed.render(false))).virtual_servers[0].clone()
}

fn weights(life: &ServiceHealth, v: &VirtualServer) -> Vec<(u8, u32)> {
    let s = life.active_servers(v);
    let mut all: Vec<(u8, u32)> = s.servers.iter().map(|(k, w)| (crate::model::last_octet(k.addr), w.get())).collect();
    all.extend(s.sorry.map(|w| (99, w.get())));
    all
}

fn event_text(h: &[HealthEvent]) -> String {
    let one = |h: &HealthEvent| match h {
        HealthEvent::Server { key, up } => {
            format!("{}{}", if *up { "+" } else { "-" }, crate::model::last_octet(key.addr))
        }
        HealthEvent::Quorum { up, live_weight: live, threshold } => {
            format!("{}VS {threshold}/{live}", if *up { "+" } else { "-" })
        }
    };
    h.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// The recorded run `quorum_sorry`: who was told what, and what was in force after each.
#[test]
fn the_sorry_server_takes_over_while_the_quorum_is_lost() {
    let v = service("quorum 20\nhysteresis 2\nsorry_server 10.0.0.99 80", "");
    let (mut life, start) = ServiceHealth::new(&v, &|_| false);
    assert_eq!((event_text(&start).as_str(), weights(&life, &v)), ("+VS 22/30", vec![(1, 10), (2, 10), (3, 10)]));
    let mut judge = |n, up| {
        let happened = event_text(&life.handle_verdict(key(n), 0, up, WeightEffect::None));
        (happened, weights(&life, &v))
    };
    assert_eq!(judge(1, false), ("-1".into(), vec![(2, 10), (3, 10)]));
    assert_eq!(judge(2, false), ("-2 -VS 18/10".into(), vec![(99, 1)]));
    assert_eq!(judge(1, true), ("+1".into(), vec![(99, 1)]), "20 is not 22");
    assert_eq!(judge(2, true), ("+2 +VS 22/30".into(), vec![(1, 10), (2, 10), (3, 10)]));
}

#[test]
fn without_a_sorry_server_what_lives_goes_on() {
    let v = service("quorum 20", "");
    let (mut life, _) = ServiceHealth::new(&v, &|_| false);
    life.handle_verdict(key(1), 0, false, WeightEffect::None);
    assert_eq!(event_text(&life.handle_verdict(key(2), 0, false, WeightEffect::None)), "-2 -VS 20/10");
    assert_eq!(weights(&life, &v), [(3, 10)]);
}

#[test]
fn inhibited_servers_stay_with_weight_0() {
    let v = service("sorry_server 10.0.0.99 80\nsorry_server_inhibit", "inhibit_on_failure");
    let (mut life, _) = ServiceHealth::new(&v, &|_| false);
    assert_eq!(weights(&life, &v), [(1, 10), (2, 10), (3, 10), (99, 0)]);
    for n in 1..=3 {
        life.handle_verdict(key(n), 0, false, WeightEffect::None);
    }
    assert_eq!(weights(&life, &v), [(1, 0), (2, 0), (3, 0), (99, 1)]);
}

/// The recorded run `tcp_alpha`: nothing is said of what begins as down, but of its first failure.
#[test]
fn alpha_begins_as_down() {
    let v = service("alpha\nsorry_server 10.0.0.99 80", "");
    let (mut life, start) = ServiceHealth::new(&v, &|_| false);
    assert_eq!((event_text(&start).as_str(), weights(&life, &v)), ("", vec![(99, 1)]));
    assert_eq!(event_text(&life.handle_verdict(key(1), 0, true, WeightEffect::None)), "+1 +VS 1/10");
    assert_eq!(event_text(&life.handle_verdict(key(2), 0, false, WeightEffect::None)), "-2");
    assert_eq!(weights(&life, &v), [(1, 10)]);
    assert_eq!(event_text(&life.shutdown_events()), "-1 -VS 1/10");
}

/// The recorded run `misc_dynamic`: a weight of 0 is no death, but it is no quorum either.
#[test]
fn checks_change_weights() {
    let v = service("", "");
    let (mut life, _) = ServiceHealth::new(&v, &|k| k != key(1));
    assert_eq!(event_text(&life.handle_verdict(key(1), 0, true, WeightEffect::Set(40))), "");
    assert_eq!(weights(&life, &v), [(1, 40)]);
    assert_eq!(event_text(&life.handle_verdict(key(1), 0, true, WeightEffect::Set(0))), "-VS 1/0");
    assert_eq!(weights(&life, &v), [(1, 0)]);
    assert_eq!(event_text(&life.handle_verdict(key(1), 0, true, WeightEffect::Add(-70))), "", "not below 0");
    assert_eq!(
        event_text(&life.handle_verdict(key(1), 0, true, WeightEffect::Add(i64::MAX))),
        "+VS 1/2147483647",
        "nor above 2^31 - 1"
    );
    assert_eq!(event_text(&life.handle_verdict(key(1), 0, false, WeightEffect::Set(9))), "-1 -VS 1/0");
    life.handle_verdict(key(1), 0, true, WeightEffect::None);
    assert_eq!(weights(&life, &v), [(1, 10)], "what was before is forgotten");
}

#[test]
fn a_reload_keeps_what_is_known() {
    let v = service("", "");
    let (mut life, _) = ServiceHealth::new(&v, &|_| false);
    life.handle_verdict(key(1), 0, false, WeightEffect::None);
    life.handle_verdict(key(2), 0, true, WeightEffect::Set(3));
    let mut other = service("quorum 14", "");
    other.servers.remove(2);
    assert_eq!(event_text(&life.reconfigure(&other, &|_, _| true)), "-VS 14/3");
    assert_eq!(weights(&life, &other), [(2, 3)]);
    assert_eq!(event_text(&life.reconfigure(&v, &|_, _| false)), "+VS 1/20", "10 of the second, 10 of the new third");
    assert_eq!(weights(&life, &v), [(2, 10), (3, 10)], "another check of a dead server counts as dead");
}

#[test]
fn a_quorum_that_cannot_be_reached_is_the_sum_of_weights() {
    let text = "virtual_server 192.0.2.1 80 {\nlvs_sched wrr\nlvs_method DR\nprotocol TCP\nquorum 50\nhysteresis 60\n\
                real_server 10.0.0.1 80 {\nweight 4\n}\n}\n";
    let parsed = parse_text("t", text);
    let v = &parsed.config.virtual_servers[0];
    assert_eq!((v.quorum.weight, v.quorum.hysteresis), (4, 3));
}
