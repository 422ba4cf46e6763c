//! keepalived's dumps: keepalived.json, keepalived.stats and keepalived.data, which keepalived writes on a signal.
//!
//! They have keepalived's format and words, so that exporters and scripts that read them continue to work.

mod data;
mod json;
mod stats;

pub use data::format_data;
pub use json::{format_json_v1, format_json_v2};
pub use stats::format_stats;

use std::time::Duration;

use serde::Serialize;

use crate::ipc::InstanceStatus;
use crate::model::{ScriptCommand, VipSpec, VrrpInstance, VrrpVersion};
use crate::vrrp::State;

/// Adverts rejected because of their signature, by the names of keepalived 2.4.
#[derive(Serialize)]
struct SignatureErrors {
    auth_ext_missing: u64,
    auth_ext_malformed: u64,
    auth_ext_unknown_key: u64,
    auth_ext_invalid_hmac: u64,
    auth_ext_stale: u64,
    auth_ext_replay: u64,
}

/// An instance: its configuration and its state.
#[derive(Clone, Copy)]
pub struct InstanceView<'s> {
    /// The configuration.
    pub config: &'s VrrpInstance,
    /// The state.
    pub status: &'s InstanceStatus,
    /// The time of day, since 1970.
    pub now: Duration,
}

impl InstanceView<'_> {
    /// The time of day of the last change of state.
    fn last_transition(&self) -> Duration {
        self.now.saturating_sub(Duration::from_millis(self.status.since_ms))
    }

    /// The master down interval in microseconds; `status` counts whole milliseconds.
    fn master_down_us(&self) -> u64 {
        let interval = self.status.master_interval_ms * 1000;
        let skewed = if self.config.version == VrrpVersion::V2 { 1_000_000 } else { interval };
        let skew = skewed * (256 - u64::from(self.status.priority)) / 256;
        interval * u64::from(self.config.down_timer_adverts) + skew
    }

    /// The number of adverts rejected for a reason, by the name of the variant of `RejectReason`.
    fn rejected(&self, cause: &str) -> u64 {
        let named = |name: &str| name == cause || name.starts_with(&format!("{cause}("));
        self.status.counters.rejected.iter().filter(|(n, _)| named(n)).map(|(_, count)| count).sum()
    }

    /// Adverts rejected because of another authentication type.
    fn authtype_mismatch(&self) -> u64 {
        ["AuthType", "AhMissing", "AhUnwanted"].into_iter().map(|c| self.rejected(c)).sum()
    }

    /// Adverts rejected because of a wrong password, or a header made with one.
    fn auth_failure(&self) -> u64 {
        ["AuthPass", "AhDigest", "AhHeader", "Replay"].into_iter().map(|c| self.rejected(c)).sum()
    }

    /// The signature errors, if adverts are signed.
    fn signature_errors(&self) -> Option<SignatureErrors> {
        self.config.signing.as_ref().map(|_| SignatureErrors {
            auth_ext_missing: self.rejected("Unsigned"),
            auth_ext_malformed: self.rejected("Trailer"),
            auth_ext_unknown_key: self.rejected("UnknownKey"),
            auth_ext_invalid_hmac: self.rejected("Signature"),
            auth_ext_stale: self.rejected("Stale"),
            auth_ext_replay: self.rejected("SignatureReplay"),
        })
    }

    /// A line for each address.
    fn vip_lines<'v>(&self, vips: &'v [VipSpec]) -> impl Iterator<Item = String> + use<'v> {
        let set = self.status.state == State::Master;
        let vmac = self.config.vmac.as_ref().map(|v| (v.name.clone(), self.config.interface.clone()));
        vips.iter().map(move |v| {
            let on = vmac.as_ref().filter(|(name, _)| *name == v.dev).map(|(_, base)| base.as_str());
            format_vip(v, on, set)
        })
    }
}

/// An address as format_ipaddress() of keepalived writes it.
fn format_vip(v: &VipSpec, base: Option<&str>, set: bool) -> String {
    let mut t = v.addr.to_string();
    if v.prefix != if v.addr.is_ipv6() { 128 } else { 32 } {
        t += &format!("/{}", v.prefix);
    }
    if let Some(b) = v.broadcast {
        t += &format!(" brd {b}");
    }
    let scope = match v.scope {
        0 => "global".to_owned(),
        200 => "site".to_owned(),
        253 => "link".to_owned(),
        254 => "host".to_owned(),
        255 => "nowhere".to_owned(),
        n => n.to_string(),
    };
    let base = base.map_or(String::new(), |b| format!("@{b}"));
    t += &format!(" dev {}{base} scope {scope}", v.dev);
    if let Some(label) = &v.label {
        t += &format!(" label {label}");
    }
    if v.addr.is_ipv6() {
        t += if v.preferred.is_none() && v.prefix == 128 { " deprecated" } else { " preferred_lft forever" };
    }
    if set {
        t += " set";
    }
    t
}

/// A program and its arguments, each in quotes.
fn quoted_command(s: &ScriptCommand) -> String {
    s.argv.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(" ")
}

/// keepalived's number of a state.
fn state_number(state: State) -> u8 {
    match state {
        State::Init => 0,
        State::Backup => 1,
        State::Master => 2,
        State::Fault => 3,
    }
}
