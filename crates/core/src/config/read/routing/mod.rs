//! Lines of `virtual_routes`, `virtual_rules` and their static forms, in the syntax of `ip route` and `ip rule`.
//!
//! A line is kept as a list of options with their values, which `lower` makes into a route or a rule.

mod encap;
mod options;
mod route;
mod rule;

pub(in crate::config) use encap::{parse_ila_locator, parse_mpls_labels};
