//! Simulations: VRRP clusters in virtual time, under random and under exhaustive faults.
//!
//! `EVENKEEL_SEED=n` replays one seed. `EVENKEEL_SEEDS=n` sets the number of seeds. `EVENKEEL_DEEPER=n` lengthens the
//! sequences of the exhaustive test.

use std::time::Duration;

use evenkeel_core::model::{Track, VrrpVersion};
use evenkeel_testkit::sim::{Cluster, LinkFaults, SplitMix64, instance, tracked_script};

/// One history: six rounds of faults, each of which is healed. After each heal there is exactly one master, the one of
/// highest priority, within the protocol's bound, and it stays master. In a third of the histories each host has two
/// links and a sync group over them.
fn run_history(seed: u64) {
    let mut r = SplitMix64::new(seed ^ 0x5eed);
    let n = 2 + r.below(4) as usize;
    let version = if r.chance(50) { VrrpVersion::V2 } else { VrrpVersion::V3 };
    let interval = match version {
        VrrpVersion::V2 => Duration::from_secs(1 + r.below(3)),
        VrrpVersion::V3 => Duration::from_millis(10 * (2 + r.below(300))),
    };
    // Equal priorities occur in practice. The higher address decides.
    let priorities = if r.chance(30) { 3 } else { 254 };
    let links = if r.chance(33) { 2 } else { 1 };
    let weight = [None, Some(0), Some(-30), Some(20)][r.below(4) as usize];
    let hosts = (0..n).map(|_| {
        let mut i = instance(1 + r.below(priorities) as u8, version, interval);
        i.tracks =
            weight.map(|weight| Track { object: tracked_script(), weight, reverse: false }).into_iter().collect();
        i.sync_group = (links > 1).then(|| "G".to_owned());
        vec![i; links]
    });
    let mut c = Cluster::with_links(hosts.collect(), seed);
    for round in 0..6 {
        for _ in 0..c.rng().below(12) {
            inject_fault(&mut c, interval, priorities);
            let ms = c.rng().below(interval.as_millis() as u64 * 3);
            c.run(Duration::from_millis(ms));
        }
        c.heal();
        c.run(c.convergence_bound());
        assert_converged(&c, seed, round);
        for _ in 0..5 {
            c.run(interval / 2);
            assert_converged(&c, seed, round);
        }
    }
}

/// A random fault of a random host or of the links. `priorities`: the number of different priorities for a reload.
fn inject_fault(c: &mut Cluster, interval: Duration, priorities: u64) {
    let (n, links) = (c.len() as u64, c.links() as u64);
    let i = c.rng().below(n) as usize;
    let link = c.rng().below(links) as usize;
    match c.rng().below(14) {
        0 => c.crash(i),
        1 => c.kill_process(i),
        2 => c.stop(i),
        3 => c.boot(i),
        4 | 5 => {
            let side = c.rng().below(3) as u8;
            c.partition(i, link, side);
        }
        6 => {
            let length = Duration::from_millis(c.rng().below(interval.as_millis() as u64 * 8));
            c.pause(i, length);
        }
        7 => {
            let up = c.rng().chance(50);
            c.set_link(i, link, up);
        }
        8 | 9 => {
            let good = c.rng().chance(50);
            c.set_script_result(i, good);
        }
        10 => {
            let priority = 1 + c.rng().below(priorities) as u8;
            c.reload(i, |cfg| cfg.priority = priority);
        }
        11 => c.link_faults = LinkFaults { loss_percent: c.rng().below(100), ..c.link_faults },
        12 => c.link_faults = LinkFaults { duplicate_percent: c.rng().below(100), ..c.link_faults },
        _ => {
            c.link_faults = LinkFaults { max_delay_ms: c.rng().below(interval.as_millis() as u64 * 2), ..c.link_faults }
        }
    }
}

/// On each link there is one master, which has the highest priority and holds the address; all links have the same
/// master.
fn assert_converged(c: &Cluster, seed: u64, round: u32) {
    for link in 0..c.links() {
        let masters = c.masters(link);
        assert_eq!(
            masters.len(),
            1,
            "seed {seed}, round {round}, link {link}, {}: masters {masters:?}; EVENKEEL_SEED={seed} replays it",
            c.now
        );
        assert_eq!(c.holders(link), masters, "seed {seed}");
        assert_eq!(masters, c.masters(0), "seed {seed}, round {round}: the masters of a sync group are on two hosts");
        let best = (0..c.len()).map(|i| c.priority(i, link)).max();
        assert_eq!(
            Some(c.priority(masters[0], link)),
            best,
            "seed {seed}, round {round}: the master has not the highest priority"
        );
    }
}

