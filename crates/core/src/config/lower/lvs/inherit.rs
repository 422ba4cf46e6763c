//! Inherited timing: check settings that a virtual server, a real server and a checker may each set.

use std::time::Duration;

use crate::config::value::Section;

/// The interval between checks if no block sets `delay_loop` (keepalived.conf(5), "delay_loop").
pub(super) const DEFAULT_DELAY_LOOP: Duration = Duration::from_secs(60);

/// Settings that the innermost block that has them decides; `None` where no block has set them.
#[derive(Clone, Copy, Default)]
pub(super) struct InheritedTiming {
    pub delay_loop: Option<Duration>,
    pub connect_timeout: Option<Duration>,
    pub retry: Option<u32>,
    pub delay_before_retry: Option<Duration>,
    pub warmup: Option<Duration>,
    pub alpha: Option<bool>,
}

impl InheritedTiming {
    /// The settings of block `s`; those that it does not set come from `outer`.
    pub(super) fn inherit(s: &Section, outer: InheritedTiming) -> InheritedTiming {
        InheritedTiming {
            delay_loop: s.time("delay_loop").or(outer.delay_loop),
            // MISC_CHECK and others that open no connection have no such keyword.
            connect_timeout: s
                .block
                .keyword("connect_timeout")
                .and_then(|_| s.time("connect_timeout"))
                .or(outer.connect_timeout),
            retry: s.uint("retry").map(|n| n as u32).or(outer.retry),
            delay_before_retry: s.time("delay_before_retry").or(outer.delay_before_retry),
            warmup: s.time("warmup").or(outer.warmup),
            alpha: s.flag("alpha").or(outer.alpha),
        }
    }
}
