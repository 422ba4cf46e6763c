//! keepalived.stats: the counters of each instance.

use std::fmt::Write;

use super::InstanceView;

/// The whole file.
pub fn format_stats(instances: &[InstanceView<'_>]) -> String {
    let mut t = String::new();
    for i in instances {
        let c = &i.status.counters;
        let (mismatch, failure) = (i.authtype_mismatch(), i.auth_failure());
        let _ = write!(
            t,
            "VRRP Instance: {}\n  Advertisements:\n    Received: {}\n    Sent: {}\n  Became master: {}\n  Released master: {}\n  \
             Packet Errors:\n    Length: {}\n    TTL: {}\n    Invalid Type: {}\n    Advertisement Interval: {}\n    \
             Address List: {}\n  Authentication Errors:\n    Invalid Type: 0\n    Type Mismatch: {mismatch}\n    \
             Failure: {failure}\n{}  Priority Zero:\n    Received: {}\n    Sent: {}\n",
            i.config.name,
            c.adverts_received,
            c.adverts_sent,
            c.became_master,
            c.released_master,
            i.rejected("Length"),
            i.rejected("Ttl"),
            i.rejected("Type"),
            i.rejected("Interval"),
            c.address_mismatches,
            signature_error_lines(i),
            c.priority_zero_received,
            c.priority_zero_sent,
        );
    }
    t
}

/// The counters of signatures that keepalived 2.4 adds; empty if adverts are not signed.
fn signature_error_lines(i: &InstanceView<'_>) -> String {
    let Some(e) = i.signature_errors() else { return String::new() };
    format!(
        "  Authentication Extension Errors:\n    Missing: {}\n    Malformed: {}\n    Unknown Key: {}\n    \
         Invalid HMAC: {}\n    Stale: {}\n    Replay: {}\n",
        e.auth_ext_missing,
        e.auth_ext_malformed,
        e.auth_ext_unknown_key,
        e.auth_ext_invalid_hmac,
        e.auth_ext_stale,
        e.auth_ext_replay,
    )
}
