//! Adverts for virtual routers that nobody here knows: counted, and told of if asked for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use evenkeel_core::model::Vrid;

/// So many are told of; whoever sends under all names does not fill the log.
const MAX_LOGGED: usize = 1024;

/// What was heard of them.
#[derive(Default)]
pub(super) struct UnknownVrids {
    count: u64,
    /// They are told of (`log_unknown_vrids`).
    is_enabled: bool,
    logged: BTreeSet<(String, IpAddr, Option<Vrid>)>,
}

impl UnknownVrids {
    pub(super) fn configure(&mut self, tells: bool) {
        self.is_enabled = tells;
        if !tells {
            self.logged.clear();
        }
    }

    /// Are they told of as they come?
    pub(super) fn is_logging(&self) -> bool {
        self.is_enabled
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// One came in by a device; without a VRID it was too short for one.
    pub(super) fn record(&mut self, device: &str, from: IpAddr, vrid: Option<Vrid>) {
        self.count += 1;
        if !self.is_enabled || self.logged.len() >= MAX_LOGGED || !self.logged.insert((device.to_owned(), from, vrid)) {
            return;
        }
        match vrid {
            Some(vrid) => tracing::info!("{device}: {from} sends adverts for VRID {vrid}, which nobody here knows"),
            None => tracing::info!("{device}: {from} sends adverts that are too short for a VRID"),
        }
    }
}
