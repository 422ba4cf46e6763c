//! BFD (bidirectional forwarding detection): whether packets of a neighbour still arrive here, and ours there. RFC 5880
//! in asynchronous mode, without authentication and echo; RFC 5881 and RFC 5883 for its UDP packets.
//!
//! Files: [`events`] (inputs and outputs), [`session`] ([`Session`], the state machine of one session, and its timers),
//! [`packet`] (the control packet). Nothing here reads a clock or a socket; the router thread of `evenkeel-daemon`
//! does.

pub mod events;
pub mod packet;
pub mod session;
#[cfg(test)]
mod tests;

pub use events::{Counters, Input, Output};
pub use packet::{Diagnostic, Packet, RejectReason, State};
pub use session::Session;

/// The UDP port of single-hop sessions (RFC 5881, 4).
pub const SINGLE_HOP_PORT: u16 = 3784;
/// The UDP port of multihop sessions (RFC 5883, 5).
pub const MULTIHOP_PORT: u16 = 4784;
/// The lowest source port; the highest is 65535 (RFC 5881, 4).
pub const MIN_SOURCE_PORT: u16 = 49152;
