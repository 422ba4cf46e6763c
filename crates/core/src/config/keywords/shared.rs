//! Keywords that several blocks share, each documented once. What differs between the blocks is a parameter: the
//! default, the range, and the version of keepalived that introduced the keyword there.

use super::spec::*;

type Text = &'static str;

// ===== Health checkers: source, destination and schedule of probes =====

/// Where a probe goes to and comes from, when it runs, and what follows from a failure: the options of every checker
/// that opens a connection, all of them introduced by the same version.
pub(super) const fn probe_options(since: Text) -> [Keyword; 13] {
    [
        connect_ip(since),
        connect_port(since),
        bindto(since),
        bind_if(since),
        bind_port(since),
        connect_timeout("the real server's, else 5", since),
        fwmark(since),
        retry(0, "the real server's, else 1", since),
        delay_before_retry("the real server's, else 1", since),
        warmup("the real server's, else delay_loop", since),
        delay_loop("the real server's, else 60", since),
        alpha_check(since),
        log_all_failures(since),
    ]
}

pub(super) const fn connect_ip(since: Text) -> Keyword {
    kw("connect_ip", Args::Address, "the real server's address", since, "Destination address of probes.")
}

pub(super) const fn connect_port(since: Text) -> Keyword {
    kw("connect_port", Args::Uint(1, 65535), "the real server's port", since, "Destination port of probes.")
}

pub(super) const fn bindto(since: Text) -> Keyword {
    kw("bindto", Args::Address, "chosen by the kernel", since, "Source address of probes.")
}

pub(super) const fn bind_if(since: Text) -> Keyword {
    kw("bind_if", Args::InterfaceUnchecked, "chosen by the kernel", since, "Interface that probes leave through.")
}

pub(super) const fn bind_port(since: Text) -> Keyword {
    kw("bind_port", Args::Uint(1, 65535), "any", since, "Source port of probes.")
}

pub(super) const fn fwmark(since: Text) -> Keyword {
    kw("fwmark", Args::Uint(0, U32_MAX), "0 (none)", since, "Firewall mark of the packets of probes.")
}

pub(super) const fn connect_timeout(default: Text, since: Text) -> Keyword {
    let doc = "Timeout of each phase of a probe: the connection, the TLS handshake, each wait for data.";
    kw("connect_timeout", Args::Seconds(1, TIMER_MAX_US), default, since, doc)
}

pub(super) const fn retry(min: u64, default: Text, since: Text) -> Keyword {
    let doc = "How many times a failed probe is repeated before the check of a healthy server fails.";
    kw("retry", Args::Uint(min, U32_MAX), default, since, doc)
}

pub(super) const fn delay_before_retry(default: Text, since: Text) -> Keyword {
    kw("delay_before_retry", Args::Seconds(0, UNBOUNDED_US), default, since, "Delay before a failed probe is repeated.")
}

pub(super) const fn warmup(default: Text, since: Text) -> Keyword {
    let doc =
        "Maximum of the random delay before the first probe, which spreads the probes of many checks; 0: no delay.";
    kw("warmup", Args::Seconds(0, UNBOUNDED_US), default, since, doc)
}

pub(super) const fn delay_loop(default: Text, since: Text) -> Keyword {
    kw("delay_loop", Args::Seconds(1, UNBOUNDED_US), default, since, "Interval between probes.")
}

pub(super) const fn alpha_check(since: Text) -> Keyword {
    let doc = "The check counts as failed until its first successful probe.";
    kw("alpha", Args::Bool, "the real server's", since, doc)
}

pub(super) const fn log_all_failures(since: Text) -> Keyword {
    let doc = "Log every failed probe, not only changes of state.";
    kw("log_all_failures", Args::Bool, "global_defs checker_log_all_failures", since, doc)
}

// ===== Health checkers: requests =====

/// The user name that a database check sends.
pub(super) const fn database_user() -> Keyword {
    let doc = "User name that the check sends; it does not authenticate.";
    kw("user", Args::Text, "evenkeel", "evenkeel", doc)
}

pub(super) const fn url(block: &'static Block) -> Keyword {
    let doc = "A request and the expected response; the check succeeds if all urls do.";
    kw("url", Args::Block(block, BlockName::None), "required", "v1.0.3", doc)
}

pub(super) const fn tls_compliant(default: Text) -> Keyword {
    let doc = "Close TLS connections with a close_notify alert (RFC 8446, 6.1).";
    kw("tls_compliant", Args::Bool, default, "v2.2.8", doc).differs("always on")
}

// ===== Real and virtual servers =====

