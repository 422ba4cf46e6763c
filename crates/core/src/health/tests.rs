use std::time::Duration;

use super::*;
use crate::model::{HttpUrl, StatusRange};

fn check(urls: usize, retry: u32) -> Check {
    let url = HttpUrl { path: "/".into(), status: vec![StatusRange { from: 200, to: 299 }], virtualhost: None };
    Check {
        kind: if urls == 0 { CheckKind::Tcp } else { CheckKind::Http { urls: vec![url; urls], virtualhost: None } },
        timing: CheckTiming {
            delay_loop: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(1),
            retry,
            delay_before_retry: Duration::from_secs(2),
            warmup: Duration::from_secs(4),
        },
        connect_ip: None,
        connect_port: None,
        bindto: None,
        alpha: None,
    }
}

/// Runs a checker through results (`+`, `-`); returns `(second, url, up afterwards)` of each probe.
fn run(c: &mut Checker, results: &str) -> Vec<(u64, usize, bool)> {
    let mut seen = Vec::new();
    for r in results.chars() {
        let now = c.next_deadline().expect("a probe is due");
        let Some(Output::Probe(url)) = c.handle_deadline(now) else { panic!("no probe") };
        assert_eq!(c.next_deadline(), None, "one probe at a time");
        c.handle_result(now, r == '+');
        seen.push((now.as_nanos() / 1_000_000_000, url, c.up()));
    }
    seen
}

fn at_start(urls: usize, retry: u32) -> Checker {
    Checker::new(&check(urls, retry), Instant::default(), 0.5, false, false)
}

#[test]
fn the_first_probe_waits_a_second_and_its_part_of_the_warm_up() {
    assert_eq!(at_start(0, 1).next_deadline(), Some(Instant::default() + Duration::from_secs(3)));
}

#[test]
fn the_first_failure_after_the_start_is_enough() {
    assert_eq!(run(&mut at_start(0, 3), "-"), [(3, 0, false)]);
}

#[test]
fn a_healthy_server_is_forgiven_retry_failures() {
    let seen = run(&mut at_start(0, 2), "+---+");
    assert_eq!(seen, [(3, 0, true), (13, 0, true), (15, 0, true), (17, 0, false), (27, 0, true)]);
    let seen = run(&mut at_start(0, 2), "+--+--+");
    assert!(seen.iter().all(|s| s.2), "a success in between starts the count anew: {seen:?}");
}

#[test]
fn a_server_that_appears_at_a_reload_has_its_retries_at_once() {
    let mut c = Checker::new(&check(0, 1), Instant::default(), 0.0, false, true);
    assert_eq!(run(&mut c, "--"), [(1, 0, true), (3, 0, false)]);
}

#[test]
fn a_single_url_needs_two_good_answers_to_come_back() {
    let seen = run(&mut at_start(1, 0), "-++");
    assert_eq!(seen, [(3, 0, false), (13, 0, false), (23, 0, true)]);
}

#[test]
fn urls_take_turns_and_all_must_pass_to_come_back() {
    let seen: Vec<_> = run(&mut at_start(3, 0), "++--++-++++").iter().map(|s| (s.1, s.2)).collect();
    let expected = [
        (0, true),
        (1, true),
        (2, false), // the third fails
        (2, false),
        (2, false),
        (0, false),
        (1, false), // it passes, then the list from its beginning; the second fails
        (1, false),
        (0, false),
        (1, false),
        (2, true),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn alpha_begins_dead_and_one_round_brings_it_up() {
    let mut c = Checker::new(&check(0, 1), Instant::default(), 0.0, true, false);
    assert!(!c.up());
    assert_eq!(run(&mut c, "+"), [(1, 0, true)]);
}
