//! A throttle for work that follows events: done at once if events are rare, and for a limited part of the time if they
//! are not.

use evenkeel_core::time::Instant;
use evenkeel_sys::clock;

/// The state of one kind of work.
pub struct Throttle {
    /// The work takes at most one part in this many of the time.
    share: u32,
    next: Instant,
    is_requested: bool,
}

impl Throttle {
    /// Nothing is requested.
    pub fn new(share: u32) -> Throttle {
        Throttle { share, next: clock::now(), is_requested: false }
    }

    /// There is work to do.
    pub fn request(&mut self) {
        self.is_requested = true;
    }

    /// When requested work is due; `None` if none is.
    pub fn due_time(&self) -> Option<Instant> {
        self.is_requested.then_some(self.next)
    }

    /// Does the work if it is requested and due.
    pub fn run(&mut self, work: impl FnOnce()) {
        let start = clock::now();
        if self.due_time().is_none_or(|due| start < due) {
            return;
        }
        self.is_requested = false;
        work();
        let end = clock::now();
        self.next = end + end.duration_since(start) * self.share;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rare_work_is_done_at_once_and_frequent_work_later() {
        let mut throttle = Throttle::new(1000);
        let mut runs = 0;
        let mut run = |throttle: &mut Throttle| {
            throttle.run(|| {
                std::thread::sleep(Duration::from_millis(5));
                runs += 1;
            });
            runs
        };
        assert_eq!((run(&mut throttle), throttle.due_time()), (0, None), "nothing was requested");
        throttle.request();
        assert_eq!((run(&mut throttle), throttle.due_time()), (1, None));
        throttle.request();
        throttle.request();
        assert_eq!(run(&mut throttle), 1, "not yet");
        let wait = throttle.due_time().expect("requested").duration_since(clock::now());
        assert!(wait > Duration::from_secs(4) && wait < Duration::from_secs(600), "{wait:?}");
    }
}
