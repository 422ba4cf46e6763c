//! What instances track: scripts, processes, files, BFD sessions.

use super::spec::*;

/// `vrrp_script`
pub(crate) static VRRP_SCRIPT: Block = Block { path: "vrrp_script", keywords: VRRP_SCRIPT_KEYWORDS };

#[rustfmt::skip]
const VRRP_SCRIPT_KEYWORDS: &[Keyword] = &[
    kw("script", Args::Script, "required", "v1.1.13",
       "The program to run, in quotes with its arguments; exit status 0 is success.").missing_argument(MissingArgument::Reports)
       .differs("a first definition counts where a name is used twice, and the second is told of"),
    kw("interval", Args::Seconds(1_000, TIMER_MAX_US), "1", "v1.1.13",
       "Seconds from one start to the next."),
    kw("timeout", Args::Seconds(1_000, TIMER_MAX_US), "= interval", "v1.2.6",
       "It has failed if it runs longer."),
    kw("weight", Args::Weight(-253, 253), "0", "v1.1.13",
       "Added to the priority while it succeeds (above 0) or fails (below 0); 0: its failure means FAULT."),
    kw("rise", Args::Uint(1, I32_MAX), "1", "v1.1.18",
       "Successes in a row that make it good."),
    kw("fall", Args::Uint(1, I32_MAX), "1", "v1.1.18",
       "Failures in a row that make it bad."),
    kw("user", Args::User, "script_user", "v1.3.0",
       "Who runs it."),
    kw("init_fail", Args::Flag, "off", "v1.3.2",
       "It counts as failed until it has succeeded."),
];

/// `vrrp_track_process`
pub(crate) static TRACK_PROCESS: Block = Block { path: "vrrp_track_process", keywords: TRACK_PROCESS_KEYWORDS };

#[rustfmt::skip]
const TRACK_PROCESS_KEYWORDS: &[Keyword] = &[
    kw("process", Args::Process, "required", "v2.0.11",
       "The program's name, and its parameters if they matter."),
    kw("param_match", Args::Choice(&["initial", "partial"]), "exact", "v2.0.16",
       "Whether parameters must begin with those, or contain them; without it they must be the same.").missing_argument(MissingArgument::Accepts),
    kw("weight", Args::Weight(-254, 254), "0", "v2.0.11",
       "Added to the priority while enough processes run (above 0) or do not (below 0); 0: too few mean FAULT.").missing_argument(MissingArgument::Reports),
    kw("quorum", Args::Uint(1, 65535), "1", "v2.0.11",
       "How many processes there must be."),
    kw("quorum_max", Args::Uint(0, 65535), "unlimited", "v2.0.16",
       "How many there may be."),
    kw("delay", Args::Seconds(1, 3600000000), "0", "v2.0.11",
       "Seconds that a process must have run, or been gone, before that counts."),
    kw("fork_delay", Args::Seconds(1, 3600000000), "0", "v2.0.16",
       "Seconds that a process must have run before it counts."),
    kw("terminate_delay", Args::Seconds(1, 3600000000), "0", "v2.0.16",
       "Seconds that a process must be gone before it counts as gone."),
    kw("full_command", Args::Flag, "off", "v2.0.11",
       "Compare with the whole command line, not the short name."),
];

/// `track_file`
pub(crate) static TRACK_FILE: Block = Block { path: "track_file", keywords: TRACK_FILE_KEYWORDS };

#[rustfmt::skip]
const TRACK_FILE_KEYWORDS: &[Keyword] = &[
    kw("file", Args::Text, "required", "v2.1.0",
       "The file; it holds one whole number.").missing_argument(MissingArgument::Reports),
    kw("weight", Args::Weight(-254, 254), "1", "v2.1.0",
       "What the number in the file is multiplied by."),
    kw("init_file", Args::InitFile, "off", "v2.1.0",
       "Make the file at start with this value, or 0; `overwrite` replaces one that is there."),
];

/// `vrrp_track_file`
pub(crate) static VRRP_TRACK_FILE: Block = Block { path: "vrrp_track_file", keywords: VRRP_TRACK_FILE_KEYWORDS };

#[rustfmt::skip]
const VRRP_TRACK_FILE_KEYWORDS: &[Keyword] = &[
    kw("file", Args::Text, "required", "v2.0.0",
       "The file; it holds one whole number.").missing_argument(MissingArgument::Reports),
    kw("weight", Args::Weight(-254, 254), "1", "v2.0.0",
       "What the number in the file is multiplied by."),
    kw("init_file", Args::InitFile, "off", "v2.0.0",
       "Make the file at start with this value, or 0; `overwrite` replaces one that is there."),
];

/// `bfd_instance`
pub(crate) static BFD_INSTANCE: Block = Block { path: "bfd_instance", keywords: BFD_INSTANCE_KEYWORDS };

#[rustfmt::skip]
const BFD_INSTANCE_KEYWORDS: &[Keyword] = &[
    kw("source_ip", Args::Address, "chosen by kernel", "v2.0.0",
       "Our address in the session."),
    kw("neighbor_ip", Args::Address, "required", "v2.0.0",
       "The neighbour's address."),
    kw("neighbour_ip", Args::Address, "", "v2.0.0",
       "Peer address, by the other spelling.").deprecated("neighbor_ip", false),
    kw("min_rx", Args::Millis(1_000, 4_294_967_000), "10", "v2.0.0",
       "Milliseconds between packets that we are willing to receive."),
    kw("min_tx", Args::Millis(1_000, 4_294_967_000), "10", "v2.0.0",
       "Milliseconds between packets that we wish to send."),
    kw("idle_tx", Args::Millis(1_000_000, 4_294_967_000), "1000", "v2.0.0",
       "Milliseconds between packets while the session is not up."),
    kw("multiplier", Args::Uint(1, 255), "5", "v2.0.0",
       "Packets missed before the session counts as down."),
    kw("passive", Args::Flag, "off", "v2.0.0",
       "Wait for the neighbour to begin."),
    kw("ttl", Args::Uint(1, 255), "255", "v2.0.0",
       "TTL of packets over IPv4."),
    kw("hoplimit", Args::Uint(1, 255), "64", "v2.0.0",
       "Hop limit of packets over IPv6.")
       .differs("255 unless it is written, or with `multihop` 64: RFC 5881, 5 wants 255, and peers refuse less"),
    kw("max_hops", Args::Int(-1, 255), "0", "v2.0.0",
       "How far the TTL of a received packet may have fallen."),
    kw("multihop", Args::Bool, "off", "v2.2.8",
       "Speak to a neighbour behind routers, over port 4784 (RFC 5883)."),
    kw("weight", Args::Weight(-253, 253), "0", "v2.0.0",
       "Added to the priority while the session is up (above 0) or down (below 0); 0: down means FAULT."),
    kw("vrrp", Args::Flag, "both", "v2.0.0",
       "Only VRRP is told of the session."),
    kw("checker", Args::Flag, "both", "v2.0.0",
       "Only health checks are told of the session."),
];
