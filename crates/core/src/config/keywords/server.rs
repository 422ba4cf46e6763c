//! The keywords of `virtual_server`, `real_server` and `SSL`.

use super::checkers::*;
use super::reasons::*;
use super::shared::*;
use super::spec::MissingArgument::Reports;
use super::spec::*;

pub(crate) static VIRTUAL_SERVER: Block =
    Block { path: "virtual_server", keywords: &[SERVICE, SCHEDULING, CHECK_DEFAULTS, AVAILABILITY, SERVERS] };

/// What the service is, and how packets reach its real servers.
#[rustfmt::skip]
const SERVICE: &[Keyword] = &[
    kw("protocol", Args::ChoiceAnyCase(&["TCP", "UDP", "SCTP"]), "UDP, with an error", "v1.0.3",
       "Transport protocol of the service."),
    kw("ip_family", Args::Choice(&["inet", "inet6"]), "the real servers'", "v1.2.20",
       "Address family of a service on a firewall mark, if its real servers do not determine it."),
    kw("member", Args::FwmarkMember, "none", "evenkeel",
       "For a service on a firewall mark: addresses, protocol and ports of packets that the packet path marks itself, without a firewall. May be repeated."),
    kw("lb_kind", Args::LvsMethod, "NAT", "v1.0.3",
       "Old name of `lvs_method`.").replaced_by("lvs_method"),
    lvs_method("NAT", "v1.1.5"),
    kw("removed_server", Args::OnRemoval, "drop", "evenkeel",
       "What happens to the connections of a removed real server. `drop`: their packets are dropped, as in IPVS. `drain`: they continue for this many seconds. \
        `reject`: clients get a RST or an ICMP port unreachable. `reschedule`: UDP flows and TCP SYNs go to another server, other packets are rejected."),
    kw("snmp_name", Args::Text, "none", "v2.2.3",
       "Name of the service in SNMP.").no_effect(NO_SNMP),
];

#[rustfmt::skip]
const SCHEDULING: &[Keyword] = &[
    kw("lb_algo", Args::Scheduler, "wlc", "v1.0.3",
       "Old name of `lvs_sched`.").replaced_by("lvs_sched"),
    kw("lvs_sched", Args::Scheduler, "wlc", "v1.1.5",
       "Scheduler, which selects the real server of a new connection."),
    kw("ops", Args::Flag, "off", "v1.2.8",
       "One-packet scheduling: every packet is a connection of its own (UDP only)."),
    kw("hashed", Args::Flag, "", "v1.3.0",
       "An internal flag of services in IPVS.").no_effect("IPVS sets it itself"),
    kw("flag-1", Args::Flag, "off", "v1.3.0",
       "First scheduler flag: sh-fallback, mh-fallback."),
    kw("flag-2", Args::Flag, "off", "v1.3.0",
       "Second scheduler flag: sh-port, mh-port."),
    kw("flag-3", Args::Flag, "off", "v1.3.0",
       "Third scheduler flag."),
    kw("sh-port", Args::Flag, "off", "v1.3.0",
       "Scheduler sh: include the source port in the hash."),
    kw("sh-fallback", Args::Flag, "off", "v1.3.0",
       "Scheduler sh: select another server if the hashed one is unavailable."),
    kw("mh-port", Args::Flag, "off", "v2.0.20",
       "Scheduler mh: include the source port in the hash."),
    kw("mh-fallback", Args::Flag, "off", "v2.0.20",
       "Scheduler mh: select another server if the hashed one is unavailable."),
    kw("persistence_engine", Args::ProcessName, "none", "v1.2.20",
       "Persistence engine, which distinguishes clients by more than their address. The only one is `sip`, which uses the Call-ID.")
       .differs(NEEDS_IPVS),
    kw("persistence_timeout", Args::OptUint(1, 2_678_400), "0 (off); 360 without a number", "v1.0.3",
       "Persistence timeout in seconds: new connections of a client go to the same real server until this long after the last one."),
    kw("persistence_granularity", Args::Granularity, "/32, /128", "v1.0.3",
       "Netmask of persistence: clients in one network are treated as one client."),
];

