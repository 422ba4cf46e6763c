//! The model: one type for each concept of the configuration and of the data plane. Other representations, such as those of
//! the configuration language, of IPVS's messages and of the BPF maps, are converted from and to these types.

mod bfd;
mod check;
mod config;
mod forwarding;
mod global;
mod mail;
mod notify;
mod real_server;
mod route;
mod service;
mod track;
mod tuning;
mod virtual_server;
mod vrrp;

pub use bfd::BfdInstance;
pub use check::{
    Check, CheckKind, CheckTiming, ConnectOptions, Database, DnsType, Exchange, HttpUrl, HttpVersion, Pattern,
    StatusRange, Tls, UdpReply,
};
pub use config::Config;
pub use forwarding::{ForwardingMethod, Tunnel, TunnelChecksum, TunnelKind};
pub use global::{
    AttachChoice, AttachOverride, AttachOverrides, DataPlaneMode, DriftPolicy, Fifo, FlushScope, GlobalDefs,
    ProcessScheduling, SyncConfig,
};
pub use mail::{Login, Mail, MailTls};
pub use notify::{NotifyConfig, ScriptCommand};
pub use real_server::{NameQuery, NamedServer, NamedServers, RealServer, SorryServer, Weight};
pub use route::{Encap, NextHop, Prefix, RTPROT_KEEPALIVED, RoutePlacement, RouteSpec, RuleAction, RuleSpec};
pub use service::{MarkRule, Persistence, PersistenceEngine, Protocol, RemovalPolicy, ServerKey, ServiceKey};
pub use track::{ParamMatch, Track, TrackFile, TrackProcess, TrackResult, TrackedObject, VrrpScript};
pub use tuning::Tuning;
pub use virtual_server::{Quorum, VirtualServer};
pub use vrrp::{
    AdvertDestination, AnnounceIntervals, Auth, AuthPass, Family, GarpGroup, GarpTiming, HmacKey, InitialState,
    OldUnicastChecksum, ReleaseIntervals, Signing, SigningMode, Statics, SyncGroup, Transport, UnicastConfig,
    UnicastPeer, VipSpec, Vmac, VmacKind, VmacUse, Vrid, VrrpInstance, VrrpVersion,
};

pub use crate::schedulers::{Scheduler, SchedulerFlags};

/// The last byte of an address, by which tests identify servers.
#[cfg(test)]
pub(crate) fn last_octet(a: std::net::IpAddr) -> u8 {
    match a {
        std::net::IpAddr::V4(a) => a.octets()[3],
        std::net::IpAddr::V6(a) => a.octets()[15],
    }
}
