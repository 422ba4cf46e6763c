//! `vrrp_instance`, `vrrp_sync_group`, `track_group`, `garp_group`

use super::reasons::*;
use super::spec::*;

/// `vrrp_instance`
pub(crate) static VRRP_INSTANCE: Block = Block { path: "vrrp_instance", keywords: VRRP_INSTANCE_KEYWORDS };

#[rustfmt::skip]
const VRRP_INSTANCE_KEYWORDS: &[Keyword] = &[
    kw("state", Args::Choice(&["MASTER", "BACKUP"]), "derived: MASTER if priority 255 else BACKUP", "v1.0.3",
       "What this director is expected to be; only an address owner (priority 255) begins as master."),
    kw("interface", Args::Interface, "none (required unless unicast with non-link-local addresses)", "v1.0.3",
       "Where adverts are sent and heard."),
    kw("vrf", Args::Text, "none", "v2.2.5",
       "The VRF of an instance without an interface.").refused(),
    kw("virtual_router_id", Args::Uint(1, 255), "required", "v1.0.3",
       "The virtual router's number, the same on every director of it and nowhere else on the link."),
    kw("priority", Args::Uint(1, 255), "100 (255 if state MASTER and unset)", "v1.0.3",
       "The highest becomes master; 255 owns the addresses."),
    kw("advert_int", Args::Seconds(10_000, 255_000_000), "1", "v1.0.3",
       "Seconds between adverts, the same on every director; whole ones in version 2.")
       .differs("a fraction in version 2 is rounded as there, and refused by a reload"),
    kw("version", Args::Uint(2, 3), "global vrrp_version; IPv6 = 3", "v1.2.17",
       "VRRP version on the wire."),
    kw("use_vmac", Args::UseVmac, "off", "v1.2.3",
       "Hold the addresses on an interface of its own with the virtual router's MAC address (RFC 9568, 7.3)."),
    kw("use_vmac_addr", Args::Flag, "off", "v2.2.0",
       "The same for addresses on other interfaces than the instance's."),
    kw("vmac_xmit_base", Args::Flag, "off", "v1.2.10",
       "Send and hear adverts on the interface underneath."),
    kw("use_ipvlan", Args::UseIpvlan, "off", "v2.0.17",
       "Hold the addresses on an ipvlan, which shares its parent's MAC address."),
    kw("unicast_peer", Args::Lines(LineKind::Peer), "multicast", "v1.2.8",
       "Send adverts to each of these addresses instead of a multicast group."),
    kw("unicast_fault_no_peer", Args::Flag, "off", "v2.2.5",
       "Unicast without a peer means FAULT, not multicast."),
    kw("check_unicast_src", Args::Flag, "global", "v2.1.0",
       "Drop unicast adverts that come from nobody of `unicast_peer`."),
    kw("old_unicast_checksum", Args::OptChoice(&["never"]), "auto-detect", "v1.3.7",
       "Unicast checksums as keepalived made them until 1.3.6."),
    kw("native_ipv6", Args::Flag, "", "v1.2.1",
       "Speak IPv6 whatever the addresses are.").deprecated("", false),
    kw("dont_track_primary", Args::Flag, "off", "v1.1.8",
       "Go on although the instance's own interface is down."),
    kw("track_interface", Args::Lines(LineKind::Track(TrackKind::Interface)), "none", "v1.0.3",
       "Interfaces that must be up, or that change the priority."),
    kw("track_script", Args::Lines(LineKind::Track(TrackKind::Script)), "none", "v1.1.13",
       "Scripts that must succeed, or that change the priority."),
    kw("track_file", Args::Lines(LineKind::Track(TrackKind::File)), "none", "v2.0.0",
       "Files whose number changes the priority."),
    kw("track_process", Args::Lines(LineKind::Track(TrackKind::Process)), "none", "v2.0.11",
       "Programs that must run, or that change the priority."),
    kw("track_bfd", Args::Lines(LineKind::Track(TrackKind::Bfd)), "none", "v2.0.0",
       "BFD sessions that must be up, or that change the priority."),
    kw("mcast_src_ip", Args::Address, "primary address of interface", "v1.0.3",
       "Source address of adverts."),
    kw("unicast_src_ip", Args::Address, "primary address of interface", "v1.2.10",
       "Source address of unicast adverts."),
    kw("mcast_dst_ip", Args::Multicast(Family::Any), "global group", "v2.2.5",
       "Another multicast group for this instance."),
    kw("track_src_ip", Args::Flag, "off", "v2.0.0",
       "FAULT while the source address is gone."),
    kw("unicast_ttl", Args::Uint(0, 255), "255", "v2.1.0",
       "TTL or hop limit of unicast adverts."),
    kw("virtual_ipaddress", Args::Lines(LineKind::Address), "none", "v1.0.3",
       "The addresses that the master holds and that its adverts name.")
       .differs("one that somebody takes away is put back, unless it has `no_track`"),
    kw("virtual_ipaddress_excluded", Args::Lines(LineKind::Address), "none", "v1.0.3",
       "Addresses that the master holds but its adverts do not name; of any family.")
       .differs("as virtual_ipaddress"),
    kw("no_virtual_ipaddress", Args::Flag, "off", "v2.2.8",
       "It is meant that there is no virtual address."),
    kw("promote_secondaries", Args::Flag, "off", "v1.3.0",
       "Let the kernel keep an interface's other addresses when its first goes."),
    kw("virtual_routes", Args::Lines(LineKind::Route), "none", "v1.0.3",
       "Routes that are there while this director is master."),
    kw("virtual_rules", Args::Lines(LineKind::Rule), "none", "v1.2.20",
       "Routing rules that are there while this director is master."),
    kw("accept", Args::Flag, "on (off when strict and prio<255)", "v1.2.17",
       "Packets to the addresses are accepted although this director does not own them."),
    kw("no_accept", Args::Flag, "off", "v1.3.0",
       "Packets to the addresses are dropped unless this director owns them."),
    kw("skip_check_adv_addr", Args::Bool, "global", "v1.2.20",
       "Do not compare the addresses of an advert again while it comes from the same master."),
    kw("strict_mode", Args::Bool, "global vrrp_strict", "v1.2.20",
       "Keep to the RFCs and nothing else."),
    kw("preempt", Args::Flag, "on", "v1.0.3",
       "Take over from a master of lower priority; undoes an earlier `nopreempt`."),
    kw("nopreempt", Args::Flag, "off", "v1.1.8",
       "Do not take over from a living master of lower priority; needs `state BACKUP`."),
    kw("preempt_delay", Args::Seconds(0, 1_000_000_000), "0", "v1.1.8",
       "Wait this long before taking over from a living master of lower priority."),
    kw("down_timer_adverts", Args::Uint(1, 100), "global (3)", "v2.2.3",
       "Adverts missed before a master counts as gone; RFC 9568 wants 3."),
    kw("release_interval", Args::Seconds(0, 40_950_000), "0.05 if the daemon dies, none at a stop", "evenkeel",
       "Before priority 0 a master says this as its interval, so that whatever their priority backups wait for no longer \
        before they take over; in version 2 it says priority 0 twice, upon which evenkeel waits for 0.05 at most; 0: never."),
    kw("timer_expired_backup", Args::OptUint(1, 254), "off", "v2.2.8",
       "With `nopreempt`: a master that stood still steps down if a backup of this priority (254) has taken over meanwhile."),
    kw("thread_timer_expired", Args::OptText, "", "v2.3.2",
       "Undocumented; keepalived accepts it only to ask for `timer_expired_backup`.").deprecated("timer_expired_backup", true).no_effect(KEEPALIVED_IGNORES_IT),
    kw("garp_master_delay", Args::Uint(0, 4294), "global (5)", "v1.0.3",
       "A second block of gratuitous ARPs this long after becoming master; 0: none."),
    kw("garp_master_repeat", Args::Uint(1, U32_MAX), "global (5)", "v1.2.14",
       "Gratuitous ARPs for each address in a block."),
    kw("garp_master_refresh", Args::Uint(0, U32_MAX), "global (0)", "v1.2.10",
       "Gratuitous ARPs again this often while master; 0: never."),
    kw("garp_master_refresh_repeat", Args::Uint(1, U32_MAX), "global (1)", "v1.2.14",
       "Gratuitous ARPs for each address at each refresh."),
    kw("garp_lower_prio_delay", Args::Uint(0, 4294), "global", "v1.2.20",
       "As `vrrp_garp_lower_prio_delay` of global_defs, for this instance alone."),
    kw("garp_lower_prio_repeat", Args::Uint(0, I32_MAX), "global", "v1.2.20",
       "As `vrrp_garp_lower_prio_repeat` of global_defs, for this instance alone."),
    kw("garp_extra_if", Args::ExtraIf(0), "global", "v2.2.3",
       "As `vrrp_garp_extra_if` of global_defs, for this instance alone.").missing_argument(MissingArgument::Reports),
    kw("vmac_garp_intvl", Args::ExtraIf(0), "", "v2.2.0",
       "Old name of `garp_extra_if`.").missing_argument(MissingArgument::Reports).deprecated("garp_extra_if", true),
    kw("lower_prio_no_advert", Args::Bool, "global", "v1.2.20",
       "As master, do not answer an advert of lower priority."),
    kw("higher_prio_send_advert", Args::Bool, "global", "v1.3.5",
       "As master, send one advert before yielding to a higher priority."),
    kw("owner_ignore_adverts", Args::Bool, "global", "v2.3.3",
       "As `vrrp_owner_ignore_adverts` of global_defs, for this instance alone."),
    kw("v3_checksum_as_v2", Args::Bool, "global", "v2.2.8",
       "VRRPv3 checksums over IPv4 without the pseudo-header.")
       .differs("a checksum is always verified; both forms are taken from others with either setting"),
    kw("kernel_rx_buf_size", Args::Uint(0, U32_MAX), "global policy", "v2.0.3",
       "This instance's share of the socket's receive buffer, in bytes.").missing_argument(MissingArgument::Reports).no_effect(VRRP_SOCKET_BUFFERS),
    kw("linkbeat_use_polling", Args::Flag, "global", "v2.0.0",
       "Ask the instance's interface for its link state now and then.").deprecated("linkbeat_interfaces", true).no_effect(CARRIER_EVENTS),
    kw("lvs_sync_daemon_interface", Args::Interface, "none", "v1.0.3",
       "Hand connections to the other director over this interface.").deprecated("lvs_sync_daemon", true),
    kw("debug", Args::Uint(0, 4), "0", "v1.0.3",
       "Does nothing, in keepalived either.").no_effect(KEEPALIVED_IGNORES_IT),
    kw("notify_master", Args::Script, "none", "v1.0.3",
       "Runs when it becomes master."),
    kw("notify_backup", Args::Script, "none", "v1.0.3",
       "Runs when it becomes backup."),
    kw("notify_fault", Args::Script, "none", "v1.0.3",
       "Runs when it goes into FAULT."),
    kw("notify_stop", Args::Script, "none", "v1.1.13",
       "Runs when the daemon stops."),
    kw("notify_deleted", Args::OptScript, "off", "v2.1.0",
       "An instance that a reload removes is told as DELETED, not FAULT; by a script, if one is named."),
    kw("notify", Args::Script, "none", "v1.1.2",
       "Runs at every transition, with what it is, its name, its state and its priority as arguments."),
    kw("notify_master_rx_lower_pri", Args::Script, "none", "v2.0.6",
       "Runs when this director is master and hears an advert of lower priority."),
    kw("notify_priority_changes", Args::Bool, "global", "v2.0.16",
       "Tell the FIFOs of changed priorities."),
    kw("smtp_alert", Args::Bool, "off (global default)", "v1.0.3",
       "Send mail about its state."),
    kw("authentication", Args::Block(&AUTHENTICATION, BlockName::None), "none", "v1.0.3",
       "VRRPv2's simple password or authentication header."),
    kw("auth_hmac", Args::Block(&AUTH_HMAC, BlockName::None), "none", "v2.4.0",
       "Signs adverts by HMAC-SHA256, an extension of keepalived 2.4.")
       .differs("the trailer is laid out as keepalived's, but its MAC is taken over other bytes, so that every director of the virtual router has to be evenkeel"),
    // Additions of ours.
    kw("bfd_takeover", Args::Text, "none", "evenkeel",
       "Begin to take over as soon as this BFD session with the master is lost, and not after three adverts."),
];

