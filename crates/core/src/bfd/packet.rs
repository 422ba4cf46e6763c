//! The BFD control packet (RFC 5880, 4.1): its encoder and its parser.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bytes of a control packet without authentication section.
pub const PACKET_LEN: usize = 24;

const VERSION: u8 = 1;
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// The state of a session (RFC 5880, 4.1, "Sta").
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum State {
    /// Held down by the operator.
    AdminDown,
    /// No session.
    Down,
    /// Packets of the neighbour arrive; it does not receive ours yet.
    Init,
    /// Packets arrive in both directions.
    Up,
}

impl State {
    const fn from_bits(number: u8) -> State {
        match number & 3 {
            0 => State::AdminDown,
            1 => State::Down,
            2 => State::Init,
            _ => State::Up,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::AdminDown => "AdminDown",
            State::Down => "Down",
            State::Init => "Init",
            State::Up => "Up",
        })
    }
}

/// Why a session went down last (RFC 5880, 4.1, "Diag").
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    /// No diagnostic.
    pub const NONE: Diagnostic = Diagnostic(0);
    /// No packet arrived within the detection time.
    pub const TIME_EXPIRED: Diagnostic = Diagnostic(1);
    /// The neighbour signalled that the session is down.
    pub const NEIGHBOUR_DOWN: Diagnostic = Diagnostic(3);
    /// The operator took the session down.
    pub const ADMIN_DOWN: Diagnostic = Diagnostic(7);
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbour signalled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            _ => "unknown diagnostic",
        })
    }
}

/// The fields of a control packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Why the sender's session went down last.
    pub diagnostic: Diagnostic,
    /// The state of the sender's session.
    pub state: State,
    /// Poll (P): the sender requests an immediate reply.
    pub poll: bool,
    /// Final (F): the reply to a poll.
    pub final_bit: bool,
    /// Demand (D): the sender wants no periodic packets.
    pub demand: bool,
    /// Detect Mult: the sender is considered lost after this number of intervals without a packet.
    pub multiplier: u8,
    /// My Discriminator: the sender's number for the session, never 0.
    pub my_discr: u32,
    /// Your Discriminator: the receiver's number for the session, or 0 if the sender does not know it.
    pub your_discr: u32,
    /// Desired Min TX Interval: the shortest interval at which the sender sends.
    pub desired_min_tx: Duration,
    /// Required Min RX Interval: the shortest interval at which the sender can receive. Zero: it wants no periodic
    /// packets.
    pub required_min_rx: Duration,
}

/// Why a packet was rejected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum RejectReason {
    /// The version is not 1.
    Version,
    /// The packet or its length field is shorter than a control packet, or the length field exceeds the packet.
    Length,
    /// Detect Mult is 0.
    Multiplier,
    /// The multipoint bit is set.
    Multipoint,
    /// A discriminator is 0 where it must not be, or is not the session's.
    Discriminator,
    /// The authentication bit is set; authentication is not supported.
    Authentication,
    /// No session exists with this neighbour.
    UnknownNeighbour,
    /// The packet passed more routers than `max_hops` allows.
    Hops,
}

impl Packet {
    /// Encodes the packet. Intervals are truncated to microseconds.
    pub fn encode(&self) -> [u8; PACKET_LEN] {
        let mut b = [0; PACKET_LEN];
        b[0] = VERSION << 5 | (self.diagnostic.0 & 0x1f);
        let state = match self.state {
            State::AdminDown => 0,
            State::Down => 1,
            State::Init => 2,
            State::Up => 3,
        };
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        b[1] = state << 6 | flag(self.poll, POLL) | flag(self.final_bit, FINAL) | flag(self.demand, DEMAND);
        b[2] = self.multiplier;
        b[3] = PACKET_LEN as u8;
        b[4..8].copy_from_slice(&self.my_discr.to_be_bytes());
        b[8..12].copy_from_slice(&self.your_discr.to_be_bytes());
        b[12..16].copy_from_slice(&micros(self.desired_min_tx).to_be_bytes());
        b[16..20].copy_from_slice(&micros(self.required_min_rx).to_be_bytes());
        // Bytes 20 to 23, Required Min Echo RX Interval: 0, echo is not supported.
        b
    }

    /// Parses the payload of a UDP packet, with those checks of RFC 5880, 6.8.6, that need no session.
    pub fn parse(b: &[u8]) -> Result<Packet, RejectReason> {
        let Some(fixed) = b.first_chunk::<PACKET_LEN>() else { return Err(RejectReason::Length) };
        let word = |i: usize| u32::from_be_bytes([fixed[i], fixed[i + 1], fixed[i + 2], fixed[i + 3]]);
        let interval = |i: usize| Duration::from_micros(u64::from(word(i)));
        let (flags, length) = (fixed[1], usize::from(fixed[3]));
        if fixed[0] >> 5 != VERSION {
            return Err(RejectReason::Version);
        }
        if length < PACKET_LEN || length > b.len() {
            return Err(RejectReason::Length);
        }
        if fixed[2] == 0 {
            return Err(RejectReason::Multiplier);
        }
        if flags & MULTIPOINT != 0 {
            return Err(RejectReason::Multipoint);
        }
        let packet = Packet {
            diagnostic: Diagnostic(fixed[0] & 0x1f),
            state: State::from_bits(flags >> 6),
            poll: flags & POLL != 0,
            final_bit: flags & FINAL != 0,
            demand: flags & DEMAND != 0,
            multiplier: fixed[2],
            my_discr: word(4),
            your_discr: word(8),
            desired_min_tx: interval(12),
            required_min_rx: interval(16),
        };
        let may_lack_discr = matches!(packet.state, State::Down | State::AdminDown);
        if packet.my_discr == 0 || (packet.your_discr == 0 && !may_lack_discr) {
            return Err(RejectReason::Discriminator);
        }
        if flags & AUTHENTICATION != 0 {
            return Err(RejectReason::Authentication);
        }
        Ok(packet)
    }
}

fn micros(d: Duration) -> u32 {
    u32::try_from(d.as_micros()).unwrap_or(u32::MAX)
}
