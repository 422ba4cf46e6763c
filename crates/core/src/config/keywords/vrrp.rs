//! The keywords of `vrrp_instance`, `vrrp_sync_group`, `track_group` and `garp_group`.

use super::reasons::*;
use super::shared::*;
use super::spec::MissingArgument::Reports;
use super::spec::*;

pub(crate) static VRRP_INSTANCE: Block =
    Block { path: "vrrp_instance", keywords: &[PROTOCOL, ADDRESSES, TRACKING, ADVERTS, ANNOUNCEMENTS, NOTIFICATIONS] };

/// The virtual router: interface, priority, source and destination of adverts.
#[rustfmt::skip]
const PROTOCOL: &[Keyword] = &[
    kw("state", Args::Choice(&["MASTER", "BACKUP"]), "MASTER if the priority is 255, else BACKUP", "v1.0.3",
       "Initial state; only an address owner (priority 255) starts as MASTER at once."),
    kw("interface", Args::Interface, "required", "v1.0.3",
       "Interface on which adverts are sent and received.")
       .differs("always required; keepalived allows unicast instances without an interface"),
    kw("vrf", Args::Text, "none", "v2.2.5",
       "VRF of an instance without an interface.").refused(),
    kw("virtual_router_id", Args::Uint(1, 255), "required", "v1.0.3",
       "Virtual router identifier (VRID): the same on all directors of the virtual router, unique on the link."),
    kw("priority", Args::Uint(1, 255), "100 (255 with `state MASTER`)", "v1.0.3",
       "Priority in the election of the master: the highest wins; 255 means address owner."),
    kw("advert_int", Args::Seconds(10_000, 255_000_000), "1", "v1.0.3",
       "Advertisement interval, the same on all directors; whole seconds in version 2, hundredths in version 3.")
       .differs("in version 2 a fraction is rounded, as in keepalived, and a reload rejects it"),
    kw("version", Args::Uint(2, 3), "global_defs vrrp_version; IPv6: 3", "v1.2.17",
       "VRRP version."),
    kw("use_vmac", Args::UseVmac, "off", "v1.2.3",
       "Create a macvlan with the virtual router MAC address (RFC 9568, 7.3) and add the addresses to it."),
    kw("use_vmac_addr", Args::Flag, "off", "v2.2.0",
       "Create a macvlan for each address on another interface than the instance's as well."),
    kw("vmac_xmit_base", Args::Flag, "off", "v1.2.10",
       "Send and receive adverts on the parent interface of the macvlan."),
    kw("use_ipvlan", Args::UseIpvlan, "off", "v2.0.17",
       "Create an ipvlan, which shares the MAC address of its parent, and add the addresses to it."),
    kw("authentication", Args::Block(&AUTHENTICATION, BlockName::None), "none", "v1.0.3",
       "Authentication of VRRPv2 (RFC 2338): a simple password or an authentication header."),
    kw("auth_hmac", Args::Block(&AUTH_HMAC, BlockName::None), "none", "v2.4.0",
       "Authentication of adverts with HMAC-SHA256, an extension of keepalived 2.4.")
       .differs("the trailer has keepalived's format, but its MAC covers other bytes, so that all directors of the virtual router must run evenkeel"),
    kw("native_ipv6", Args::Flag, "", "v1.2.1",
       "Use IPv6 whatever the family of the addresses is.").obsolete(),
    kw("debug", Args::Uint(0, 4), "0", "v1.0.3",
       "Debug level; without effect in keepalived too.").no_effect(KEEPALIVED_IGNORES_IT),
];

