//! keepalived.json: an array with an object for each instance. With `json_version 2` it is an object that has the array
//! as `vrrp`, and tracked processes as `track_process`. The members of an instance are in the order of keepalived.

use serde::Serialize;
use serde_json::Value;

use super::{InstanceView, SignatureErrors, quoted_command, state_number};
use crate::model::{Auth, TrackProcess};

#[derive(Serialize)]
struct InstanceObject {
    data: InstanceData,
    stats: InstanceStats,
}

#[derive(Serialize)]
struct InstanceData {
    iname: String,
    dont_track_primary: u8,
    skip_check_adv_addr: u8,
    strict_mode: u8,
    vmac_ifname: String,
    ifp_ifname: String,
    master_priority: u8,
    last_transition: f64,
    garp_delay: u64,
    garp_refresh: u64,
    garp_rep: u32,
    garp_refresh_rep: u32,
    garp_lower_prio_delay: u64,
    garp_lower_prio_rep: u32,
    lower_prio_no_advert: u8,
    higher_prio_send_advert: u8,
    vrid: u8,
    base_priority: u8,
    effective_priority: u8,
    vipset: bool,
    promote_secondaries: bool,
    adver_int: Value,
    master_adver_int: Value,
    accept: u8,
    nopreempt: bool,
    preempt_delay: u64,
    state: u8,
    wantstate: u8,
    version: u8,
    smtp_alert: bool,
    notify_deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    script_backup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script_master: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script_fault: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script_stop: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script_deleted: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script_master_rx_lower_pri: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evips: Vec<String>,
    auth_type: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_data: Option<&'static str>,
}

#[derive(Serialize)]
struct InstanceStats {
    advert_rcvd: u64,
    advert_sent: u64,
    become_master: u64,
    release_master: u64,
    packet_len_err: u64,
    advert_interval_err: u64,
    ip_ttl_err: u64,
    invalid_type_rcvd: u64,
    addr_list_err: u64,
    invalid_authtype: u64,
    authtype_mismatch: u64,
    auth_failure: u64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    signatures: Option<SignatureErrors>,
    pri_zero_rcvd: u64,
    pri_zero_sent: u64,
}

/// The names of these members are ours: there is no recording of what keepalived writes.
#[derive(Serialize)]
struct ProcessObject<'p> {
    name: &'p str,
    process: &'p str,
    parameters: &'p [String],
    full_command: bool,
    quorum: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    quorum_max: Option<u32>,
    fork_delay: f64,
    terminate_delay: f64,
    have_quorum: bool,
    state: &'p str,
}

#[derive(Serialize)]
struct DocumentV2<'p> {
    vrrp: Vec<InstanceObject>,
    track_process: Vec<ProcessObject<'p>>,
}

