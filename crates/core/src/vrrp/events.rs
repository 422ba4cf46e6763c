//! Where a virtual router stands, what happens to it, and what it wants done.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::packet::{ChecksumForm, IpHeader, RejectReason};
use super::sync_group::GroupAction;
use crate::model::{TrackResult, TrackedObject};

/// Where a virtual router stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Not started, or waiting for a script's first result.
    Init,
    /// Listening.
    Backup,
    /// Holding the addresses.
    Master,
    /// Something that it needs is missing.
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

/// Why a transition happened; what `status` and the log say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransitionReason {
    /// The daemon started.
    Started,
    /// It was master a moment ago, before the daemon was restarted.
    Resumed,
    /// Priority 255: the addresses are its own.
    Owner,
    /// No advert for the whole master-down interval (ms).
    MasterDownTimeout {
        /// The interval that passed without one, ms.
        ms: u64,
    },
    /// The master gave up with priority 0.
    PriorityZero(IpAddr),
    /// The BFD session with the master was lost.
    BfdNeighbourLost(IpAddr),
    /// A master of higher priority, or of the same and a higher address.
    Outranked {
        /// Its address.
        peer: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// It stood still for so long that somebody else has taken over (`timer_expired_backup`).
    AdvertTimerLate {
        /// Since its last advert, ms.
        ms: u64,
    },
    /// The interface went down.
    LinkDown,
    /// The interface has no address to send from.
    NoAddress,
    /// It is to speak to peers one by one, and none is configured.
    NoUnicastPeer,
    /// What it tracks was found so.
    TrackedObject(TrackedObject, TrackResult),
    /// Its sync group has it so; for a fault, this member is the cause.
    SyncGroup(Option<String>),
    /// What was missing is back.
    Recovered,
    /// The daemon stops, or a new configuration has no such instance.
    Stopped,
}

impl fmt::Display for TransitionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransitionReason::Started => write!(f, "started"),
            TransitionReason::Resumed => write!(f, "it was master before the daemon was restarted"),
            TransitionReason::Owner => write!(f, "priority 255 owns the addresses"),
            TransitionReason::MasterDownTimeout { ms } => write!(f, "no advert for {}.{:03} s", ms / 1000, ms % 1000),
            TransitionReason::BfdNeighbourLost(a) => write!(f, "the BFD session with the master, {a}, was lost"),
            TransitionReason::PriorityZero(a) => write!(f, "{a} gave up with priority 0"),
            TransitionReason::Outranked { peer: by, priority } => write!(f, "{by} advertises priority {priority}"),
            TransitionReason::AdvertTimerLate { ms } => {
                write!(f, "it stood still for {}.{:03} s", ms / 1000, ms % 1000)
            }
            TransitionReason::LinkDown => write!(f, "its interface is down"),
            TransitionReason::NoAddress => write!(f, "its interface has no address to send from"),
            TransitionReason::NoUnicastPeer => write!(f, "it has no unicast peer"),
            TransitionReason::TrackedObject(object, TrackResult::Number(n)) => write!(f, "{object} holds {n}"),
            TransitionReason::TrackedObject(object, TrackResult::Good(good)) => {
                let (is, is_not) = match object {
                    TrackedObject::Script(_) => ("succeeds", "fails"),
                    TrackedObject::Interface(_) | TrackedObject::Bfd(_) => ("is up", "is down"),
                    TrackedObject::Address(_) | TrackedObject::Route(_) | TrackedObject::Rule(_) => {
                        ("is there", "is not there")
                    }
                    TrackedObject::File(_) | TrackedObject::Process(_) => {
                        ("is as it should be", "is not as it should be")
                    }
                };
                write!(f, "{object} {}", if *good { is } else { is_not })
            }
            TransitionReason::SyncGroup(None) => write!(f, "its sync group has it so"),
            TransitionReason::SyncGroup(Some(name)) => write!(f, "{name} of its sync group cannot take part"),
            TransitionReason::Recovered => write!(f, "what was missing is back"),
            TransitionReason::Stopped => write!(f, "stopped"),
        }
    }
}

