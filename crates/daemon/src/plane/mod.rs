//! The data plane, whichever it is: our own packet path ([`xdp`]) or the kernel's IPVS ([`ipvs`]).

mod ipvs;
mod switch;
mod xdp;

pub use switch::switch;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context;
use evenkeel_core::ipc::DataPlaneStatus;
use evenkeel_core::ipvs::Connection;
use evenkeel_core::model::{Config, PlaneChoice, ServiceKey};
use evenkeel_core::plan::{Services, Step};
use evenkeel_sys::bpf::ServiceView;
use evenkeel_sys::netlink::Netlink;
use evenkeel_sys::{Error, Result};

/// Which data plane it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Ours.
    Xdp,
    /// The kernel's.
    Ipvs,
}

impl Kind {
    /// As `dataplane` has it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Xdp => "xdp",
            Kind::Ipvs => "ipvs",
        }
    }
}

/// What there is in a data plane, all of one look at it.
#[derive(Default, Debug)]
pub struct Observed {
    /// Services that are ours, and those that should be there, whoever has made them.
    pub services: Services,
    /// Services that somebody else has made, and that are left alone.
    pub foreign: BTreeSet<ServiceKey>,
}

/// What forwards packets, and how it is told what to do.
pub trait DataPlane {
    /// Which it is.
    fn kind(&self) -> Kind;
    /// Was it there already, with services of an earlier daemon in it?
    fn adopted(&self) -> bool;
    /// The services that are there. What the plane does not keep (what becomes of a removed server's connections; how a
    /// server is reached that is this director) is taken from what should be.
    fn observe(&mut self, desired: &Services) -> Result<Observed>;
    /// What should be there is ours from now on, even if somebody else has made it.
    fn claim(&mut self, desired: &Services);
    /// Does steps in their order. What fails is told, and the rest is done.
    fn apply(&mut self, steps: &[Step]) -> Vec<Error>;
    /// Removes all services, those of others as well.
    fn flush(&mut self) -> Vec<Error>;
    /// Timeouts, and what IPVS has sysctls for.
    fn tune(&mut self, config: &Config) -> Vec<Error>;
    /// Services with everything that there is to see of them.
    fn views(&mut self) -> Vec<ServiceView>;
    /// Connections and templates.
    fn connections(&mut self) -> Result<Vec<Connection>>;
    /// While it stands by, it begins no connection; those that it knows go on. The kernel's IPVS cannot, nor need it.
    fn stand_by(&mut self, yes: bool);
    /// Takes connections of the other plane over; returns how many it could not.
    fn take(&mut self, connections: &[Connection]) -> Result<usize>;
    /// Is put on devices, and looks ways to servers up; after a new configuration, or at an event.
    fn follow_network(&mut self, netlink: &mut Netlink, config: &Config, occasion: Occasion) -> Vec<String>;
    /// Looks the ways to servers up again. Are all known?
    fn refresh_ways(&mut self, netlink: &mut Netlink) -> bool;
    /// Why a server cannot be reached.
    fn trouble(&self, addr: std::net::IpAddr) -> Option<String>;
    /// What `status` shows of it.
    fn status(&mut self) -> DataPlaneStatus;
    /// What it has put into the system, in words.
    fn installed(&self) -> Vec<String>;
    /// The connections of this director are told to another one, or another one's are listened to (`lvs_sync_daemon`).
    fn synchronise(&mut self, config: &Config, master: Option<bool>) -> Vec<Error>;
    /// Takes everything back that was put into the system. `all`: services of others as well.
    fn release(self: Box<Self>, netlink: &mut Netlink, all: bool);
}

/// Why the network is looked at again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occasion {
    /// The configuration is new.
    Configured,
    /// A link or an address has changed.
    Changed,
}

/// Where the planes keep what outlives them.
#[derive(Clone, Debug)]
pub struct Places {
    /// Pinned maps and links.
    pub bpf_dir: PathBuf,
    /// The services that were made in the kernel's IPVS.
    pub record: PathBuf,
}

/// Which data plane a configuration asks for first; and the other one if it may be that instead.
fn order(config: &Config) -> (Kind, Option<Kind>) {
    match (config.global.dataplane, config.only_ipvs()) {
        (PlaneChoice::Xdp, _) => (Kind::Xdp, None),
        (PlaneChoice::Ipvs, _) => (Kind::Ipvs, None),
        (PlaneChoice::Auto, None) => (Kind::Xdp, Some(Kind::Ipvs)),
        (PlaneChoice::Auto, Some(_)) => (Kind::Ipvs, Some(Kind::Xdp)),
    }
}

/// Does a plane do for a configuration?
pub fn suits(kind: Kind, config: &Config) -> bool {
    let (first, second) = order(config);
    kind == first || second == Some(kind) && config.only_ipvs().is_none()
}

/// Opens the data plane that a configuration asks for.
pub fn open(config: &Config, places: &Places) -> anyhow::Result<Box<dyn DataPlane>> {
    let (first, second) = order(config);
    let error = match open_one(first, config, places) {
        Ok(plane) => {
            if let (Kind::Ipvs, Some(why)) = (first, config.only_ipvs()) {
                tracing::info!("the kernel's IPVS forwards, because of {why}");
            }
            return Ok(plane);
        }
        Err(e) => e,
    };
    let Some(second) = second else { return Err(error) };
    match open_one(second, config, places) {
        Ok(plane) => {
            tracing::warn!("{error:#}; the data plane is {} instead", second.name());
            Ok(plane)
        }
        // The first is what was wanted.
        Err(other) => Err(error.context(format!("{other:#}"))),
    }
}

fn open_one(kind: Kind, config: &Config, places: &Places) -> anyhow::Result<Box<dyn DataPlane>> {
    Ok(match kind {
        Kind::Xdp => Box::new(xdp::Xdp::open(config, places).context("the packet path cannot be loaded")?),
        Kind::Ipvs => Box::new(ipvs::Kernel::open(config, places).context("the kernel's IPVS cannot be used")?),
    })
}

/// Did an earlier daemon leave something that has to be taken over, if only to be removed?
pub fn left(places: &Places) -> bool {
    is_left(Kind::Xdp, places) || is_left(Kind::Ipvs, places)
}

/// Are there services in our packet path, for a daemon that has none configured?
pub fn made_by_hand(config: &Config, places: &Places) -> bool {
    suits(Kind::Xdp, config) && is_left(Kind::Xdp, places)
}

fn is_left(kind: Kind, places: &Places) -> bool {
    match kind {
        Kind::Xdp => places.bpf_dir.join("settings").exists(),
        Kind::Ipvs => places.record.exists(),
    }
}

/// What an earlier daemon left in the other plane, whose configuration had that one; its connections come along.
pub fn left_in_the_other(than: Kind, config: &Config, places: &Places) -> Option<Box<dyn DataPlane>> {
    let other = if than == Kind::Xdp { Kind::Ipvs } else { Kind::Xdp };
    if !is_left(other, places) {
        return None;
    }
    match open_one(other, config, places) {
        Ok(plane) => Some(plane),
        Err(e) => {
            tracing::warn!("what an earlier daemon left in {} stays: {e:#}", other.name());
            None
        }
    }
}
