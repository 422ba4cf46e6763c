//! VRRP: instances, sync groups, what they track, and the interfaces that they need.

mod addresses;
mod adverts;
mod garp;
mod instances;
mod interfaces;
mod sync_groups;
mod tracked;
mod tracking;

pub(super) use tracked::DefaultWeights;
