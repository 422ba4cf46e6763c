//! `virtual_server`, `real_server`, `SSL`

use super::spec::*;
use super::why::*;
use super::{
    checkers::BFD_CHECK, checkers::DNS_CHECK, checkers::FILE_CHECK, checkers::HTTP_GET, checkers::MISC_CHECK,
    checkers::PING_CHECK, checkers::SMTP_CHECK, checkers::SSL_GET, checkers::TCP_CHECK, checkers::UDP_CHECK,
};

/// `virtual_server`
pub(crate) static VIRTUAL_SERVER: Block = Block { path: "virtual_server", keywords: VIRTUAL_SERVER_KEYWORDS };

#[rustfmt::skip]
const VIRTUAL_SERVER_KEYWORDS: &[Keyword] = &[
    kw("ip_family", Args::Choice(&["inet", "inet6"]), "from RS / inet", "v1.2.20",
       "Family of a fwmark service with only tunnelled RS.").later(),
    kw("retry", Args::Uint(1, U32), "per checker", "v1.3.7",
       "Default number of retries before a live RS is failed."),
    kw("delay_before_retry", Args::Seconds(0, FOREVER), "per checker", "v1.3.7",
       "Default delay between retries."),
    kw("warmup", Args::Seconds(0, FOREVER), "delay_loop", "v1.3.7",
       "Default max random start delay of checkers; 0 = none."),
    kw("connect_timeout", Args::Seconds(1, MAX_TIMER), "5", "v2.0.13",
       "Default connect timeout."),
    kw("delay_loop", Args::Seconds(1, FOREVER), "60", "v1.0.3",
       "Default check interval."),
    kw("inhibit_on_failure", Args::Flag, "off", "v1.3.7",
       "A failed real server gets weight 0 instead of being removed."),
    kw("lb_algo", Args::Scheduler, "wlc", "v1.0.3",
       "Scheduler.").old("lvs_sched", false)
       .differs("as lvs_sched"),
    kw("lvs_sched", Args::Scheduler, "wlc", "v1.1.5",
       "Which real server takes a new connection.")
       .differs("rr, wrr and wlc; the others are refused, not supported yet"),
    kw("hashed", Args::Flag, "", "v1.3.0",
       "IP_VS_SVC_F_HASHED.").later(),
    kw("ops", Args::Flag, "off", "v1.2.8",
       "One-packet scheduling (UDP).").later(),
    kw("flag-1", Args::Flag, "off", "v1.3.0",
       "Scheduler flag 1.").later(),
    kw("flag-2", Args::Flag, "off", "v1.3.0",
       "Scheduler flag 2.").later(),
    kw("flag-3", Args::Flag, "off", "v1.3.0",
       "Scheduler flag 3.").later(),
    kw("sh-port", Args::Flag, "off", "v1.3.0",
       "Sh: hash port too.").later(),
    kw("sh-fallback", Args::Flag, "off", "v1.3.0",
       "Sh: fall back when server unavailable.").later(),
    kw("mh-port", Args::Flag, "off", "v2.0.20",
       "Mh: hash port too.").later(),
    kw("mh-fallback", Args::Flag, "off", "v2.0.20",
       "Mh: fall back.").later(),
    kw("lb_kind", Args::Method, "NAT", "v1.0.3",
       "Forwarding.").old("lvs_method", false)
       .differs("as lvs_method"),
    kw("lvs_method", Args::Method, "NAT", "v1.1.5",
       "How packets reach the real servers.")
       .differs("DR; NAT and TUN are refused, not supported yet"),
    kw("persistence_engine", Args::ProcessName, "none", "v1.2.20",
       "Persistence engine.").later(),
    kw("persistence_timeout", Args::OptUint(1, 2_678_400), "0 (off); 360 if no value", "v1.0.3",
       "A client's connections stay with one real server until this long after its last new one."),
    kw("persistence_granularity", Args::Granularity, "/32, /128", "v1.0.3",
       "Clients alike under this mask are one."),
    kw("protocol", Args::ChoiceAnyCase(&["TCP", "UDP", "SCTP"]), "none: unset is treated as UDP with a config error", "v1.0.3",
       "Layer-4 protocol of the service.")
       .differs("TCP and UDP; SCTP is refused, not supported yet"),
    kw("ha_suspend", Args::Flag, "off", "v1.0.3",
       "Stop checkers while VIP is not on this host.").later(),
    kw("smtp_alert", Args::Bool, "off (global default)", "v2.0.0",
       "Mail on quorum transitions.").later(),
    kw("virtualhost", Args::Text, "none", "v1.0.3",
       "Default Host header of its HTTP_GETs and SSL_GETs."),
    kw("snmp_name", Args::Text, "none", "v2.2.3",
       "Label in SNMP.").never(SNMP),
    kw("alpha", Args::Flag, "off", "v1.1.16",
       "Its real servers count as dead until their first good check."),
    kw("omega", Args::Flag, "off", "v1.1.16",
       "Run notify_down/quorum_down at shutdown.").later(),
    kw("quorum_up", Args::Script, "none", "v1.1.16",
       "Run when quorum gained.").later(),
    kw("quorum_down", Args::Script, "none", "v1.1.16",
       "Run when quorum lost.").later(),
    kw("quorum", Args::Uint(1, U32), "1", "v1.1.16",
       "Live weight needed.").later(),
    kw("hysteresis", Args::Uint(0, U32), "0", "v1.1.16",
       "Quorum flap dampening.").later(),
    kw("weight", Args::Uint(1, I31), "1", "v1.3.7",
       "Default weight of its real servers."),
    kw("sorry_server", Args::Endpoint, "none", "v1.0.3",
       "Takes the connections while the quorum of real servers is lost.").later(),
    kw("sorry_server_inhibit", Args::Flag, "off", "v1.2.13",
       "Keep sorry server at weight 0.").later(),
    kw("sorry_server_lvs_method", Args::Method, "VS's", "v1.3.6",
       "Forwarding of sorry server.").later(),
    kw("real_server", Args::Block(&REAL_SERVER, Name::Endpoint), "", "v1.0.3",
       "A server behind the service."),
];

