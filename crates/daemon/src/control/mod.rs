//! The control loop: configuration, health and masters in; steps for the data plane out.

mod discovery;
mod events;
mod health;
mod overrides;
mod reload_files;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::config::Severity;
use evenkeel_core::discovery::Discovery;
use evenkeel_core::firewall::FirewallRules;
use evenkeel_core::health::HealthEvent;
use evenkeel_core::ipc::{NotificationStatus, Reply, Request};
use evenkeel_core::model::{Config, DriftPolicy, FlushScope, ServiceKey, TrackResult, TrackedObject, Weight};
use evenkeel_core::overrides::Overrides;
use evenkeel_core::plan::{Services, Step, apply, config_changes, desired_services, diff};
use evenkeel_core::time::Instant;
use evenkeel_core::vrrp::State;
use evenkeel_sys::last_will::WillStore;
use evenkeel_sys::netlink::{Monitor, Netlink, NetworkChanges, require_link};
use evenkeel_sys::sysctl::LinkLocalIgmpReports;
use evenkeel_sys::{clock, signals};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval};

use self::reload_files::{ReloadMarker, ReloadSchedule};
use crate::args::Args;
use crate::dump::DumpKind;
use crate::plane::{self, DataPlane, PlanePaths, UpdateReason};
use crate::services::{DownServers, ServiceRecords as Lives};
use crate::status::ScriptResult;
use crate::supervisor::WorkerContext;
use crate::vmacs::Vmacs;
use crate::{control_socket, edge, firewall, notifications, router};

/// Real-time priority of the router thread, unless the configuration says otherwise.
const RT_PRIORITY: u8 = 50;
/// What somebody changed behind our back is found and mended this often.
const REPAIR_INTERVAL: Duration = Duration::from_secs(5);
/// How often the file is looked at that says when to reload.
const RELOAD_TIME_POLL: Duration = Duration::from_secs(1);

/// So many verdicts are acted on together, if so many are there.
const MAX_EVENT_BATCH: usize = 4096;

/// Everything that the control loop knows.
pub struct Controller {
    pub(crate) path: PathBuf,
    /// What is in force: the file, and what was ordered by hand.
    pub(crate) config: Config,
    /// The file alone.
    file: Config,
    pub(crate) overrides: Overrides,
    /// What names of real servers stand for.
    pub(crate) discovery: Discovery,
    pub(crate) config_error: Option<String>,
    pub(crate) plane: Option<Box<dyn DataPlane>>,
    pub(crate) plane_error: Option<String>,
    /// What the data plane holds, as far as we know; `None` if it has to be looked at.
    known_services: Option<Services>,
    /// The next reload by `reload_time_file`.
    reload_schedule: ReloadSchedule,
    /// Where it is said how long a stop may take.
    will_store: Arc<WillStore>,
    /// `disable_local_igmp` is in force.
    local_igmp: Option<LinkLocalIgmpReports>,
    /// What others have changed, and how often that was set back.
    pub(crate) external: ExternalChanges,
    /// When the data plane is looked at again.
    next_observation: Instant,
    pub(crate) netlink: Netlink,
    pub(crate) services: Lives,
    /// What has followed from verdicts that the data plane does not know of yet.
    pending_events: Option<Vec<(ServiceKey, HealthEvent, String)>>,
    /// Services whose checks rest (`ha_suspend`).
    pub(crate) suspended: BTreeSet<ServiceKey>,
    pub(crate) scripts: BTreeMap<String, ScriptResult>,
    pub(crate) tracked: BTreeMap<TrackedObject, (Option<TrackResult>, String)>,
    /// Programs that were told, by what they were told of and their names.
    pub(crate) notify_results: BTreeMap<(String, String), NotificationStatus>,
    pub(crate) router: router::Handle,
    pub(crate) started: Instant,
    pub(crate) edge: edge::Handle,
    /// How often its process has died.
    pub(crate) edge_deaths: u64,
    fifos: notifications::Fifos,
    vmacs: Vmacs,
    firewall: firewall::Handle,
    args: RunArgs,
}

