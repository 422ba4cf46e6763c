//! What `status` shows, gathered.

use std::fs;

use evenkeel_core::health::ProbeResult;
use evenkeel_core::ipc::{
    CheckStatus, DataPlaneStatus, ScriptStatus, ServerStatus, ServiceStatus, Status, TrackedStatus,
};
use evenkeel_core::model::RealServer;
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::State;
use evenkeel_sys::bpf::{DestView, ServiceView};
use evenkeel_sys::clock;

use crate::control::Control;
use crate::router;

/// A check as the control loop remembers it.
pub struct CheckState {
    up: bool,
    last: Option<ProbeResult>,
}

/// A real server as the control loop remembers it.
pub struct ServerState {
    pub(crate) checks: Vec<CheckState>,
    since: Instant,
}

impl ServerState {
    /// At the start: up, unless `alpha`, or found dead by an earlier daemon.
    pub fn new(server: &RealServer, dead: bool, now: Instant) -> Self {
        let up = |c: &evenkeel_core::model::Check| !dead && !c.alpha.unwrap_or(server.alpha);
        let check = |c| CheckState { up: up(c), last: None };
        ServerState { checks: server.checks.iter().map(check).collect(), since: now }
    }

    /// It lives only if no check fails.
    pub fn up(&self) -> bool {
        self.checks.iter().all(|c| c.up)
    }

    /// A probe of its nth check has ended.
    pub fn probed(&mut self, n: usize, up: bool, result: ProbeResult, now: Instant) {
        let was = self.up();
        if let Some(c) = self.checks.get_mut(n) {
            (c.up, c.last) = (up, Some(result));
        }
        if self.up() != was {
            self.since = now;
        }
    }
}

/// A script as the control loop remembers it.
#[derive(Default)]
pub struct ScriptState {
    pub good: Option<bool>,
    pub last: String,
    pub runs: u64,
}

impl Control {
    /// This director's name.
    pub(crate) fn router_id(&self) -> String {
        let host = || fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        self.config.global.router_id.clone().unwrap_or_else(host)
    }

    /// The director as it is now.
    pub fn status(&self) -> Status {
        let now = clock::now();
        let views = self.plane.as_ref().map(|p| p.maps().view()).unwrap_or_default();
        let router::Snapshot { instances, bfd, strangers } = self.router.snapshot().unwrap_or_default();
        let services = self.config.virtual_servers.iter().map(|v| {
            let view = views.iter().find(|s| s.key == v.key);
            ServiceStatus {
                protocol: v.key.protocol.to_string(),
                addr: v.key.addr,
                port: v.key.port,
                scheduler: v.scheduler.to_string(),
                persistence_s: v.persistence.map(|p| p.timeout_s),
                conns: view.map_or(0, |s| s.stats.conns),
                in_packets: view.map_or(0, |s| s.stats.in_packets),
                in_bytes: view.map_or(0, |s| s.stats.in_bytes),
                servers: v.servers.iter().map(|r| self.server(v, r, view, now)).collect(),
            }
        });
        let services: Vec<ServiceStatus> = services.collect();
        let mut installed: Vec<String> = Vec::new();
        for i in instances.iter().filter(|i| i.state == State::Master) {
            installed.extend(i.vips.iter().map(|v| format!("address {v}")));
        }
        installed.extend(self.hooks.list().map(|(dev, hook)| format!("{hook} on {dev}")));
        let dataplane = match &self.plane {
            None => DataPlaneStatus { error: self.plane_error.clone(), ..Default::default() },
            Some(p) => DataPlaneStatus {
                hooks: self.hooks.list().map(|(d, h)| (d.to_owned(), h.to_string())).collect(),
                reasons: p.maps().reasons().into_iter().map(|(n, c)| (n.to_owned(), c)).collect(),
                conn_capacity: p.maps().conn_capacity(),
                adopted: p.loaded.adopted,
                error: self.plane_error.clone(),
            },
        };
        let mut warnings = Vec::new();
        for v in &self.config.virtual_servers {
            for r in &v.servers {
                if let Some(why) = self.hops.trouble(r.key.addr) {
                    warnings.push(format!("{} of {}: {why}", r.key, v.key));
                }
            }
        }
        Status {
            router_id: self.router_id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::os::unix::process::parent_id(),
            uptime_ms: now.since(self.started).as_millis() as u64,
            config_file: self.path.display().to_string(),
            config_error: self.config_error.clone(),
            instances,
            foreign_adverts: strangers,
            bfd,
            scripts: self
                .scripts
                .iter()
                .map(|(name, s)| ScriptStatus { name: name.clone(), good: s.good, last: s.last.clone(), runs: s.runs })
                .collect(),
            tracked: self
                .tracked
                .iter()
                .map(|(o, (found, detail))| TrackedStatus { object: o.clone(), found: *found, detail: detail.clone() })
                .collect(),
            notified: self.notified.values().cloned().collect(),
            services,
            dataplane,
            installed,
            warnings,
        }
    }

    fn server(
        &self,
        v: &evenkeel_core::model::VirtualServer,
        r: &RealServer,
        view: Option<&ServiceView>,
        now: Instant,
    ) -> ServerStatus {
        let state = self.servers.get(&(v.key, r.key));
        let dest: Option<&DestView> = view.and_then(|s| s.dests.iter().find(|d| d.key == r.key));
        let checks = r.checks.iter().enumerate().map(|(n, c)| {
            let seen = state.and_then(|s| s.checks.get(n));
            CheckStatus {
                kind: c.kind.name().to_owned(),
                up: seen.is_none_or(|c| c.up),
                last: seen.and_then(|c| c.last.clone()),
            }
        });
        let hop = match (dest.and_then(|d| d.hop), self.hops.trouble(r.key.addr)) {
            (_, Some(why)) => why.to_owned(),
            (Some(h), None) => h.dmac.map(|b| format!("{b:02x}")).join(":"),
            (None, None) => "not known yet".to_owned(),
        };
        ServerStatus {
            addr: r.key.addr,
            port: r.key.port,
            weight: r.weight.get(),
            weight_in_force: dest.map(|d| d.spec.weight.get()),
            up: state.is_none_or(ServerState::up),
            since_ms: now.since(state.map_or(self.started, |s| s.since)).as_millis() as u64,
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
