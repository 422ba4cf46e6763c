//! What `status` shows, gathered.

use std::collections::HashMap;

use evenkeel_core::health::ServerHealth;
use evenkeel_core::ipc::{
    CheckLoad, CheckStatus, ScriptStatus, ServerStatus, ServiceStatus, SorryServerStatus, Status, TrackedStatus,
};
use evenkeel_core::model::{Family, ForwardingMethod, RealServer, ServiceKey, VirtualServer};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::State;
use evenkeel_sys::bpf::{DestRecord, ServiceRecord};
use evenkeel_sys::clock;
use evenkeel_sys::resolver::host_name;
use evenkeel_sys::sysctl;

use crate::control::Controller;
use crate::plane::PlaneKind;
use crate::{edge, router};

/// A script as the control loop remembers it.
#[derive(Default)]
pub struct ScriptResult {
    pub good: Option<bool>,
    pub last: String,
    pub runs: u64,
}

impl Controller {
    /// This director's name.
    pub(crate) fn router_id(&self) -> String {
        self.config.global.router_id.clone().unwrap_or_else(host_name)
    }

    /// The director as it is now.
    pub fn status(&mut self) -> Status {
        let now = clock::now();
        let views = self.plane.as_mut().map(|p| p.views()).unwrap_or_default();
        let mut dataplane = self.plane.as_mut().map(|p| p.status()).unwrap_or_default();
        dataplane.error = self.plane_error.clone();
        dataplane.external_services = self.external.services.iter().map(ToString::to_string).collect();
        dataplane.drift = self.external.drift.iter().map(ToString::to_string).collect();
        dataplane.repaired = self.external.repaired;
        let router::Snapshot { instances, bfd, unknown_vrids: strangers } = self.router.snapshot().unwrap_or_default();
        let checks = self.edge.checks_snapshot();
        let views: HashMap<ServiceKey, &ServiceRecord> = views.iter().map(|s| (s.key, s)).collect();
        let services = self.config.virtual_servers.iter().map(|v| {
            let view = views.get(&v.key).copied();
            let known = self.services.0.get(&v.key);
            ServiceStatus {
                protocol: v.key.protocol.to_string(),
                addr: v.key.addr,
                port: v.key.port,
                scheduler: v.scheduler.to_string(),
                persistence_s: v.persistence.map(|p| p.timeout_s),
                conns: view.map_or(0, |s| s.stats.conns),
                in_packets: view.map_or(0, |s| s.stats.in_packets),
                in_bytes: view.map_or(0, |s| s.stats.in_bytes),
                group: v.group.as_ref().map(|(name, _)| name.clone()),
                up: known.is_none_or(|s| s.health.has_quorum()),
                since_ms: known.map_or(0, |s| s.history.since_ms(now)),
                healthy_weight: known.map_or(0, |s| s.health.healthy_weight()),
                quorum: (v.quorum.weight, v.quorum.hysteresis),
                sorry_server: v.sorry_server.map(|s| SorryServerStatus {
                    addr: s.key.addr,
                    port: s.key.port,
                    in_use: known.is_some_and(|k| !k.health.has_quorum()),
                }),
                suspended: self.suspended.contains(&v.key),
                history: known.map_or_else(Vec::new, |s| s.history.transitions(now)),
                servers: v.servers.iter().map(|r| self.server_status(v, r, (view, checks.as_ref()), now)).collect(),
            }
        });
        let services: Vec<ServiceStatus> = services.collect();
        let mut installed: Vec<String> = Vec::new();
        for i in instances.iter().filter(|i| i.state == State::Master) {
            installed.extend(i.vips.iter().map(|v| format!("address {v}")));
        }
        installed.extend(self.plane.iter().flat_map(|p| p.installed()));
        let mut warnings = self.forwarding_warnings();
        warnings.extend(self.discovery.warnings());
        if self.edge_deaths > 0 {
            let times = self.edge_deaths;
            warnings.push(format!(
                "the process for health checks and scripts has died {times} times since the start; see the log"
            ));
        }
        for v in &self.config.virtual_servers {
            for r in &v.servers {
                if let Some(why) = self.plane.as_ref().and_then(|p| p.unreachable_reason(r.key.addr)) {
                    warnings.push(format!("{} of {}: {why}", r.key, v.key));
                }
            }
        }
        Status {
            router_id: self.router_id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::os::unix::process::parent_id(),
            uptime_ms: now.duration_since(self.started).as_millis() as u64,
            config_file: self.path.display().to_string(),
            config_error: self.config_error.clone(),
            instances,
            unknown_vrid_adverts: strangers,
            bfd_sessions: bfd,
            scripts: self
                .scripts
                .iter()
                .map(|(name, s)| ScriptStatus {
                    name: name.clone(),
                    good: s.good,
                    last_result: s.last.clone(),
                    runs: s.runs,
                })
                .collect(),
            tracked_objects: self
                .tracked
                .iter()
                .map(|(o, (found, detail))| TrackedStatus { object: o.clone(), result: *found, detail: detail.clone() })
                .collect(),
            notifications: self.notify_results.values().cloned().collect(),
            overrides: self.overrides.descriptions(),
            services,
            check_load: checks.as_ref().map_or(CheckLoad::default(), |c| c.load),
            dataplane,
            installed,
            warnings,
        }
    }

