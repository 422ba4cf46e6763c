//! How the packet path behaves where IPVS has sysctls and `ipvsadm --set`.

/// Settings of the whole data plane. Names and defaults are those of the kernel's sysctls (ipvs-sysctl.rst).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// `lvs_timeouts`, `ipvsadm --set`: of established TCP connections (and SCTP's), seconds.
    pub tcp_s: u32,
    /// Of TCP connections after a FIN, seconds.
    pub tcpfin_s: u32,
    /// Of UDP, seconds.
    pub udp_s: u32,
    /// 0: a SYN on a connection that has run its course goes where that went; bit 0: it begins anew; bit 1: also after a FIN
    /// of a connection whose answers are not seen.
    pub conn_reuse_mode: u32,
    /// Connections of a removed server end at their next packet; a SYN to a quiesced one begins anew.
    pub expire_nodest_conn: bool,
    /// A quiesced server loses its persistent clients.
    pub expire_quiescent_template: bool,
    /// Any TCP segment but a RST may begin a connection.
    pub sloppy_tcp: bool,
    /// Any SCTP packet but an ABORT may begin an association.
    pub sloppy_sctp: bool,
    /// Half-open connections get the stricter state table.
    pub secure_tcp: bool,
    /// An ICMP error about an unknown connection is sent where its client would be: another director may have it.
    pub schedule_icmp: bool,
    /// A real server behind NAT that sends something of no connection is told that nobody is there.
    pub nat_icmp_send: bool,
    /// Tunnels may not be cut if what is in them may not be.
    pub pmtu_disc: bool,
    /// Without a real server, packets with a firewall mark go to where they want.
    pub cache_bypass: bool,
    /// How long lblc remembers an address that nobody asks for, seconds.
    pub lblc_expiration_s: u32,
    /// The same of lblcr.
    pub lblcr_expiration_s: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            tcp_s: 900,
            tcpfin_s: 120,
            udp_s: 300,
            conn_reuse_mode: 1,
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            sloppy_tcp: false,
            sloppy_sctp: false,
            secure_tcp: false,
            schedule_icmp: false,
            nat_icmp_send: false,
            pmtu_disc: true,
            cache_bypass: false,
            lblc_expiration_s: 86_400,
            lblcr_expiration_s: 86_400,
        }
    }
}
