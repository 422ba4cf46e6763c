//! VRRP: who holds the address.
//!
//! [`wire`] is the wire format, [`Router`] the state machine of one virtual router, with its [`Input`] and [`Output`],
//! [`Announcer`] what waits to be announced, [`track`] what tracked objects do to its priority, [`debounce`] when an
//! interface counts as down, [`group`] what a sync group wants of its members. Nothing here reads a clock or a socket: `evenkeel-daemon`'s router thread does, and hands both in.

mod announce_queue;
pub mod debounce;
mod events;
pub mod packet;
mod peers;
mod router;
pub mod sync_group;
pub mod track;

pub use announce_queue::AnnounceQueue;
pub use events::{Counters, Input, Output, PreviousState, State, TransitionReason};
pub use router::Router;

#[cfg(test)]
mod signed_tests;
#[cfg(test)]
mod tests;
