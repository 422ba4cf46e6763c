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

/// The probes that may be started now.
fn started_probes(scheduler: &mut ProbeScheduler) -> Vec<ProbeId> {
    let outputs = std::iter::from_fn(|| scheduler.poll_output());
    outputs.filter_map(|o| if let Output::StartProbe { id, .. } = o { Some(id) } else { None }).collect()
}

/// Runs a scheduler in virtual time. `probe` returns the result and the duration of a probe that starts at some time.
/// Returns when probes started, and the reported verdicts.
fn run(
    scheduler: &mut ProbeScheduler,
    until: Duration,
    probe: impl Fn(Duration) -> (bool, Duration),
) -> (Vec<Duration>, Vec<(Duration, CheckId, bool)>) {
    let start = Instant::default();
    let (mut started, mut reported) = (Vec::new(), Vec::new());
    let mut running: Vec<(Instant, ProbeId, bool)> = Vec::new();
    let mut now = start;
    loop {
        running.sort();
        if let Some((_, id, passed)) = running.first().copied().filter(|(at, ..)| *at <= now) {
            running.remove(0);
            scheduler.handle(now, Input::ProbeFinished { id, result: result(passed) });
        }
        scheduler.handle_deadline(now);
        let elapsed = now.duration_since(start);
        while let Some(output) = scheduler.poll_output() {
            match output {
                Output::StartProbe { id, .. } => {
                    let (passed, duration) = probe(elapsed);
                    started.push(elapsed);
                    running.push((now + duration, id, passed));
                }
                Output::CheckResult { id, verdict, .. } => reported.extend(verdict.map(|v| (elapsed, id, v.up))),
            }
        }
        let next = running.iter().map(|r| r.0).chain(scheduler.next_deadline()).min();
        match next.filter(|t| t.duration_since(start) < until) {
            Some(t) => now = t.max(now),
            None => return (started, reported),
        }
    }
}

#[test]
fn services_that_share_a_server_share_its_probes() {
    let mut scheduler = ProbeScheduler::new(100);
    let all: Vec<CheckConfig> = (0..50).map(|vs| check_config(vs, 1, 0)).collect();
    scheduler.reconfigure(Instant::default(), all, false);
    assert_eq!((scheduler.load().checks, scheduler.load().probes), (50, 1));
    let quick = Duration::from_millis(1);
    let (started, reported) = run(&mut scheduler, Duration::from_secs(100), |t| (t.as_secs() < 50, quick));
    assert!((9..=11).contains(&started.len()), "{} probes in ten rounds", started.len());
    assert_eq!(reported.len(), 50, "one verdict for each check");
    assert!(reported.iter().all(|t| !t.2 && t.0 == reported[0].0));
}

#[test]
fn each_check_keeps_its_own_retries() {
    let mut scheduler = ProbeScheduler::new(100);
    scheduler.reconfigure(Instant::default(), vec![check_config(1, 1, 0), check_config(2, 1, 3)], true);
    let (_, reported) = run(&mut scheduler, Duration::from_secs(60), |t| (t.as_secs() < 25, Duration::from_millis(1)));
    let [(first, a, false), (last, b, false)] = reported[..] else { panic!("{reported:?}") };
    assert_eq!((a.0, b.0), (service(1), service(2)));
    let retrying = (last - first).as_secs_f64();
    assert!((2.9..3.1).contains(&retrying), "three retries a second apart, took {retrying}");
}

#[test]
fn probes_are_spread_over_the_warm_up_and_limited_in_number() {
    let mut scheduler = ProbeScheduler::new(3);
    scheduler.reconfigure(Instant::default(), (0..200).map(|n| check_config(1, n, 0)).collect(), false);
    let (started, _) = run(&mut scheduler, Duration::from_secs(11), |_| (true, Duration::from_millis(1)));
    // Probes at the very beginning may run a second time.
    assert!((200..=205).contains(&started.len()), "{} probes", started.len());
    for second in 1..11 {
        let n = started.iter().filter(|t| t.as_secs() == second).count();
        assert!((5..45).contains(&n), "{n} in second {second}");
    }
    // Slow probes: three at a time, and the delay of the queue is known.
    let mut scheduler = ProbeScheduler::new(3);
    scheduler.reconfigure(Instant::default(), (0..200).map(|n| check_config(1, n, 0)).collect(), false);
    let (started, _) = run(&mut scheduler, Duration::from_secs(20), |_| (true, Duration::from_secs(1)));
    assert!((50..=60).contains(&started.len()), "{} probes", started.len());
    assert!(scheduler.queue_delay(Instant::default() + Duration::from_secs(20)) > Duration::from_secs(5));
    assert_eq!(scheduler.load().running, 3);
}

#[test]
fn a_reload_keeps_unchanged_checks_and_removes_others() {
    let mut scheduler = ProbeScheduler::new(10);
    scheduler.reconfigure(Instant::default(), vec![check_config(1, 1, 0), check_config(1, 2, 0)], false);
    run(&mut scheduler, Duration::from_secs(15), |_| (false, Duration::from_millis(1)));
    assert!(scheduler.reports().all(|r| !r.verdict.up));
    let now = Instant::default() + Duration::from_secs(15);
    scheduler.reconfigure(now, vec![check_config(1, 1, 0), check_config(1, 3, 0)], true);
    let up: Vec<_> = scheduler.reports().map(|r| (r.id.1, r.verdict.up)).collect();
    assert!(up.contains(&(server(1), false)) && up.contains(&(server(3), true)) && up.len() == 2, "{up:?}");
    // A check that is removed while its probe runs.
    let at = now + Duration::from_secs(30);
    scheduler.handle_deadline(at);
    let Some(Output::StartProbe { id: probe, .. }) = scheduler.poll_output() else { panic!("a probe is due") };
    scheduler.reconfigure(at, Vec::new(), true);
    let finish = |scheduler: &mut ProbeScheduler| {
        scheduler.handle(at, Input::ProbeFinished { id: probe, result: result(true) });
        assert!(scheduler.poll_output().is_none());
    };
    finish(&mut scheduler);
    assert_eq!((scheduler.load().checks, scheduler.load().probes, scheduler.load().running), (0, 0, 0));
    finish(&mut scheduler); // a second end of the same probe is ignored
}

#[test]
fn suspended_checks_send_no_probes() {
    let mut scheduler = ProbeScheduler::new(10);
    scheduler.reconfigure(Instant::default(), vec![check_config(1, 1, 0)], false);
    scheduler.handle(Instant::default(), Input::Suspend { service: service(1), suspended: true });
    let (started, _) = run(&mut scheduler, Duration::from_secs(60), |_| (true, Duration::from_millis(1)));
    assert!(started.is_empty());
    let now = Instant::default() + Duration::from_secs(60);
    scheduler.handle(now, Input::Suspend { service: service(1), suspended: false });
    scheduler.handle_deadline(now);
    assert_eq!(started_probes(&mut scheduler).len(), 1, "at once when the address arrives");
}