    /// Answers of real servers behind NAT go by the kernel's routes, which are asked in vain where it does not forward.
    fn forwarding_warnings(&self) -> Vec<String> {
        let nat = |v6: bool| {
            let mut servers = self.config.virtual_servers.iter().flat_map(|v| &v.servers);
            servers.any(|r| r.method == ForwardingMethod::Nat && r.key.addr.is_ipv6() == v6)
        };
        let all = [(false, Family::V4, "net.ipv4.ip_forward"), (true, Family::V6, "net.ipv6.conf.all.forwarding")];
        let off = all.into_iter().filter(|(v6, f, _)| nat(*v6) && sysctl::get_conf(*f, "all", "forwarding") == Some(0));
        off.map(|(.., name)| format!("answers of real servers behind NAT are dropped: set {name}=1")).collect()
    }

    fn server_status(
        &self,
        v: &VirtualServer,
        r: &RealServer,
        (view, seen): (Option<&ServiceRecord>, Option<&edge::CheckSnapshot>),
        now: Instant,
    ) -> ServerStatus {
        let known = self.services.0.get(&v.key);
        let history = known.and_then(|s| s.server_history.get(&r.key));
        let member = known.and_then(|s| s.health.server(r.key));
        let dest: Option<&DestRecord> = view.and_then(|s| s.dests.iter().find(|d| d.key == r.key));
        let checks = r.checks.iter().enumerate().map(|(n, c)| {
            let probed = seen.and_then(|s| s.checks.get(&(v.key, r.key, n)));
            let told = known.and_then(|s| s.passive_results.get(&(r.key, n)));
            CheckStatus {
                kind: c.kind.keyword().to_owned(),
                up: member.is_none_or(|m| m.is_check_up(n)),
                retries_used: probed.map_or(0, |p| p.forgiven),
                shared_by: probed.map_or(1, |p| p.shared),
                last_probe: probed.and_then(|p| p.last.clone()).or_else(|| told.cloned()),
            }
        });
        let trouble = self.plane.as_ref().and_then(|p| p.unreachable_reason(r.key.addr));
        let routed = self.plane.as_ref().is_some_and(|p| p.kind() == PlaneKind::Ipvs);
        let hop = match (dest.and_then(|d| d.hop), trouble) {
            (_, Some(why)) => why,
            (_, None) if dest.is_some_and(|d| d.local) => "this director".to_owned(),
            (Some(h), None) => h.dmac.map(|b| format!("{b:02x}")).join(":"),
            (None, None) if routed => "the kernel's routes".to_owned(),
            (None, None) => "not known yet".to_owned(),
        };
        ServerStatus {
            name: r.name.clone(),
            addr: r.key.addr,
            port: r.key.port,
            weight: r.weight.get(),
            effective_weight: dest.map(|d| d.spec.weight.get()),
            up: member.is_none_or(ServerHealth::is_up),
            since_ms: history.map_or(0, |h| h.since_ms(now)),
            history: history.map_or_else(Vec::new, |h| h.transitions(now)),
            checks: checks.collect(),
            active: dest.map_or(0, |d| d.active),
            inactive: dest.map_or(0, |d| d.inactive),
            conns: dest.map_or(0, |d| d.stats.conns),
            in_packets: dest.map_or(0, |d| d.stats.in_packets),
            in_bytes: dest.map_or(0, |d| d.stats.in_bytes),
            next_hop: hop,
        }
    }
}