/// What others have changed in the data plane.
#[derive(Default)]
pub(crate) struct ExternalChanges {
    /// Services that are not ours.
    pub services: BTreeSet<ServiceKey>,
    /// What would set configured services back.
    pub drift: Vec<Step>,
    /// How many steps have.
    pub repaired: u64,
}

/// What of the command line matters later.
struct RunArgs {
    paths: PlanePaths,
    release_vrrp: bool,
    release_services: bool,
    all: Args,
}

/// Runs the daemon until it is told to stop. `left_out` says what is wrong with the file that it was started with.
pub fn run(
    args: &Args,
    path: PathBuf,
    config: Config,
    left_out: Option<String>,
    charge: WorkerContext,
) -> anyhow::Result<()> {
    if let Err(e) = evenkeel_sys::sched::lock_memory() {
        tracing::warn!("{e}");
    }
    if let (None, Some(mask)) = (args.umask, config.global.umask) {
        evenkeel_sys::sched::set_umask(mask);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(main_loop(args, path, config, left_out, charge));
    let _ = fs::remove_file(args.run_dir().join("control.sock"));
    done
}

async fn main_loop(
    args: &Args,
    path: PathBuf,
    config: Config,
    left_out: Option<String>,
    charge: WorkerContext,
) -> anyhow::Result<()> {
    let mut netlink = Netlink::new()?;
    for name in required_interfaces(&config) {
        if let Err(e) = require_link(&mut netlink, &name) {
            anyhow::ensure!(!args.strict, e);
            tracing::warn!("{e}; what needs it stands still until it is there");
        }
    }
    let mut vmacs = Vmacs::new(&args.instance, args.saved_sysctls_file());
    vmacs.configure(&mut netlink, &config.vmacs);
    let table = config.global.nftables.clone().unwrap_or_else(|| args.nft_table_name());
    let (firewall, firewall_thread) = firewall::start(table)?;
    let (router_tx, mut router_rx) = unbounded_channel();
    let (edge_tx, mut edge_rx) = unbounded_channel();
    let (call_tx, mut call_rx) = unbounded_channel();
    let of_the_router = router::ThreadConfig {
        priority: config.global.vrrp_rt_priority.unwrap_or(RT_PRIORITY),
        cpus: config.global.vrrp_cpus.clone(),
    };
    // Before anybody joins a group.
    let local_igmp = if config.global.disable_local_igmp { LinkLocalIgmpReports::disable() } else { Ok(None) };
    let local_igmp = local_igmp.unwrap_or_else(|e| {
        tracing::error!("{e}");
        None
    });
    let testament = charge.will_store.clone();
    let (router, router_thread) = router::start(of_the_router, args, charge, firewall.clone(), router_tx)?;
    let edge = edge::start(router.clone(), edge_tx)?;
    let mut control = Controller {
        path,
        config: Config::default(),
        file: Config::default(),
        overrides: overrides::load(&args.overrides_file()),
        discovery: discovery::load(&args.resolved_servers_file()),
        config_error: left_out,
        plane: None,
        plane_error: None,
        known_services: None,
        reload_schedule: ReloadSchedule::default(),
        will_store: testament.clone(),
        local_igmp,
        external: ExternalChanges::default(),
        next_observation: clock::now(),
        netlink,
        services: Lives::default(),
        pending_events: None,
        suspended: BTreeSet::new(),
        scripts: BTreeMap::new(),
        tracked: BTreeMap::new(),
        notify_results: BTreeMap::new(),
        router,
        started: clock::now(),
        edge,
        edge_deaths: 0,
        fifos: notifications::Fifos::default(),
        vmacs,
        firewall,
        args: RunArgs {
            paths: PlanePaths { bpf_dir: args.bpf_dir(), services_record: args.ipvs_services_file() },
            release_vrrp: !args.dont_release_vrrp,
            release_services: !args.dont_release_ipvs,
            all: args.clone(),
        },
    };
    control.apply_file(config)?;
    control_socket::serve(&args.run_dir().join("control.sock"), call_tx)?;

    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut data = signal(SignalKind::user_defined1())?;
    let mut stats = signal(SignalKind::user_defined2())?;
    let mut stats_clear = signal(SignalKind::from_raw(signals::sig_stats_clear()))?;
    let mut json = signal(SignalKind::from_raw(signals::sig_json()))?;
    let mut changes_rx = watch_network()?;
    let mut repair = interval(REPAIR_INTERVAL);
    repair.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reload_look = interval(RELOAD_TIME_POLL);
    reload_look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    testament.set_ready();
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(config = %control.path.display(), "started");

    let hand_over = loop {
        tokio::select! {
            Some(event) = router_rx.recv() => {
                control.handle_router_event(event);
                control.commit_verdicts();
                if control.config.global.sync.is_some() {
                    control.update_connection_sync();
                }
            }
            Some(event) = edge_rx.recv() => {
                control.handle_edge_event(event);
                for _ in 0..MAX_EVENT_BATCH {
                    let Ok(more) = edge_rx.try_recv() else { break };
                    control.handle_edge_event(more);
                }
                control.commit_verdicts();
            }
            Some((request, reply)) = call_rx.recv() => {
                let answer = match request {
                    Request::Status => Reply::Status(Box::new(control.status())),
                    Request::Reload => control.reload(),
                    Request::Override { change } => control.apply_override(change),
                    Request::Plan { file } => control.plan_reload(std::path::Path::new(&file)),
                    Request::Observe => control.observe_now(),
                };
                let _ = reply.send(answer);
            }
            Some(mut changes) = changes_rx.recv() => {
                while let Ok(more) = changes_rx.try_recv() {
                    changes = changes.merge(more);
                }
                if changes.links {
                    control.vmacs.create_missing(&mut control.netlink);
                    control.update_firewall();
                    control.update_attachments(UpdateReason::NetworkEvent);
                }
                control.update_suspended_checks(false);
                if changes.links || changes.routes_or_neighbours {
                    control.refresh_next_hops();
                }
            }
            _ = reload_look.tick() => {
                if control.reload_schedule.is_due(control.config.global.reload_time.as_ref()) {
                    control.reload();
                }
            }
            _ = repair.tick() => {
                control.repair_drift();
                control.refresh_next_hops();
                // The watchdog is fed only while the router thread answers.
                if control.router.snapshot().is_some() {
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
                } else {
                    tracing::error!("the router thread does not answer");
                }
            }
            _ = hangup.recv() => {
                control.reload();
            }
            _ = data.recv() => control.write_dump(DumpKind::Data),
            _ = stats.recv() => control.write_dump(DumpKind::Stats),
            _ = stats_clear.recv() => control.write_dump(DumpKind::StatsClear),
            _ = json.recv() => control.write_dump(DumpKind::Json),
            _ = terminate.recv() => break false,
            _ = interrupt.recv(), if !args.ignore_sigint => break false,
            _ = quit.recv() => break true,
        }
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    if hand_over {
        tracing::info!("handing over: addresses, services and forwarding stay as they are");
        control.router.send(router::Command::HandOver);
    } else {
        tracing::info!("stopping");
        control.router.send(router::Command::Stop { release: control.args.release_vrrp });
    }
    let _ = router_thread.join();
    while let Ok(event) = router_rx.try_recv() {
        control.handle_router_event(event);
    }
    if !hand_over {
        control.notify_omega();
    }
    control.edge.flush().await;
    control.edge.stop().await;
    if !hand_over {
        if control.args.release_vrrp {
            control.vmacs.release(&mut control.netlink);
            control.firewall.update(|f| *f = FirewallRules::default());
        }
        control.firewall.close();
        let _ = firewall_thread.join();
    }
    if !hand_over && control.args.release_services {
        control.release_all();
    }
    if let Some((script, limit)) = control.config.global.shutdown_script.as_ref().filter(|_| !hand_over) {
        let secure = control.config.global.enable_script_security;
        match evenkeel_probe::program::run_program(script, *limit, secure).await {
            Ok(status) if status.success() => {}
            Ok(status) => tracing::warn!("shutdown_script: {status}"),
            Err(why) => tracing::warn!("shutdown_script: {why}"),
        }
    }
    Ok(())
}

/// Hears of links, addresses, routes and neighbours on a thread of its own, which only waits and tells.
fn watch_network() -> anyhow::Result<UnboundedReceiver<NetworkChanges>> {
    let mut monitor = Monitor::new(true)?;
    let (tx, rx) = unbounded_channel();
    std::thread::Builder::new()
        .name("netlink".into())
        .spawn(move || while monitor.wait().is_ok() && tx.send(monitor.read_events()).is_ok() {})?;
    Ok(rx)
}

/// Devices without which the configuration makes no sense.
fn required_interfaces(config: &Config) -> Vec<String> {
    if config.dynamic_interfaces {
        return Vec::new();
    }
    let mut names: Vec<String> = config.instances.iter().map(|i| i.interface.clone()).collect();
    names.extend(config.instances.iter().flat_map(|i| i.all_vips().map(|v| v.dev.clone())));
    names.extend(config.vmacs.iter().map(|v| v.base.clone()));
    names.retain(|n| !config.vmacs.iter().any(|v| v.name == *n));
    names.extend(config.global.dataplane_interfaces.keys().cloned());
    names.sort();
    names.dedup();
    names
}

/// Checked servers that an earlier daemon had taken out of their services: they come back by a check, not by a restart.
fn servers_found_down(config: &Config, observed: &Services) -> DownServers {
    let mut dead = DownServers::new();
    for v in &config.virtual_servers {
        let Some(service) = observed.get(&v.key) else { continue };
        for r in v.servers.iter().filter(|r| !r.checks.is_empty()) {
            let in_force = service.dests.iter().find(|(k, _)| *k == r.key).map(|(_, d)| d.weight);
            let inhibited = r.inhibit_on_failure
                && !r.drained
                && in_force == Some(Weight::QUIESCED)
                && r.weight != Weight::QUIESCED;
            if in_force.is_none() || inhibited {
                dead.insert((v.key, r.key));
            }
        }
    }
    dead
}

impl Controller {
    /// Puts a file's configuration into force, with what was ordered by hand.
    fn apply_file(&mut self, file: Config) -> anyhow::Result<Vec<String>> {
        let config = self.overrides.apply(&self.discovery.apply(&file));
        let steps = self.apply_config(config)?;
        self.discovery.retain_configured(&file);
        self.file = file;
        Ok(steps)
    }

    /// Puts a configuration into force.
    fn apply_config(&mut self, config: Config) -> anyhow::Result<Vec<String>> {
        let mut dead = DownServers::new();
        // What an earlier daemon left is taken over even if nothing is to be balanced any more: to remove it.
        let wanted = !config.virtual_servers.is_empty() || plane::has_leftovers(&self.args.paths);
        self.switch_plane(&config)?;
        if self.plane.is_none() && wanted {
            let mut plane = plane::open(&config, &self.args.paths)?;
            let mut other = plane::open_leftover_plane(plane.kind(), &config, &self.args.paths);
            let adopted = other.as_mut().map_or_else(|| plane.adopted().then_some(&mut plane), Some);
            let mut services = Services::new();
            if let Some(adopted) = adopted {
                match adopted.observe(&Services::new()) {
                    Ok(observed) => services = observed.services,
                    Err(e) => tracing::error!("what an earlier daemon left cannot be seen: {e}"),
                }
                let (count, conns) = (services.len(), adopted.connections().map_or(0, |c| c.len()));
                tracing::info!(services = count, conns, "adopted {count} services and {conns} connections");
                dead = servers_found_down(&config, &services);
            } else if config.global.flush_on_start {
                for e in plane.flush() {
                    tracing::error!("{e}");
                }
            }
            // What is alive is not known yet: the services go over as they are.
            services.retain(|k, _| config.virtual_servers.iter().any(|v| v.key == *k));
            self.plane = Some(match other {
                Some(old) => plane::switch_plane(old, plane, &services, &config, &mut self.netlink),
                None => plane,
            });
            self.known_services = None;
        }
        let leaving = self.services.removal_events(&self.config, &config);
        for (service, h) in leaving {
            self.publish_event(service, h, "removed from the configuration");
        }
        let old = std::mem::replace(&mut self.config, config);
        self.vmacs.configure(&mut self.netlink, &self.config.vmacs);
        self.update_firewall();
        if !self.config.vmacs.is_empty() {
            // Before anybody joins a group there: a report from a backup draws the address to it.
            self.firewall.flush();
        }
        self.scripts.retain(|name, _| self.config.scripts.iter().any(|s| s.name == *name));
        for s in &self.config.scripts {
            self.scripts.entry(s.name.clone()).or_default();
        }
        let files = self.config.track_files.iter().map(|f| TrackedObject::File(f.name.clone()));
        let processes = self.config.track_processes.iter().map(|p| TrackedObject::Process(p.name.clone()));
        let sessions = self.config.bfd.iter().map(|b| TrackedObject::Bfd(b.name.clone()));
        let wanted: Vec<TrackedObject> = files.chain(processes).chain(sessions).collect();
        self.tracked.retain(|object, _| wanted.contains(object));
        self.fifos.configure(&self.config.global.fifos);
        let followed = self.services.configure(&old, &self.config, &dead, clock::now());
        self.apply_bfd_states();
        self.apply_file_states();
        let unsettled = self.pending_events.take().unwrap_or_default();
        self.update_attachments(UpdateReason::NewConfig);
        if let Some(plane) = &mut self.plane {
            for e in plane.tune(&self.config) {
                tracing::error!("{e}");
            }
        }
        self.will_store.set_stop_timeout(self.config.global.child_wait);
        self.known_services = None;
        let steps = self.reconcile();
        self.update_connection_sync();
        self.refresh_next_hops();
        self.router.send(router::Command::Configure(router::RouterConfig::from_config(&self.config)));
        self.edge.configure(&self.config, self.services.checks_to_run(&self.config));
        self.update_suspended_checks(true);
        for (service, h) in followed.events {
            self.publish_event(service, h, "the configuration");
        }
        for (service, h, because) in unsettled {
            self.publish_event(service, h, &because);
        }
        self.notify_initial_state(&followed.added);
        drop(old);
        // Reading a large file takes many times what is kept of it.
        evenkeel_sys::sched::trim_heap();
        Ok(steps.iter().map(ToString::to_string).collect())
    }

    /// Tells nftables of virtual MAC addresses, and how rules are to look.
    fn update_firewall(&mut self) {
        let priority = self.config.global.nftables_priority.unwrap_or(-1);
        let counters = self.config.global.nftables_counters;
        let vmacs = if self.config.vmacs.is_empty() {
            BTreeMap::new()
        } else {
            self.vmacs.with_mac(&self.netlink.links().unwrap_or_default())
        };
        self.firewall.update(move |f| (f.vmacs, f.priority, f.counters) = (vmacs, priority, counters));
    }

    /// Reads the file again. What is wrong with it is told, and then nothing changes.
    fn reload(&mut self) -> Reply {
        let refuse = |this: &mut Self, error: String| {
            tracing::error!("reload refused, the old configuration stays in force:\n{error}");
            this.config_error = Some(error.clone());
            Reply::Rejected { error }
        };
        let _reading = ReloadMarker::create(self.config.global.reload_file.as_deref(), &self.args.all.run_dir());
        let parsed = match crate::read_config(&self.path, &self.args.all.options()) {
            Ok(p) => p,
            Err(e) => return refuse(self, format!("cannot read {}: {e}", self.path.display())),
        };
        for d in parsed.diagnostics.iter().filter(|d| d.severity == Severity::Warning) {
            tracing::warn!("{}", d.render(&parsed.sources, false));
        }
        let Some(config) = parsed.valid_config().cloned() else { return refuse(self, parsed.render(false)) };
        let config = self.args.all.restrict_config(config);
        if config == Config::default() {
            // An editor that truncates and then writes shows this for a moment; nobody means it.
            return refuse(self, format!("{} configures nothing", self.path.display()));
        }
        for name in required_interfaces(&config) {
            if let Err(e) = require_link(&mut self.netlink, &name) {
                return refuse(self, e.to_string());
            }
        }
        self.drop_until_reload();
        if config == self.file && self.overrides.apply(&self.discovery.apply(&config)) == self.config {
            self.config_error = None;
            tracing::info!("reloaded: the same configuration, nothing to change");
            return Reply::Reloaded { steps: Vec::new() };
        }
        let rest: Vec<String> = config_changes(&self.file, &config).iter().map(ToString::to_string).collect();
        match self.apply_file(config) {
            Ok(mut steps) => {
                steps.extend(rest);
                self.config_error = None;
                tracing::info!(steps = steps.len(), "reloaded");
                Reply::Reloaded { steps }
            }
            Err(e) => refuse(self, format!("{e:#}")),
        }
    }

    /// What a reload with a file would change; the steps are those of [`Control::reload`], and none is done.
    fn plan_reload(&mut self, file: &std::path::Path) -> Reply {
        let parsed = match crate::read_config(file, &self.args.all.options()) {
            Ok(p) => p,
            Err(e) => return Reply::Rejected { error: format!("cannot read {}: {e}", file.display()) },
        };
        let Some(config) = parsed.valid_config().cloned() else {
            return Reply::Rejected { error: parsed.render(false) };
        };
        let narrowed = self.args.all.restrict_config(config);
        let mut orders = self.overrides.clone();
        orders.drop_until_reload();
        let config = orders.apply(&self.discovery.apply(&narrowed));
        let wanted = self.services.desired_for(&self.config, &config);
        let services = match &mut self.plane {
            Some(plane) => match plane.observe(&wanted) {
                Ok(observed) => diff(&wanted, &observed.services),
                Err(e) => return Reply::Rejected { error: e.to_string() },
            },
            None => diff(&wanted, &Services::new()),
        };
        let mut steps: Vec<String> = services.iter().map(ToString::to_string).collect();
        steps.extend(config_changes(&self.config, &config).iter().map(ToString::to_string));
        Reply::Plan { steps }
    }

    /// Another data plane takes over, if this one is not what a configuration asks for.
    fn switch_plane(&mut self, config: &Config) -> anyhow::Result<()> {
        let Some(old) = self.plane.as_ref().filter(|p| !plane::is_suitable(p.kind(), config)).map(|p| p.kind()) else {
            return Ok(());
        };
        let new = plane::open(config, &self.args.paths)?;
        if new.kind() == old {
            return Ok(()); // the other one cannot be had
        }
        let desired = self.services.desired_for(&self.config, config);
        if let Some(old) = self.plane.take() {
            let other = plane::switch_plane(old, new, &desired, config, &mut self.netlink);
            self.plane = Some(other);
        }
        self.known_services = None;
        self.plane_error = None;
        Ok(())
    }

    /// What should be, compared with what is as far as we know, and the steps in between done.
    pub(crate) fn reconcile(&mut self) -> Vec<Step> {
        let services = &self.services;
        let desired = desired_services(&self.config.virtual_servers, &|v| services.effective_state(v));
        if self.known_services.is_none() {
            self.known_services = self.observe_plane(&desired);
        }
        let (Some(plane), Some(believed)) = (&mut self.plane, &mut self.known_services) else { return Vec::new() };
        let steps = diff(&desired, believed);
        for step in &steps {
            tracing::info!(service = %step.service(), "{step}");
        }
        let errors = plane.apply(&steps);
        for e in &errors {
            tracing::error!("{e}");
        }
        match errors.first() {
            None => apply(&steps, believed),
            // What was done of the steps is seen by looking.
            Some(_) => self.known_services = None,
        }
        steps
    }

    /// What is there of ours, and what is there besides.
    fn observe_plane(&mut self, desired: &Services) -> Option<Services> {
        let plane = self.plane.as_mut()?;
        plane.claim(desired);
        match plane.observe(desired) {
            Ok(observed) => {
                self.external.services = observed.external;
                Some(observed.services)
            }
            Err(e) => {
                tracing::error!("{e}");
                None
            }
        }
    }

    /// Finds what somebody has changed behind our back, and sets it back or only shows it.
    fn repair_drift(&mut self) {
        let began = clock::now();
        if self.plane.is_none() && plane::has_manual_services(&self.config, &self.args.paths) {
            // Somebody has made services where none is configured: they are kept going like all others.
            if let Err(e) = self.apply_config(self.config.clone()) {
                tracing::error!("{e:#}");
            }
        }
        if self.plane.is_none() || began < self.next_observation {
            return;
        }
        let services = &self.services;
        let desired = desired_services(&self.config.virtual_servers, &|v| services.effective_state(v));
        let before = self.external.services.clone();
        let observed = self.observe_plane(&desired);
        if self.external.services != before {
            // Their packets may come in by other devices.
            self.update_attachments(UpdateReason::NetworkEvent);
        }
        let drift = observed.as_ref().map_or_else(Vec::new, |o| diff(&desired, o));
        let leave = self.config.global.drift_policy == DriftPolicy::Leave;
        if !leave {
            self.external.repaired += drift.len() as u64;
            self.external.drift.clear();
            self.known_services = observed;
            self.reconcile();
        } else {
            if drift != self.external.drift && !drift.is_empty() {
                tracing::warn!("{} changes by somebody else stay (hand_changes leave)", drift.len());
            }
            self.external.drift = drift;
            self.reconcile();
        }
        // A large table is not looked at all the time: a hundredth of it at most.
        self.next_observation = began + clock::now().duration_since(began) * 100;
    }

    /// Looks before its time, because somebody says that there is something to see.
    fn observe_now(&mut self) -> Reply {
        let began = clock::now();
        if began >= self.next_observation {
            self.repair_drift();
            self.refresh_next_hops();
            self.next_observation = began + clock::now().duration_since(began) * 100;
        }
        Reply::Observed
    }

    /// Is put on devices, where the data plane is.
    fn update_attachments(&mut self, occasion: UpdateReason) {
        let Some(plane) = &mut self.plane else { return };
        for e in plane.update_attachments(&mut self.netlink, &self.config, occasion) {
            self.plane_error = Some(e);
        }
    }

    /// Tells the other director of connections, or listens to it, as the configured instance stands.
    pub(crate) fn update_connection_sync(&mut self) {
        let Some(plane) = &mut self.plane else { return };
        let instance = self.config.global.sync.as_ref().and_then(|s| s.instance.clone());
        let master = instance.map(|name| {
            let instances = self.router.snapshot().unwrap_or_default().instances;
            instances.iter().any(|i| i.name == name && i.state == State::Master)
        });
        for e in plane.update_connection_sync(&self.config, master) {
            tracing::error!("{e}");
        }
    }

    pub(crate) fn refresh_next_hops(&mut self) {
        if let Some(plane) = &mut self.plane {
            plane.refresh_next_hops(&mut self.netlink);
        }
    }

    /// Takes everything back that was put into the system.
    fn release_all(&mut self) {
        if let Some(Err(e)) = self.local_igmp.take().map(LinkLocalIgmpReports::restore) {
            tracing::warn!("{e}");
        }
        if let Some(plane) = self.plane.take() {
            plane.release(&mut self.netlink, self.config.global.flush_on_stop == FlushScope::All);
        }
    }
}
