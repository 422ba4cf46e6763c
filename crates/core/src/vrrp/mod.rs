//! VRRP: which router holds the virtual addresses.
//!
//! Files:
//!
//! - [`events`]: inputs, outputs, states and transition reasons of a router.
//! - [`router`]: [`Router`], the state machine of one virtual router; `router/timers.rs` is all of its timing.
//! - [`packet`]: the packet formats.
//! - [`track`]: from results of scripts, files and processes to priority and FAULT.
//! - [`sync_group`]: sync groups. [`debounce`]: delayed link states. [`AnnounceQueue`]: announcements that are due
//!   later.
//!
//! Nothing here reads a clock or a socket. The router thread of `evenkeel-daemon` does, and passes in time and packets.

mod announce_queue;
pub mod debounce;
pub mod events;
pub mod packet;
mod peers;
pub mod router;
pub mod sync_group;
pub mod track;

pub use announce_queue::AnnounceQueue;
pub use events::{Counters, Input, Output, PreviousState, State, TransitionReason};
pub use router::Router;

#[cfg(test)]
mod tests;
