//! Virtual services: the data plane, IPVS's sysctls and timeouts, and health checks.

use super::super::reasons::NEEDS_IPVS;
use super::super::spec::MissingArgument::Reports;
use super::super::spec::*;

#[rustfmt::skip]
pub(super) const KEYWORDS: &[Keyword] = &[
    kw("dataplane", Args::Choice(&["auto", "xdp", "ipvs"]), "auto", "evenkeel",
       "Data plane: `xdp` is evenkeel's packet path, `ipvs` the kernel's IPVS. `auto` selects xdp if the machine supports it, unless the file needs something that only IPVS has."),
    kw("dataplane_interface", Args::Attachment, "none", "evenkeel",
       "How the packet path is attached to this interface; `off` leaves it alone. The name may end in `*`. Without it, the packet path is attached to the interfaces that packets of clients and replies of real servers may come in by."),
    kw("serve_any_address", Args::Flag, "off", "evenkeel",
       "Balance packets for virtual addresses that this host does not hold too, on master and backup alike. Without it, they pass to the kernel."),
    kw("local_clients", Args::Bool, "on", "evenkeel",
       "Balance processes of this host, in its network namespace, that use a virtual service by TCP or UDP: by programs on the root of the cgroup2 hierarchy. IPVS always does."),
    kw("connection_table_size", Args::Uint(1024, 1 << 26), "1048576", "evenkeel",
       "Number of connections in the packet path's table, rounded up to a power of two; read when the table is created."),
    kw("hand_changes", Args::Choice(&["repair", "leave"]), "repair", "evenkeel",
       "Changes that others make to a configured service: `repair` reverts them, `leave` keeps them until the configuration or the health of the service changes. Other services are never touched."),
    kw("name_refresh", Args::Uint(1, 86_400), "10", "evenkeel",
       "Interval in seconds between DNS lookups of real servers that are configured by name."),
    kw("checker_concurrency", Args::Uint(1, 100_000), "1000", "evenkeel",
       "Maximum number of simultaneous probes. Probes beyond it wait, and `status` reports the delay."),
    kw("checker_log_all_failures", Args::Bool, "off", "v2.0.11",
       "Log every failed probe, not only changes of state."),
    kw("lvs_timeouts", Args::LvsTimeouts, "kernel values", "v1.2.24",
       "Connection timeouts in seconds; 0 keeps the default.").missing_argument(Reports),
    kw("lvs_flush", Args::Flag, "off", "v1.2.23",
       "Remove all virtual services at start."),
    kw("lvs_flush_on_stop", Args::OptChoice(&["VS"]), "off", "v2.2.0",
       "Remove all virtual services at stop; with `VS` only the configured ones."),
    kw("lvs_flush_onstop", Args::OptChoice(&["VS"]), "off", "v2.0.15",
       "Old name of `lvs_flush_on_stop`.").replaced_by("lvs_flush_on_stop"),
    kw("lvs_sync_daemon", Args::SyncDaemon, "none", "v1.2.20",
       "Synchronise connections with the other director over this interface, in the role of the named instance.")
       .differs(NEEDS_IPVS),
    sysctl("conn_reuse_mode", Args::Uint(0, 3), "1",
       "IPVS sysctl: what a SYN does that matches a closing connection. 0: it goes to the same real server. 1: it is scheduled anew. Adding 2 includes the FIN_WAIT state, for replies that bypass the director."),
    sysctl("expire_nodest_conn", Args::Bool, "off",
       "IPVS sysctl: a connection of a removed real server expires at its next packet, and a SYN to a server of weight 0 is scheduled anew."),
    sysctl("expire_quiescent_template", Args::Bool, "off",
       "IPVS sysctl: persistence templates of a real server expire when its weight becomes 0."),
    sysctl("sloppy_tcp", Args::Bool, "off",
       "IPVS sysctl: any TCP segment except a RST can create a connection."),
    sysctl("sloppy_sctp", Args::Bool, "off",
       "IPVS sysctl: any SCTP packet except an ABORT can create an association."),
    sysctl("secure_tcp", Args::Bool, "off",
       "IPVS sysctl, 3 (on) or 0 (off): use a stricter TCP state table, with short timeouts for half-open connections."),
    sysctl("schedule_icmp", Args::Bool, "off",
       "IPVS sysctl: forward an ICMP error of an unknown connection to the real server that scheduling selects for its client, since another director may have the connection."),
    sysctl("nat_icmp_send", Args::Bool, "off",
       "IPVS sysctl: answer packets of a NAT real server that belong to no connection with ICMP port unreachable."),
    sysctl("pmtu_disc", Args::Bool, "on",
       "IPVS sysctl: copy the don't-fragment flag of the inner packet to the outer packet of a tunnel."),
    sysctl("cache_bypass", Args::Bool, "off",
       "IPVS sysctl: while a service on a firewall mark has no real server, forward its packets to their original destination."),
    sysctl("lblc_expiration", Args::Uint(1, 2_678_400), "86400",
       "IPVS sysctl: time in seconds after which the scheduler lblc forgets an unused destination address."),
    sysctl("lblcr_expiration", Args::Uint(1, 2_678_400), "86400",
       "IPVS sysctl: time in seconds after which the scheduler lblcr forgets an unused destination address."),
];

/// A sysctl of IPVS (Documentation/networking/ipvs-sysctl.rst), which keepalived leaves to sysctl(8).
const fn sysctl(name: &'static str, args: Args, default: &'static str, doc: &'static str) -> Keyword {
    kw(name, args, default, "evenkeel", doc)
}
