//! Adverts for virtual routers that nobody here knows: counted, and told of if asked for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use evenkeel_core::model::Vrid;

/// So many are told of; whoever sends under all names does not fill the log.
const MOST_TOLD: usize = 1024;

/// What was heard of them.
#[derive(Default)]
pub(super) struct Strangers {
    heard: u64,
    /// They are told of (`log_unknown_vrids`).
    tells: bool,
    told: BTreeSet<(String, IpAddr, Option<Vrid>)>,
}

impl Strangers {
    pub(super) fn configure(&mut self, tells: bool) {
        self.tells = tells;
        if !tells {
            self.told.clear();
        }
    }

    /// Are they told of as they come?
    pub(super) fn tells(&self) -> bool {
        self.tells
    }

    /// How many there were.
    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    /// One came in by a device; without a VRID it was too short for one.
    pub(super) fn hear(&mut self, device: &str, from: IpAddr, vrid: Option<Vrid>) {
        self.heard += 1;
        if !self.tells || self.told.len() >= MOST_TOLD || !self.told.insert((device.to_owned(), from, vrid)) {
            return;
        }
        match vrid {
            Some(vrid) => tracing::info!("{device}: {from} sends adverts for VRID {vrid}, which nobody here knows"),
            None => tracing::info!("{device}: {from} sends adverts that are too short for a VRID"),
        }
    }
}
