//! Ranges of the map `lists`: who has which words.

use std::collections::BTreeMap;

/// First fit over the gaps between taken ranges.
#[derive(Debug, Default)]
pub struct Ranges {
    allocated: BTreeMap<u32, u32>,
    size: u32,
}

impl Ranges {
    /// All of `size` words are free.
    pub fn new(size: u32) -> Self {
        Ranges { allocated: BTreeMap::new(), size }
    }

    /// A range that somebody has already.
    pub fn reserve(&mut self, base: u32, len: u32) {
        if len > 0 {
            self.allocated.insert(base, len);
        }
    }

    /// A free range that begins at a multiple of `grain`, or nothing if none is long enough.
    pub fn alloc(&mut self, len: u32, grain: u32) -> Option<u32> {
        if len == 0 {
            return Some(0);
        }
        let mut at = 0;
        for (&base, &taken) in &self.allocated {
            if base.saturating_sub(at) >= len {
                break;
            }
            at = at.max(base + taken).checked_next_multiple_of(grain)?;
        }
        if self.size.checked_sub(at)? < len {
            return None;
        }
        self.allocated.insert(at, len);
        Some(at)
    }

    /// Gives a range back.
    pub fn free(&mut self, base: u32, len: u32) {
        if len > 0 && self.allocated.get(&base) == Some(&len) {
            self.allocated.remove(&base);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_never_overlap_and_gaps_are_used_again() {
        let mut r = Ranges::new(100);
        let a = r.alloc(40, 1).expect("room");
        let b = r.alloc(40, 1).expect("room");
        assert_eq!((a, b), (0, 40));
        assert_eq!(r.alloc(30, 1), None);
        r.free(a, 40);
        assert_eq!(r.alloc(30, 1), Some(0));
        assert_eq!(r.alloc(20, 1), Some(80));
        assert_eq!(r.alloc(10, 1), Some(30));
        assert_eq!(r.alloc(1, 1), None);
    }

    #[test]
    fn a_range_begins_where_it_may() {
        let mut r = Ranges::new(100);
        assert_eq!(r.alloc(5, 1), Some(0));
        assert_eq!(r.alloc(40, 32), Some(32));
        assert_eq!(r.alloc(20, 1), Some(5));
        assert_eq!(r.alloc(5, 32), None, "96 to 100 are too few");
        assert_eq!(r.alloc(4, 32), Some(96));
    }
}
