//! keepalived.stats.

use std::fmt::Write;

use super::Shown;

/// The whole file.
pub fn stats(instances: &[Shown<'_>]) -> String {
    let mut t = String::new();
    for i in instances {
        let c = &i.status.counters;
        let (mismatch, failure) = (i.authtype_mismatch(), i.auth_failure());
        let _ = write!(
            t,
            "VRRP Instance: {}\n  Advertisements:\n    Received: {}\n    Sent: {}\n  Became master: {}\n  Released master: {}\n  \
             Packet Errors:\n    Length: {}\n    TTL: {}\n    Invalid Type: {}\n    Advertisement Interval: {}\n    \
             Address List: {}\n  Authentication Errors:\n    Invalid Type: 0\n    Type Mismatch: {mismatch}\n    \
             Failure: {failure}\n  Priority Zero:\n    Received: {}\n    Sent: {}\n",
            i.config.name,
            c.adverts_received,
            c.adverts_sent,
            c.became_master,
            c.released_master,
            i.refused("Length"),
            i.refused("Ttl"),
            i.refused("Type"),
            i.refused("Interval"),
            c.other_addresses,
            c.priority_zero_received,
            c.priority_zero_sent,
        );
    }
    t
}
