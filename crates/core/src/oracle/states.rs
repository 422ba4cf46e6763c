//! The state machines of TCP and SCTP as IPVS has them: tcp_states[], tcp_states_dos[] and sctp_states[], written out a
//! second time, with the columns in the order of the states' numbers.

use crate::ipvs::is_active;
use crate::model::{Protocol, Tuning};

/// The direction of a packet: IP_VS_DIR_INPUT, IP_VS_DIR_OUTPUT, IP_VS_DIR_INPUT_ONLY.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the client.
    Input,
    /// From the server.
    Output,
    /// From the client, of a connection whose replies do not pass this director.
    InputOnly,
}

/// FIN of a TCP segment's flags (RFC 9293, 3.1).
pub const FIN: u8 = 0x01;
/// SYN of a TCP segment's flags.
pub const SYN: u8 = 0x02;
/// RST of a TCP segment's flags.
pub const RST: u8 = 0x04;
/// ACK of a TCP segment's flags.
pub const ACK: u8 = 0x10;

/// The type of an SCTP INIT chunk (RFC 9260, 3.2).
pub const SCTP_INIT: u8 = 1;
/// The type of an SCTP ABORT chunk.
pub const SCTP_ABORT: u8 = 6;

/// The names of the states, abbreviated.
const TCP: [&str; 11] = ["NO", "ES", "SS", "SR", "FW", "TW", "CL", "CW", "LA", "LI", "SA"];
/// Rows: SYN, FIN, ACK, RST.
const TCP_STATES: [[&str; 4]; 3] = [
    [
        "SR ES ES SR SR SR SR SR SR SR SR",
        "CL CW SS TW TW TW CL CW LA LI TW",
        "ES ES SS ES FW TW CL CW CL LI ES",
        "CL CL CL SR CL CL CL CL LA LI SR",
    ],
    [
        "SS ES SS SR SS SS SS SS SS LI SR",
        "TW FW SS TW FW TW CL TW LA LI TW",
        "ES ES SS ES FW TW CL CW LA ES ES",
        "CL CL SS CL CL TW CL CL CL CL CL",
    ],
    [
        "SR ES ES SR SR SR SR SR SR SR SR",
        "CL FW SS TW FW TW CL CW LA LI TW",
        "ES ES SS ES FW TW CL CW CL LI ES",
        "CL CL CL SR CL CL CL CL LA LI CL",
    ],
];
const TCP_STATES_DOS: [[&str; 4]; 3] = [
    [
        "SR ES ES SR SR SR SR SR SR SR SA",
        "CL CW SS TW TW TW CL CW LA LI SA",
        "ES ES SS SR FW TW CL CW CL LI SA",
        "CL CL CL SR CL CL CL CL LA LI CL",
    ],
    [
        "SS ES SS SA SS SS SS SS SS LI SA",
        "TW FW SS TW FW TW CL TW LA LI TW",
        "ES ES SS ES FW TW CL CW LA ES ES",
        "CL CL SS CL CL TW CL CL CL CL CL",
    ],
    [
        "SA ES ES SR SA SA SA SA SA SA SA",
        "CL FW SS TW FW TW CL CW LA LI TW",
        "ES ES SS ES FW TW CL CW CL LI ES",
        "CL CL CL SR CL CL CL CL LA LI CL",
    ],
];
/// tcp_timeouts[] in seconds. The timeouts of ES and FW can be set.
const TCP_TIMEOUTS: [u32; 11] = [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120];

