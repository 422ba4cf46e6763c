//! The top level.

use super::spec::*;
use super::why::*;
use super::{
    global::GLOBAL_DEFS, server::SSL, server::VIRTUAL_SERVER, track::BFD_INSTANCE, track::TRACK_FILE,
    track::TRACK_PROCESS, track::VRRP_SCRIPT, track::VRRP_TRACK_FILE, vrrp::GARP_GROUP, vrrp::SYNC_GROUP,
    vrrp::TRACK_GROUP, vrrp::VRRP_INSTANCE,
};

/// `the file`
pub(crate) static ROOT: Block = Block { path: "ROOT", keywords: ROOT_KEYWORDS };

#[rustfmt::skip]
const ROOT_KEYWORDS: &[Keyword] = &[
    kw("linkbeat_use_polling", Args::Flag, "off", "v1.1.18",
       "Poll media link state of all used interfaces (MII, then ETHTOOL, then ioctl) instead of netlink events.").later(),
    kw("net_namespace", Args::Text, "none (current netns)", "v1.2.24",
       "Run the whole daemon inside this network namespace.").needed(),
    kw("net_namespace_ipvs", Args::OptText, "default namespace", "v2.1.0",
       "Namespace in which the IPVS tables are managed while checkers stay in the keepalived namespace; empty NAME = default netns.").later(),
    kw("namespace_with_ipsets", Args::Flag, "off", "v1.3.0",
       "Allow ipsets with namespaces on kernels < 3.13 (accepted no-op when built without iptables).").never(IPTABLES),
    kw("use_pid_dir", Args::Flag, "off", "v1.2.24",
       "Put pid files in /run/keepalived/.").later(),
    kw("instance", Args::Text, "none", "v1.2.24",
       "Instance name: pid/data file names get NAME, several keepalived per namespace.").later(),
    kw("child_wait_time", Args::Uint(0, U32), "5", "v2.0.0",
       "How long a stop waits for the daemon's processes before it kills them.").later(),
    kw("global_defs", Args::Block(&GLOBAL_DEFS, Name::None), "", "v1.0.3",
       "Global daemon settings; may be repeated."),
    kw("track_group", Args::Block(&TRACK_GROUP, Name::Only), "", "v2.0.3",
       "Named set of VRRP instances that static addresses/routes/rules may reference.").later(),
    kw("static_ipaddress", Args::Lines(Lines::StaticAddress), "", "v1.1.0",
       "Addresses installed at start, kept (not moved by VRRP); grammar see GRAMMAR/address.").later(),
    kw("static_routes", Args::Lines(Lines::StaticRoute), "", "v1.0.3",
       "Routes installed at start; grammar see GRAMMAR/route.").later(),
    kw("static_rules", Args::Lines(Lines::StaticRule), "", "v1.2.20",
       "Ip rules installed at start; grammar see GRAMMAR/rule.").later(),
    kw("vrrp_sync_group", Args::Block(&SYNC_GROUP, Name::Only), "", "v1.0.3",
       "Bundle of VRRP instances forced to the same state.").later(),
    kw("garp_group", Args::Block(&GARP_GROUP, Name::None), "", "v1.2.21",
       "GARP / unsolicited NA pacing per physical interface or set of interfaces.").later(),
    kw("linkbeat_interfaces", Args::Lines(Lines::LinkBeat), "", "v2.0.13",
       "Per-interface link polling (replaces linkbeat_use_polling).").later(),
    kw("interface_up_down_delays", Args::Lines(Lines::UpDown), "", "v2.2.3",
       "Debounce of interface state before FAULT / recovery; up_delay defaults to down_delay; effective down delay must be < (down_timer_adverts-1)*advert_int.").later(),
    kw("vrrp_instance", Args::Block(&VRRP_INSTANCE, Name::Only), "", "v1.0.3",
       "A virtual router: addresses that move to another director when this one fails."),
    kw("vrrp_script", Args::Block(&VRRP_SCRIPT, Name::One), "", "v1.1.13",
       "A script that VRRP instances track."),
    kw("vrrp_track_process", Args::Block(&TRACK_PROCESS, Name::One), "", "v2.0.11",
       "Process presence tracker (netlink proc connector).").later(),
    kw("track_file", Args::Block(&TRACK_FILE, Name::One), "", "v2.1.0",
       "File whose integer content is multiplied by weight and tracked (VRRP and FILE_CHECK).").later(),
    kw("vrrp_track_file", Args::Block(&VRRP_TRACK_FILE, Name::One), "", "v2.0.0",
       "Same as track_file.").old("track_file", false).later(),
    kw("bfd_instance", Args::Block(&BFD_INSTANCE, Name::One), "", "v2.0.0",
       "BFD (RFC5880) session.").later(),
    kw("SSL", Args::Block(&SSL, Name::None), "", "v1.0.3",
       "Global client TLS parameters for SSL_GET.").later(),
    kw("virtual_server_group", Args::NamedLines(Lines::Member), "", "v1.0.3",
       "List of `IP [PORT]`, `A.B.C.D-E [PORT]`, `A-B [PORT]`, `NET/nn [PORT]`, `fwmark N [inet|inet6]`.")
       .differs("read and kept; no service can name it yet"),
    kw("virtual_server", Args::Block(&VIRTUAL_SERVER, Name::Service), "", "v1.0.3",
       "A virtual service and its real servers.")
       .differs("IPv4 addresses; IPv6, `fwmark` and `group` are refused, not supported yet"),
];
