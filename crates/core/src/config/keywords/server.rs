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
    kw("ip_family", Args::Choice(&["inet", "inet6"]), "the real servers'", "v1.2.20",
       "Family of a service on a firewall mark whose real servers do not tell it.").later(),
    kw("retry", Args::Uint(1, U32), "per checker", "v1.3.7",
       "Failed probes that a healthy server is forgiven."),
    kw("delay_before_retry", Args::Seconds(0, FOREVER), "per checker", "v1.3.7",
       "Seconds between such repeated probes."),
    kw("warmup", Args::Seconds(0, FOREVER), "delay_loop", "v1.3.7",
       "The first probe starts up to this many seconds later, so that probes spread; 0: at once."),
    kw("connect_timeout", Args::Seconds(1, MAX_TIMER), "5", "v2.0.13",
       "Seconds after which a probe has failed."),
    kw("delay_loop", Args::Seconds(1, FOREVER), "60", "v1.0.3",
       "Seconds between probes."),
    kw("inhibit_on_failure", Args::Flag, "off", "v1.3.7",
       "A failed server gets weight 0 instead of being removed."),
    kw("lb_algo", Args::Scheduler, "wlc", "v1.0.3",
       "Scheduler.").old("lvs_sched", false)
       .differs("as lvs_sched"),
    kw("lvs_sched", Args::Scheduler, "wlc", "v1.1.5",
       "Which real server takes a new connection.")
       .differs("rr, wrr and wlc; the others are refused, not supported yet"),
    kw("hashed", Args::Flag, "", "v1.3.0",
       "A flag of the scheduler sh.").later(),
    kw("ops", Args::Flag, "off", "v1.2.8",
       "Each packet is a connection of its own (UDP).").later(),
    kw("flag-1", Args::Flag, "off", "v1.3.0",
       "The scheduler's first flag.").later(),
    kw("flag-2", Args::Flag, "off", "v1.3.0",
       "The scheduler's second flag.").later(),
    kw("flag-3", Args::Flag, "off", "v1.3.0",
       "The scheduler's third flag.").later(),
    kw("sh-port", Args::Flag, "off", "v1.3.0",
       "The scheduler sh looks at the client's port as well.").later(),
    kw("sh-fallback", Args::Flag, "off", "v1.3.0",
       "The scheduler sh takes another server where the one that it finds is not available.").later(),
    kw("mh-port", Args::Flag, "off", "v2.0.20",
       "The scheduler mh looks at the client's port as well.").later(),
    kw("mh-fallback", Args::Flag, "off", "v2.0.20",
       "The scheduler mh takes another server where the one that it finds is not available.").later(),
    kw("lb_kind", Args::Method, "NAT", "v1.0.3",
       "Forwarding.").old("lvs_method", false)
       .differs("as lvs_method"),
    kw("lvs_method", Args::Method, "NAT", "v1.1.5",
       "How packets reach the server.")
       .differs("DR; NAT and TUN are refused, not supported yet"),
    kw("persistence_engine", Args::ProcessName, "none", "v1.2.20",
       "What tells clients apart besides their address, as `sip` does.").later(),
    kw("persistence_timeout", Args::OptUint(1, 2_678_400), "0 (off); 360 if no value", "v1.0.3",
       "A client's connections stay with one real server until this long after its last new one."),
    kw("persistence_granularity", Args::Granularity, "/32, /128", "v1.0.3",
       "Clients alike under this mask are one."),
    kw("protocol", Args::ChoiceAnyCase(&["TCP", "UDP", "SCTP"]), "none: unset is treated as UDP with a config error", "v1.0.3",
       "Layer-4 protocol of the service.")
       .differs("TCP and UDP; SCTP is refused, not supported yet"),
    kw("ha_suspend", Args::Flag, "off", "v1.0.3",
       "Check only while the service's address is on this director."),
    kw("smtp_alert", Args::Bool, "off (global default)", "v2.0.0",
       "Send mail when it goes down or comes back."),
    kw("virtualhost", Args::Text, "none", "v1.0.3",
       "Default Host header of HTTP_GETs and SSL_GETs."),
    kw("snmp_name", Args::Text, "none", "v2.2.3",
       "What SNMP calls it.").never(SNMP),
    kw("alpha", Args::Flag, "off", "v1.1.16",
       "It counts as dead until its first good check."),
    kw("omega", Args::Flag, "off", "v1.1.16",
       "Run the scripts for down when the daemon stops."),
    kw("quorum_up", Args::Script, "none", "v1.1.16",
       "Runs when the quorum is reached."),
    kw("quorum_down", Args::Script, "none", "v1.1.16",
       "Runs when the quorum is lost."),
    kw("quorum", Args::Uint(1, U32), "1", "v1.1.16",
       "The weight of healthy servers that must be there."),
    kw("hysteresis", Args::Uint(0, U32), "0", "v1.1.16",
       "How far above or below the quorum that weight must be for a change."),
    kw("weight", Args::Uint(1, I31), "1", "v1.3.7",
       "Default weight of its real servers."),
    kw("sorry_server", Args::Endpoint, "none", "v1.0.3",
       "Takes the connections while the quorum of real servers is lost."),
    kw("sorry_server_inhibit", Args::Flag, "off", "v1.2.13",
       "Keep the sorry server in the service at weight 0 instead of removing it."),
    kw("sorry_server_lvs_method", Args::Method, "the virtual server's", "v1.3.6",
       "How packets reach the sorry server.")
       .differs("DR; NAT and TUN are refused, not supported yet"),
    kw("real_server", Args::Block(&REAL_SERVER, Name::Endpoint), "", "v1.0.3",
       "A server behind the service."),
];

