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
    Check, CheckKind, CheckTiming, ConnectOptions, Database, DnsType, HttpUrl, HttpVersion, Pattern, StatusRange, Tls,
    UdpReply,
};
pub use config::{
    AttachChoice, Config, DataPlaneMode, DriftPolicy, Fifo, FlushScope, GlobalDefs, Login, Mail, MailTls,
    ProcessScheduling, SyncConfig,
};
pub use route::{Encap, NextHop, Prefix, RoutePlacement, RouteSpec, RuleAction, RuleSpec};
pub use service::{
    ForwardingMethod, MarkRule, NamedServer, NamedServers, Persistence, PersistenceEngine, Protocol, Quorum,
    RealServer, RemovalPolicy, ServerKey, ServiceKey, SorryServer, Tunnel, TunnelChecksum, TunnelKind, VirtualServer,
    Weight,
};
pub use track::{ParamMatch, Track, TrackFile, TrackProcess, TrackResult, TrackedObject, VrrpScript};
pub use tuning::Tuning;
pub use vrrp::{
    AdvertDestination, AnnounceIntervals, Auth, AuthPass, Family, GarpGroup, GarpTiming, HmacKey, InitialState,
    NotifyConfig, OldUnicastChecksum, ReleaseIntervals, ScriptCommand, Signing, SigningMode, Statics, SyncGroup,
    Transport, UnicastConfig, UnicastPeer, VipSpec, Vmac, VmacKind, VmacUse, Vrid, VrrpInstance, VrrpVersion,
};

pub use crate::schedulers::{Scheduler, SchedulerFlags};

/// The last byte of an address, by which tests tell servers apart.
#[cfg(test)]
pub(crate) fn last_octet(a: std::net::IpAddr) -> u8 {
    match a {
        std::net::IpAddr::V4(a) => a.octets()[3],
        std::net::IpAddr::V6(a) => a.octets()[15],
    }
}
