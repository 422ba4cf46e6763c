use std::net::IpAddr;

use super::*;
use crate::model::{CheckKind, CheckTiming, Protocol};

fn server(n: u8) -> ServerKey {
    ServerKey { addr: IpAddr::from([10, 0, 0, n]), port: 80 }
}

fn service(n: u8) -> ServiceKey {
    ServiceKey::new(Protocol::Tcp, IpAddr::from([192, 0, 2, n]), 80)
}

fn check_config(vs: u8, rs: u8, retry: u32) -> CheckConfig {
    let second = Duration::from_secs(1);
    let timing = CheckTiming {
        delay_loop: second * 10,
        connect_timeout: second,
        retry,
        delay_before_retry: second,
        warmup: second * 10,
    };
    let check = Check { timing, ..Check::without_probe(CheckKind::Tcp { through_service: None }) };
    CheckConfig { id: (service(vs), server(rs), 0), check, up: true, alpha: false }
}

fn result(passed: bool) -> ProbeResult {
    ProbeResult::reported(passed, String::new())
}

/// Runs a pool in virtual time, each probe taking as long as `probe` says; returns when probes began and what was told.
fn run(
    pool: &mut ProbeScheduler,
    until: Duration,
    probe: impl Fn(Duration) -> (bool, Duration),
) -> (Vec<Duration>, Vec<(Duration, CheckId, bool)>) {
    let start = Instant::default();
    let (mut begun, mut told) = (Vec::new(), Vec::new());
    let mut under_way: Vec<(Instant, usize, bool)> = Vec::new();
    let mut now = start;
    loop {
        under_way.sort();
        if let Some((_, number, passed)) = under_way.first().copied().filter(|(at, ..)| *at <= now) {
            under_way.remove(0);
            let delivered = pool.handle_result(now, number, result(passed));
            told.extend(delivered.iter().filter_map(|d| Some((now.duration_since(start), d.id, d.verdict?.up))));
        }
        pool.handle_deadline(now);
        while let Some(task) = pool.poll_probe() {
            let (passed, takes) = probe(now.duration_since(start));
            begun.push(now.duration_since(start));
            under_way.push((now + takes, task.id, passed));
        }
        let next = under_way.iter().map(|u| u.0).chain(pool.next_deadline()).min();
        match next.filter(|t| t.duration_since(start) < until) {
            Some(t) => now = t.max(now),
            None => return (begun, told),
        }
    }
}

#[test]
fn services_that_share_a_server_share_its_probes() {
    let mut pool = ProbeScheduler::new(100);
    let all: Vec<CheckConfig> = (0..50).map(|vs| check_config(vs, 1, 0)).collect();
    pool.configure(Instant::default(), all, false);
    assert_eq!((pool.load().0, pool.load().1), (50, 1));
    let quick = Duration::from_millis(1);
    let (begun, told) = run(&mut pool, Duration::from_secs(100), |t| (t.as_secs() < 50, quick));
    assert!((9..=11).contains(&begun.len()), "{} probes in ten rounds", begun.len());
    assert_eq!(told.len(), 50, "each is told");
    assert!(told.iter().all(|t| !t.2 && t.0 == told[0].0));
}

#[test]
fn each_keeps_its_own_retries() {
    let mut pool = ProbeScheduler::new(100);
    pool.configure(Instant::default(), vec![check_config(1, 1, 0), check_config(2, 1, 3)], true);
    let (_, told) = run(&mut pool, Duration::from_secs(60), |t| (t.as_secs() < 25, Duration::from_millis(1)));
    let [(first, a, false), (last, b, false)] = told[..] else { panic!("{told:?}") };
    assert_eq!((a.0, b.0), (service(1), service(2)));
    let forgiven = (last - first).as_secs_f64();
    assert!((2.9..3.1).contains(&forgiven), "three retries a second apart, took {forgiven}");
}

#[test]
fn probes_are_spread_over_the_warm_up_and_never_too_many() {
    let mut pool = ProbeScheduler::new(3);
    pool.configure(Instant::default(), (0..200).map(|n| check_config(1, n, 0)).collect(), false);
    let (begun, _) = run(&mut pool, Duration::from_secs(11), |_| (true, Duration::from_millis(1)));
    // Those at the very beginning may have had their second turn.
    assert!((200..=205).contains(&begun.len()), "{} probes", begun.len());
    for second in 1..11 {
        let n = begun.iter().filter(|t| t.as_secs() == second).count();
        assert!((5..45).contains(&n), "{n} in second {second}");
    }
    // Slow ones: three at a time, whatever waits; and how late they are is known.
    let mut pool = ProbeScheduler::new(3);
    pool.configure(Instant::default(), (0..200).map(|n| check_config(1, n, 0)).collect(), false);
    let (begun, _) = run(&mut pool, Duration::from_secs(20), |_| (true, Duration::from_secs(1)));
    assert!((50..=60).contains(&begun.len()), "{} probes", begun.len());
    assert!(pool.queue_lag(Instant::default() + Duration::from_secs(20)) > Duration::from_secs(5));
    assert_eq!(pool.load().2, 3);
}

#[test]
fn a_reload_leaves_alone_what_stays_and_forgets_what_goes() {
    let mut pool = ProbeScheduler::new(10);
    pool.configure(Instant::default(), vec![check_config(1, 1, 0), check_config(1, 2, 0)], false);
    run(&mut pool, Duration::from_secs(15), |_| (false, Duration::from_millis(1)));
    assert!(pool.check_statuses().all(|(_, v, ..)| !v.up));
    let now = Instant::default() + Duration::from_secs(15);
    pool.configure(now, vec![check_config(1, 1, 0), check_config(1, 3, 0)], true);
    let up: Vec<_> = pool.check_statuses().map(|(id, v, ..)| (id.1, v.up)).collect();
    assert!(up.contains(&(server(1), false)) && up.contains(&(server(3), true)) && up.len() == 2, "{up:?}");
    // One that is taken away while its probe is under way.
    let at = now + Duration::from_secs(30);
    pool.handle_deadline(at);
    let task = pool.poll_probe().expect("due");
    pool.configure(at, Vec::new(), true);
    assert!(pool.handle_result(at, task.id, result(true)).is_empty());
    assert_eq!((pool.load().0, pool.load().1, pool.load().2), (0, 0, 0));
    assert!(pool.handle_result(at, task.id, result(true)).is_empty(), "twice");
}

#[test]
fn checks_rest_while_they_are_suspended() {
    let mut pool = ProbeScheduler::new(10);
    pool.configure(Instant::default(), vec![check_config(1, 1, 0)], false);
    pool.suspend(Instant::default(), service(1), true);
    let (begun, _) = run(&mut pool, Duration::from_secs(60), |_| (true, Duration::from_millis(1)));
    assert!(begun.is_empty());
    let now = Instant::default() + Duration::from_secs(60);
    pool.suspend(now, service(1), false);
    pool.handle_deadline(now);
    assert!(pool.poll_probe().is_some(), "at once when the address comes");
}