fn env_number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn after_every_heal_there_is_one_master_within_the_bound() {
    if let Some(seed) = env_number("EVENKEEL_SEED") {
        return run_history(seed);
    }
    for seed in 0..env_number("EVENKEEL_SEEDS").unwrap_or(10_000) {
        run_history(seed);
    }
}

#[test]
fn a_million_virtual_seconds_pass_without_a_change_of_master() {
    let instances = [100, 150, 50].map(|p| instance(p, VrrpVersion::V2, Duration::from_secs(100))).to_vec();
    let mut c = Cluster::new(instances, 1);
    c.run(Duration::from_secs(1000));
    assert_eq!(c.masters(0), [1]);
    for _ in 0..1000 {
        c.run(Duration::from_secs(1000));
        assert_eq!(c.masters(0), [1], "at {}", c.now);
    }
}

#[test]
fn a_clean_stop_hands_over_within_skew() {
    let instances = [150, 100].map(|p| instance(p, VrrpVersion::V2, Duration::from_secs(1))).to_vec();
    let mut c = Cluster::new(instances, 1);
    c.run(Duration::from_secs(10));
    assert_eq!(c.masters(0), [0]);
    c.stop(0);
    c.run(Duration::from_millis(600)); // (256 - 100) / 256 s = 609 ms
    assert_eq!(c.masters(0), [] as [usize; 0]);
    c.run(Duration::from_millis(20));
    assert_eq!(c.masters(0), [1]);
}

/// What can happen to a host.
const ACTIONS: [fn(&mut Cluster, usize); 9] = [
    |c, i| c.crash(i),
    |c, i| c.kill_process(i),
    |c, i| c.stop(i),
    |c, i| c.boot(i),
    |c, i| c.partition(i, 0, 1),
    |c, i| c.partition(i, 0, 0),
    |c, i| c.set_link(i, 0, false),
    |c, i| c.set_script_result(i, false),
    |c, i| c.pause(i, Duration::from_millis(1500)),
];

/// Runs every sequence of `depth` actions on any host, with a short or a long time after each. After every sequence and
/// a heal there is one master, the one of highest priority, within the bound, and no second master that receives its
/// adverts.
fn explore_faults(c: &Cluster, depth: usize, done: &mut Vec<(usize, usize)>, count: &mut u64) {
    let mut healed = c.clone();
    healed.heal();
    healed.run(healed.convergence_bound());
    assert_eq!(healed.masters(0).len(), 1, "after {done:?}: {:?}", healed.masters(0));
    healed.run(Duration::from_secs(2));
    assert_eq!(healed.masters(0), [0], "after {done:?}");
    *count += 1;
    if depth == 0 {
        return;
    }
    for ms in [700, 3300] {
        for (a, action) in ACTIONS.iter().enumerate() {
            for i in 0..c.len() {
                let mut next = c.clone();
                action(&mut next, i);
                next.run(Duration::from_millis(ms));
                done.push((a, i));
                explore_faults(&next, depth - 1, done, count);
                done.pop();
            }
        }
    }
}

#[test]
fn no_sequence_of_faults_leaves_two_masters_that_receive_each_other_s_adverts() {
    let deeper = env_number("EVENKEEL_DEEPER").unwrap_or(0) as usize;
    for (priorities, depth) in [(&[150, 100][..], 2), (&[150, 100, 50][..], 2)] {
        let mut hosts = priorities.iter().map(|&p| {
            let mut i = instance(p, VrrpVersion::V2, Duration::from_secs(1));
            i.tracks = vec![Track { object: tracked_script(), weight: -80, reverse: false }];
            i
        });
        let mut c = Cluster::new(hosts.by_ref().collect(), 1);
        c.run(Duration::from_secs(5));
        let mut count = 0;
        explore_faults(&c, depth + deeper, &mut Vec::new(), &mut count);
        assert!(count > 1000, "only {count}");
    }
}
