//! The data plane, whichever it is: our own packet path ([`xdp`]) or the kernel's IPVS ([`ipvs`]).

mod ipvs;
mod switch;
mod xdp;

pub use switch::switch_plane;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context;
use evenkeel_core::ipc::DataPlaneStatus;
use evenkeel_core::ipvs::Connection;
use evenkeel_core::model::{Config, DataPlaneMode, ServiceKey};
use evenkeel_core::plan::{Services, Step};
use evenkeel_sys::bpf::ServiceRecord;
use evenkeel_sys::netlink::Netlink;
use evenkeel_sys::{Error, Result};

/// Which data plane it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlaneKind {
    /// Ours.
    Xdp,
    /// The kernel's.
    Ipvs,
}

impl PlaneKind {
    /// As `dataplane` has it.
    pub fn name(self) -> &'static str {
        match self {
            PlaneKind::Xdp => "xdp",
            PlaneKind::Ipvs => "ipvs",
        }
    }
}

/// What there is in a data plane, all of one look at it.
#[derive(Default, Debug)]
pub struct PlaneObservation {
    /// Services that are ours, and those that should be there, whoever has made them.
    pub services: Services,
    /// Services that somebody else has made, and that are left alone.
    pub external: BTreeSet<ServiceKey>,
}

/// What forwards packets, and how it is told what to do.
pub trait DataPlane {
    /// Which it is.
    fn kind(&self) -> PlaneKind;
    /// Was it there already, with services of an earlier daemon in it?
    fn adopted(&self) -> bool;
    /// The services that are there. What the plane does not keep (what becomes of a removed server's connections; how a
    /// server is reached that is this director) is taken from what should be.
    fn observe(&mut self, desired: &Services) -> Result<PlaneObservation>;
    /// What should be there is ours from now on, even if somebody else has made it.
    fn claim(&mut self, desired: &Services);
    /// Does steps in their order. What fails is told, and the rest is done.
    fn apply(&mut self, steps: &[Step]) -> Vec<Error>;
    /// Removes all services, those of others as well.
    fn flush(&mut self) -> Vec<Error>;
    /// Timeouts, and what IPVS has sysctls for.
    fn tune(&mut self, config: &Config) -> Vec<Error>;
    /// Services with everything that there is to see of them.
    fn views(&mut self) -> Vec<ServiceRecord>;
    /// Connections and templates.
    fn connections(&mut self) -> Result<Vec<Connection>>;
    /// While it stands by, it begins no connection; those that it knows go on. The kernel's IPVS cannot, nor need it.
    fn set_standby(&mut self, yes: bool);
    /// Takes connections of the other plane over; returns how many it could not.
    fn import_connections(&mut self, connections: &[Connection]) -> Result<usize>;
    /// Is put on devices, and looks ways to servers up; after a new configuration, or at an event.
    fn update_attachments(&mut self, netlink: &mut Netlink, config: &Config, occasion: UpdateReason) -> Vec<String>;
    /// Looks the ways to servers up again. Are all known?
    fn refresh_next_hops(&mut self, netlink: &mut Netlink) -> bool;
    /// Why a server cannot be reached.
    fn unreachable_reason(&self, addr: std::net::IpAddr) -> Option<String>;
    /// What `status` shows of it.
    fn status(&mut self) -> DataPlaneStatus;
    /// What it has put into the system, in words.
    fn installed(&self) -> Vec<String>;
    /// The connections of this director are told to another one, or another one's are listened to (`lvs_sync_daemon`).
    fn update_connection_sync(&mut self, config: &Config, master: Option<bool>) -> Vec<Error>;
    /// Takes everything back that was put into the system. `all`: services of others as well.
    fn release(self: Box<Self>, netlink: &mut Netlink, all: bool);
}

/// Why the network is looked at again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdateReason {
    /// The configuration is new.
    NewConfig,
    /// A link or an address has changed.
    NetworkEvent,
}

