//! The list of installed routes and rules.

use std::fmt::Display;

use evenkeel_core::model::{RouteSpec, RuleSpec};

/// The installed routes and rules.
#[derive(Default)]
pub struct InstalledRoutes {
    /// Routes, in the order of their installation.
    pub routes: Vec<RouteSpec>,
    /// Rules, likewise.
    pub rules: Vec<RuleSpec>,
    /// Routes and rules of the lists above that were there before with the same protocol, which is not ours: they are
    /// not removed.
    pub found: (Vec<RouteSpec>, Vec<RuleSpec>),
    /// The configured routes and rules were added once to the lists above: an earlier daemon may have left any of them.
    pub leftovers_added: bool,
    /// Routes and rules with `no_track` that somebody else deleted. They are not installed again before the next
    /// transition.
    pub released: (Vec<RouteSpec>, Vec<RuleSpec>),
}

/// Removes an item from a list. False if the list does not have it.
pub fn remove_item<T: PartialEq>(list: &mut Vec<T>, item: &T) -> bool {
    let before = list.len();
    list.retain(|i| i != item);
    list.len() != before
}

/// Removes deleted items from the list, so that they are installed again; those with `no_track` stay in it and are
/// added to `released`. Returns whether there is anything to install. If it is not certain that an item was deleted, it
/// is installed again, which does no harm, but not released.
pub fn take_removed<T: Clone + PartialEq + Display>(
    installed: &mut Vec<T>,
    released: &mut Vec<T>,
    (kind, is_certain): (&str, bool),
    is_deleted: impl Fn(&T) -> bool,
    has_no_track: impl Fn(&T) -> bool,
) -> bool {
    let before = installed.len();
    installed.retain(|r| {
        if !is_deleted(r) || (has_no_track(r) && !is_certain) {
            return true;
        }
        if has_no_track(r) {
            tracing::info!("{kind} {r} was deleted by somebody else and stays deleted (no_track)");
            released.extend((!released.contains(r)).then(|| r.clone()));
        } else if is_certain {
            tracing::warn!("{kind} {r} was deleted by somebody else: installing it again");
        }
        has_no_track(r)
    });
    installed.len() != before
}
