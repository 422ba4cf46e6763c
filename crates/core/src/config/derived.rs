//! Derived values: what both `check` and `lower` compute from a typed block.
//!
//! Both stages use them, so that `check` does not depend on `lower`.

use super::value::{Section, Value};
use crate::model::Pattern;

/// The regular expression of a `url` block with its options and offsets; `None` without `regex`.
pub(super) fn regex_pattern(u: &Section) -> Option<Pattern> {
    let words = |keyword: &str| match u.get(keyword).map(|e| &e.value) {
        Some(Value::Words(w)) => w.clone(),
        Some(Value::Text(t)) => vec![t.clone()],
        _ => Vec::new(),
    };
    Some(Pattern {
        source: u.text("regex")?.to_owned(),
        options: words("regex_options"),
        inverted: u.has("regex_no_match"),
        min_offset: u.uint("regex_min_offset").unwrap_or(0) as usize,
        max_offset: u.uint("regex_max_offset").map(|n| n as usize),
        stack: words("regex_stack").get(1).and_then(|w| w.parse().ok()),
    })
}

/// Whether the weights of trackers that a member configures itself count in this sync group.
///
/// `global_tracking` is the older name of `sync_group_tracking_weight`.
pub(super) fn counts_member_weights(group: &Section) -> bool {
    group.has("sync_group_tracking_weight") || group.has("global_tracking")
}
