//! The vocabulary: one type for each concept, converted only at the border.

mod bfd;
mod check;
mod config;
mod route;
mod service;
mod track;
mod tuning;
mod vrrp;

pub use bfd::BfdInstance;
pub use check::{
    Check, CheckKind, CheckTiming, Database, DnsType, HttpUrl, HttpVersion, Path, Pattern, Reply, StatusRange, Tls,
};
pub use config::{
    Config, Fifo, Flush, GlobalDefs, HandChanges, HookChoice, Login, Mail, MailTls, PlaneChoice, Schedule, SyncSetup,
};
pub use route::{Encap, Hop, Net, Placement, RouteSpec, RuleAction, RuleSpec};
pub use service::{
    ForwardingMethod, Member, Named, NamedServer, OnRemoval, Persistence, PersistenceEngine, Protocol, Quorum,
    RealServer, Scheduler, SchedulerFlags, ServerKey, ServiceKey, Sorry, Tunnel, TunnelChecksum, TunnelKind,
    VirtualServer, Weight,
};
pub use track::{Found, ParamMatch, Track, TrackFile, TrackProcess, TrackedObject, VrrpScript};
pub use tuning::Tuning;
pub use vrrp::{
    AnnounceGaps, Auth, AuthPass, ChecksumOfOld, Destination, Family, GarpGroup, GarpTiming, HmacKey, InitialState,
    Notify, Peer, Release, ScriptCommand, Signing, SigningMode, Statics, SyncGroup, Transport, Unicast, VipSpec, Vmac,
    VmacKind, VmacUse, Vrid, VrrpInstance, VrrpVersion,
};

/// The last byte of an address, by which tests tell servers apart.
#[cfg(test)]
pub(crate) fn last_number(a: std::net::IpAddr) -> u8 {
    match a {
        std::net::IpAddr::V4(a) => a.octets()[3],
        std::net::IpAddr::V6(a) => a.octets()[15],
    }
}