pub(super) const fn lvs_method(default: Text, since: Text) -> Keyword {
    let doc = "Forwarding method: NAT, direct routing, or a tunnel (IPIP, GUE or GRE).";
    kw("lvs_method", Args::LvsMethod, default, since, doc)
}

pub(super) const fn inhibit_on_failure(args: Args, default: Text, since: Text) -> Keyword {
    let doc = "Set the weight of a failed real server to 0 instead of removing the server from the service.";
    kw("inhibit_on_failure", args, default, since, doc)
}

pub(super) const fn alpha_server(args: Args, default: Text, since: Text) -> Keyword {
    kw("alpha", args, default, since, "Real servers count as down until their first successful check.")
}

pub(super) const fn virtualhost(default: Text, since: Text) -> Keyword {
    kw("virtualhost", Args::Text, default, since, "Default Host header of HTTP_GET and SSL_GET.")
}

// ===== Tracked objects =====

pub(super) const fn track_interface(since: Text) -> Keyword {
    let doc = "Network interfaces to track: one that is down causes FAULT, or changes the priority by its weight.";
    kw("track_interface", Args::Lines(LineKind::Track(TrackKind::Interface)), "none", since, doc)
}

pub(super) const fn track_script(since: Text) -> Keyword {
    let doc = "Scripts to track: one that fails causes FAULT, or changes the priority by its weight.";
    kw("track_script", Args::Lines(LineKind::Track(TrackKind::Script)), "none", since, doc)
}

pub(super) const fn track_file(since: Text) -> Keyword {
    let doc = "Files to track: the number in the file, times the weight, is added to the priority.";
    kw("track_file", Args::Lines(LineKind::Track(TrackKind::File)), "none", since, doc)
}

pub(super) const fn track_process(since: Text) -> Keyword {
    let doc = "Processes to track: a missing quorum causes FAULT, or changes the priority by its weight.";
    kw("track_process", Args::Lines(LineKind::Track(TrackKind::Process)), "none", since, doc)
}

pub(super) const fn track_bfd(since: Text) -> Keyword {
    let doc = "BFD sessions to track: one that is down causes FAULT, or changes the priority by its weight.";
    kw("track_bfd", Args::Lines(LineKind::Track(TrackKind::Bfd)), "none", since, doc)
}

/// The keywords of `track_file` and of its old name, `vrrp_track_file`.
pub(super) const fn tracked_file_options(since: Text) -> [Keyword; 3] {
    let init = "Create the file at start with this value, or 0; `overwrite` also replaces an existing file.";
    [
        kw("file", Args::Text, "required", since, "Path of the file, which contains one integer.")
            .missing_argument(MissingArgument::Reports),
        kw("weight", Args::Weight(-254, 254), "1", since, "Factor for the number in the file."),
        kw("init_file", Args::InitFile, "off", since, init),
    ]
}

// ===== VRRP: what `global_defs` sets for all instances, and an instance for itself =====

pub(super) const fn garp_master_delay(name: Text, default: Text, since: Text) -> Keyword {
    let doc = "Delay in seconds between the transition to MASTER and the second block of gratuitous ARPs; 0: no second block.";
    kw(name, Args::Uint(0, 4294), default, since, doc)
}

pub(super) const fn garp_master_repeat(name: Text, default: Text, since: Text) -> Keyword {
    kw(name, Args::Uint(1, U32_MAX), default, since, "Number of gratuitous ARPs for each address in a block.")
}

pub(super) const fn garp_master_refresh(name: Text, default: Text, since: Text) -> Keyword {
    let doc = "Interval in seconds between gratuitous ARPs while MASTER; 0: none after the first blocks.";
    kw(name, Args::Uint(0, U32_MAX), default, since, doc)
}

pub(super) const fn garp_master_refresh_repeat(name: Text, default: Text, since: Text) -> Keyword {
    kw(name, Args::Uint(1, U32_MAX), default, since, "Number of gratuitous ARPs for each address at each refresh.")
}

pub(super) const fn garp_lower_prio_delay(name: Text, default: Text, since: Text) -> Keyword {
    let doc = "Delay in seconds between an advert of lower priority and the second block of gratuitous ARPs; 0: no second block.";
    kw(name, Args::Uint(0, 4294), default, since, doc)
}

pub(super) const fn garp_lower_prio_repeat(name: Text, default: Text, since: Text) -> Keyword {
    let doc = "Number of gratuitous ARPs for each address after an advert of lower priority; 0: none.";
    kw(name, Args::Uint(0, I32_MAX), default, since, doc)
}

