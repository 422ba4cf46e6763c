use std::time::Duration;

use super::packet::PACKET_LEN;
use super::*;
use crate::model::BfdInstance;
use crate::time::Instant;

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
        notifies_vrrp: true,
        notifies_checks: true,
    }
}

/// Two sessions and the link between them, in virtual time.
struct Pair {
    now: Instant,
    sessions: [Session; 2],
    /// The transitions of each session.
    states: [Vec<(Instant, State, Diagnostic)>; 2],
    /// Whether packets from this session arrive.
    delivers: [bool; 2],
    sent: [u64; 2],
    /// Transitions that an operator caused.
    admin_downs: u32,
}

impl Pair {
    fn new(a: BfdInstance, b: BfdInstance) -> Self {
        let now = Instant::default();
        let sessions = [Session::new(a, 11, now), Session::new(b, 22, now)];
        Pair { now, sessions, states: [Vec::new(), Vec::new()], delivers: [true; 2], sent: [0; 2], admin_downs: 0 }
    }

    fn deliver(&mut self) {
        loop {
            let Some((i, o)) = (0..2).find_map(|i| Some((i, self.sessions[i].poll_output()?))) else { return };
            match o {
                Output::Transition { to, diagnostic, admin_down, .. } => {
                    self.states[i].push((self.now, to, diagnostic));
                    self.admin_downs += u32::from(admin_down);
                }
                Output::Send(bytes) => {
                    self.sent[i] += 1;
                    let p = Packet::parse(&bytes).expect("valid");
                    assert!(p.your_discr == 0 || p.your_discr == self.sessions[1 - i].local_discr());
                    if self.delivers[i] {
                        self.sessions[1 - i].handle(self.now, Input::Packet(&p));
                    }
                }
            }
        }
    }

    fn run(&mut self, d: Duration) {
        let end = self.now + d;
        self.deliver();
        while let Some(next) = self.sessions.iter().filter_map(Session::next_deadline).min().filter(|t| *t <= end) {
            self.now = self.now.max(next);
            self.sessions.iter_mut().for_each(|e| e.handle_deadline(next));
            self.deliver();
        }
        self.now = end;
    }

    fn session_states(&self) -> [State; 2] {
        [self.sessions[0].state(), self.sessions[1].state()]
    }
}

#[test]
fn two_neighbours_come_up_and_speed_up() {
    let mut p = Pair::new(config(false), config(false));
    p.run(1100 * MS);
    assert_eq!(p.session_states(), [State::Up, State::Up]);
    // Down, Init, Up: never past Init (6.2).
    assert!(p.states.iter().all(|s| s.last().is_some_and(|l| l.1 == State::Up)));
    p.run(1000 * MS);
    assert_eq!(p.sessions[0].transmit_interval(), 20 * MS, "not faster than the neighbour's min_rx");
    assert_eq!(
        p.sessions[0].detection_time(),
        60 * MS,
        "three times the slower of the neighbour's min_tx and our min_rx"
    );
    let before = p.sent[0];
    p.run(1000 * MS);
    // 15 to 20 ms apart (6.8.7).
    assert!((50..=67).contains(&(p.sent[0] - before)), "{}", p.sent[0] - before);
}

#[test]
fn silence_is_detected_within_the_detection_time() {
    let mut p = Pair::new(config(false), config(false));
    p.run(3000 * MS);
    p.delivers[0] = false;
    let cut = p.now;
    p.run(200 * MS);
    let (at, state, why) = *p.states[1].last().expect("a change");
    assert_eq!((state, why), (State::Down, Diagnostic::TIME_EXPIRED));
    assert!(at.duration_since(cut) <= 60 * MS && at.duration_since(cut) >= 40 * MS, "{:?}", at.duration_since(cut));
    // The other session learns of it, since packets to it still arrive.
    let (_, state, why) = *p.states[0].last().expect("a change");
    assert_eq!((state, why), (State::Down, Diagnostic::NEIGHBOUR_DOWN));
    p.delivers[0] = true;
    p.run(3000 * MS);
    assert_eq!(p.session_states(), [State::Up, State::Up]);
}

