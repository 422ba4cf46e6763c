//! How long to wait before a process is started again that has died: as keepalived, at once, then 1, 2, 4 … seconds, at most a
//! minute.

use std::time::Duration;

const MAX_DELAY: Duration = Duration::from_secs(60);
/// A process that lived so long starts the row anew.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Where in the row the next pause is.
#[derive(Default)]
pub struct Backoff(Duration);

impl Backoff {
    /// The pause after a process that lived so long.
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
    fn pauses_grow_until_a_process_has_lived() {
        let mut p = Backoff::default();
        let mut after = |s| p.next_delay(Duration::from_secs(s)).as_secs();
        assert_eq!([0; 9].map(&mut after), [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!([61, 0, 0].map(after), [0, 1, 2]);
    }
}
