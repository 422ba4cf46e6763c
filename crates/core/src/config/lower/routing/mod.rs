//! Routes and rules: `virtual_routes`, `virtual_rules` and their static forms.
//!
//! `read` has kept each line as a list of options, in the order and with the names of `ip route` and `ip rule`.

mod encap;
mod names;
mod options;
mod routes;
mod rules;

pub(super) use rules::rule_preferences;
