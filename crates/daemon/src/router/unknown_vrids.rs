//! Adverts of unknown VRIDs: virtual routers that this director does not configure. They are counted, and logged once
//! for each sender and VRID if `log_unknown_vrids` is set.

use std::collections::BTreeSet;
use std::net::IpAddr;

use evenkeel_core::model::Vrid;

/// Maximum number of senders and VRIDs that are logged, so that a sender of random VRIDs does not fill the log.
const MAX_LOGGED: usize = 1024;

/// Counter and log of adverts of unknown VRIDs.
#[derive(Default)]
pub(super) struct UnknownVrids {
    count: u64,
    /// `log_unknown_vrids`
    is_logging: bool,
    logged: BTreeSet<(String, IpAddr, Option<Vrid>)>,
}

impl UnknownVrids {
    /// Enables or disables the log.
    pub(super) fn configure(&mut self, is_logging: bool) {
        self.is_logging = is_logging;
        if !is_logging {
            self.logged.clear();
        }
    }

    /// Whether adverts are logged, and so must be read as they arrive.
    pub(super) fn is_logging(&self) -> bool {
        self.is_logging
    }

    /// The number of adverts.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Records an advert that arrived on a device. `vrid` is `None` if the advert is too short to have one.
    pub(super) fn record(&mut self, device: &str, from: IpAddr, vrid: Option<Vrid>) {
        self.count += 1;
        let is_logged = self.is_logging && self.logged.len() < MAX_LOGGED;
        if !is_logged || !self.logged.insert((device.to_owned(), from, vrid)) {
            return;
        }
        match vrid {
            Some(vrid) => {
                tracing::info!(
                    device, peer = %from,
                    "{device}: {from} sends adverts of VRID {vrid}, which is not configured here"
                )
            }
            None => {
                tracing::info!(device, peer = %from, "{device}: {from} sends adverts that are too short for a VRID")
            }
        }
    }
}
