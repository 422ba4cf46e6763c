//! What `evenkeel status` shows, and its JSON: everything is gathered here, from the parts of the controller and from
//! the router and edge threads. The fields and their meanings are in `evenkeel_core::ipc::Status`.
//!
//! Nothing is computed for its own sake: a new fact belongs to a part, and this file reads it.

use std::collections::HashMap;

use evenkeel_core::health::ServerHealth;
use evenkeel_core::ipc::{
    CheckLoad, CheckStatus, DataPlaneStatus, InstanceStatus, ScriptStatus, ServerStatus, ServiceStatus,
    SorryServerStatus, Status, TrackedStatus,
};
use evenkeel_core::model::{RealServer, ServiceKey, VirtualServer};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::State;
use evenkeel_sys::bpf::{DestRecord, ServiceRecord};
use evenkeel_sys::clock;

use super::answers::Answers;
use super::configuration::router_id;
use super::controller::Controller;
use super::health::Health;
use super::monitored_services::MonitoredService;
use super::reconciler::Reconciler;
use super::tracking::Tracking;
use crate::plane::PlaneKind;
use crate::{edge, router};

/// The director at this moment.
pub fn status(controller: &mut Controller) -> Status {
    let now = clock::now();
    let findings = controller.update_findings();
    let plane_services = controller.reconciler.plane.as_mut().map(|p| p.service_records()).unwrap_or_default();
    let dataplane = data_plane_status(&mut controller.reconciler);
    let router = controller.router.snapshot().unwrap_or_default();
    let checks = controller.edge.checks_snapshot();
    let configuration = &controller.configuration;
    let router::Snapshot { instances, bfd, unknown_vrids } = router;
    let view = ServicesView {
        health: &controller.health,
        reconciler: &controller.reconciler,
        answers: &controller.answers,
        plane_services: plane_services.iter().map(|s| (s.key, s)).collect(),
        checks: checks.as_ref(),
        now,
    };
    Status {
        router_id: router_id(&configuration.active),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::os::unix::process::parent_id(),
        uptime_ms: now.duration_since(controller.started).as_millis() as u64,
        config_file: configuration.path.display().to_string(),
        config_error: configuration.error.clone(),
        skipped_at_start: configuration.skipped.clone(),
        unknown_vrid_adverts: unknown_vrids,
        bfd_sessions: bfd,
        scripts: script_statuses(&controller.tracking),
        tracked_objects: tracked_statuses(&controller.tracking),
        notifications: controller.notifications.results(),
        overrides: configuration.overrides.descriptions(),
        services: configuration.active.virtual_servers.iter().map(|v| view.service(v)).collect(),
        check_load: checks.as_ref().map_or(CheckLoad::default(), |c| c.load),
        dataplane,
        installed: installed(&controller.reconciler, &instances),
        findings,
        instances,
    }
}

fn data_plane_status(reconciler: &mut Reconciler) -> DataPlaneStatus {
    let status = reconciler.plane.as_mut().map(|p| p.status()).unwrap_or_default();
    DataPlaneStatus {
        error: reconciler.attach_error.clone(),
        external_services: reconciler.external.services.iter().map(ToString::to_string).collect(),
        drift: reconciler.external.drift.iter().map(ToString::to_string).collect(),
        repaired: reconciler.external.repaired,
        ..status
    }
}

fn script_statuses(tracking: &Tracking) -> Vec<ScriptStatus> {
    let scripts = tracking.scripts.iter().map(|(name, s)| ScriptStatus {
        name: name.clone(),
        good: s.good,
        last_result: s.detail.clone(),
        runs: s.runs,
    });
    scripts.collect()
}

fn tracked_statuses(tracking: &Tracking) -> Vec<TrackedStatus> {
    let objects = tracking.objects.iter().map(|(object, (result, detail))| TrackedStatus {
        object: object.clone(),
        result: *result,
        detail: detail.clone(),
    });
    objects.collect()
}

/// What the daemon put into the system and removes at stop.
fn installed(reconciler: &Reconciler, instances: &[InstanceStatus]) -> Vec<String> {
    let masters = instances.iter().filter(|i| i.state == State::Master);
    let mut out: Vec<String> = masters.flat_map(|i| i.vips.iter().map(|v| format!("address {v}"))).collect();
    out.extend(reconciler.plane.iter().flat_map(|p| p.installed()));
    out
}

/// Where the status of services is read from.
struct ServicesView<'a> {
    health: &'a Health,
    reconciler: &'a Reconciler,
    answers: &'a Answers,
    plane_services: HashMap<ServiceKey, &'a ServiceRecord>,
    /// `None` if the edge thread does not answer.
    checks: Option<&'a edge::CheckSnapshot>,
    now: Instant,
}