/// Addresses, routes and rules of the master.
#[rustfmt::skip]
const ADDRESSES: &[Keyword] = &[
    kw("virtual_ipaddress", Args::Lines(LineKind::Address), "none", "v1.0.3",
       "Addresses that the master holds and that its adverts list.")
       .differs(REMOVED_ADDRESS_ADDED_AGAIN),
    kw("virtual_ipaddress_excluded", Args::Lines(LineKind::Address), "none", "v1.0.3",
       "Addresses of either family that the master holds and that its adverts do not list.")
       .differs(REMOVED_ADDRESS_ADDED_AGAIN),
    kw("no_virtual_ipaddress", Args::Flag, "off", "v2.2.8",
       "The instance has no virtual address on purpose; suppresses the warning about that."),
    kw("promote_secondaries", Args::Flag, "off", "v1.3.0",
       "Set the sysctl promote_secondaries on the interface, so that secondary addresses stay when the primary one is removed."),
    kw("virtual_routes", Args::Lines(LineKind::Route), "none", "v1.0.3",
       "Routes that exist while the instance is MASTER."),
    kw("virtual_rules", Args::Lines(LineKind::Rule), "none", "v1.2.20",
       "Routing rules that exist while the instance is MASTER."),
    kw("accept", Args::Flag, "on (strict mode: off unless the priority is 255)", "v1.2.17",
       "Accept packets to the virtual addresses although the director is not the address owner (RFC 9568, 6.1: Accept_Mode)."),
    kw("no_accept", Args::Flag, "off", "v1.3.0",
       "Drop packets to the virtual addresses unless the director is the address owner."),
];

#[rustfmt::skip]
const TRACKING: &[Keyword] = &[
    kw("dont_track_primary", Args::Flag, "off", "v1.1.8",
       "Do not go to FAULT when the instance's interface is down."),
    track_interface("v1.0.3"),
    track_script("v1.1.13"),
    track_file("v2.0.0"),
    track_process("v2.0.11"),
    track_bfd("v2.0.0"),
    kw("track_src_ip", Args::Flag, "off", "v2.0.0",
       "Go to FAULT while the source address of adverts is missing."),
    kw("bfd_takeover", Args::Text, "none", "evenkeel",
       "Name of a BFD session with the master: when it goes down, the takeover starts at once instead of after the missed adverts."),
    kw("linkbeat_use_polling", Args::Flag, "global", "v2.0.0",
       "Poll the link state of the instance's interface.").replaced_by("linkbeat_interfaces").reported().no_effect(CARRIER_EVENTS),
];

