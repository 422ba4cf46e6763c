//! Timeouts and sysctls of the packet path. A connection uses a new timeout from its next packet on, as with
//! `ipvsadm --set`.

use std::mem::offset_of;

use evenkeel_core::model::Tuning;

use super::super::abi::*;
use super::MapWriter;

/// The byte offset of a TCP state's timeout in the settings.
fn tcp_timeout(state: u32) -> usize {
    offset_of!(settings, timeout_tcp) + 4 * state as usize
}

impl MapWriter {
    /// Applies the tuning of the configuration.
    pub fn apply_tuning(&self, t: &Tuning) {
        let maps = self.maps();
        let jiffies = |seconds: u32| maps.seconds_to_jiffies(seconds);
        let flags = [
            (t.expire_nodest_conn, EXPIRE_NODEST_CONN),
            (t.expire_quiescent_template, EXPIRE_QUIESCENT_TEMPLATE),
            (t.sloppy_tcp, SLOPPY_TCP),
            (t.sloppy_sctp, SLOPPY_SCTP),
            (t.secure_tcp, SECURE_TCP),
            (t.schedule_icmp, SCHEDULE_ICMP),
            (t.nat_icmp_send, NAT_ICMP_SEND),
            (!t.pmtu_disc, NO_PMTU_DISC),
            (t.cache_bypass, CACHE_BYPASS),
        ];
        // Standby is no part of the configuration.
        let standby = maps.settings.read(0).tuning & STANDBY;
        let flags = flags.iter().filter(|(set, _)| *set).fold(standby, |all, (_, flag)| all | flag);
        // Each word is written by itself: the program reads the settings at any time.
        for (offset, value) in [
            (tcp_timeout(TCP_ESTABLISHED), jiffies(t.tcp_s)),
            (tcp_timeout(TCP_FIN_WAIT), jiffies(t.tcpfin_s)),
            (offset_of!(settings, timeout_udp), jiffies(t.udp_s)),
            (offset_of!(settings, lblc_expiration), jiffies(t.lblc_expiration_s)),
            (offset_of!(settings, lblcr_expiration), jiffies(t.lblcr_expiration_s)),
            (offset_of!(settings, conn_reuse_mode), t.conn_reuse_mode),
            (offset_of!(settings, tuning), flags),
        ] {
            maps.settings.store_u32(0, offset, value);
        }
    }

    /// Sets the timeouts of idle connections in seconds: TCP, TCP after a FIN, UDP. 0 leaves a timeout unchanged.
    pub fn set_timeouts(&self, tcp_s: u32, tcpfin_s: u32, udp_s: u32) {
        let maps = self.maps();
        for (offset, seconds) in [
            (tcp_timeout(TCP_ESTABLISHED), tcp_s),
            (tcp_timeout(TCP_FIN_WAIT), tcpfin_s),
            (offset_of!(settings, timeout_udp), udp_s),
        ] {
            if seconds != 0 {
                maps.settings.store_u32(0, offset, maps.seconds_to_jiffies(seconds));
            }
        }
    }
}