/// `vrrp_instance/authentication`
pub(crate) static AUTHENTICATION: Block =
    Block { path: "vrrp_instance/authentication", keywords: AUTHENTICATION_KEYWORDS };

#[rustfmt::skip]
const AUTHENTICATION_KEYWORDS: &[Keyword] = &[
    kw("auth_type", Args::Choice(&["PASS", "AH"]), "PASS", "v1.0.3",
       "Simple password, or an authentication header."),
    kw("auth_pass", Args::Text, "none", "v1.0.3",
       "The password that every director shares; eight characters count."),
];

/// `vrrp_instance/auth_hmac`
pub(crate) static AUTH_HMAC: Block = Block { path: "vrrp_instance/auth_hmac", keywords: AUTH_HMAC_KEYWORDS };

#[rustfmt::skip]
const AUTH_HMAC_KEYWORDS: &[Keyword] = &[
    kw("key", Args::HmacKey, "required", "v2.4.0",
       "A key for signing and checking; several may stand there.").missing_argument(MissingArgument::Reports),
    kw("active_key", Args::Uint(1, 255), "required", "v2.4.0",
       "The number of the key that signs."),
    kw("time_window", Args::Uint(1, 300), "max(3*advert_int,5)", "v2.4.0",
       "How old a signed advert may be, in seconds."),
    kw("anti_replay", Args::Choice(&["time", "monotonic"]), "time", "v2.4.0",
       "What tells a replayed advert: its time, or its number."),
    kw("mode", Args::Choice(&["enforce", "permissive", "receive-only"]), "enforce", "v2.4.0",
       "Whether unsigned adverts are refused (enforce), taken (permissive), or signing only checked (receive-only)."),
];

