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

fn weights(health: &ServiceHealth, v: &VirtualServer) -> Vec<(u8, u32)> {
    let s = health.active_servers(v);
    let mut all: Vec<(u8, u32)> = s.servers.iter().map(|(k, w)| (crate::model::last_octet(k.addr), w.get())).collect();
    all.extend(s.sorry.map(|w| (99, w.get())));
    all
}

fn event_text(h: &[HealthEvent]) -> String {
    let one = |h: &HealthEvent| match h {
        HealthEvent::Server { key, up } => {
            format!("{}{}", if *up { "+" } else { "-" }, crate::model::last_octet(key.addr))
        }
        HealthEvent::Quorum { up, healthy_weight, threshold } => {
            format!("{}VS {threshold}/{healthy_weight}", if *up { "+" } else { "-" })
        }
    };
    h.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// The recorded run `quorum_sorry`: the events, and the active servers after each.
#[test]
fn the_sorry_server_takes_over_while_the_quorum_is_lost() {
    let v = service("quorum 20\nhysteresis 2\nsorry_server 10.0.0.99 80", "");
    let (mut health, start) = ServiceHealth::new(&v, &|_| false);
    assert_eq!((event_text(&start).as_str(), weights(&health, &v)), ("+VS 22/30", vec![(1, 10), (2, 10), (3, 10)]));
    let mut verdict = |n, up| {
        let events = event_text(&health.handle_verdict(key(n), 0, up, WeightEffect::None));
        (events, weights(&health, &v))
    };
    assert_eq!(verdict(1, false), ("-1".into(), vec![(2, 10), (3, 10)]));
    assert_eq!(verdict(2, false), ("-2 -VS 18/10".into(), vec![(99, 1)]));
    assert_eq!(verdict(1, true), ("+1".into(), vec![(99, 1)]), "20 is not 22");
    assert_eq!(verdict(2, true), ("+2 +VS 22/30".into(), vec![(1, 10), (2, 10), (3, 10)]));
}

#[test]
fn without_a_sorry_server_healthy_servers_stay_active() {
    let v = service("quorum 20", "");
    let (mut health, _) = ServiceHealth::new(&v, &|_| false);
    health.handle_verdict(key(1), 0, false, WeightEffect::None);
    assert_eq!(event_text(&health.handle_verdict(key(2), 0, false, WeightEffect::None)), "-2 -VS 20/10");
    assert_eq!(weights(&health, &v), [(3, 10)]);
}

#[test]
fn inhibited_servers_stay_with_weight_0() {
    let v = service("sorry_server 10.0.0.99 80\nsorry_server_inhibit", "inhibit_on_failure");
    let (mut health, _) = ServiceHealth::new(&v, &|_| false);
    assert_eq!(weights(&health, &v), [(1, 10), (2, 10), (3, 10), (99, 0)]);
    for n in 1..=3 {
        health.handle_verdict(key(n), 0, false, WeightEffect::None);
    }
    assert_eq!(weights(&health, &v), [(1, 0), (2, 0), (3, 0), (99, 1)]);
}

/// The recorded run `tcp_alpha`: an initial down is not reported, but the first failure is.
#[test]
fn alpha_servers_start_down() {
    let v = service("alpha\nsorry_server 10.0.0.99 80", "");
    let (mut health, start) = ServiceHealth::new(&v, &|_| false);
    assert_eq!((event_text(&start).as_str(), weights(&health, &v)), ("", vec![(99, 1)]));
    assert_eq!(event_text(&health.handle_verdict(key(1), 0, true, WeightEffect::None)), "+1 +VS 1/10");
    assert_eq!(event_text(&health.handle_verdict(key(2), 0, false, WeightEffect::None)), "-2");
    assert_eq!(weights(&health, &v), [(1, 10)]);
    assert_eq!(event_text(&health.shutdown_events()), "-1 -VS 1/10");
}

/// The recorded run `misc_dynamic`: a server of weight 0 is up, but adds nothing to the quorum.
#[test]
fn checks_change_weights() {
    let v = service("", "");
    let (mut health, _) = ServiceHealth::new(&v, &|k| k != key(1));
    assert_eq!(event_text(&health.handle_verdict(key(1), 0, true, WeightEffect::Set(40))), "");
    assert_eq!(weights(&health, &v), [(1, 40)]);
    assert_eq!(event_text(&health.handle_verdict(key(1), 0, true, WeightEffect::Set(0))), "-VS 1/0");
    assert_eq!(weights(&health, &v), [(1, 0)]);
    assert_eq!(event_text(&health.handle_verdict(key(1), 0, true, WeightEffect::Add(-70))), "", "not below 0");
    assert_eq!(
        event_text(&health.handle_verdict(key(1), 0, true, WeightEffect::Add(i64::MAX))),
        "+VS 1/2147483647",
        "not above 2^31 - 1"
    );
    assert_eq!(event_text(&health.handle_verdict(key(1), 0, false, WeightEffect::Set(9))), "-1 -VS 1/0");
    health.handle_verdict(key(1), 0, true, WeightEffect::None);
    assert_eq!(weights(&health, &v), [(1, 10)], "the effect of before is dropped");
}

#[test]
fn a_reload_keeps_verdicts_and_weights() {
    let v = service("", "");
    let (mut health, _) = ServiceHealth::new(&v, &|_| false);
    health.handle_verdict(key(1), 0, false, WeightEffect::None);
    health.handle_verdict(key(2), 0, true, WeightEffect::Set(3));
    let mut other = service("quorum 14", "");
    other.servers.remove(2);
    assert_eq!(event_text(&health.reconfigure(&other, &|_, _| true)), "-VS 14/3");
    assert_eq!(weights(&health, &other), [(2, 3)]);
    assert_eq!(event_text(&health.reconfigure(&v, &|_, _| false)), "+VS 1/20", "10 of the second, 10 of the new third");
    assert_eq!(weights(&health, &v), [(2, 10), (3, 10)], "a changed check of a server that is down starts down");
}

#[test]
fn a_quorum_that_cannot_be_reached_is_the_sum_of_weights() {
    let text = "virtual_server 192.0.2.1 80 {\nlvs_sched wrr\nlvs_method DR\nprotocol TCP\nquorum 50\nhysteresis 60\n\
                real_server 10.0.0.1 80 {\nweight 4\n}\n}\n";
    let parsed = parse_text("t", text);
    let v = &parsed.config.virtual_servers[0];
    assert_eq!((v.quorum.weight, v.quorum.hysteresis), (4, 3));
}
