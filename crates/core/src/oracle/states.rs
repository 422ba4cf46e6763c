//! The state machines of TCP and SCTP as IPVS keeps them: tcp_states[], tcp_states_dos[], sctp_states[], written out once
//! more, column by column as `ipvsadm -Lc` names the states.

use crate::model::{Protocol, Tuning};

/// Whose packet it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The client's.
    Input,
    /// The server's.
    Output,
    /// The client's, of a connection whose server is not seen.
    InputOnly,
}

/// Flags of a TCP segment.
pub const FIN: u8 = 0x01;
/// Begins a connection.
pub const SYN: u8 = 0x02;
/// Ends it at once.
pub const RST: u8 = 0x04;
/// Acknowledges.
pub const ACK: u8 = 0x10;

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
/// tcp_timeouts[], seconds; ES and FW are settable.
const TCP_TIMEOUTS: [u32; 11] = [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120];

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

/// What a packet makes of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateTransition {
    /// Its state, in the kernel's numbers; 0 for UDP.
    pub state: u32,
    /// How long it then lives, seconds.
    pub timeout_s: u32,
    /// Does it count as active?
    pub active: bool,
    /// Is it established?
    pub established: bool,
}

fn next_in_row(row: &str, names: &[&str], state: u32) -> u32 {
    let next = row.split(' ').nth(state as usize).unwrap_or("CL");
    names.iter().position(|n| *n == next).unwrap_or(0) as u32
}

/// The next state, and what follows from it. `event`: a TCP segment's flags, or the type of an SCTP packet's first chunk.
pub fn next_state(tuning: &Tuning, protocol: Protocol, side: Direction, state: u32, event: u8) -> StateTransition {
    let place = match side {
        Direction::Input => 0,
        Direction::Output => 1,
        Direction::InputOnly => 2,
    };
    match protocol {
        Protocol::Udp => StateTransition { state: 0, timeout_s: tuning.udp_s, active: false, established: false },
        Protocol::Tcp => {
            let tables = if tuning.secure_tcp { &TCP_STATES_DOS } else { &TCP_STATES };
            // The first of RST, SYN, FIN, ACK counts; a segment without any closes (tcp_state_idx()).
            let row = [(RST, 3), (SYN, 0), (FIN, 1), (ACK, 2)].iter().find(|(flag, _)| event & flag != 0);
            let state = row.map_or(6, |(_, row)| next_in_row(tables[place][*row], &TCP, state));
            let name = TCP[state as usize];
            let timeout_s = match name {
                "ES" => tuning.tcp_s,
                "FW" => tuning.tcpfin_s,
                _ => TCP_TIMEOUTS[state as usize],
            };
            let active = matches!(name, "ES" | "SS" | "SR" | "SA");
            StateTransition { state, timeout_s, active, established: name == "ES" }
        }
        Protocol::Sctp => {
            let row = match event {
                1 => 1,
                2 => 2,
                10 => 3,
                11 => 4,
                7 => 5,
                8 => 6,
                14 => 7,
                9 => 8,
                6 => 9,
                _ => 0,
            };
            let state = next_in_row(SCTP_STATES[place][row], &SCTP, state);
            let name = SCTP[state as usize];
            let timeout_s = match name {
                "NO" => 2,
                "I1" | "RJ" => 4,
                "ES" => 900,
                _ => 60,
            };
            StateTransition { state, timeout_s, active: name == "ES", established: name == "ES" }
        }
    }
}