impl ServicesView<'_> {
    fn service(&self, v: &VirtualServer) -> ServiceStatus {
        let plane = self.plane_services.get(&v.key).copied();
        let record = self.health.services.get(v.key);
        let has_quorum = record.is_none_or(|s| s.health.has_quorum());
        ServiceStatus {
            name: v.key.to_string(),
            fwmark: v.key.fwmark,
            protocol: v.key.protocol.to_string(),
            addr: v.key.addr,
            port: v.key.port,
            scheduler: v.scheduler.to_string(),
            persistence_s: v.persistence.map(|p| p.timeout_s),
            conns: plane.map_or(0, |s| s.stats.conns),
            in_packets: plane.map_or(0, |s| s.stats.in_packets),
            in_bytes: plane.map_or(0, |s| s.stats.in_bytes),
            group: v.group.as_ref().map(|(name, _)| name.clone()),
            up: has_quorum,
            since_ms: record.map_or(0, |s| s.history.since_ms(self.now)),
            healthy_weight: record.map_or(0, |s| s.health.healthy_weight()),
            quorum: (v.quorum.weight, v.quorum.hysteresis),
            sorry_server: v.sorry_server.map(|s| SorryServerStatus {
                addr: s.key.addr,
                port: s.key.port,
                in_use: !has_quorum,
            }),
            suspended: self.health.suspended.contains(&v.key),
            inactive: self.reconciler.inactive.get(&v.key).map(ToString::to_string),
            history: record.map_or_else(Vec::new, |s| s.history.transitions(self.now)),
            servers: v.servers.iter().map(|r| self.server(v, r, plane, record)).collect(),
        }
    }

    fn server(
        &self,
        v: &VirtualServer,
        r: &RealServer,
        plane: Option<&ServiceRecord>,
        record: Option<&MonitoredService>,
    ) -> ServerStatus {
        let history = record.and_then(|s| s.server_history.get(&r.key));
        let health = record.and_then(|s| s.health.server(r.key));
        let answers = self.answers.counts(v.key, r.key);
        let dest = plane.and_then(|s| s.dests.iter().find(|d| d.key == r.key));
        ServerStatus {
            name: r.name.clone(),
            addr: r.key.addr,
            port: r.key.port,
            weight: r.weight.get(),
            effective_weight: dest.map(|d| d.spec.weight.get()),
            up: health.is_none_or(ServerHealth::is_up),
            since_ms: history.map_or(0, |h| h.since_ms(self.now)),
            history: history.map_or_else(Vec::new, |h| h.transitions(self.now)),
            checks: self.checks(v, r, record, health),
            active: dest.map_or(0, |d| d.active),
            inactive: dest.map_or(0, |d| d.inactive),
            new_last_minute: answers.new,
            answered_last_minute: answers.answered,
            retried_last_minute: answers.retried,
            conns: dest.map_or(0, |d| d.stats.conns),
            in_packets: dest.map_or(0, |d| d.stats.in_packets),
            in_bytes: dest.map_or(0, |d| d.stats.in_bytes),
            next_hop: self.next_hop(r, dest),
        }
    }

    fn checks(
        &self,
        v: &VirtualServer,
        r: &RealServer,
        record: Option<&MonitoredService>,
        health: Option<&ServerHealth>,
    ) -> Vec<CheckStatus> {
        let checks = r.checks.iter().enumerate().map(|(n, c)| {
            let active = self.checks.and_then(|s| s.checks.get(&(v.key, r.key, n)));
            let passive = record.and_then(|s| s.passive_results.get(&(r.key, n)));
            CheckStatus {
                kind: c.kind.keyword().to_owned(),
                up: health.is_none_or(|h| h.is_check_up(n)),
                retries_used: active.map_or(0, |c| c.retries_used),
                shared_by: active.map_or(1, |c| c.shared_by),
                last_probe: active.and_then(|c| c.last_probe.clone()).or_else(|| passive.cloned()),
            }
        });
        checks.collect()
    }

    /// The next hop's hardware address, or why there is none.
    fn next_hop(&self, r: &RealServer, dest: Option<&DestRecord>) -> String {
        let Some(plane) = &self.reconciler.plane else { return "not known yet".to_owned() };
        if let Some(reason) = plane.unreachable_reason(r.key.addr) {
            return reason;
        }
        match dest {
            Some(d) if d.local => "this director".to_owned(),
            Some(DestRecord { hop: Some(h), .. }) => h.dmac.map(|b| format!("{b:02x}")).join(":"),
            _ if plane.kind() == PlaneKind::Ipvs => "the kernel's routes".to_owned(),
            _ => "not known yet".to_owned(),
        }
    }
}