#[test]
fn a_passive_session_waits_and_two_of_them_never_start() {
    let mut p = Pair::new(config(true), config(true));
    p.run(60_000 * MS);
    assert_eq!((p.session_states(), p.sent), ([State::Down, State::Down], [0, 0]));
    let mut p = Pair::new(config(true), config(false));
    p.run(3000 * MS);
    assert_eq!(p.session_states(), [State::Up, State::Up]);
}

#[test]
fn a_stop_is_signalled_and_does_not_count_as_a_failure() {
    let mut p = Pair::new(config(false), config(false));
    p.run(3000 * MS);
    let now = p.now;
    p.sessions[0].handle(now, Input::Stop);
    p.deliver();
    let (at, state, why) = *p.states[1].last().expect("a change");
    assert_eq!((at, state, why), (now, State::Down, Diagnostic::NEIGHBOUR_DOWN));
    assert_eq!(p.admin_downs, 1);
    assert_eq!(p.sessions[0].next_deadline(), None);
}

#[test]
fn new_intervals_take_effect_when_the_neighbour_has_confirmed_them() {
    let mut p = Pair::new(config(false), config(false));
    p.run(3000 * MS);
    let before = p.states.clone();
    let slower = BfdInstance { min_tx: 500 * MS, min_rx: 300 * MS, ..config(false) };
    let now = p.now;
    p.sessions[0].reconfigure(now, slower);
    assert_eq!(p.sessions[0].transmit_interval(), 20 * MS, "not confirmed yet");
    p.run(5000 * MS);
    assert_eq!(p.states, before, "no session went down");
    assert_eq!((p.sessions[0].transmit_interval(), p.sessions[1].detection_time()), (500 * MS, 1500 * MS));
    assert_eq!(p.sessions[1].transmit_interval(), 300 * MS);
}

#[test]
fn a_large_multiplier_survives_a_loss_of_a_third_of_the_packets() {
    let many = BfdInstance { multiplier: 20, ..config(false) };
    let mut p = Pair::new(many.clone(), many);
    p.run(2000 * MS);
    let (before, mut seed) = (p.states.clone(), 88_172_645_463_325_252_u64);
    let mut passes = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        !seed.is_multiple_of(3)
    };
    for _ in 0..20_000 {
        p.delivers = [passes(), passes()];
        p.run(7 * MS);
    }
    assert_eq!(p.states, before);
}

#[test]
fn an_encoded_packet_parses_to_itself_and_an_invalid_one_is_rejected() {
    let p = Packet {
        diagnostic: Diagnostic::TIME_EXPIRED,
        state: State::Init,
        poll: true,
        final_bit: false,
        demand: false,
        multiplier: 5,
        my_discr: 0x0102_0304,
        your_discr: 0x0506_0708,
        desired_min_tx: Duration::from_micros(1_000_000),
        required_min_rx: Duration::from_micros(10_000),
    };
    let bytes = p.encode();
    assert_eq!(Packet::parse(&bytes), Ok(p));
    let changed = |at: usize, value: u8| {
        let mut b = bytes;
        b[at] = value;
        Packet::parse(&b)
    };
    assert_eq!(Packet::parse(&bytes[..PACKET_LEN - 1]), Err(RejectReason::Length));
    assert_eq!(changed(3, 23), Err(RejectReason::Length));
    assert_eq!(changed(3, 25), Err(RejectReason::Length));
    assert_eq!(changed(0, 0x41), Err(RejectReason::Version));
    assert_eq!(changed(2, 0), Err(RejectReason::Multiplier));
    assert_eq!(changed(1, bytes[1] | 1), Err(RejectReason::Multipoint));
    assert_eq!(changed(1, bytes[1] | 4), Err(RejectReason::Authentication));
    assert_eq!(Packet::parse(&Packet { my_discr: 0, ..p }.encode()), Err(RejectReason::Discriminator));
    assert_eq!(Packet::parse(&Packet { your_discr: 0, ..p }.encode()), Err(RejectReason::Discriminator));
    assert!(Packet::parse(&Packet { your_discr: 0, state: State::Down, ..p }.encode()).is_ok());
}
