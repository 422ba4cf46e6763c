use std::time::Duration;

use super::*;
use crate::model::{HttpUrl, HttpVersion, StatusRange};

fn check(urls: usize, retry: u32) -> Check {
    let url = HttpUrl {
        path: "/".into(),
        status: vec![StatusRange { from: 200, to: 299 }],
        virtualhost: None,
        digest: None,
        pattern: None,
    };
    let (version, tls, limit) = (HttpVersion::V10, None, None);
    let http = CheckKind::Http { urls: vec![url; urls], version, tls, fast_recovery: false, total_timeout: limit };
    Check {
        timing: CheckTiming {
            delay_loop: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(1),
            retry,
            delay_before_retry: Duration::from_secs(2),
            warmup: Duration::from_secs(4),
        },
        ..Check::without_probe(if urls == 0 { CheckKind::Tcp { through_service: None } } else { http })
    }
}

fn result(passed: bool) -> ProbeResult {
    ProbeResult::reported(passed, String::new())
}

/// Passes results (`+`, `-`) to a checker. Returns the second, the URL, and the verdict after it, of each probe.
fn run(c: &mut Checker, results: &str) -> Vec<(u64, usize, bool)> {
    let mut seen = Vec::new();
    for r in results.chars() {
        let now = c.next_deadline().expect("a probe is due");
        let url = c.handle_deadline(now).expect("a probe");
        assert_eq!(c.next_deadline(), None, "one probe at a time");
        c.handle_result(now, &result(r == '+'));
        // The jitter is at most a tenth of a second.
        seen.push(((now.as_nanos() + 500_000_000) / 1_000_000_000, url, c.verdict().up));
    }
    seen
}

fn at_start(urls: usize, retry: u32) -> Checker {
    Checker::new(&check(urls, retry), Instant::default(), 0.5, (true, false), false)
}

#[test]
fn the_first_probe_waits_one_second_and_its_part_of_the_warm_up() {
    assert_eq!(at_start(0, 1).next_deadline(), Some(Instant::default() + Duration::from_secs(3)));
}

#[test]
fn the_first_failure_after_the_start_takes_a_server_down() {
    assert_eq!(run(&mut at_start(0, 3), "-"), [(3, 0, false)]);
}

#[test]
fn failures_of_a_healthy_server_are_retried() {
    let seen = run(&mut at_start(0, 2), "+---+");
    assert_eq!(seen, [(3, 0, true), (13, 0, true), (15, 0, true), (17, 0, false), (27, 0, true)]);
    let seen = run(&mut at_start(0, 2), "+--+--+");
    assert!(seen.iter().all(|s| s.2), "a success resets the count: {seen:?}");
}

#[test]
fn a_server_added_by_a_reload_has_retries_at_once() {
    let mut c = Checker::new(&check(0, 1), Instant::default(), 0.0, (true, false), true);
    assert_eq!(run(&mut c, "--"), [(1, 0, true), (3, 0, false)]);
}

#[test]
fn a_single_url_must_pass_twice_to_recover() {
    let seen = run(&mut at_start(1, 0), "-++");
    assert_eq!(seen, [(3, 0, false), (13, 0, false), (23, 0, true)]);
}