/// `virtual_server/real_server`
pub(crate) static REAL_SERVER: Block = Block { path: "virtual_server/real_server", keywords: REAL_SERVER_KEYWORDS };

#[rustfmt::skip]
const REAL_SERVER_KEYWORDS: &[Keyword] = &[
    kw("weight", Args::Uint(0, I31), "VS weight (1)", "v1.0.3",
       "Its share of new connections; 0: none."),
    kw("lvs_method", Args::Method, "VS's", "v1.3.6",
       "Forwarding.")
       .differs("DR; NAT and TUN are refused, not supported yet"),
    kw("uthreshold", Args::Uint(0, U32), "0 (none)", "v1.1.13",
       "No new connections at this many."),
    kw("lthreshold", Args::Uint(0, U32), "0 (none)", "v1.1.13",
       "New connections again below this many."),
    kw("inhibit_on_failure", Args::Bool, "VS's", "v1.0.3",
       "Weight 0 instead of removal."),
    kw("notify_up", Args::Script, "none", "v1.0.3",
       "Run when RS up.").later(),
    kw("notify_down", Args::Script, "none", "v1.0.3",
       "Run when RS down.").later(),
    kw("alpha", Args::Bool, "VS's", "v1.3.7",
       "Start down."),
    kw("retry", Args::Uint(1, U32), "VS's", "v1.3.7",
       "Default for checkers."),
    kw("delay_before_retry", Args::Seconds(0, FOREVER), "VS's", "v1.3.7",
       "Default for checkers."),
    kw("warmup", Args::Seconds(0, FOREVER), "VS's", "v1.3.7",
       "Default for checkers."),
    kw("connect_timeout", Args::Seconds(1, MAX_TIMER), "VS's (5)", "v2.0.13",
       "Default for checkers."),
    kw("delay_loop", Args::Seconds(1, FOREVER), "VS's (60)", "v1.3.7",
       "Default for checkers."),
    kw("smtp_alert", Args::Bool, "on (global default)", "v2.0.0",
       "Mail on RS transitions.").later(),
    kw("virtualhost", Args::Text, "VS's", "v1.3.6",
       "Default Host:.").absent(Absent::Reported),
    kw("snmp_name", Args::Text, "none", "v2.2.3",
       "Label in SNMP.").absent(Absent::Reported).never(SNMP),
    kw("TCP_CHECK", Args::Block(&TCP_CHECK, Name::None), "", "v1.0.3",
       "It lives while a TCP connection to it comes about."),
    kw("HTTP_GET", Args::Block(&HTTP_GET, Name::None), "", "v1.0.3",
       "It lives while it answers HTTP requests as expected.")
       .differs("User-Agent is `evenkeel`; the body is not read"),
    kw("SSL_GET", Args::Block(&SSL_GET, Name::None), "", "v1.0.3",
       "It lives while it answers HTTPS requests as expected.").later(),
    kw("SMTP_CHECK", Args::Block(&SMTP_CHECK, Name::None), "", "v1.1.8",
       "SMTP 220/HELO/QUIT check.").later(),
    kw("DNS_CHECK", Args::Block(&DNS_CHECK, Name::None), "", "v1.3.0",
       "DNS query over UDP.").later(),
    kw("MISC_CHECK", Args::Block(&MISC_CHECK, Name::None), "", "v1.0.3",
       "External program.").later(),
    kw("PING_CHECK", Args::Block(&PING_CHECK, Name::None), "", "v2.1.0",
       "ICMP echo.").later(),
    kw("UDP_CHECK", Args::Block(&UDP_CHECK, Name::None), "", "v2.1.0",
       "UDP probe.").later(),
    kw("FILE_CHECK", Args::Block(&FILE_CHECK, Name::None), "", "v2.1.0",
       "Track_file value adjusts weight.").later(),
    kw("BFD_CHECK", Args::Block(&BFD_CHECK, Name::None), "", "v2.0.0",
       "State of a bfd_instance.").later(),
];

/// `SSL`
pub(crate) static SSL: Block = Block { path: "SSL", keywords: SSL_KEYWORDS };

#[rustfmt::skip]
const SSL_KEYWORDS: &[Keyword] = &[
    kw("password", Args::Text, "none", "v1.0.3",
       "Key password.").later(),
    kw("ca", Args::Text, "none", "v1.0.3",
       "CA file (server verification).").absent(Absent::Reported).later(),
    kw("certificate", Args::Text, "none", "v1.0.3",
       "Client certificate.").absent(Absent::Reported).later(),
    kw("key", Args::Text, "none", "v1.0.3",
       "Client key.").later(),
];
