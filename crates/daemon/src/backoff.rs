//! Backoff: the delay before a process that died is started again. As keepalived: none at first, then 1, 2, 4 …
//! seconds, at most a minute.

use std::time::Duration;

const MAX_DELAY: Duration = Duration::from_secs(60);
/// A process that lived longer than this starts the sequence from the beginning.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// The delay that comes next.
#[derive(Default)]
pub struct Backoff(Duration);

impl Backoff {
    /// The delay after a process that lived for `lived`.
    pub fn next_delay(&mut self, lived: Duration) -> Duration {
        if lived > STABLE_AFTER {
            self.0 = Duration::ZERO;
        }
        let next = (self.0 * 2).clamp(Duration::from_secs(1), MAX_DELAY);
        std::mem::replace(&mut self.0, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_until_a_process_has_been_stable() {
        let mut backoff = Backoff::default();
        let mut after = |s| backoff.next_delay(Duration::from_secs(s)).as_secs();
        assert_eq!([0; 9].map(&mut after), [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!([61, 0, 0].map(after), [0, 1, 2]);
    }
}