/// The names of the states, abbreviated.
const SCTP: [&str; 14] = ["NO", "I1", "IN", "CS", "CR", "CW", "CO", "CE", "ES", "SS", "SR", "SA", "RJ", "CL"];
/// Rows: data, INIT, INIT ACK, COOKIE ECHO, COOKIE ACK, SHUTDOWN, SHUTDOWN ACK, SHUTDOWN COMPLETE, ERROR, ABORT.
const SCTP_STATES: [[&str; 10]; 3] = [
    [
        "ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL",
        "I1 IN IN CS CR CW CO CE ES SS SR SA IN IN",
        "CW CW CW CS CR CO CO CE ES SS SR SA RJ CL",
        "CR IN IN CR CR CW CO CE ES SS SR SA RJ CL",
        "ES I1 IN CS CR CW CO ES ES SS SR SA RJ CL",
        "SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL",
        "CL IN IN CS CR CW CO CE ES CL SR CL RJ CL",
        "CL CL CL CS CR CW CO CE ES SS SR CL RJ CL",
        "CL I1 IN CS CR CW CO CL ES SS SR SA RJ CL",
        "CL CL CL CL CL RJ CL CL CL CL CL CL CL CL",
    ],
    [
        "ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL",
        "CW CW CW CW CW CW CW CW ES CW CW CW CW CW",
        "CS CS CS CS CR CW CO CE ES SS SR SA RJ CL",
        "CE CE CE CE CE CE CE CE ES CE CE CE CE CE",
        "ES ES ES ES ES ES ES ES ES SS SR SA RJ CL",
        "SS SS SS SS SS SS SS SS SS SS SR SA RJ CL",
        "SA SA SA SA SA CW CO CE ES SA SA SA RJ CL",
        "CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL",
        "CL CL CL CL CL CW CO CE ES SS SR SA RJ CL",
        "CL RJ CL CL CL CL CL CL CL CL CL CL CL CL",
    ],
    [
        "ES I1 IN CS CR ES CO CE ES SS SR SA RJ CL",
        "I1 IN IN IN IN IN CO CE ES SS SR SA IN IN",
        "CE CE CE CE CE CE CO CE ES SS SR SA RJ CL",
        "ES ES ES ES ES ES CO CE ES SS SR SA RJ CL",
        "ES I1 IN ES ES CW ES ES ES SS SR SA RJ CL",
        "SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL",
        "CL IN IN CS CR CW CO CE CL CL SR CL RJ CL",
        "CL CL CL CL CL CW CO CE ES SS CL CL RJ CL",
        "CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL",
        "CL CL CL CL CL RJ CL CL CL CL CL CL CL CL",
    ],
];

/// The state that a packet moves a connection to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateTransition {
    /// The kernel's number of the state; 0 for UDP.
    pub state: u32,
    /// The timeout of the state, in seconds.
    pub timeout_s: u32,
    /// Whether the connection counts as active in this state.
    pub active: bool,
}

/// The entry of a row for a state.
fn next_in_row(row: &str, names: &[&str], state: u32) -> u32 {
    let next = row.split(' ').nth(state as usize).unwrap_or("CL");
    names.iter().position(|n| *n == next).unwrap_or(0) as u32
}

/// The state after a packet. `event` is the flags of a TCP segment, or the type of an SCTP packet's first chunk.
pub fn next_state(tuning: &Tuning, protocol: Protocol, direction: Direction, state: u32, event: u8) -> StateTransition {
    let (state, timeout_s) = match protocol {
        Protocol::Udp => (0, tuning.udp_s),
        Protocol::Tcp => next_tcp_state(tuning, direction, state, event),
        Protocol::Sctp => next_sctp_state(direction, state, event),
    };
    StateTransition { state, timeout_s, active: is_active(protocol, state) }
}

fn table_index(direction: Direction) -> usize {
    match direction {
        Direction::Input => 0,
        Direction::Output => 1,
        Direction::InputOnly => 2,
    }
}

fn next_tcp_state(tuning: &Tuning, direction: Direction, state: u32, event: u8) -> (u32, u32) {
    let tables = if tuning.secure_tcp { &TCP_STATES_DOS } else { &TCP_STATES };
    // tcp_state_idx(): the first of RST, SYN, FIN, ACK decides. A segment without any of them leads to CLOSE.
    let row = [(RST, 3), (SYN, 0), (FIN, 1), (ACK, 2)].iter().find(|(flag, _)| event & flag != 0);
    let state = row.map_or(6, |(_, row)| next_in_row(tables[table_index(direction)][*row], &TCP, state));
    let timeout_s = match TCP[state as usize] {
        "ES" => tuning.tcp_s,
        "FW" => tuning.tcpfin_s,
        _ => TCP_TIMEOUTS[state as usize],
    };
    (state, timeout_s)
}

fn next_sctp_state(direction: Direction, state: u32, event: u8) -> (u32, u32) {
    let row = match event {
        SCTP_INIT => 1,
        2 => 2,
        10 => 3,
        11 => 4,
        7 => 5,
        8 => 6,
        14 => 7,
        9 => 8,
        SCTP_ABORT => 9,
        _ => 0,
    };
    let state = next_in_row(SCTP_STATES[table_index(direction)][row], &SCTP, state);
    let timeout_s = match SCTP[state as usize] {
        "NO" => 2,
        "I1" | "RJ" => 4,
        "ES" => 900,
        _ => 60,
    };
    (state, timeout_s)
}
