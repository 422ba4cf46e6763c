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

/// keepalived's own timing, recorded with a tracer on its IPVS calls: when a server was broken and mended, and when it
/// left and came back. Seconds since the first IPVS call; `retry 2`, `delay_before_retry 1`, `delay_loop 2`, `warmup 0`.
#[test]
fn servers_leave_and_return_when_keepalived_let_them() {
    struct Recorded {
        urls: usize,
        /// Which url was broken (0 for TCP), from when to when.
        broken: (usize, f64, f64),
        left: f64,
        returned: f64,
    }
    let recordings = [
        Recorded { urls: 0, broken: (0, 4.897, 13.897), left: 7.014, returned: 15.320 }, // tcp_down_up
        Recorded { urls: 1, broken: (0, 4.967, 12.966), left: 7.023, returned: 15.053 }, // http_status
        Recorded { urls: 3, broken: (1, 7.954, 17.954), left: 11.053, returned: 25.092 }, // http_multi_url
    ];
    for r in recordings {
        let mut check = check(r.urls, 2);
        check.timing.delay_loop = Duration::from_secs(2);
        check.timing.delay_before_retry = Duration::from_secs(1);
        check.timing.warmup = Duration::ZERO;
        let mut c = Checker::new(&check, Instant::default(), 0.0, false, false);
        let mut changes = Vec::new();
        while let Some(now) = c.next_deadline().filter(|t| t.as_nanos() < 30_000_000_000) {
            let Some(Output::Probe(url)) = c.handle_deadline(now) else { panic!("no probe") };
            let t = now.as_nanos() as f64 / 1e9;
            let fails = url == r.broken.0 && (r.broken.1..r.broken.2).contains(&t);
            if let Some(Output::Changed { up }) = c.handle_result(now, !fails) {
                changes.push((up, t));
            }
        }
        let [(false, left), (true, returned)] = changes[..] else { panic!("{changes:?}") };
        assert!((left - r.left).abs() < 0.4 && (returned - r.returned).abs() < 0.4, "{changes:?}");
    }
}
