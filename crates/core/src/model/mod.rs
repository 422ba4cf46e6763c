//! The vocabulary: one type for each concept, converted only at the border.

mod bfd;
mod check;
mod config;
mod route;
mod service;
mod vrrp;

pub use bfd::BfdInstance;
pub use check::{Check, CheckKind, CheckTiming, HttpUrl, StatusRange};
pub use config::{Config, Fifo, GlobalDefs, HookChoice, Mail, MailTls};
pub use route::{Hop, Net, Placement, RouteSpec, RuleAction, RuleSpec};
pub use service::{
    ForwardingMethod, Persistence, Protocol, RealServer, Scheduler, ServerKey, ServiceKey, VirtualServer, Weight,
};
pub use vrrp::{
    AnnounceGaps, Auth, AuthPass, ChecksumOfOld, Destination, Family, Found, GarpGroup, GarpTiming, InitialState,
    Notify, ParamMatch, Peer, ScriptCommand, Statics, SyncGroup, Track, TrackFile, TrackProcess, TrackedObject,
    Transport, Unicast, VipSpec, Vmac, VmacUse, Vrid, VrrpInstance, VrrpScript, VrrpVersion,
};