/// What a router was before it started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PreviousState {
    /// Nothing that matters.
    Unknown,
    /// Master, so short a time ago that no peer can have taken over: it goes on at once.
    Master,
    /// Master, until somebody gave up in its place a moment ago: a peer that is there takes over within its skew time,
    /// and if none does there is none, so that it need not wait for longer.
    Resigned,
}

/// What happens to a router.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Begin.
    Start(PreviousState),
    /// The interface came up or went down.
    Link(bool),
    /// A frame of whatever kind was heard on the link.
    FrameReceived,
    /// The address that adverts come from.
    SourceAddress(Option<IpAddr>),
    /// The standing of a tracked object, which may have changed.
    TrackResult {
        /// What.
        object: &'a TrackedObject,
        /// How it was found.
        result: TrackResult,
    },
    /// The BFD session with this neighbour was lost, and it takes over from a master that is lost so.
    BfdNeighbourLost(IpAddr),
    /// A VRRP message for this VRID came in.
    Packet {
        /// Its IP header.
        ip: IpHeader,
        /// What was behind it.
        payload: &'a [u8],
    },
    /// A member of its sync group heard an advert of lower priority: assert yourself too.
    AssertMastership,
    /// Its sync group wants something of it; for a fault, the name of the member that is the cause.
    SyncGroup(GroupAction, Option<&'a str>),
    /// Give up and stop.
    Stop,
}

/// What a router wants done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send a VRRP message.
    Send {
        /// To a group or a peer.
        to: IpAddr,
        /// With this TTL or hop limit.
        ttl: u8,
        /// It gives up with it: priority 0.
        is_resignation: bool,
        /// Over IPv4 with its IP header, over IPv6 without.
        packet: Vec<u8>,
    },
    /// Put the addresses on their devices, those that are missing.
    AddVips,
    /// Take the addresses away.
    RemoveVips,
    /// Announce every address this many times, by gratuitous ARP or neighbour advertisement.
    Announce(u32),
    /// Announce once those addresses that are on other interfaces than its own.
    AnnounceExtraInterfaces,
    /// The state changed; for log, status and notification.
    Transition {
        /// Before.
        from: State,
        /// Now.
        to: State,
        /// Why.
        reason: TransitionReason,
    },
    /// Its priority is another now.
    PriorityChanged(u8),
    /// As master it begins to hear another one: each takes the addresses for its own.
    OtherMaster {
        /// Who.
        peer: IpAddr,
        /// With which priority.
        priority: u8,
    },
    /// As master it heard somebody of lower priority.
    LowerPriorityMaster {
        /// Who.
        peer: IpAddr,
    },
    /// A packet was refused; told once for each cause and sender.
    PacketRejected {
        /// Who sent it.
        peer: IpAddr,
        /// Why.
        reason: RejectReason,
    },
    /// The master's list of addresses is not ours; told once for each master.
    AddressMismatch {
        /// Who sent it.
        peer: IpAddr,
    },
    /// A peer's version 3 checksums have another form than ours; told once for each peer and form.
    ChecksumMismatch {
        /// Who sent it.
        peer: IpAddr,
        /// The form of its checksums.
        form: ChecksumForm,
    },
    /// A peer's version 3 interval is not ours; told once for each peer.
    IntervalMismatch {
        /// Who sent it.
        peer: IpAddr,
        /// Its interval, ms.
        ms: u64,
    },
}

/// Numbers since the start.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Counters {
    /// Adverts sent, the last ones of priority 0 included.
    pub adverts_sent: u64,
    /// Adverts received and accepted.
    pub adverts_received: u64,
    /// Times that it became master.
    pub became_master: u64,
    /// Times that it stopped being master.
    pub released_master: u64,
    /// Adverts accepted that named other addresses than ours.
    pub address_mismatches: u64,
    /// Times that it began to hear another master while it was one.
    pub split_brain: u64,
    /// Priority 0 sent.
    pub priority_zero_sent: u64,
    /// Priority 0 received.
    pub priority_zero_received: u64,
    /// Packets refused, by cause.
    pub rejected: BTreeMap<String, u64>,
}
