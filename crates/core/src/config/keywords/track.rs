//! Tracked objects: scripts, processes, files and BFD sessions.

use super::shared::tracked_file_options;
use super::spec::MissingArgument::{Accepts, Reports};
use super::spec::*;

#[rustfmt::skip]
pub(crate) static VRRP_SCRIPT: Block = Block { path: "vrrp_script", keywords: &[&[
    kw("script", Args::Script, "required", "v1.1.13",
       "Program to run, in quotes if it has arguments; exit status 0 means success.").missing_argument(Reports)
       .differs("if two scripts have one name, the first definition is used, with a warning about the second"),
    kw("interval", Args::Seconds(1_000, TIMER_MAX_US), "1", "v1.1.13",
       "Interval between the starts of two runs."),
    kw("timeout", Args::Seconds(1_000, TIMER_MAX_US), "= interval", "v1.2.6",
       "Maximum run time; a script that exceeds it has failed."),
    kw("weight", Args::Weight(-253, 253), "0", "v1.1.13",
       "Priority change: a positive weight is added while the script succeeds, a negative one while it fails; 0: failure causes FAULT."),
    kw("rise", Args::Uint(1, I32_MAX), "1", "v1.1.18",
       "Number of consecutive successes after which the script counts as successful."),
    kw("fall", Args::Uint(1, I32_MAX), "1", "v1.1.18",
       "Number of consecutive failures after which the script counts as failed."),
    kw("user", Args::User, "script_user", "v1.3.0",
       "User and group that run the script."),
    kw("init_fail", Args::Flag, "off", "v1.3.2",
       "The script counts as failed until its first success."),
]] };

#[rustfmt::skip]
pub(crate) static TRACK_PROCESS: Block = Block { path: "vrrp_track_process", keywords: &[&[
    kw("process", Args::Process, "required", "v2.0.11",
       "Name of the program, and its arguments if they must match too."),
    kw("param_match", Args::Choice(&["initial", "partial"]), "exact", "v2.0.16",
       "How arguments are compared: `initial` accepts further arguments, `partial` accepts any arguments around them; the default requires equality.").missing_argument(Accepts),
    kw("weight", Args::Weight(-254, 254), "0", "v2.0.11",
       "Priority change: a positive weight is added while the quorum is met, a negative one while it is not; 0: a missing quorum causes FAULT.").missing_argument(Reports),
    kw("quorum", Args::Uint(1, 65535), "1", "v2.0.11",
       "Minimum number of processes."),
    kw("quorum_max", Args::Uint(0, 65535), "unlimited", "v2.0.16",
       "Maximum number of processes."),
    kw("delay", Args::Seconds(1, 3600000000), "0", "v2.0.11",
       "Default of `fork_delay` and `terminate_delay`."),
    kw("fork_delay", Args::Seconds(1, 3600000000), "0", "v2.0.16",
       "How long the quorum must be met before it counts as met."),
    kw("terminate_delay", Args::Seconds(1, 3600000000), "0", "v2.0.16",
       "How long the quorum must be missing before it counts as missing."),
    kw("full_command", Args::Flag, "off", "v2.0.11",
       "Compare with the full command line instead of the short process name."),
]] };

pub(crate) static TRACK_FILE: Block = Block { path: "track_file", keywords: &[&tracked_file_options("v2.1.0")] };

pub(crate) static VRRP_TRACK_FILE: Block =
    Block { path: "vrrp_track_file", keywords: &[&tracked_file_options("v2.0.0")] };

#[rustfmt::skip]
pub(crate) static BFD_INSTANCE: Block = Block { path: "bfd_instance", keywords: &[&[
    kw("source_ip", Args::Address, "chosen by the kernel", "v2.0.0",
       "Local address of the session."),
    kw("neighbor_ip", Args::Address, "required", "v2.0.0",
       "Address of the neighbour."),
    kw("neighbour_ip", Args::Address, "", "v2.0.0",
       "Other spelling of `neighbor_ip`.").replaced_by("neighbor_ip"),
    kw("min_rx", Args::Millis(1_000, 4_294_967_000), "10", "v2.0.0",
       "Required Min RX Interval (RFC 5880, 6.8.1): minimum interval between received packets."),
    kw("min_tx", Args::Millis(1_000, 4_294_967_000), "10", "v2.0.0",
       "Desired Min TX Interval (RFC 5880, 6.8.1): minimum interval between sent packets."),
    kw("idle_tx", Args::Millis(1_000_000, 4_294_967_000), "1000", "v2.0.0",
       "Interval between sent packets while the session is not up."),
    kw("multiplier", Args::Uint(1, 255), "5", "v2.0.0",
       "Detect Mult (RFC 5880, 6.8.1): number of missed packets after which the session is down."),
    kw("passive", Args::Flag, "off", "v2.0.0",
       "Passive role (RFC 5880, 6.1): send nothing before the neighbour does."),
    kw("ttl", Args::Uint(1, 255), "255", "v2.0.0",
       "TTL of packets over IPv4."),
    kw("hoplimit", Args::Uint(1, 255), "64", "v2.0.0",
       "Hop limit of packets over IPv6.")
       .differs("the default is 255, or 64 with `multihop`: RFC 5881, 5 requires 255, and peers drop packets with less"),
    kw("max_hops", Args::Int(-1, 255), "0", "v2.0.0",
       "Maximum number of hops that a received packet may have passed, by its TTL; -1: unlimited."),
    kw("multihop", Args::Bool, "off", "v2.2.8",
       "The neighbour is not on the link: use UDP port 4784 (RFC 5883)."),
    kw("weight", Args::Weight(-253, 253), "0", "v2.0.0",
       "Priority change: a positive weight is added while the session is up, a negative one while it is down; 0: a session that is down causes FAULT."),
    kw("vrrp", Args::Flag, "both", "v2.0.0",
       "Report the session to VRRP only."),
    kw("checker", Args::Flag, "both", "v2.0.0",
       "Report the session to health checks only."),
]] };
