//! The control packet (RFC 5880, 4.1).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Without authentication, as ours always is.
pub const PACKET_LEN: usize = 24;

const VERSION: u8 = 1;
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// Where a session stands, for whoever sent the packet (RFC 5880, 4.1, "Sta").
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum State {
    /// Held down by its operator.
    AdminDown,
    /// No session.
    Down,
    /// The neighbour is heard, and does not hear us yet.
    Init,
    /// Both hear one another.
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
    /// Nothing to say.
    pub const NONE: Diagnostic = Diagnostic(0);
    /// No packet came for the detection time.
    pub const TIME_EXPIRED: Diagnostic = Diagnostic(1);
    /// The neighbour said so.
    pub const NEIGHBOUR_DOWN: Diagnostic = Diagnostic(3);
    /// The operator.
    pub const ADMIN_DOWN: Diagnostic = Diagnostic(7);
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "no reason",
            1 => "the detection time has passed without a packet",
            2 => "the echo function failed",
            3 => "the neighbour signalled it",
            4 => "the forwarding plane was reset",
            5 => "the path is down",
            6 => "a path behind it is down",
            7 => "it was taken down by its operator",
            8 => "a path before it is down",
            _ => "a reason that RFC 5880 does not know",
        })
    }
}

/// What a control packet says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Why the sender's session went down last.
    pub diagnostic: Diagnostic,
    /// Where it stands.
    pub state: State,
    /// An answer is wanted at once (P).
    pub poll: bool,
    /// This is that answer (F).
    pub final_bit: bool,
    /// The sender does not want packets at intervals (D).
    pub demand: bool,
    /// The sender may miss so many packets of its own before it counts as gone.
    pub multiplier: u8,
    /// The sender's number for the session; never 0.
    pub my_discr: u32,
    /// The receiver's, as far as the sender knows it; else 0.
    pub your_discr: u32,
    /// The sender sends at least so far apart.
    pub desired_min_tx: Duration,
    /// The sender can take packets so far apart; zero: it wants none.
    pub required_min_rx: Duration,
}

/// Why a packet was refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum RejectReason {
    /// Not version 1.
    Version,
    /// Shorter than a packet, or than it says; or longer than what came.
    Length,
    /// Detection multiplier 0.
    Multiplier,
    /// The multipoint bit.
    Multipoint,
    /// A discriminator of 0 where there must be one.
    Discriminator,
    /// Authentication, which we do not speak.
    Authentication,
    /// No session is with this neighbour.
    UnknownNeighbour,
    /// It came from farther away than `max_hops`.
    Hops,
}

impl Packet {
    /// As bytes; intervals are cut to whole microseconds.
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
        // The echo function (bytes 20 to 23) is not wanted.
        b
    }

    /// Reads the payload of a UDP packet, with those checks of RFC 5880, 6.8.6, that need no session.
    pub fn parse(b: &[u8]) -> Result<Packet, RejectReason> {
        let Some(fixed) = b.first_chunk::<PACKET_LEN>() else { return Err(RejectReason::Length) };
        let number = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let interval = |at: usize| Duration::from_micros(u64::from(number(at)));
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
            my_discr: number(4),
            your_discr: number(8),
            desired_min_tx: interval(12),
            required_min_rx: interval(16),
        };
        let early = matches!(packet.state, State::Down | State::AdminDown);
        if packet.my_discr == 0 || (packet.your_discr == 0 && !early) {
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
