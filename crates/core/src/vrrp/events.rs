//! The events of a virtual router: inputs, outputs, states and transition reasons.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::packet::{ChecksumForm, IpHeader, RejectReason};
use super::sync_group::GroupAction;
use crate::model::{TrackResult, TrackedObject};

/// The state of a virtual router.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Initialize: not started, or waiting for the first result of a tracked object.
    Init,
    /// Backup: receives the master's adverts.
    Backup,
    /// Master (Active in RFC 9568): holds the addresses.
    Master,
    /// keepalived's addition: something that the router needs is missing, and it takes no part in the election.
    Fault,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Init => "INIT",
            State::Backup => "BACKUP",
            State::Master => "MASTER",
            State::Fault => "FAULT",
        })
    }
}

/// Why a transition happened. The log and `status` print it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransitionReason {
    /// The daemon started.
    Started,
    /// The router was master until the daemon restarted, and no peer can have taken over.
    Resumed,
    /// The priority is 255: the router owns the addresses.
    Owner,
    /// The master-down timer expired.
    MasterDownTimeout {
        /// The time without an advert, ms.
        ms: u64,
    },
    /// The master resigned with priority 0.
    PriorityZero(IpAddr),
    /// The BFD session with the master went down.
    BfdNeighbourLost(IpAddr),
    /// Another master has a higher priority, or the same priority and a higher address.
    Outranked {
        /// The other master's address.
        peer: IpAddr,
        /// The other master's priority.
        priority: u8,
    },
    /// The router sent no advert for so long that a peer has taken over (`timer_expired_backup`).
    AdvertTimerLate {
        /// The time since its last advert, ms.
        ms: u64,
    },
    /// The interface is down.
    LinkDown,
    /// The interface has no source address for adverts.
    NoAddress,
    /// Unicast is required, but no peer is configured (`unicast_fault_no_peer`).
    NoUnicastPeer,
    /// A tracked object has this result.
    TrackedObject(TrackedObject, TrackResult),
    /// The sync group requires it. For FAULT: the name of the member that is the cause.
    SyncGroup(Option<String>),
    /// The cause of the FAULT is gone.
    Recovered,
    /// The daemon stops, or a new configuration does not contain the instance.
    Stopped,
}

impl fmt::Display for TransitionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransitionReason::Started => f.write_str("started"),
            TransitionReason::Resumed => f.write_str("it was master before the daemon was restarted"),
            TransitionReason::Owner => f.write_str("it owns the addresses (priority 255)"),
            TransitionReason::MasterDownTimeout { ms } => write!(f, "no advert for {}.{:03} s", ms / 1000, ms % 1000),
            TransitionReason::BfdNeighbourLost(a) => write!(f, "the BFD session with the master {a} went down"),
            TransitionReason::PriorityZero(a) => write!(f, "{a} resigned with priority 0"),
            TransitionReason::Outranked { peer, priority } => write!(f, "{peer} advertises priority {priority}"),
            TransitionReason::AdvertTimerLate { ms } => {
                write!(f, "it sent no advert for {}.{:03} s (timer_expired_backup)", ms / 1000, ms % 1000)
            }
            TransitionReason::LinkDown => f.write_str("its interface is down"),
            TransitionReason::NoAddress => f.write_str("its interface has no source address"),
            TransitionReason::NoUnicastPeer => f.write_str("no unicast_peer is configured"),
            TransitionReason::TrackedObject(object, result) => fmt_track_result(object, *result, f),
            TransitionReason::SyncGroup(None) => f.write_str("its sync group changed its state"),
            TransitionReason::SyncGroup(Some(name)) => write!(f, "{name} of its sync group is in FAULT"),
            TransitionReason::Recovered => f.write_str("the cause of the FAULT is gone"),
            TransitionReason::Stopped => f.write_str("stopped"),
        }
    }
}

fn fmt_track_result(object: &TrackedObject, result: TrackResult, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let good = match result {
        TrackResult::Number(n) => return write!(f, "{object} contains {n}"),
        TrackResult::Good(good) => good,
    };
    let (if_good, if_bad) = match object {
        TrackedObject::Script(_) => ("succeeds", "fails"),
        TrackedObject::Interface(_) | TrackedObject::Bfd(_) => ("is up", "is down"),
        TrackedObject::Address(_) | TrackedObject::Route(_) | TrackedObject::Rule(_) => ("is present", "is missing"),
        TrackedObject::Process(_) => ("meets its quorum", "does not meet its quorum"),
        TrackedObject::File(_) => ("is good", "is bad"),
    };
    write!(f, "{object} {}", if good { if_good } else { if_bad })
}

