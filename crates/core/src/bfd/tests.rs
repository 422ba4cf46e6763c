use std::time::Duration;

use super::packet::LENGTH;
use super::*;

const MS: Duration = Duration::from_millis(1);

fn config(passive: bool) -> BfdInstance {
    BfdInstance {
        name: "b".into(),
        neighbour: "10.0.0.2".parse().expect("an address"),
        source: None,
        min_rx: 20 * MS,
        min_tx: 10 * MS,
        idle_tx: 1000 * MS,
        multiplier: 3,
        passive,
        ttl: 255,
        max_hops: Some(0),
        multihop: false,
        tells_vrrp: true,
        tells_checks: true,
    }
}

/// Two neighbours and the link between them.
struct Pair {
    now: Instant,
    ends: [Session; 2],
    /// What each has been through.
    states: [Vec<(Instant, State, Diagnostic)>; 2],
    /// Does what this end sends arrive?
    passes: [bool; 2],
    sent: [u64; 2],
    /// Changes that were an operator's wish.
    meant: u32,
}

impl Pair {
    fn new(a: BfdInstance, b: BfdInstance) -> Self {
        let now = Instant::default();
        let ends = [Session::new(a, 11, now), Session::new(b, 22, now)];
        Pair { now, ends, states: [Vec::new(), Vec::new()], passes: [true; 2], sent: [0; 2], meant: 0 }
    }

    fn deliver(&mut self) {
        loop {
            let Some((i, o)) = (0..2).find_map(|i| Some((i, self.ends[i].poll_output()?))) else { return };
            match o {
                Output::State { to, why, meant, .. } => {
                    self.states[i].push((self.now, to, why));
                    self.meant += u32::from(meant);
                }
                Output::Send(bytes) => {
                    self.sent[i] += 1;
                    let p = Packet::read(&bytes).expect("one of our own");
                    assert!(p.yours == 0 || p.yours == self.ends[1 - i].discriminator());
                    if self.passes[i] {
                        self.ends[1 - i].handle(self.now, &p);
                    }
                }
            }
        }
    }

    fn run(&mut self, d: Duration) {
        let end = self.now + d;
        self.deliver();
        while let Some(next) = self.ends.iter().filter_map(Session::next_deadline).min().filter(|t| *t <= end) {
            self.now = self.now.max(next);
            self.ends.iter_mut().for_each(|e| e.handle_deadline(next));
            self.deliver();
        }
        self.now = end;
    }

    fn both(&self) -> [State; 2] {
        [self.ends[0].state().0, self.ends[1].state().0]
    }
}

#[test]
fn two_neighbours_come_up_and_speed_up() {
    let mut p = Pair::new(config(false), config(false));
    p.run(1100 * MS);
    assert_eq!(p.both(), [State::Up, State::Up]);
    // Down, Init, Up: never past Init (6.2).
    assert!(p.states.iter().all(|s| s.last().is_some_and(|l| l.1 == State::Up)));
    p.run(1000 * MS);
    assert_eq!(p.ends[0].interval(), 20 * MS, "the neighbour takes no more");
    assert_eq!(p.ends[0].detection_time(), 60 * MS, "three times the slower of what he sends and we take");
    let before = p.sent[0];
    p.run(1000 * MS);
    // 15 to 20 ms apart (6.8.7).
    assert!((50..=67).contains(&(p.sent[0] - before)), "{}", p.sent[0] - before);
}

#[test]
fn silence_is_found_within_the_detection_time() {
    let mut p = Pair::new(config(false), config(false));
    p.run(3000 * MS);
    p.passes[0] = false;
    let cut = p.now;
    p.run(200 * MS);
    let (at, state, why) = *p.states[1].last().expect("a change");
    assert_eq!((state, why), (State::Down, Diagnostic::EXPIRED));
    assert!(at.since(cut) <= 60 * MS && at.since(cut) >= 40 * MS, "{:?}", at.since(cut));
    // The other is told: its packets still arrive.
    let (_, state, why) = *p.states[0].last().expect("a change");
    assert_eq!((state, why), (State::Down, Diagnostic::NEIGHBOUR));
    p.passes[0] = true;
    p.run(3000 * MS);
    assert_eq!(p.both(), [State::Up, State::Up]);
}

