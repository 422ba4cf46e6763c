//! The top level.

use super::reasons::*;
use super::spec::*;
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
       "Ask all interfaces in use for their link state now and then, instead of waiting for netlink to tell.").no_effect(CARRIER_EVENTS),
    kw("net_namespace", Args::Text, "none (current netns)", "v1.2.24",
       "Run the whole daemon inside this network namespace.")
       .differs("at the next start; `-s` comes before it"),
    kw("net_namespace_ipvs", Args::OptText, "default namespace", "v2.1.0",
       "The network namespace whose IPVS is managed, while health checks stay in the daemon's own; no name means the machine's first.")
       .differs("only the kernel's IPVS can be in another namespace, so with `dataplane auto` that is the data plane; at the next start"),
    kw("namespace_with_ipsets", Args::Flag, "off", "v1.3.0",
       "Allow ipsets in network namespaces of kernels before 3.13.").no_effect(NO_IPTABLES),
    kw("use_pid_dir", Args::Flag, "off", "v1.2.24",
       "Put pid files into a directory of their own under /run.").no_effect(INSTANCE_FILE_NAMES),
    kw("instance", Args::Text, "none", "v1.2.24",
       "Names the daemon's pid and data files, so that several run side by side.").no_effect(INSTANCE_FILE_NAMES),
    kw("child_wait_time", Args::Uint(0, U32_MAX), "5", "v2.0.0",
       "How long a stop waits for the daemon's processes before it kills them.").differs("without it a stop waits as long as it takes"),
    kw("global_defs", Args::Block(&GLOBAL_DEFS, BlockName::None), "", "v1.0.3",
       "Settings of the whole daemon; several blocks add up."),
    kw("track_group", Args::Block(&TRACK_GROUP, BlockName::OneNameStrict), "", "v2.0.3",
       "A named set of VRRP instances, for static addresses, routes and rules to refer to."),
    kw("static_ipaddress", Args::Lines(LineKind::StaticAddress), "", "v1.1.0",
       "Addresses that are put on at start and stay."),
    kw("static_routes", Args::Lines(LineKind::StaticRoute), "", "v1.0.3",
       "Routes that are added at start and stay."),
    kw("static_rules", Args::Lines(LineKind::StaticRule), "", "v1.2.20",
       "Routing rules that are added at start and stay."),
    kw("vrrp_sync_group", Args::Block(&SYNC_GROUP, BlockName::OneNameStrict), "", "v1.0.3",
       "VRRP instances that are always in the same state: one that fails takes the others along."),
    kw("garp_group", Args::Block(&GARP_GROUP, BlockName::None), "", "v1.2.21",
       "Spaces gratuitous ARPs and neighbour advertisements over one or several interfaces."),
    kw("linkbeat_interfaces", Args::Lines(LineKind::LinkBeat), "", "v2.0.13",
       "Interfaces whose link state is asked for, and how.").no_effect(CARRIER_EVENTS),
    kw("interface_up_down_delays", Args::Lines(LineKind::UpDown), "", "v2.2.3",
       "How long an interface must be down, or up again, before that counts."),
    kw("vrrp_instance", Args::Block(&VRRP_INSTANCE, BlockName::OneNameStrict), "", "v1.0.3",
       "A virtual router: addresses that move to another director when this one fails."),
    kw("vrrp_script", Args::Block(&VRRP_SCRIPT, BlockName::OneName), "", "v1.1.13",
       "A script that VRRP instances track."),
    kw("vrrp_track_process", Args::Block(&TRACK_PROCESS, BlockName::OneName), "", "v2.0.11",
       "A program whose processes are counted, for VRRP instances to track."),
    kw("track_file", Args::Block(&TRACK_FILE, BlockName::OneName), "", "v2.1.0",
       "A file with a number in it, which times a weight changes a priority or a real server's weight."),
    kw("vrrp_track_file", Args::Block(&VRRP_TRACK_FILE, BlockName::OneName), "", "v2.0.0",
       "Same as track_file.").deprecated("track_file", false),
    kw("bfd_instance", Args::Block(&BFD_INSTANCE, BlockName::OneName), "", "v2.0.0",
       "A BFD session (RFC 5880) with a neighbour."),
    kw("SSL", Args::Block(&SSL, BlockName::None), "", "v1.0.3",
       "Keys and certificates of SSL_GET."),
    kw("virtual_server_group", Args::NamedLines(LineKind::GroupMember), "", "v1.0.3",
       "Addresses, ranges and firewall marks that one virtual server answers for.")
       .differs("our own packet path gives firewall marks itself, by `member`; those of netfilter are seen by the kernel's IPVS"),
    kw("virtual_server", Args::Block(&VIRTUAL_SERVER, BlockName::Service), "", "v1.0.3",
       "A virtual service and its real servers.")
       .differs("our own packet path gives a firewall mark itself, by `member`; those of netfilter are seen by the kernel's IPVS"),
];
