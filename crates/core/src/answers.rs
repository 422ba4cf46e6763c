//! Answers: whether the handshakes of new connections go on, by the counts that the packet path keeps for each real
//! server (bpf/conn/answered.h).
//!
//! A server can pass its health checks while no client reaches it: it lacks the virtual address, drops tunnelled packets,
//! or sends its answers by another gateway. Its clients then send their SYN again, and no handshake goes on.
//!
//! The rules:
//!
//! - *No answer*: at least [`MIN_RETRIED`] connections were retried, and none was answered, over the last minute or over the
//!   last 20 seconds.
//! - *Some answers*: over the last minute at least [`MIN_PARTLY_RETRIED`] connections were retried, more than were answered, and another server
//!   of the service does better. If none does, the clients or the network before the director are the cause.
//!
//! A flood of SYNs and a scan must not look like a broken server. Forged addresses do not send a SYN again, so that a flood
//! retries nothing; and a scanner answers the server's SYN-ACK by RST, which counts as an answer. UDP has no handshake and
//! is not judged.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::time::Instant;

/// The time over which counts are compared.
pub const WINDOW: Duration = Duration::from_secs(60);
/// A shorter time, after which a server that no longer answers is noticed.
const RECENT: Duration = Duration::from_secs(20);
/// Retried connections without which nothing is said.
pub const MIN_RETRIED: u32 = 3;
/// Retried connections without which a server that answers some is not reported.
pub const MIN_PARTLY_RETRIED: u32 = 10;

/// The connections of a server: their number so far, or within a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AnswerCounts {
    /// New connections.
    pub new: u32,
    /// Connections whose handshake went on.
    pub answered: u32,
    /// Connections whose client sent the first packet again before.
    pub retried: u32,
}

/// The counts of a server within the last minute.
#[derive(Default, Debug)]
struct Window {
    /// The counts so far at each moment, oldest first. The first one is the last that is older than the window.
    samples: VecDeque<(Instant, AnswerCounts)>,
}

impl Window {
    fn add(&mut self, now: Instant, counts: AnswerCounts) {
        let is_less =
            |a: AnswerCounts, b: AnswerCounts| a.new < b.new || a.answered < b.answered || a.retried < b.retried;
        if self.samples.back().is_some_and(|(_, last)| is_less(counts, *last)) {
            self.samples.clear(); // the server is another one, or its counts were set to 0
        }
        self.samples.push_back((now, counts));
        while self.samples.get(1).is_some_and(|(t, _)| now.duration_since(*t) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// The counts within the time before the last sample.
    fn counts(&self, time: Duration) -> AnswerCounts {
        let Some((now, last)) = self.samples.back() else { return AnswerCounts::default() };
        let is_before = |(t, _): &&(Instant, AnswerCounts)| now.duration_since(*t) >= time;
        let first = self.samples.iter().rev().find(is_before).or(self.samples.front());
        let Some((_, first)) = first else { return AnswerCounts::default() };
        AnswerCounts {
            new: last.new.saturating_sub(first.new),
            answered: last.answered.saturating_sub(first.answered),
            retried: last.retried.saturating_sub(first.retried),
        }
    }
}

/// What the counts of a server say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerVerdict {
    /// No connection was answered within this time.
    NoAnswer(AnswerCounts, Duration),
    /// More connections were retried than answered, while another server of the service answers.
    SomeAnswers(AnswerCounts),
}

/// The windows of all servers, by a service's key `K` and a server's key `S`.
pub struct AnswerMonitor<K, S> {
    servers: BTreeMap<(K, S), Window>,
}

impl<K, S> Default for AnswerMonitor<K, S> {
    fn default() -> Self {
        AnswerMonitor { servers: BTreeMap::new() }
    }
}

impl<K: Ord + Copy, S: Ord + Copy> AnswerMonitor<K, S> {
    /// Adds the counts so far of all servers. Servers that are not among them are forgotten.
    pub fn add_sample(&mut self, now: Instant, all: impl IntoIterator<Item = ((K, S), AnswerCounts)>) {
        let mut before = std::mem::take(&mut self.servers);
        for (key, counts) in all {
            let mut window = before.remove(&key).unwrap_or_default();
            window.add(now, counts);
            self.servers.insert(key, window);
        }
    }

    /// The counts of a server within the last minute.
    pub fn counts(&self, service: K, server: S) -> AnswerCounts {
        self.servers.get(&(service, server)).map_or_else(AnswerCounts::default, |w| w.counts(WINDOW))
    }