/// Adverts: addresses, checks, timers, preemption.
#[rustfmt::skip]
const ADVERTS: &[Keyword] = &[
    kw("mcast_src_ip", Args::Address, "primary address of the interface", "v1.0.3",
       "Source address of adverts."),
    kw("mcast_dst_ip", Args::Multicast(Family::Any), "global_defs vrrp_mcast_group4, vrrp_mcast_group6", "v2.2.5",
       "Multicast group of the instance's adverts."),
    kw("unicast_src_ip", Args::Address, "primary address of the interface", "v1.2.10",
       "Source address of unicast adverts."),
    kw("unicast_peer", Args::Lines(LineKind::Peer), "multicast", "v1.2.8",
       "Addresses of the other directors, which get adverts by unicast instead of multicast; `min_ttl` and `max_ttl` limit the TTL of received adverts."),
    kw("unicast_fault_no_peer", Args::Flag, "off", "v2.2.5",
       "Go to FAULT if unicast is configured without a peer, instead of using multicast."),
    kw("unicast_ttl", Args::Uint(0, 255), "255 (IPv6: 64)", "v2.1.0",
       "TTL or hop limit of unicast adverts."),
    check_unicast_src("check_unicast_src", "global_defs vrrp_check_unicast_src", "v2.1.0"),
    kw("old_unicast_checksum", Args::OptChoice(&["never"]), "detected per peer", "v1.3.7",
       "Use the checksum of unicast adverts of keepalived up to 1.3.6; `never` disables the detection of peers that use it."),
    v3_checksum_as_v2("global_defs v3_checksum_as_v2")
       .differs("received adverts are verified and may have either form of checksum, with either setting"),
    skip_check_adv_addr("skip_check_adv_addr", "global_defs vrrp_skip_check_adv_addr"),
    strict("strict_mode", "global_defs vrrp_strict"),
    kw("preempt", Args::Flag, "on", "v1.0.3",
       "Take over from a live master of lower priority; cancels an earlier `nopreempt`."),
    kw("nopreempt", Args::Flag, "off", "v1.1.8",
       "Do not take over from a live master of lower priority; requires `state BACKUP`."),
    kw("preempt_delay", Args::Seconds(0, 1_000_000_000), "0", "v1.1.8",
       "Delay before the takeover from a live master of lower priority."),
    down_timer_adverts("down_timer_adverts", "global_defs vrrp_down_timer_adverts", "v2.2.3"),
    kw("release_interval", Args::Seconds(0, 40_950_000), "0.05 if the daemon dies, off at a stop", "evenkeel",
       "Advert interval that a resigning master announces before its advert of priority 0, so that backups of any priority take over \
        within it. In version 2 it sends priority 0 twice, after which evenkeel backups wait at most 0.05 s. 0: off."),
    kw("timer_expired_backup", Args::OptUint(1, 254), "off", "v2.2.8",
       "With `nopreempt`: a master that was suspended for longer than a backup of this priority (254 without a number) waits for adverts becomes BACKUP."),
    kw("thread_timer_expired", Args::OptText, "", "v2.3.2",
       "Undocumented; keepalived reports that `timer_expired_backup` replaces it.").replaced_by("timer_expired_backup").reported().no_effect(KEEPALIVED_IGNORES_IT),
    lower_prio_no_advert("lower_prio_no_advert", "global_defs vrrp_lower_prio_no_advert", "v1.2.20"),
    higher_prio_send_advert("higher_prio_send_advert", "global_defs vrrp_higher_prio_send_advert", "v1.3.5"),
    owner_ignore_adverts("owner_ignore_adverts", "global_defs vrrp_owner_ignore_adverts", "v2.3.3"),
    kw("kernel_rx_buf_size", Args::Uint(0, U32_MAX), "global_defs vrrp_rx_bufs_policy", "v2.0.3",
       "Size in bytes of the instance's share of the socket's receive buffer.").missing_argument(Reports).no_effect(VRRP_SOCKET_BUFFERS),
];

/// Gratuitous ARPs and neighbour advertisements.
#[rustfmt::skip]
const ANNOUNCEMENTS: &[Keyword] = &[
    garp_master_delay("garp_master_delay", "global_defs vrrp_garp_master_delay", "v1.0.3"),
    garp_master_repeat("garp_master_repeat", "global_defs vrrp_garp_master_repeat", "v1.2.14"),
    garp_master_refresh("garp_master_refresh", "global_defs vrrp_garp_master_refresh", "v1.2.10"),
    garp_master_refresh_repeat("garp_master_refresh_repeat", "global_defs vrrp_garp_master_refresh_repeat", "v1.2.14"),
    garp_lower_prio_delay("garp_lower_prio_delay", "global_defs vrrp_garp_lower_prio_delay", "v1.2.20"),
    garp_lower_prio_repeat("garp_lower_prio_repeat", "global_defs vrrp_garp_lower_prio_repeat", "v1.2.20"),
    garp_extra_if("garp_extra_if", 0, "global_defs vrrp_garp_extra_if", "v2.2.3").missing_argument(Reports),
    kw("vmac_garp_intvl", Args::ExtraIf(0), "", "v2.2.0",
       "Old name of `garp_extra_if`.").missing_argument(Reports).replaced_by("garp_extra_if").reported(),
];

/// Scripts, FIFOs, mail, and the synchronisation of connections.
#[rustfmt::skip]
const NOTIFICATIONS: &[Keyword] = &[
    notify_master("v1.0.3"),
    notify_backup("v1.0.3"),
    notify_fault("v1.0.3"),
    notify_stop("v1.1.13"),
    kw("notify_deleted", Args::OptScript, "off", "v2.1.0",
       "Report an instance that a reload removes as DELETED instead of FAULT, to this script if one is named."),
    notify_any("v1.1.2"),
    kw("notify_master_rx_lower_pri", Args::Script, "none", "v2.0.6",
       "Script to run when the instance is MASTER and receives an advert of lower priority."),
    notify_priority_changes("notify_priority_changes", "global_defs vrrp_notify_priority_changes", "v2.0.16"),
    smtp_alert_vrrp(),
    kw("lvs_sync_daemon_interface", Args::Interface, "none", "v1.0.3",
       "Interface for the synchronisation of IPVS connections with the other director.").replaced_by("lvs_sync_daemon").reported(),
];