/// `vrrp_sync_group`
pub(crate) static SYNC_GROUP: Block = Block { path: "vrrp_sync_group", keywords: SYNC_GROUP_KEYWORDS };

#[rustfmt::skip]
const SYNC_GROUP_KEYWORDS: &[Keyword] = &[
    kw("group", Args::Lines(LineKind::Names), "required", "v1.0.3",
       "Its members; an instance is in one group at most."),
    kw("track_interface", Args::Lines(LineKind::Track(TrackKind::Interface)), "none", "v2.0.0",
       "Interfaces that must be up, or that change the priority."),
    kw("track_script", Args::Lines(LineKind::Track(TrackKind::Script)), "none", "v2.0.0",
       "Scripts that must succeed, or that change the priority of every member."),
    kw("track_file", Args::Lines(LineKind::Track(TrackKind::File)), "none", "v2.0.0",
       "Files whose number changes the priority."),
    kw("track_process", Args::Lines(LineKind::Track(TrackKind::Process)), "none", "v2.0.11",
       "Programs that must run, or that change the priority."),
    kw("track_bfd", Args::Lines(LineKind::Track(TrackKind::Bfd)), "none", "v2.0.0",
       "BFD sessions that must be up, or that change the priority."),
    kw("notify_master", Args::Script, "none", "v1.0.3",
       "Runs when it becomes master."),
    kw("notify_backup", Args::Script, "none", "v1.0.3",
       "Runs when it becomes backup."),
    kw("notify_fault", Args::Script, "none", "v1.0.3",
       "Runs when it goes into FAULT."),
    kw("notify_stop", Args::Script, "none", "v2.0.0",
       "Runs when the daemon stops."),
    kw("notify", Args::Script, "none", "v1.1.2",
       "Runs at every transition, with what it is, its name, its state and its priority as arguments."),
    kw("smtp_alert", Args::Bool, "off (global default)", "v1.0.3",
       "Send mail about its state."),
    kw("global_tracking", Args::Flag, "off", "v1.2.3",
       "An old name of `sync_group_tracking_weight`.").deprecated("", true),
    kw("sync_group_tracking_weight", Args::Flag, "off", "v2.0.0",
       "Allow members to track with weights."),
    kw("notify_priority_changes", Args::Bool, "global", "v2.2.0",
       "Tell the FIFOs of changed priorities."),
];

/// `track_group`
pub(crate) static TRACK_GROUP: Block = Block { path: "track_group", keywords: TRACK_GROUP_KEYWORDS };

#[rustfmt::skip]
const TRACK_GROUP_KEYWORDS: &[Keyword] = &[
    kw("group", Args::Lines(LineKind::Names), "", "v2.0.3",
       "Its members; an instance is in one group at most."),
];

/// `garp_group`
pub(crate) static GARP_GROUP: Block = Block { path: "garp_group", keywords: GARP_GROUP_KEYWORDS };

#[rustfmt::skip]
const GARP_GROUP_KEYWORDS: &[Keyword] = &[
    kw("garp_interval", Args::Seconds(0, TIMER_MAX_US), "0", "v1.2.21",
       "Seconds between gratuitous ARPs over the whole group."),
    kw("gna_interval", Args::Seconds(0, TIMER_MAX_US), "0", "v1.2.21",
       "Seconds between unsolicited neighbour advertisements over the whole group."),
    kw("interface", Args::Interface, "", "v1.2.21",
       "The only interface of the group."),
    kw("interfaces", Args::Lines(LineKind::Interfaces), "", "v1.2.21",
       "The interfaces that share these gaps."),
];