#[test]
fn urls_are_probed_in_turn_and_all_must_pass_to_recover() {
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
fn alpha_starts_down_and_one_passed_probe_brings_it_up() {
    let mut c = Checker::new(&check(0, 1), Instant::default(), 0.0, (false, true), false);
    assert!(!c.verdict().up);
    assert_eq!(run(&mut c, "+"), [(1, 0, true)]);
}

/// keepalived's timing, recorded by tracing its IPVS calls: when a server was broken and repaired, and when it was
/// removed and added. Seconds since the first IPVS call; `retry 2`, `delay_before_retry 1`, `delay_loop 2`, `warmup 0`.
#[test]
fn servers_go_down_and_up_at_keepalived_s_times() {
    struct Recorded {
        urls: usize,
        /// The broken URL (0 for TCP), from and until when.
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
        let mut c = Checker::new(&check, Instant::default(), 0.0, (true, false), false);
        let mut changes = Vec::new();
        while let Some(now) = c.next_deadline().filter(|t| t.as_nanos() < 30_000_000_000) {
            let url = c.handle_deadline(now).expect("a probe");
            let t = now.as_nanos() as f64 / 1e9;
            let fails = url == r.broken.0 && (r.broken.1..r.broken.2).contains(&t);
            if let Some(verdict) = c.handle_result(now, &result(!fails)) {
                changes.push((verdict.up, t));
            }
        }
        let [(false, left), (true, returned)] = changes[..] else { panic!("{changes:?}") };
        assert!((left - r.left).abs() < 0.4 && (returned - r.returned).abs() < 0.4, "{changes:?}");
    }
}

#[test]
fn the_first_failure_of_alpha_is_reported_although_nothing_changes() {
    let mut c = Checker::new(&check(0, 1), Instant::default(), 0.0, (false, true), false);
    let mut probe = |passed| {
        let now = c.next_deadline().expect("due");
        c.handle_deadline(now);
        c.handle_result(now, &result(passed)).map(|v| v.up)
    };
    assert_eq!([probe(false), probe(false), probe(true), probe(true)], [Some(false), None, Some(true), None]);
}

/// The recorded run `http_multi_url_fast`: the second of each request; the server was broken from 8 to 18.
#[test]
fn fast_recovery_probes_all_urls_at_once() {
    let mut check = check(3, 2);
    let CheckKind::Http { fast_recovery, .. } = &mut check.kind else { unreachable!() };
    *fast_recovery = true;
    check.timing.delay_loop = Duration::from_secs(2);
    check.timing.delay_before_retry = Duration::from_secs(1);
    check.timing.warmup = Duration::ZERO;
    let mut c = Checker::new(&check, Instant::default(), 0.0, (true, false), false);
    let mut requests = Vec::new();
    while let Some(now) = c.next_deadline().filter(|t| t.as_nanos() < 24_000_000_000) {
        let url = c.handle_deadline(now).expect("a probe");
        let t = now.as_nanos() as f64 / 1e9;
        requests.push((t.round() as u64, ["a", "b", "c"][url]));
        c.handle_result(now, &result(!(8.0..18.0).contains(&t)));
    }
    let seen: Vec<String> = requests.iter().map(|(t, url)| format!("{t}{url}")).collect();
    assert_eq!(seen.join(" "), "1a 1b 1c 3a 5b 7c 9a 10a 11a 13a 15a 17a 19a 19a 19b 19c 21a 23b");
}

#[test]
fn a_weight_is_reported_when_it_changes_and_ends_with_a_failure() {
    let mut c = Checker::new(&check(0, 0), Instant::default(), 0.0, (true, false), false);
    let mut probe = |passed, weight| {
        let now = c.next_deadline().expect("due");
        c.handle_deadline(now);
        c.handle_result(now, &ProbeResult { weight, ..result(passed) }).map(|v| (v.up, v.weight))
    };
    assert_eq!(probe(true, None), None);
    assert_eq!(probe(true, Some(40)), Some((true, Some(40))));
    assert_eq!(probe(true, Some(40)), None);
    assert_eq!(probe(false, None), Some((false, None)));
    assert_eq!(probe(true, Some(0)), Some((true, Some(0))));
}

#[test]
fn a_shared_result_counts_except_for_a_failure_during_retries() {
    let start = Instant::default();
    let at = |s| start + Duration::from_secs(s);
    let mut c = Checker::new(&check(0, 2), start, 0.0, (true, false), true);
    assert_eq!(c.handle_shared_result(at(1), 0, &result(true)), None);
    assert!(c.next_deadline().is_some_and(|t| t > at(10)), "its own probe is not needed any more");
    assert_eq!((c.handle_shared_result(at(2), 0, &result(false)), c.retries_used()), (None, 1));
    assert_eq!(
        (c.handle_shared_result(at(2), 0, &result(false)), c.retries_used()),
        (None, 1),
        "its retries keep their interval"
    );
    assert_eq!((c.handle_shared_result(at(3), 1, &result(true)), c.retries_used()), (None, 1), "another url");
    assert_eq!((c.handle_shared_result(at(3), 0, &result(true)), c.retries_used()), (None, 0));
}