#[rustfmt::skip]
pub(crate) static AUTHENTICATION: Block = Block { path: "vrrp_instance/authentication", keywords: &[&[
    kw("auth_type", Args::Choice(&["PASS", "AH"]), "PASS", "v1.0.3",
       "PASS: simple password. AH: IP authentication header (RFC 2402)."),
    kw("auth_pass", Args::Text, "none", "v1.0.3",
       "Password, the same on all directors; the first eight characters are used."),
]] };

#[rustfmt::skip]
pub(crate) static AUTH_HMAC: Block = Block { path: "vrrp_instance/auth_hmac", keywords: &[&[
    kw("key", Args::HmacKey, "required", "v2.4.0",
       "A key with its number, for signing and verification; may be repeated.").missing_argument(Reports),
    kw("active_key", Args::Uint(1, 255), "required", "v2.4.0",
       "Number of the key that signs."),
    kw("time_window", Args::Uint(1, 300), "the longer of 3 * advert_int and 5", "v2.4.0",
       "Maximum difference in seconds between the time of a signature and the local clock."),
    kw("anti_replay", Args::Choice(&["time", "monotonic"]), "time", "v2.4.0",
       "time: a signature must not be older or newer than `time_window`. monotonic: it must be newer than the last one of its sender."),
    kw("mode", Args::Choice(&["enforce", "permissive", "receive-only"]), "enforce", "v2.4.0",
       "enforce: drop unsigned adverts. permissive: accept them. receive-only: accept them and do not sign."),
]] };

#[rustfmt::skip]
pub(crate) static SYNC_GROUP: Block = Block { path: "vrrp_sync_group", keywords: &[&[
    kw("group", Args::Lines(LineKind::Names), "required", "v1.0.3",
       "Names of the member instances; an instance can be in one sync group only."),
    track_interface("v2.0.0"),
    track_script("v2.0.0"),
    track_file("v2.0.0"),
    track_process("v2.0.11"),
    track_bfd("v2.0.0"),
    kw("sync_group_tracking_weight", Args::Flag, "off", "v2.0.0",
       "Apply the weights of what members track; without it such weights have no effect in a sync group."),
    kw("global_tracking", Args::Flag, "off", "v1.2.3",
       "Old name of `sync_group_tracking_weight`.").obsolete().reported(),
    notify_master("v1.0.3"),
    notify_backup("v1.0.3"),
    notify_fault("v1.0.3"),
    notify_stop("v2.0.0"),
    notify_any("v1.1.2"),
    notify_priority_changes("notify_priority_changes", "global_defs vrrp_notify_priority_changes", "v2.2.0"),
    smtp_alert_vrrp(),
]] };

#[rustfmt::skip]
pub(crate) static TRACK_GROUP: Block = Block { path: "track_group", keywords: &[&[
    kw("group", Args::Lines(LineKind::Names), "", "v2.0.3",
       "Names of the member instances."),
]] };

#[rustfmt::skip]
pub(crate) static GARP_GROUP: Block = Block { path: "garp_group", keywords: &[&[
    kw("garp_interval", Args::Seconds(0, TIMER_MAX_US), "0", "v1.2.21",
       "Minimum interval between gratuitous ARPs over all interfaces of the group."),
    kw("gna_interval", Args::Seconds(0, TIMER_MAX_US), "0", "v1.2.21",
       "Minimum interval between unsolicited neighbour advertisements over all interfaces of the group."),
    kw("interface", Args::Interface, "", "v1.2.21",
       "The only interface of the group."),
    kw("interfaces", Args::Lines(LineKind::Interfaces), "", "v1.2.21",
       "The interfaces of the group."),
]] };