    /// The servers whose connections are not answered.
    pub fn verdicts(&self) -> Vec<(K, S, AnswerVerdict)> {
        let all: Vec<(K, S, AnswerCounts, AnswerCounts)> =
            self.servers.iter().map(|((k, s), w)| (*k, *s, w.counts(WINDOW), w.counts(RECENT))).collect();
        let mut out = Vec::new();
        for of_service in all.chunk_by(|a, b| a.0 == b.0) {
            for &(service, server, counts, recent) in of_service {
                let none = |c: AnswerCounts| c.retried >= MIN_RETRIED && c.answered == 0;
                let verdict = if none(counts) {
                    AnswerVerdict::NoAnswer(counts, WINDOW)
                } else if none(recent) {
                    AnswerVerdict::NoAnswer(recent, RECENT)
                } else if counts.retried >= MIN_PARTLY_RETRIED
                    && counts.retried > counts.answered
                    && of_service.iter().any(|(_, _, other, _)| does_better(*other, counts))
                {
                    AnswerVerdict::SomeAnswers(counts)
                } else {
                    continue;
                };
                out.push((service, server, verdict));
            }
        }
        out
    }
}

/// Whether the share of retried connections is less than half of another server's.
fn does_better(counts: AnswerCounts, than: AnswerCounts) -> bool {
    let (answered, retried) = (u64::from(counts.answered), u64::from(counts.retried));
    let (other_answered, other_retried) = (u64::from(than.answered), u64::from(than.retried));
    // retried / (retried + answered), compared without division
    answered > 0 && 2 * retried * (other_retried + other_answered) < other_retried * (retried + answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Monitor = AnswerMonitor<u8, u8>;

    fn counts(new: u32, answered: u32, retried: u32) -> AnswerCounts {
        AnswerCounts { new, answered, retried }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    /// The verdicts after a minute in which the servers of one service got these connections.
    fn after_a_minute(servers: &[AnswerCounts]) -> Vec<(u8, AnswerVerdict)> {
        let mut m = Monitor::default();
        let add = |m: &mut Monitor, t, part: u32| {
            let scaled = |c: &AnswerCounts| counts(c.new * part / 12, c.answered * part / 12, c.retried * part / 12);
            m.add_sample(at(t), servers.iter().enumerate().map(|(n, c)| ((1, n as u8), scaled(c))));
        };
        for part in 0..=12u32 {
            add(&mut m, u64::from(part) * 5, part);
        }
        m.verdicts().into_iter().map(|(_, s, v)| (s, v)).collect()
    }

    #[test]
    fn a_server_that_never_answers_is_named_and_others_are_not() {
        let (broken, well) = (counts(14, 0, 14), counts(15, 15, 0));
        assert_eq!(after_a_minute(&[broken, well]), [(0, AnswerVerdict::NoAnswer(broken, WINDOW))]);
        assert_eq!(after_a_minute(&[well, well]), []);
        assert_eq!(after_a_minute(&[counts(2, 0, 2)]), [], "two connections prove nothing");
    }

    #[test]
    fn a_flood_and_a_scan_are_no_broken_server() {
        // Forged SYNs, each sent once; and clients that are answered among them.
        assert_eq!(after_a_minute(&[counts(1_000_000, 0, 0), counts(1_000_000, 40, 0)]), []);
        // A scanner answers by RST.
        assert_eq!(after_a_minute(&[counts(5000, 5000, 0)]), []);
        // Many clients behind a broken network: all servers suffer alike.
        assert_eq!(after_a_minute(&[counts(1000, 300, 700), counts(1000, 310, 690)]), []);
    }

    #[test]
    fn a_server_that_answers_less_than_another_is_named() {
        let (lossy, well) = (counts(100, 30, 70), counts(100, 95, 5));
        assert_eq!(after_a_minute(&[lossy, well]), [(0, AnswerVerdict::SomeAnswers(lossy))]);
        assert_eq!(after_a_minute(&[lossy]), [], "it may be the network before the director");
    }

    #[test]
    fn a_server_that_stops_answering_is_named_before_the_minute_is_over() {
        let mut m = Monitor::default();
        for (t, answered, retried) in [(0, 0, 0), (5, 100, 0), (10, 100, 2), (20, 100, 4), (25, 100, 5)] {
            m.add_sample(at(t), [((1, 1), counts(answered + retried, answered, retried))]);
        }
        assert_eq!(m.verdicts(), [(1, 1, AnswerVerdict::NoAnswer(counts(5, 0, 5), RECENT))]);
    }

    #[test]
    fn a_minute_after_its_repair_a_server_is_well_and_counts_may_begin_anew() {
        let mut m = Monitor::default();
        for (t, retried, answered) in [(0, 0, 0), (5, 5, 0), (30, 5, 40)] {
            m.add_sample(at(t), [((1, 1), counts(retried + answered, answered, retried))]);
        }
        assert_eq!(m.verdicts(), [], "it answers now");
        m.add_sample(at(31), [((1, 1), counts(0, 0, 0))]);
        assert_eq!(m.counts(1, 1), AnswerCounts::default());
        m.add_sample(at(36), [((1, 1), counts(4, 0, 4))]);
        assert_eq!(m.verdicts().len(), 1);
        m.add_sample(at(95), [((1, 1), counts(4, 0, 4))]);
        m.add_sample(at(100), [((1, 1), counts(4, 0, 4))]);
        assert_eq!(m.verdicts(), [], "nothing has happened for a minute");
        m.add_sample(at(105), []);
        assert_eq!(m.counts(1, 1), AnswerCounts::default(), "the server is gone");
    }
}
