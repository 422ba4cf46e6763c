//! The results of the demo, printed by `evenkeel demo --json`.

use std::collections::BTreeMap;

use evenkeel_testkit::demo_network::CLIENT;
use serde::Serialize;

#[derive(Serialize, Default)]
pub struct Report {
    pub elected_master: String,
    pub election_ms: u64,
    /// Requests of the first load, and how many each real server answered.
    pub requests: usize,
    pub requests_per_server: BTreeMap<String, u64>,
    /// Largest difference between a server's share of the requests and its share of the weights.
    pub distribution_error_percent: f64,
    /// The client's address as the real servers saw it.
    pub client_address_seen: String,
    /// Replies that passed a director. With direct routing there must be none.
    pub reply_frames_on_directors: u64,
    /// From a real server's failure to its removal from the service, and requests that failed meanwhile.
    pub server_removed_after_ms: u64,
    pub failed_during_server_failure: usize,
    /// From the start of a real server to its return to the service.
    pub server_added_after_ms: u64,
    /// The longest time without an answer during the fail-over, and the protocol's bound for it.
    pub failover_gap_ms: u64,
    pub failover_bound_ms: u64,
    /// Requests that failed neither during the server's failure nor during the fail-over.
    pub failed_outside_gaps: usize,
    /// From the kill of a daemon to the mastership of the next.
    pub restart_ms: u64,
    pub connections_kept: usize,
    pub requests_during_restart: usize,
    pub failed_during_restart: usize,
    pub total_ms: u64,
    pub passed: bool,
}

impl Report {
    pub fn is_as_expected(&self) -> bool {
        self.distribution_error_percent <= 2.0
            && self.client_address_seen == CLIENT.to_string()
            && self.reply_frames_on_directors == 0
            && self.failed_outside_gaps == 0
    }
}
