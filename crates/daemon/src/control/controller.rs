//! The controller: the state of the control thread, composed of parts that each own theirs.
//!
//! | part | owns |
//! | --- | --- |
//! | [`Configuration`] | the file, overrides, resolved servers; the configuration in force |
//! | [`Reconciler`] | the data plane, external changes and drift |
//! | [`Health`] | health of services and servers, suspended checks |
//! | [`Tracking`] | results of tracked scripts, files, processes, BFD sessions |
//! | [`Notifications`] | FIFOs, notify scripts, mail |
//! | [`Answers`] | whether handshakes with real servers go on |
//! | [`Findings`] | what is wrong, and since when |
//! | [`Network`] | netlink socket, virtual MAC interfaces, firewall rules |
//!
//! A part holds no other part: what it needs of one it gets as an argument. The files that import `Controller` connect
//! parts: `apply_config`, `reload`, `overrides`, `events`; `status` and `dump` only read.

use std::path::PathBuf;
use std::sync::Arc;

use evenkeel_core::time::Instant;
use evenkeel_sys::bpf::ServeAll;
use evenkeel_sys::clock;
use evenkeel_sys::last_will::WillStore;

use super::answers::Answers;
use super::configuration::Configuration;
use super::findings::Findings;
use super::health::Health;
use super::network::Network;
use super::notifications::Notifications;
use super::reconciler::Reconciler;
use super::tracking::Tracking;
use crate::args::Args;
use crate::plane::PlanePaths;
use crate::{edge, router};

/// The state of the control thread.
pub struct Controller {
    /// The command line.
    pub args: Args,
    /// When this process started.
    pub started: Instant,
    /// The configuration and its layers.
    pub configuration: Configuration,
    /// The data plane.
    pub reconciler: Reconciler,
    /// Health of services and servers.
    pub health: Health,
    /// Results of tracked objects.
    pub tracking: Tracking,
    /// FIFOs, scripts and mail.
    pub notifications: Notifications,
    /// Devices and firewall rules.
    pub network: Network,
    /// Whether real servers answer.
    pub answers: Answers,
    /// What is wrong, and since when.
    pub findings: Findings,
    /// The router thread.
    pub router: router::Handle,
    /// The edge thread.
    pub edge: edge::Handle,
    /// Memory that the supervisor reads: here for how long a stop may take.
    pub will_store: Arc<WillStore>,
}

impl Controller {
    /// A controller with an empty configuration. `skipped` describes the blocks of the file that were skipped.
    pub fn new(
        args: &Args,
        path: PathBuf,
        skipped: Option<String>,
        network: Network,
        (router, edge): (router::Handle, edge::Handle),
        will_store: Arc<WillStore>,
        serve_all: Arc<ServeAll>,
    ) -> Controller {
        let paths = PlanePaths { bpf_dir: args.bpf_dir(), services_record: args.ipvs_services_file(), serve_all };
        Controller {
            args: args.clone(),
            started: clock::now(),
            configuration: Configuration::new(args, path, skipped),
            reconciler: Reconciler::new(paths),
            health: Health::default(),
            tracking: Tracking::default(),
            notifications: Notifications::new(),
            network,
            answers: Answers::default(),
            findings: Findings::default(),
            router,
            edge,
            will_store,
        }
    }
}