pub(super) const fn garp_extra_if(name: Text, min: u64, default: Text, since: Text) -> Keyword {
    let doc = "Interval in seconds between gratuitous ARPs for addresses on other interfaces than the instance's: on virtual MAC \
        interfaces, or with `all` on every interface.";
    kw(name, Args::ExtraIf(min), default, since, doc)
}

pub(super) const fn down_timer_adverts(name: Text, default: Text, since: Text) -> Keyword {
    let doc = "Number of missed adverts after which the master counts as down (RFC 9568, 6.1: 3).";
    kw(name, Args::Uint(1, 100), default, since, doc)
}

pub(super) const fn lower_prio_no_advert(name: Text, default: Text, since: Text) -> Keyword {
    kw(name, Args::Bool, default, since, "As MASTER, do not answer an advert of lower priority with an advert.")
}

pub(super) const fn higher_prio_send_advert(name: Text, default: Text, since: Text) -> Keyword {
    kw(
        name,
        Args::Bool,
        default,
        since,
        "As MASTER, send one more advert before the transition to BACKUP after an advert of higher priority.",
    )
}

pub(super) const fn owner_ignore_adverts(name: Text, default: Text, since: Text) -> Keyword {
    kw(name, Args::Bool, default, since, "As MASTER with priority 255 (address owner), ignore received adverts.")
}

pub(super) const fn v3_checksum_as_v2(default: Text) -> Keyword {
    let doc = "Compute the checksum of VRRPv3 over IPv4 without the pseudo-header, as some other implementations do.";
    kw("v3_checksum_as_v2", Args::Bool, default, "v2.2.8", doc)
}

pub(super) const fn check_unicast_src(name: Text, default: Text, since: Text) -> Keyword {
    let doc = "Drop unicast adverts whose source address is not in `unicast_peer`.";
    kw(name, Args::Flag, default, since, doc)
}

pub(super) const fn skip_check_adv_addr(name: Text, default: Text) -> Keyword {
    let doc = "Do not compare the addresses of an advert with the configured ones if the previous advert came from the same master.";
    kw(name, Args::Bool, default, "v1.2.20", doc)
}

pub(super) const fn strict(name: Text, default: Text) -> Keyword {
    let doc = "Strict RFC compliance: no authentication, no unicast peers, no `preempt_delay`; `state MASTER` only with priority 255.";
    kw(name, Args::Bool, default, "v1.2.20", doc)
}

pub(super) const fn notify_priority_changes(name: Text, default: Text, since: Text) -> Keyword {
    kw(name, Args::Bool, default, since, "Write changes of the priority to the notify FIFOs.")
}

// ===== VRRP: notify scripts =====

pub(super) const fn notify_master(since: Text) -> Keyword {
    kw("notify_master", Args::Script, "none", since, "Script to run at the transition to MASTER.")
}

pub(super) const fn notify_backup(since: Text) -> Keyword {
    kw("notify_backup", Args::Script, "none", since, "Script to run at the transition to BACKUP.")
}

pub(super) const fn notify_fault(since: Text) -> Keyword {
    kw("notify_fault", Args::Script, "none", since, "Script to run at the transition to FAULT.")
}

pub(super) const fn notify_stop(since: Text) -> Keyword {
    kw("notify_stop", Args::Script, "none", since, "Script to run when the daemon stops.")
}

pub(super) const fn notify_any(since: Text) -> Keyword {
    let doc = "Script to run at every transition. Arguments are appended: INSTANCE or GROUP, the name, the new state, the priority.";
    kw("notify", Args::Script, "none", since, doc)
}

pub(super) const fn smtp_alert_vrrp() -> Keyword {
    kw("smtp_alert", Args::Bool, "off (global_defs smtp_alert_vrrp)", "v1.0.3", "Send mail at transitions.")
}

// ===== global_defs: FIFO readers and socket buffers =====

pub(super) const fn notify_fifo_script(name: Text) -> Keyword {
    let doc = "Program that reads this FIFO, whose path is appended to its arguments; it is restarted if it ends.";
    kw(name, Args::Script, "none", "v1.3.6", doc).missing_argument(MissingArgument::Reports)
}

pub(super) const fn receive_buffer(name: Text, doc: Text, reason: Text) -> Keyword {
    kw(name, Args::Uint(0, U32_MAX), "kernel default", "v2.0.0", doc).no_effect(reason)
}

pub(super) const fn receive_buffer_force(name: Text, reason: Text) -> Keyword {
    let doc = "Allow that buffer to exceed the sysctl net.core.rmem_max.";
    kw(name, Args::Bool, "off", "v2.0.0", doc).no_effect(reason)
}
