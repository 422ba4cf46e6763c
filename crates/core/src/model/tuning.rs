//! The tuning of the data plane: the settings that IPVS has sysctls and `ipvsadm --set` for.

/// The settings of the whole data plane. Names and defaults are those of the kernel's sysctls (ipvs-sysctl.rst).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// The timeout of established TCP and SCTP connections in seconds (`lvs_timeouts`, `ipvsadm --set`).
    pub tcp_s: u32,
    /// The timeout of TCP connections after a FIN, in seconds.
    pub tcpfin_s: u32,
    /// The timeout of UDP, in seconds.
    pub udp_s: u32,
    /// What a SYN on a closed connection does. 0: it goes to the same server; bit 0: it creates a new connection; bit 1: also
    /// after a FIN of a connection whose replies do not pass this director.
    pub conn_reuse_mode: u32,
    /// The next packet of a connection to a removed server ends the connection. A SYN to a quiesced server creates a new
    /// connection.
    pub expire_nodest_conn: bool,
    /// A quiesced server loses its persistence templates.
    pub expire_quiescent_template: bool,
    /// Every TCP segment but a RST may create a connection.
    pub sloppy_tcp: bool,
    /// Every SCTP packet but an ABORT may create an association.
    pub sloppy_sctp: bool,
    /// Connections use the state table tcp_states_dos[], which is stricter about half-open connections.
    pub secure_tcp: bool,
    /// An ICMP error for an unknown connection is scheduled like a packet of its client, because another director may have
    /// the connection.
    pub schedule_icmp: bool,
    /// A real server behind NAT gets port unreachable for a packet that belongs to no connection.
    pub nat_icmp_send: bool,
    /// Tunnelled packets have DF set if the inner packets have.
    pub pmtu_disc: bool,
    /// If no real server is available, packets with a firewall mark go to their own destination.
    pub cache_bypass: bool,
    /// How long lblc keeps the server of an unused destination address, in seconds.
    pub lblc_expiration_s: u32,
    /// How long lblcr keeps the servers of an unused destination address, in seconds.
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
