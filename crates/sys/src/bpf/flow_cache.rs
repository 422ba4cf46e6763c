//! The flow cache (bpf/conn/flow_cache.h), as user space sees it: its size, its use, and its invalidation.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use super::abi::*;
use super::maps::Maps;

impl Maps {
    /// Invalidates all entries of the flow cache. Must be called after each change of connection entries by user space,
    /// because packets of cached flows use the cache instead of the entries.
    pub(super) fn invalidate_flow_cache(&self) {
        for i in 0..self.flow_cache.len() {
            let epoch = self.flow_cache.atomic_u32(i, offset_of!(flow_cache_line, epoch));
            loop {
                // A packet locks the line for a few instructions while it writes.
                let unlocked = epoch.load(Ordering::Relaxed) & !EK_FLOW_CACHE_LOCKED;
                if epoch.compare_exchange(unlocked, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                    break;
                }
                std::hint::spin_loop();
            }
        }
    }

    /// The memory of the flow cache in bytes.
    pub fn flow_cache_bytes(&self) -> usize {
        self.flow_cache.len() * size_of::<flow_cache_line>()
    }

    /// The number of valid entries of the flow cache: those of the current epoch.
    pub fn flow_cache_entries(&self) -> usize {
        let epoch = (self.jiffies64() >> self.settings.read(0).epoch_shift << 1) as u32;
        // Most lines are of an earlier epoch, which one word shows.
        let is_current = |&i: &usize| {
            self.flow_cache.atomic_u32(i, offset_of!(flow_cache_line, epoch)).load(Ordering::Relaxed) == epoch
        };
        let entries = |i| self.flow_cache.read(i).tag.iter().filter(|&&f| f > EK_FLOW_CACHE_DELETED).count();
        (0..self.flow_cache.len()).filter(is_current).map(entries).sum()
    }
}