/// The document of version 1.
pub fn format_json_v1(instances: &[InstanceView<'_>]) -> String {
    let all: Vec<InstanceObject> = instances.iter().map(instance_object).collect();
    serde_json::to_string(&all).unwrap_or_default()
}

/// The document of version 2. Each process comes with whether its quorum is reached, and with its state as a word.
pub fn format_json_v2<'p>(
    instances: &[InstanceView<'_>],
    processes: impl Iterator<Item = (&'p TrackProcess, bool, &'p str)>,
) -> String {
    let process = |(p, have_quorum, state): (&'p TrackProcess, bool, &'p str)| ProcessObject {
        name: &p.name,
        process: &p.program,
        parameters: &p.parameters,
        full_command: p.full_command,
        quorum: p.quorum,
        quorum_max: p.quorum_max,
        fork_delay: p.fork_delay.as_secs_f64(),
        terminate_delay: p.terminate_delay.as_secs_f64(),
        have_quorum,
        state,
    };
    let all = DocumentV2 {
        vrrp: instances.iter().map(instance_object).collect(),
        track_process: processes.map(process).collect(),
    };
    serde_json::to_string(&all).unwrap_or_default()
}

/// A time in seconds, as an integer if it is a whole number.
fn seconds_value(ms: u64) -> Value {
    if ms.is_multiple_of(1000) { Value::from(ms / 1000) } else { Value::from(ms as f64 / 1000.0) }
}

fn instance_object(i: &InstanceView<'_>) -> InstanceObject {
    let (cfg, status) = (i.config, i.status);
    let counters = &status.counters;
    let garp = cfg.garp;
    let master = status.state == crate::vrrp::State::Master;
    let data = InstanceData {
        iname: cfg.name.clone(),
        dont_track_primary: u8::from(cfg.dont_track_primary),
        skip_check_adv_addr: u8::from(cfg.skip_check_addresses),
        strict_mode: u8::from(cfg.strict_mode),
        vmac_ifname: cfg.vmac.as_ref().map(|v| v.name.clone()).unwrap_or_default(),
        ifp_ifname: cfg.vmac.as_ref().map_or(&cfg.interface, |v| &v.name).clone(),
        master_priority: if master { 0 } else { status.master_priority.unwrap_or(0) },
        last_transition: (i.last_transition().as_micros() as f64) / 1e6,
        garp_delay: garp.master_delay.as_secs(),
        garp_refresh: garp.master_refresh.as_secs(),
        garp_rep: garp.master_repeat,
        garp_refresh_rep: garp.master_refresh_repeat,
        garp_lower_prio_delay: garp.lower_prio_delay.as_secs(),
        garp_lower_prio_rep: garp.lower_prio_repeat,
        lower_prio_no_advert: u8::from(cfg.lower_prio_no_advert),
        higher_prio_send_advert: u8::from(cfg.higher_prio_send_advert),
        vrid: cfg.vrid.get(),
        base_priority: cfg.priority,
        effective_priority: status.priority,
        vipset: master,
        promote_secondaries: cfg.promote_secondaries,
        adver_int: seconds_value(cfg.advert_int.as_millis() as u64),
        master_adver_int: seconds_value(status.master_interval_ms),
        accept: u8::from(cfg.accept_mode),
        nopreempt: !cfg.preempt,
        preempt_delay: cfg.preempt_delay.as_secs(),
        state: state_number(status.state),
        wantstate: state_number(status.state),
        version: cfg.version.number(),
        smtp_alert: cfg.notify.mail,
        notify_deleted: cfg.notify.deleted.is_some(),
        script_backup: cfg.notify.backup.as_ref().map(quoted_command),
        script_master: cfg.notify.master.as_ref().map(quoted_command),
        script_fault: cfg.notify.fault.as_ref().map(quoted_command),
        script_stop: cfg.notify.stop.as_ref().map(quoted_command),
        script_deleted: cfg.notify.deleted.as_ref().and_then(Option::as_ref).map(quoted_command),
        script: cfg.notify.any.as_ref().map(quoted_command),
        script_master_rx_lower_pri: cfg.notify.lower_priority.as_ref().map(quoted_command),
        vips: i.vip_lines(&cfg.vips).collect(),
        evips: i.vip_lines(&cfg.vips_excluded).collect(),
        auth_type: cfg.auth.number(),
        auth_data: (cfg.auth != Auth::None).then_some("********"),
    };
    let stats = InstanceStats {
        advert_rcvd: counters.adverts_received,
        advert_sent: counters.adverts_sent,
        become_master: counters.became_master,
        release_master: counters.released_master,
        packet_len_err: i.rejected("Length"),
        advert_interval_err: i.rejected("Interval"),
        ip_ttl_err: i.rejected("Ttl"),
        invalid_type_rcvd: i.rejected("Type"),
        addr_list_err: counters.address_mismatches,
        invalid_authtype: 0,
        authtype_mismatch: i.authtype_mismatch(),
        auth_failure: i.auth_failure(),
        signatures: i.signature_errors(),
        pri_zero_rcvd: counters.priority_zero_received,
        pri_zero_sent: counters.priority_zero_sent,
    };
    InstanceObject { data, stats }
}