#[test]
fn one_that_is_passive_waits_and_two_never_begin() {
    let mut p = Pair::new(config(true), config(true));
    p.run(60_000 * MS);
    assert_eq!((p.both(), p.sent), ([State::Down, State::Down], [0, 0]));
    let mut p = Pair::new(config(true), config(false));
    p.run(3000 * MS);
    assert_eq!(p.both(), [State::Up, State::Up]);
}

#[test]
fn an_end_that_is_wanted_is_told_and_not_taken_for_a_failure() {
    let mut p = Pair::new(config(false), config(false));
    p.run(3000 * MS);
    let now = p.now;
    p.ends[0].stop(now);
    p.deliver();
    let (at, state, why) = *p.states[1].last().expect("a change");
    assert_eq!((at, state, why), (now, State::Down, Diagnostic::NEIGHBOUR));
    assert_eq!(p.meant, 1);
    assert_eq!(p.ends[0].next_deadline(), None);
}

#[test]
fn new_intervals_hold_once_the_neighbour_knows() {
    let mut p = Pair::new(config(false), config(false));
    p.run(3000 * MS);
    let before = p.states.clone();
    let slower = BfdInstance { min_tx: 500 * MS, min_rx: 300 * MS, ..config(false) };
    let now = p.now;
    p.ends[0].reconfigure(now, slower);
    assert_eq!(p.ends[0].interval(), 20 * MS, "he expects it faster still");
    p.run(5000 * MS);
    assert_eq!(p.states, before, "nobody took it for silence");
    assert_eq!((p.ends[0].interval(), p.ends[1].detection_time()), (500 * MS, 1500 * MS));
    assert_eq!(p.ends[1].interval(), 300 * MS);
}

#[test]
fn a_loss_of_a_third_of_the_packets_is_survived_with_a_multiplier_of_many() {
    let many = BfdInstance { multiplier: 20, ..config(false) };
    let mut p = Pair::new(many.clone(), many);
    p.run(2000 * MS);
    let (before, mut lot) = (p.states.clone(), 88_172_645_463_325_252_u64);
    let mut passes = || {
        lot ^= lot << 13;
        lot ^= lot >> 7;
        lot ^= lot << 17;
        !lot.is_multiple_of(3)
    };
    for _ in 0..20_000 {
        p.passes = [passes(), passes()];
        p.run(7 * MS);
    }
    assert_eq!(p.states, before);
}

#[test]
fn a_packet_is_read_as_it_was_written_and_a_wrong_one_is_refused() {
    let p = Packet {
        diagnostic: Diagnostic::EXPIRED,
        state: State::Init,
        poll: true,
        last: false,
        demand: false,
        multiplier: 5,
        mine: 0x0102_0304,
        yours: 0x0506_0708,
        desired_min_tx: Duration::from_micros(1_000_000),
        required_min_rx: Duration::from_micros(10_000),
    };
    let bytes = p.bytes();
    assert_eq!(Packet::read(&bytes), Ok(p));
    let changed = |at: usize, value: u8| {
        let mut b = bytes;
        b[at] = value;
        Packet::read(&b)
    };
    assert_eq!(Packet::read(&bytes[..LENGTH - 1]), Err(Reject::Length));
    assert_eq!(changed(3, 23), Err(Reject::Length));
    assert_eq!(changed(3, 25), Err(Reject::Length));
    assert_eq!(changed(0, 0x41), Err(Reject::Version));
    assert_eq!(changed(2, 0), Err(Reject::Multiplier));
    assert_eq!(changed(1, bytes[1] | 1), Err(Reject::Multipoint));
    assert_eq!(changed(1, bytes[1] | 4), Err(Reject::Authentication));
    assert_eq!(Packet::read(&Packet { mine: 0, ..p }.bytes()), Err(Reject::Discriminator));
    assert_eq!(Packet::read(&Packet { yours: 0, ..p }.bytes()), Err(Reject::Discriminator));
    assert!(Packet::read(&Packet { yours: 0, state: State::Down, ..p }.bytes()).is_ok());
}