/// Defaults for the checks of the real servers.
#[rustfmt::skip]
const CHECK_DEFAULTS: &[Keyword] = &[
    delay_loop("60", "v1.0.3"),
    connect_timeout("5", "v2.0.13"),
    retry(1, "depends on the checker", "v1.3.7"),
    delay_before_retry("depends on the checker", "v1.3.7"),
    warmup("delay_loop", "v1.3.7"),
    alpha_server(Args::Flag, "off", "v1.1.16"),
    virtualhost("none", "v1.0.3"),
    kw("ha_suspend", Args::Flag, "off", "v1.0.3",
       "Run health checks only while the director holds the service's address."),
];

#[rustfmt::skip]
const AVAILABILITY: &[Keyword] = &[
    inhibit_on_failure(Args::Flag, "off", "v1.3.7"),
    kw("quorum", Args::Uint(1, U32_MAX), "1", "v1.1.16",
       "Minimum total weight of healthy real servers for the service to be up."),
    kw("hysteresis", Args::Uint(0, U32_MAX), "0", "v1.1.16",
       "The quorum is gained at `quorum` + hysteresis and lost below `quorum` - hysteresis."),
    kw("quorum_up", Args::Script, "none", "v1.1.16",
       "Script to run when the quorum is gained."),
    kw("quorum_down", Args::Script, "none", "v1.1.16",
       "Script to run when the quorum is lost."),
    kw("omega", Args::Flag, "off", "v1.1.16",
       "Run `notify_down` and `quorum_down` scripts when the daemon stops."),
    kw("smtp_alert", Args::Bool, "off (global_defs smtp_alert_checker)", "v2.0.0",
       "Send mail when the quorum is gained or lost."),
    kw("sorry_server", Args::Endpoint, "none", "v1.0.3",
       "Server that takes the connections while the quorum is lost."),
    kw("sorry_server_inhibit", Args::Flag, "off", "v1.2.13",
       "Keep the sorry server in the service with weight 0 instead of removing it."),
    kw("sorry_server_lvs_method", Args::LvsMethod, "the virtual server's", "v1.3.6",
       "Forwarding method of the sorry server."),
];

#[rustfmt::skip]
const SERVERS: &[Keyword] = &[
    kw("weight", Args::Uint(1, I32_MAX), "1", "v1.3.7",
       "Default weight of the real servers."),
    kw("real_server", Args::Block(&REAL_SERVER, BlockName::Endpoint), "", "v1.0.3",
       "A real server, by its address. As an addition also by a host name with a dot, whose addresses are followed, or by `srv` and a name with SRV records."),
];

pub(crate) static REAL_SERVER: Block =
    Block { path: "virtual_server/real_server", keywords: &[REAL_SERVER_OPTIONS, CHECKERS] };

#[rustfmt::skip]
const REAL_SERVER_OPTIONS: &[Keyword] = &[
    kw("weight", Args::Uint(0, I32_MAX), "the virtual server's, else 1", "v1.0.3",
       "Weight, the relative share of new connections; 0: no new connections."),
    lvs_method("the virtual server's", "v1.3.6"),
    kw("uthreshold", Args::Uint(0, U32_MAX), "0 (none)", "v1.1.13",
       "Upper threshold: at this number of connections the server gets no new ones."),
    kw("lthreshold", Args::Uint(0, U32_MAX), "0 (none)", "v1.1.13",
       "Lower threshold: below this number of connections the server gets new ones again."),
    inhibit_on_failure(Args::Bool, "the virtual server's", "v1.0.3"),
    kw("notify_up", Args::Script, "none", "v1.0.3",
       "Script to run when the server comes up."),
    kw("notify_down", Args::Script, "none", "v1.0.3",
       "Script to run when the server goes down."),
    kw("smtp_alert", Args::Bool, "on (global_defs smtp_alert_checker)", "v2.0.0",
       "Send mail when the server comes up or goes down."),
    delay_loop("the virtual server's, else 60", "v1.3.7"),
    connect_timeout("the virtual server's, else 5", "v2.0.13"),
    retry(1, "the virtual server's", "v1.3.7"),
    delay_before_retry("the virtual server's", "v1.3.7"),
    warmup("the virtual server's", "v1.3.7"),
    alpha_server(Args::Bool, "the virtual server's", "v1.3.7"),
    virtualhost("the virtual server's", "v1.3.6").missing_argument(Reports),
    kw("snmp_name", Args::Text, "none", "v2.2.3",
       "Name of the server in SNMP.").missing_argument(Reports).no_effect(NO_SNMP),
];

