//! The keywords of the top level.

use super::reasons::*;
use super::server::{SSL, VIRTUAL_SERVER};
use super::spec::*;
use super::track::{BFD_INSTANCE, TRACK_FILE, TRACK_PROCESS, VRRP_SCRIPT, VRRP_TRACK_FILE};
use super::vrrp::{GARP_GROUP, SYNC_GROUP, TRACK_GROUP, VRRP_INSTANCE};
use super::{ROOT_PATH, global::GLOBAL_DEFS};

#[rustfmt::skip]
pub(crate) static ROOT: Block = Block { path: ROOT_PATH, keywords: &[&[
    kw("linkbeat_use_polling", Args::Flag, "off", "v1.1.18",
       "Poll the link state of all interfaces in use instead of waiting for netlink events.").no_effect(CARRIER_EVENTS),
    kw("net_namespace", Args::Text, "none (the namespace of the caller)", "v1.2.24",
       "Network namespace in which the whole daemon runs.")
       .differs("read at start only; the option `-s` overrides it"),
    kw("net_namespace_ipvs", Args::OptText, "the daemon's", "v2.1.0",
       "Network namespace in which IPVS is configured, while health checks run in the daemon's namespace; without a name the initial namespace.")
       .differs("only the kernel's IPVS can run in another namespace, so `dataplane auto` selects it; read at start only"),
    kw("namespace_with_ipsets", Args::Flag, "off", "v1.3.0",
       "Allow ipsets in network namespaces on kernels before 3.13.").no_effect(NO_IPTABLES),
    kw("use_pid_dir", Args::Flag, "off", "v1.2.24",
       "Create pid files in a subdirectory of /run.").no_effect(INSTANCE_FILE_NAMES),
    kw("instance", Args::Text, "none", "v1.2.24",
       "Instance name in the paths of pid and data files, so that several daemons can run side by side.").no_effect(INSTANCE_FILE_NAMES),
    kw("child_wait_time", Args::Uint(0, U32_MAX), "5", "v2.0.0",
       "Time in seconds that a stop waits for the child processes before it kills them.").differs("without it a stop waits without limit"),
    kw("global_defs", Args::Block(&GLOBAL_DEFS, BlockName::None), "", "v1.0.3",
       "Settings of the whole daemon. Several blocks are merged; the last value of a keyword is used."),
    kw("track_group", Args::Block(&TRACK_GROUP, BlockName::OneNameStrict), "", "v2.0.3",
       "A named set of VRRP instances that track static addresses, routes and rules."),
    kw("static_ipaddress", Args::Lines(LineKind::StaticAddress), "", "v1.1.0",
       "Addresses that are added at start and stay."),
    kw("static_routes", Args::Lines(LineKind::StaticRoute), "", "v1.0.3",
       "Routes that are added at start and stay."),
    kw("static_rules", Args::Lines(LineKind::StaticRule), "", "v1.2.20",
       "Routing rules that are added at start and stay."),
    kw("vrrp_sync_group", Args::Block(&SYNC_GROUP, BlockName::OneNameStrict), "", "v1.0.3",
       "VRRP instances that share one state: if one of them fails, all of them fail over."),
    kw("garp_group", Args::Block(&GARP_GROUP, BlockName::None), "", "v1.2.21",
       "Rate limit for gratuitous ARPs and neighbour advertisements that one or several interfaces share."),
    kw("linkbeat_interfaces", Args::Lines(LineKind::LinkBeat), "", "v2.0.13",
       "Interfaces whose link state is polled, with the method.").no_effect(CARRIER_EVENTS),
    kw("interface_up_down_delays", Args::Lines(LineKind::UpDown), "", "v2.2.3",
       "Debounce times in seconds: how long an interface must be down, or up again, before VRRP reacts."),
    kw("vrrp_instance", Args::Block(&VRRP_INSTANCE, BlockName::OneNameStrict), "", "v1.0.3",
       "A virtual router: addresses that move to another director when the master fails."),
    kw("vrrp_script", Args::Block(&VRRP_SCRIPT, BlockName::OneName), "", "v1.1.13",
       "A script that VRRP instances can track."),
    kw("vrrp_track_process", Args::Block(&TRACK_PROCESS, BlockName::OneName), "", "v2.0.11",
       "A program whose number of processes VRRP instances can track."),
    kw("track_file", Args::Block(&TRACK_FILE, BlockName::OneName), "", "v2.1.0",
       "A file with a number that, times a weight, changes the priority of an instance or the weight of a real server."),
    kw("vrrp_track_file", Args::Block(&VRRP_TRACK_FILE, BlockName::OneName), "", "v2.0.0",
       "Old name of `track_file`.").replaced_by("track_file"),
    kw("bfd_instance", Args::Block(&BFD_INSTANCE, BlockName::OneName), "", "v2.0.0",
       "A BFD session (RFC 5880) with a neighbour."),
    kw("SSL", Args::Block(&SSL, BlockName::None), "", "v1.0.3",
       "Certificates and keys of SSL_GET and of the other checks over TLS."),
    kw("virtual_server_group", Args::NamedLines(LineKind::GroupMember), "", "v1.0.3",
       "Addresses, address ranges and firewall marks that one virtual server serves.")
       .differs(FWMARKS_BY_MEMBER),
    kw("virtual_server", Args::Block(&VIRTUAL_SERVER, BlockName::Service), "", "v1.0.3",
       "A virtual service and its real servers.")
       .differs(FWMARKS_BY_MEMBER),
]] };
