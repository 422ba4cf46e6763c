//! The range allocator of the map `lists`: which words belong to which server list or scheduler table.

use std::collections::BTreeMap;

/// Allocated ranges; a first-fit allocator.
#[derive(Debug, Default)]
pub struct Ranges {
    /// The length of each range by its first word.
    allocated: BTreeMap<u32, u32>,
    size: u32,
}

impl Ranges {
    /// An allocator of `size` free words.
    pub fn new(size: u32) -> Self {
        Ranges { allocated: BTreeMap::new(), size }
    }

    /// Marks a range as allocated.
    pub fn reserve(&mut self, base: u32, len: u32) {
        if len > 0 {
            self.allocated.insert(base, len);
        }
    }

    /// Allocates a range whose first word is a multiple of `align`. Returns `None` if no gap is long enough.
    pub fn alloc(&mut self, len: u32, align: u32) -> Option<u32> {
        if len == 0 {
            return Some(0);
        }
        let mut start = 0;
        for (&base, &range_len) in &self.allocated {
            if base.saturating_sub(start) >= len {
                break;
            }
            start = start.max(base + range_len).checked_next_multiple_of(align)?;
        }
        if self.size.checked_sub(start)? < len {
            return None;
        }
        self.allocated.insert(start, len);
        Some(start)
    }

    /// Frees a range.
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
    fn ranges_do_not_overlap_and_gaps_are_reused() {
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
    fn a_range_is_aligned() {
        let mut r = Ranges::new(100);
        assert_eq!(r.alloc(5, 1), Some(0));
        assert_eq!(r.alloc(40, 32), Some(32));
        assert_eq!(r.alloc(20, 1), Some(5));
        assert_eq!(r.alloc(5, 32), None, "96 to 100 are too few");
        assert_eq!(r.alloc(4, 32), Some(96));
    }
}
