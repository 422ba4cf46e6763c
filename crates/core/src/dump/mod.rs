//! What keepalived writes of itself when it is asked by a signal: keepalived.json, keepalived.stats and keepalived.data,
//! in its words, so that exporters and scripts that read them go on to work.

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

/// Adverts refused for their signatures, under keepalived 2.4's names.
#[derive(Serialize)]
struct SignatureErrors {
    auth_ext_missing: u64,
    auth_ext_malformed: u64,
    auth_ext_unknown_key: u64,
    auth_ext_invalid_hmac: u64,
    auth_ext_stale: u64,
    auth_ext_replay: u64,
}

/// An instance as configured and as it is.
#[derive(Clone, Copy)]
pub struct InstanceView<'s> {
    /// As configured.
    pub config: &'s VrrpInstance,
    /// As it is.
    pub status: &'s InstanceStatus,
    /// The time of day, since 1970.
    pub now: Duration,
}

impl InstanceView<'_> {
    /// The time of day at which it went into its state.
    fn last_transition(&self) -> Duration {
        self.now.saturating_sub(Duration::from_millis(self.status.since_ms))
    }

    /// Microseconds; `status` has whole milliseconds.
    fn master_down_us(&self) -> u64 {
        let interval = self.status.master_interval_ms * 1000;
        let skewed = if self.config.version == VrrpVersion::V2 { 1_000_000 } else { interval };
        let skew = skewed * (256 - u64::from(self.status.priority)) / 256;
        interval * u64::from(self.config.down_timer_adverts) + skew
    }

    /// How many packets were refused for causes of this name.
    fn rejected(&self, cause: &str) -> u64 {
        let named = |name: &str| name == cause || name.starts_with(&format!("{cause}("));
        self.status.counters.rejected.iter().filter(|(n, _)| named(n)).map(|(_, count)| count).sum()
    }

    /// Refused for another kind of authentication than ours.
    fn authtype_mismatch(&self) -> u64 {
        ["AuthType", "AhMissing", "AhUnwanted"].into_iter().map(|c| self.rejected(c)).sum()
    }

    /// Refused for a wrong password, or what was made with it.
    fn auth_failure(&self) -> u64 {
        ["AuthPass", "AhDigest", "AhHeader", "Replay"].into_iter().map(|c| self.rejected(c)).sum()
    }

    /// What was refused of signatures, if adverts are signed.
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

    /// The lines of its addresses.
    fn vip_lines<'v>(&self, vips: &'v [VipSpec]) -> impl Iterator<Item = String> + use<'v> {
        let set = self.status.state == State::Master;
        let vmac = self.config.vmac.as_ref().map(|v| (v.name.clone(), self.config.interface.clone()));
        vips.iter().map(move |v| {
            let on = vmac.as_ref().filter(|(name, _)| *name == v.dev).map(|(_, base)| base.as_str());
            format_vip(v, on, set)
        })
    }
}

/// An address as keepalived's format_ipaddress() writes it.
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

/// keepalived's numbers for states.
fn state_number(state: State) -> u8 {
    match state {
        State::Init => 0,
        State::Backup => 1,
        State::Master => 2,
        State::Fault => 3,
    }
}