/// Where the planes keep what outlives them.
#[derive(Clone, Debug)]
pub struct PlanePaths {
    /// Pinned maps and links.
    pub bpf_dir: PathBuf,
    /// The services that were made in the kernel's IPVS.
    pub services_record: PathBuf,
}

/// Which data plane a configuration asks for first; and the other one if it may be that instead.
fn preferred_kinds(config: &Config) -> (PlaneKind, Option<PlaneKind>) {
    match (config.global.dataplane, config.ipvs_only_feature()) {
        (DataPlaneMode::Xdp, _) => (PlaneKind::Xdp, None),
        (DataPlaneMode::Ipvs, _) => (PlaneKind::Ipvs, None),
        (DataPlaneMode::Auto, None) => (PlaneKind::Xdp, Some(PlaneKind::Ipvs)),
        (DataPlaneMode::Auto, Some(_)) => (PlaneKind::Ipvs, Some(PlaneKind::Xdp)),
    }
}

/// Does a plane do for a configuration?
pub fn is_suitable(kind: PlaneKind, config: &Config) -> bool {
    let (first, second) = preferred_kinds(config);
    kind == first || second == Some(kind) && config.ipvs_only_feature().is_none()
}

/// Opens the data plane that a configuration asks for.
pub fn open(config: &Config, places: &PlanePaths) -> anyhow::Result<Box<dyn DataPlane>> {
    let (first, second) = preferred_kinds(config);
    let error = match open_kind(first, config, places) {
        Ok(plane) => {
            if let (PlaneKind::Ipvs, Some(why)) = (first, config.ipvs_only_feature()) {
                tracing::info!("the kernel's IPVS forwards, because of {why}");
            }
            return Ok(plane);
        }
        Err(e) => e,
    };
    let Some(second) = second else { return Err(error) };
    match open_kind(second, config, places) {
        Ok(plane) => {
            tracing::warn!("{error:#}; the data plane is {} instead", second.name());
            Ok(plane)
        }
        // The first is what was wanted.
        Err(other) => Err(error.context(format!("{other:#}"))),
    }
}

fn open_kind(kind: PlaneKind, config: &Config, places: &PlanePaths) -> anyhow::Result<Box<dyn DataPlane>> {
    Ok(match kind {
        PlaneKind::Xdp => {
            Box::new(xdp::XdpDataPlane::open(config, places).context("the packet path cannot be loaded")?)
        }
        PlaneKind::Ipvs => {
            Box::new(ipvs::IpvsDataPlane::open(config, places).context("the kernel's IPVS cannot be used")?)
        }
    })
}

/// Did an earlier daemon leave something that has to be taken over, if only to be removed?
pub fn has_leftovers(places: &PlanePaths) -> bool {
    has_leftovers_of(PlaneKind::Xdp, places) || has_leftovers_of(PlaneKind::Ipvs, places)
}

/// Are there services in our packet path, for a daemon that has none configured?
pub fn has_manual_services(config: &Config, places: &PlanePaths) -> bool {
    is_suitable(PlaneKind::Xdp, config) && has_leftovers_of(PlaneKind::Xdp, places)
}

fn has_leftovers_of(kind: PlaneKind, places: &PlanePaths) -> bool {
    match kind {
        PlaneKind::Xdp => places.bpf_dir.join("settings").exists(),
        PlaneKind::Ipvs => places.services_record.exists(),
    }
}

/// What an earlier daemon left in the other plane, whose configuration had that one; its connections come along.
pub fn open_leftover_plane(than: PlaneKind, config: &Config, places: &PlanePaths) -> Option<Box<dyn DataPlane>> {
    let other = if than == PlaneKind::Xdp { PlaneKind::Ipvs } else { PlaneKind::Xdp };
    if !has_leftovers_of(other, places) {
        return None;
    }
    match open_kind(other, config, places) {
        Ok(plane) => Some(plane),
        Err(e) => {
            tracing::warn!("what an earlier daemon left in {} stays: {e:#}", other.name());
            None
        }
    }
}
