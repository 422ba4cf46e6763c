use std::net::IpAddr;

use super::*;
use crate::model::{CheckKind, CheckTiming, Protocol};

fn server(n: u8) -> ServerKey {
    ServerKey { addr: IpAddr::from([10, 0, 0, n]), port: 80 }
}

fn service(n: u8) -> ServiceKey {
    ServiceKey::at(Protocol::Tcp, IpAddr::from([192, 0, 2, n]), 80)
}

fn wanted(vs: u8, rs: u8, retry: u32) -> Checking {
    let second = Duration::from_secs(1);
    let timing = CheckTiming {
        delay_loop: second * 10,
        connect_timeout: second,
        retry,
        delay_before_retry: second,
        warmup: second * 10,
    };
    let check = Check { timing, ..Check::told(CheckKind::Tcp { through: None }) };
    Checking { id: (service(vs), server(rs), 0), check, up: true, alpha: false }
}

fn result(passed: bool) -> ProbeResult {
    ProbeResult::told(passed, String::new())
}

/// Runs a pool in virtual time, each probe taking as long as `probe` says; returns when probes began and what was told.
fn run(
    pool: &mut Pool,
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
            let delivered = pool.finish(now, number, result(passed));
            told.extend(delivered.iter().filter_map(|d| Some((now.since(start), d.id, d.verdict?.up))));
        }
        pool.handle_deadline(now);
        while let Some(task) = pool.start() {
            let (passed, takes) = probe(now.since(start));
            begun.push(now.since(start));
            under_way.push((now + takes, task.number, passed));
        }
        let next = under_way.iter().map(|u| u.0).chain(pool.next_deadline()).min();
        match next.filter(|t| t.since(start) < until) {
            Some(t) => now = t.max(now),
            None => return (begun, told),
        }
    }
}

#[test]
fn services_that_share_a_server_share_its_probes() {
    let mut pool = Pool::new(100);
    let all: Vec<Checking> = (0..50).map(|vs| wanted(vs, 1, 0)).collect();
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
    let mut pool = Pool::new(100);
    pool.configure(Instant::default(), vec![wanted(1, 1, 0), wanted(2, 1, 3)], true);
    let (_, told) = run(&mut pool, Duration::from_secs(60), |t| (t.as_secs() < 25, Duration::from_millis(1)));
    let [(first, a, false), (last, b, false)] = told[..] else { panic!("{told:?}") };
    assert_eq!((a.0, b.0), (service(1), service(2)));
    let forgiven = (last - first).as_secs_f64();
    assert!((2.9..3.1).contains(&forgiven), "three retries a second apart, took {forgiven}");
}

#[test]
fn probes_are_spread_over_the_warm_up_and_never_too_many() {
    let mut pool = Pool::new(3);
    pool.configure(Instant::default(), (0..200).map(|n| wanted(1, n, 0)).collect(), false);
    let (begun, _) = run(&mut pool, Duration::from_secs(11), |_| (true, Duration::from_millis(1)));
    // Those at the very beginning may have had their second turn.
    assert!((200..=205).contains(&begun.len()), "{} probes", begun.len());
    for second in 1..11 {
        let n = begun.iter().filter(|t| t.as_secs() == second).count();
        assert!((5..45).contains(&n), "{n} in second {second}");
    }
    // Slow ones: three at a time, whatever waits; and how late they are is known.
    let mut pool = Pool::new(3);
    pool.configure(Instant::default(), (0..200).map(|n| wanted(1, n, 0)).collect(), false);
    let (begun, _) = run(&mut pool, Duration::from_secs(20), |_| (true, Duration::from_secs(1)));
    assert!((50..=60).contains(&begun.len()), "{} probes", begun.len());
    assert!(pool.lag(Instant::default() + Duration::from_secs(20)) > Duration::from_secs(5));
    assert_eq!(pool.load().2, 3);
}

#[test]
fn a_reload_leaves_alone_what_stays_and_forgets_what_goes() {
    let mut pool = Pool::new(10);
    pool.configure(Instant::default(), vec![wanted(1, 1, 0), wanted(1, 2, 0)], false);
    run(&mut pool, Duration::from_secs(15), |_| (false, Duration::from_millis(1)));
    assert!(pool.standings().all(|(_, v, ..)| !v.up));
    let now = Instant::default() + Duration::from_secs(15);
    pool.configure(now, vec![wanted(1, 1, 0), wanted(1, 3, 0)], true);
    let up: Vec<_> = pool.standings().map(|(id, v, ..)| (id.1, v.up)).collect();
    assert!(up.contains(&(server(1), false)) && up.contains(&(server(3), true)) && up.len() == 2, "{up:?}");
    // One that is taken away while its probe is under way.
    let at = now + Duration::from_secs(30);
    pool.handle_deadline(at);
    let task = pool.start().expect("due");
    pool.configure(at, Vec::new(), true);
    assert!(pool.finish(at, task.number, result(true)).is_empty());
    assert_eq!((pool.load().0, pool.load().1, pool.load().2), (0, 0, 0));
    assert!(pool.finish(at, task.number, result(true)).is_empty(), "twice");
}

#[test]
fn checks_rest_while_they_are_suspended() {
    let mut pool = Pool::new(10);
    pool.configure(Instant::default(), vec![wanted(1, 1, 0)], false);
    pool.suspend(Instant::default(), service(1), true);
    let (begun, _) = run(&mut pool, Duration::from_secs(60), |_| (true, Duration::from_millis(1)));
    assert!(begun.is_empty());
    let now = Instant::default() + Duration::from_secs(60);
    pool.suspend(now, service(1), false);
    pool.handle_deadline(now);
    assert!(pool.start().is_some(), "at once when the address comes");
}
