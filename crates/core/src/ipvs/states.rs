//! The states of connections: their names as `ipvsadm -Lc` prints them, and their numbers as the kernel has them
//! (tcp_state_name_table[] of `ip_vs_proto_tcp.c`, sctp_state_name_table[] of `ip_vs_proto_sctp.c`).

use crate::model::Protocol;

const TCP: [&str; 11] = [
    "NONE",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "SYNACK",
];
const SCTP: [&str; 14] = [
    "NONE",
    "INIT1",
    "INIT",
    "C-SENT",
    "C-REPLIED",
    "C-WAIT",
    "COOKIE",
    "C-ECHOED",
    "ESTABLISHED",
    "S-SENT",
    "S-RECEIVED",
    "S-ACK_SENT",
    "REJECTED",
    "CLOSED",
];

/// The name of a state.
pub fn state_name(protocol: Protocol, state: u32) -> &'static str {
    let table: &[&str] = match protocol {
        Protocol::Tcp => &TCP,
        Protocol::Sctp => &SCTP,
        Protocol::Udp => return "UDP",
    };
    table.get(state as usize).copied().unwrap_or("ERR!")
}

/// The number of a state.
pub fn state_number(protocol: Protocol, name: &str) -> Option<u32> {
    let table: &[&str] = match protocol {
        Protocol::Tcp => &TCP,
        Protocol::Sctp => &SCTP,
        Protocol::Udp => return (name == "UDP").then_some(0),
    };
    table.iter().position(|n| *n == name).map(|n| n as u32)
}

/// Whether a connection in this state counts as active: tcp_state_active_table[]; for SCTP only the state ESTABLISHED.
pub fn is_active(protocol: Protocol, state: u32) -> bool {
    match protocol {
        Protocol::Tcp => matches!(state_name(protocol, state), "ESTABLISHED" | "SYN_SENT" | "SYN_RECV" | "SYNACK"),
        Protocol::Sctp => state_name(protocol, state) == "ESTABLISHED",
        Protocol::Udp => false,
    }
}