/// `virtual_server/real_server`
pub(crate) static REAL_SERVER: Block = Block { path: "virtual_server/real_server", keywords: REAL_SERVER_KEYWORDS };

#[rustfmt::skip]
const REAL_SERVER_KEYWORDS: &[Keyword] = &[
    kw("weight", Args::Uint(0, I31), "the virtual server's, else 1", "v1.0.3",
       "Its share of new connections; 0: none."),
    kw("lvs_method", Args::Method, "the virtual server's", "v1.3.6",
       "How packets reach the server.")
       .differs("DR; NAT and TUN are refused, not supported yet"),
    kw("uthreshold", Args::Uint(0, U32), "0 (none)", "v1.1.13",
       "No new connections at this many."),
    kw("lthreshold", Args::Uint(0, U32), "0 (none)", "v1.1.13",
       "New connections again below this many."),
    kw("inhibit_on_failure", Args::Bool, "the virtual server's", "v1.0.3",
       "A failed server gets weight 0 instead of being removed."),
    kw("notify_up", Args::Script, "none", "v1.0.3",
       "Runs when it comes up."),
    kw("notify_down", Args::Script, "none", "v1.0.3",
       "Runs when it goes down."),
    kw("alpha", Args::Bool, "the virtual server's", "v1.3.7",
       "It counts as dead until its first good check."),
    kw("retry", Args::Uint(1, U32), "the virtual server's", "v1.3.7",
       "Failed probes that a healthy server is forgiven."),
    kw("delay_before_retry", Args::Seconds(0, FOREVER), "the virtual server's", "v1.3.7",
       "Seconds between such repeated probes."),
    kw("warmup", Args::Seconds(0, FOREVER), "the virtual server's", "v1.3.7",
       "The first probe starts up to this many seconds later, so that probes spread; 0: at once."),
    kw("connect_timeout", Args::Seconds(1, MAX_TIMER), "the virtual server's, else 5", "v2.0.13",
       "Seconds after which a probe has failed."),
    kw("delay_loop", Args::Seconds(1, FOREVER), "the virtual server's, else 60", "v1.3.7",
       "Seconds between probes."),
    kw("smtp_alert", Args::Bool, "on (global default)", "v2.0.0",
       "Send mail when it goes down or comes back."),
    kw("virtualhost", Args::Text, "the virtual server's", "v1.3.6",
       "Default Host header of HTTP_GETs and SSL_GETs.").absent(Absent::Reported),
    kw("snmp_name", Args::Text, "none", "v2.2.3",
       "What SNMP calls it.").absent(Absent::Reported).never(SNMP),
    kw("TCP_CHECK", Args::Block(&TCP_CHECK, Name::None), "", "v1.0.3",
       "It lives while a TCP connection to it comes about."),
    kw("HTTP_GET", Args::Block(&HTTP_GET, Name::None), "", "v1.0.3",
       "It lives while it answers HTTP requests as expected."),
    kw("SSL_GET", Args::Block(&SSL_GET, Name::None), "", "v1.0.3",
       "It lives while it answers HTTPS requests as expected."),
    kw("SMTP_CHECK", Args::Block(&SMTP_CHECK, Name::None), "", "v1.1.8",
       "It lives while it greets as a mail server does."),
    kw("DNS_CHECK", Args::Block(&DNS_CHECK, Name::None), "", "v1.3.0",
       "It lives while it answers a question over UDP."),
    kw("MISC_CHECK", Args::Block(&MISC_CHECK, Name::None), "", "v1.0.3",
       "It lives while a program says so."),
    kw("PING_CHECK", Args::Block(&PING_CHECK, Name::None), "", "v2.1.0",
       "It lives while it answers ICMP echo requests."),
    kw("UDP_CHECK", Args::Block(&UDP_CHECK, Name::None), "", "v2.1.0",
       "It lives while a datagram to it is not refused, or is answered."),
    kw("FILE_CHECK", Args::Block(&FILE_CHECK, Name::None), "", "v2.1.0",
       "The number in a tracked file changes its weight."),
    kw("BFD_CHECK", Args::Block(&BFD_CHECK, Name::None), "", "v2.0.0",
       "It lives while a BFD session is up."),
];

/// `SSL`
pub(crate) static SSL: Block = Block { path: "SSL", keywords: SSL_KEYWORDS };

#[rustfmt::skip]
const SSL_KEYWORDS: &[Keyword] = &[
    kw("password", Args::Text, "none", "v1.0.3",
       "Password of the key.").later(),
    kw("ca", Args::Text, "none", "v1.0.3",
       "Certificates by which servers are verified.").absent(Absent::Reported),
    kw("certificate", Args::Text, "none", "v1.0.3",
       "The certificate that is shown to servers.").absent(Absent::Reported),
    kw("key", Args::Text, "none", "v1.0.3",
       "Its key."),
];
