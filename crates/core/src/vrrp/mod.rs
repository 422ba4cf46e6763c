//! VRRP: who holds the address.
//!
//! [`wire`] is the wire format, [`Router`] the state machine of one virtual router, with its [`Input`] and [`Output`],
//! [`Announcer`] what waits to be announced, [`track`] what tracked objects do to its priority, [`debounce`] when an
//! interface counts as down, [`group`] what a sync group wants of its members. Nothing here reads a clock or a socket: `evenkeel-daemon`'s router thread does, and hands both in.

mod announcer;
pub mod debounce;
mod events;
pub mod group;
mod peers;
mod router;
pub mod track;
pub mod wire;

pub use announcer::Announcer;
pub use events::{Because, Counters, Input, Output, Past, State};
pub use router::Router;

#[cfg(test)]
mod signed_tests;
#[cfg(test)]
mod tests;