#[rustfmt::skip]
const CHECKERS: &[Keyword] = &[
    kw("TCP_CHECK", Args::Block(&TCP_CHECK, BlockName::None), "", "v1.0.3",
       "Succeeds if a TCP connection can be opened."),
    kw("HTTP_GET", Args::Block(&HTTP_GET, BlockName::None), "", "v1.0.3",
       "Succeeds if HTTP requests get the expected responses."),
    kw("SSL_GET", Args::Block(&SSL_GET, BlockName::None), "", "v1.0.3",
       "Succeeds if HTTPS requests get the expected responses."),
    kw("SMTP_CHECK", Args::Block(&SMTP_CHECK, BlockName::None), "", "v1.1.8",
       "Succeeds if the server greets as a mail server and answers HELO."),
    kw("DNS_CHECK", Args::Block(&DNS_CHECK, BlockName::None), "", "v1.3.0",
       "Succeeds if a DNS query over UDP is answered."),
    kw("MISC_CHECK", Args::Block(&MISC_CHECK, BlockName::None), "", "v1.0.3",
       "Succeeds if a program exits with status 0."),
    kw("PING_CHECK", Args::Block(&PING_CHECK, BlockName::None), "", "v2.1.0",
       "Succeeds if an ICMP echo request is answered."),
    kw("UDP_CHECK", Args::Block(&UDP_CHECK, BlockName::None), "", "v2.1.0",
       "Succeeds if a UDP datagram causes no ICMP error, or with `require_reply` if it is answered."),
    kw("FILE_CHECK", Args::Block(&FILE_CHECK, BlockName::None), "", "v2.1.0",
       "Adds the number in a tracked file to the server's weight."),
    kw("BFD_CHECK", Args::Block(&BFD_CHECK, BlockName::None), "", "v2.0.0",
       "Succeeds while a BFD session is up."),
    kw("REDIS_CHECK", Args::Block(&REDIS_CHECK, BlockName::None), "", "evenkeel",
       "Succeeds if the server answers the Redis command PING, also by asking for a password."),
    kw("PGSQL_CHECK", Args::Block(&PGSQL_CHECK, BlockName::None), "", "evenkeel",
       "Succeeds if PostgreSQL accepts clients; fails while it starts, stops, or has no connection left."),
    kw("GRPC_CHECK", Args::Block(&GRPC_CHECK, BlockName::None), "", "evenkeel",
       "Succeeds if the gRPC health checking protocol reports SERVING."),
    kw("MYSQL_CHECK", Args::Block(&MYSQL_CHECK, BlockName::None), "", "evenkeel",
       "Succeeds if the server greets as MySQL or MariaDB; fails while it has no connection left."),
];

#[rustfmt::skip]
pub(crate) static SSL: Block = Block { path: "SSL", keywords: &[&[
    kw("password", Args::Text, "none", "v1.0.3",
       "Password of the private key.").not_yet(),
    kw("ca", Args::Text, "none", "v1.0.3",
       "File with the CA certificates that verify the servers.").missing_argument(Reports),
    kw("certificate", Args::Text, "none", "v1.0.3",
       "File with the client certificate.").missing_argument(Reports),
    kw("key", Args::Text, "none", "v1.0.3",
       "File with the private key of the client certificate."),
]] };
