//! Timeouts and sysctls of IPVS. Only what the configuration changes is set, so that values that others set stay.

use evenkeel_core::ipvs::{Change, Timeouts};
use evenkeel_core::model::Tuning;
use evenkeel_sys::Error;
use evenkeel_sys::ipvs::Ipvs;
use evenkeel_sys::ipvs_backend::IpvsBackend;

/// The tuning that this daemon applied last; `None` before the first time.
#[derive(Default)]
pub struct AppliedTuning(Option<Tuning>);

impl AppliedTuning {
    /// Applies a tuning. The first time only values that differ from IPVS's defaults are set; afterwards all, since the
    /// configuration may have gone back to a default.
    pub fn apply(&mut self, ipvs: &mut Ipvs, tuning: &Tuning) -> Vec<Error> {
        if self.0.as_ref() == Some(tuning) {
            return Vec::new();
        }
        let is_first = self.0.is_none();
        let default = Tuning::default();
        let values = sysctl_values(tuning).into_iter().zip(sysctl_values(&default));
        let changed = values.filter(|(value, default)| !is_first || value != default);
        let mut errors: Vec<Error> =
            changed.filter_map(|((name, value), _)| ipvs.set_sysctl(name, &value).err()).collect();
        // 0 leaves a timeout as it is.
        let timeout = |value: u32, default: u32| if value == default && is_first { 0 } else { value };
        let timeouts = Timeouts {
            tcp_s: timeout(tuning.tcp_s, default.tcp_s),
            tcpfin_s: timeout(tuning.tcpfin_s, default.tcpfin_s),
            udp_s: timeout(tuning.udp_s, default.udp_s),
        };
        if timeouts != (Timeouts { tcp_s: 0, tcpfin_s: 0, udp_s: 0 }) {
            errors.extend(ipvs.apply_change(&Change::SetTimeouts(timeouts)).err());
        }
        self.0 = Some(*tuning);
        errors
    }
}

/// The sysctls of IPVS (ipvs-sysctl in the kernel's documentation) and their values.
fn sysctl_values(t: &Tuning) -> [(&'static str, String); 12] {
    let flag = |enabled: bool, value: &str| if enabled { value.to_owned() } else { "0".to_owned() };
    [
        ("conn_reuse_mode", t.conn_reuse_mode.to_string()),
        ("expire_nodest_conn", flag(t.expire_nodest_conn, "1")),
        ("expire_quiescent_template", flag(t.expire_quiescent_template, "1")),
        ("sloppy_tcp", flag(t.sloppy_tcp, "1")),
        ("sloppy_sctp", flag(t.sloppy_sctp, "1")),
        ("secure_tcp", flag(t.secure_tcp, "3")),
        ("schedule_icmp", flag(t.schedule_icmp, "1")),
        ("nat_icmp_send", flag(t.nat_icmp_send, "1")),
        ("pmtu_disc", flag(t.pmtu_disc, "1")),
        ("cache_bypass", flag(t.cache_bypass, "1")),
        ("lblc_expiration", t.lblc_expiration_s.to_string()),
        ("lblcr_expiration", t.lblcr_expiration_s.to_string()),
    ]
}