/// The state of a router before the daemon started, as far as an earlier process recorded it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PreviousState {
    /// Not known, or not relevant.
    Unknown,
    /// Master a moment ago: no peer can have taken over, and the router continues as master at once.
    Master,
    /// Master until the supervisor resigned for it a moment ago. A peer takes over within its skew time. If none does,
    /// there is no peer, so that the router waits no longer than the longest skew time.
    Resigned,
}

/// An event for a router.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Start.
    Start(PreviousState),
    /// The interface went up or down.
    Link(bool),
    /// Some frame was received on the link ([`super::Router::is_waiting_for_frame`]).
    FrameReceived,
    /// The source address of adverts, or that there is none.
    SourceAddress(Option<IpAddr>),
    /// A device of the addresses has another hardware address, while neighbours have the former one.
    HardwareAddressChanged,
    /// The result of a tracked object, changed or not.
    TrackResult {
        /// The object.
        object: &'a TrackedObject,
        /// Its result.
        result: TrackResult,
    },
    /// The BFD session of `bfd_takeover` with this neighbour went down.
    BfdNeighbourLost(IpAddr),
    /// A packet for this VRID was received.
    Packet {
        /// Its IP header.
        ip: IpHeader,
        /// Its payload: the bytes behind the IP header.
        payload: &'a [u8],
    },
    /// Another member of the sync group received an advert of lower priority: this one asserts its mastership, too.
    AssertMastership,
    /// An action of the sync group, and for [`GroupAction::Fault`] the name of the member that is in FAULT.
    SyncGroup(GroupAction, Option<&'a str>),
    /// Resign and stop.
    Stop,
}

/// What the caller must do for a router, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send an advert.
    Send {
        /// The destination: a multicast group or a peer.
        to: IpAddr,
        /// TTL or hop limit.
        ttl: u8,
        /// The advert has priority 0.
        is_resignation: bool,
        /// Over IPv4 the packet with its IP header, over IPv6 the VRRP message.
        packet: Vec<u8>,
    },
    /// Add those addresses that their devices do not have yet.
    AddVips,
    /// Remove the addresses.
    RemoveVips,
    /// Announce every address this many times, by gratuitous ARP or neighbour advertisement.
    Announce(u32),
    /// Announce once the addresses that are on other interfaces than the instance's (`garp_extra_if`).
    AnnounceExtraInterfaces,
    /// The state changed: for log, status and notifications.
    Transition {
        /// The state before.
        from: State,
        /// The new state.
        to: State,
        /// Why.
        reason: TransitionReason,
    },
    /// The priority changed.
    PriorityChanged(u8),
    /// Split brain: while this router is master, it begins to receive adverts of another master.
    OtherMaster {
        /// The other master.
        peer: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// While this router is master, it received an advert of lower priority.
    LowerPriorityMaster {
        /// The sender.
        peer: IpAddr,
    },
    /// A packet was rejected. Reported once for each sender and reason.
    PacketRejected {
        /// The sender.
        peer: IpAddr,
        /// Why.
        reason: RejectReason,
    },
    /// The addresses in an advert are not the configured ones. Reported once for each sender.
    AddressMismatch {
        /// The sender.
        peer: IpAddr,
    },
    /// Version 3: a peer's checksums have another form than ours. Reported once for each sender and form.
    ChecksumMismatch {
        /// The sender.
        peer: IpAddr,
        /// The form of its checksums.
        form: ChecksumForm,
    },
    /// Version 3: a peer's interval is not the configured one. Reported once for each sender.
    IntervalMismatch {
        /// The sender.
        peer: IpAddr,
        /// Its interval, ms.
        ms: u64,
    },
}

/// Counters of a router since its start, or since they were cleared.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Counters {
    /// Adverts sent, those of priority 0 included.
    pub adverts_sent: u64,
    /// Adverts received and accepted.
    pub adverts_received: u64,
    /// Transitions to MASTER.
    pub became_master: u64,
    /// Transitions from MASTER.
    pub released_master: u64,
    /// Accepted adverts whose addresses differ from the configured ones.
    pub address_mismatches: u64,
    /// How often another master appeared while this router was master.
    pub split_brain: u64,
    /// Resignations sent (a resignation may be two packets of priority 0).
    pub priority_zero_sent: u64,
    /// Adverts of priority 0 received.
    pub priority_zero_received: u64,
    /// Rejected packets by reason, the variant name of [`RejectReason`].
    pub rejected: BTreeMap<String, u64>,
}
