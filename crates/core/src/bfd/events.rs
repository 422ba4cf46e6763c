//! The events of a BFD session: inputs, outputs and counters.

use super::packet::{Diagnostic, PACKET_LEN, Packet, State};

/// An event for a session.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A packet for this session: its your_discr is the session's, or it is 0 and the packet comes from the neighbour
    /// (RFC 5880, 6.8.6).
    Packet(&'a Packet),
    /// End the session, and report that to the neighbour (RFC 5880, 6.8.16).
    Stop,
}

/// What the caller must do for a session, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this packet to the neighbour.
    Send([u8; PACKET_LEN]),
    /// The state changed.
    Transition {
        /// The state before.
        from: State,
        /// The new state.
        to: State,
        /// Why the session went down, if it did.
        diagnostic: Diagnostic,
        /// The neighbour's operator took the session down: nothing has failed (RFC 5882, 3.2).
        admin_down: bool,
    },
}

/// Counters of a session since its start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Packets sent.
    pub sent: u64,
    /// Packets received and accepted.
    pub received: u64,
}
