//! The control thread: it receives events, requests and signals, and calls the parts of the [`Controller`].
//!
//! It is the main thread of the worker process, and the only one that changes the data plane. It may be slow for a
//! moment: the router thread and the edge thread run on.
//!
//! | question | file |
//! | --- | --- |
//! | What does `evenkeel status` show? | `status.rs` |
//! | What do SIGUSR1, SIGUSR2 and `--signum` dumps show? | `dump.rs` |
//! | What happens at a reload? | `reload.rs`, then `apply_config.rs` |
//! | Who changes services in the data plane? | `reconciler.rs` |
//! | What happens when a check fails? | `health.rs`, then `notifications/` |
//! | What is saved over restarts? | `persisted.rs`, and each data plane's own record |

mod answers;
mod apply_config;
mod configuration;
mod controller;
mod dump;
mod events;
mod findings;
mod health;
mod monitored_services;
mod network;
mod notifications;
mod overrides;
mod persisted;
mod reconciler;
mod reload;
mod reload_files;
mod signals;
mod status;
mod throttle;
mod tracking;
mod vmacs;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_core::ipc::{Reply, Request};
use evenkeel_core::model::Config;
use evenkeel_core::time::Instant;
use evenkeel_sys::bpf::ServeAll;
use evenkeel_sys::netlink::NetworkChanges;
use evenkeel_sys::{clock, limits, sched};
use sd_notify::NotifyState;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::controller::Controller;
use self::network::{Network, watch_network};
use self::signals::{SignalRequest, Signals};
use self::throttle::Throttle;
use crate::args::Args;
use crate::plane::UpdateReason;
use crate::supervisor::WorkerContext;
use crate::{control_socket, edge, router};

/// Real-time priority of the router thread unless `vrrp_rt_priority` sets another.
const RT_PRIORITY: u8 = 50;
/// How often drift is looked for, next hops are looked up again, and systemd's watchdog is fed.
const REPAIR_INTERVAL: Duration = Duration::from_secs(5);
/// How often attachments are read back. While one is missing no packet is balanced.
const ATTACHMENT_INTERVAL: Duration = Duration::from_secs(2);
/// How often `reload_time_file` is read.
const RELOAD_TIME_POLL: Duration = Duration::from_secs(1);
/// Maximum number of edge events that are handled before the data plane changes: verdicts that arrive together cost one
/// change.
const MAX_EVENT_BATCH: usize = 4096;

/// What the control thread receives.
struct Inputs {
    router: UnboundedReceiver<router::Event>,
    edge: UnboundedReceiver<edge::Event>,
    requests: UnboundedReceiver<control_socket::Call>,
    network: UnboundedReceiver<NetworkChanges>,
    signals: Signals,
    repair: Interval,
    attachments: Interval,
    reload_poll: Interval,
}

/// How the daemon stops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StopKind {
    /// Addresses and services are released, unless the command line keeps them.
    Release,
    /// Everything stays in place for the next daemon.
    HandOver,
}

/// Runs the control thread until the daemon stops. `skipped` describes the blocks of the file that were skipped at
/// start.
pub fn run(
    args: &Args,
    path: PathBuf,
    config: Config,
    skipped: Option<String>,
    context: WorkerContext,
) -> anyhow::Result<()> {
    if let Err(e) = sched::lock_memory() {
        tracing::warn!("{e}");
    }
    if let (None, Some(mask)) = (args.umask, config.global.umask) {
        limits::set_umask(mask);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let (mut controller, mut inputs, router_thread) = start(args, path, config, skipped, context)?;
        let kind = run_loop(&mut controller, &mut inputs).await;
        stop(controller, inputs, router_thread, kind).await;
        Ok(())
    });
    let _ = fs::remove_file(socket_path(args));
    result
}

fn socket_path(args: &Args) -> PathBuf {
    args.run_dir().join("control.sock")
}

/// Starts the threads, applies the configuration and opens the control socket.
fn start(
    args: &Args,
    path: PathBuf,
    config: Config,
    skipped: Option<String>,
    context: WorkerContext,
) -> anyhow::Result<(Controller, Inputs, JoinHandle<()>)> {
    let network = Network::start(args, &config)?;
    let serve_all = Arc::new(ServeAll::default());
    let (router_tx, router_rx) = unbounded_channel();
    let (edge_tx, edge_rx) = unbounded_channel();
    let (request_tx, request_rx) = unbounded_channel();
    let thread_config = router::ThreadConfig {
        priority: config.global.vrrp_rt_priority.unwrap_or(RT_PRIORITY),
        cpus: config.global.vrrp_cpus.clone(),
    };
    let will_store = context.will_store.clone();
    let (router, router_thread) =
        router::start(thread_config, args, context, (network.firewall.clone(), serve_all.clone()), router_tx)?;
    let edge = edge::start(router.clone(), edge_tx)?;
    let mut controller = Controller::new(args, path, skipped, network, (router, edge), will_store, serve_all);
    controller.apply_file(config)?;
    control_socket::serve(&socket_path(args), request_tx)?;
    let inputs = Inputs {
        router: router_rx,
        edge: edge_rx,
        requests: request_rx,
        network: watch_network()?,
        signals: Signals::new(args.ignore_sigint)?,
        repair: interval(REPAIR_INTERVAL),
        attachments: interval(ATTACHMENT_INTERVAL),
        reload_poll: interval(RELOAD_TIME_POLL),
    };
    controller.will_store.set_ready();
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    tracing::info!(config = %controller.configuration.path.display(), "started");
    Ok((controller, inputs, router_thread))
}

/// Handles inputs until a signal stops the daemon.
async fn run_loop(controller: &mut Controller, inputs: &mut Inputs) -> StopKind {
    inputs.repair.set_missed_tick_behavior(MissedTickBehavior::Delay);
    inputs.attachments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    inputs.reload_poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut throttles = EventThrottles::new();
    loop {
        tokio::select! {
            Some(event) = inputs.router.recv() => {
                controller.handle_router_event(event);
                controller.commit_verdicts();
                if controller.configuration.active.global.sync.is_some() {
                    controller.update_connection_sync();
                }
            }
            Some(event) = inputs.edge.recv() => {
                controller.handle_edge_event(event);
                for _ in 0..MAX_EVENT_BATCH {
                    let Ok(more) = inputs.edge.try_recv() else { break };
                    controller.handle_edge_event(more);
                }
                controller.commit_verdicts();
            }
            Some((request, reply)) = inputs.requests.recv() => {
                let _ = reply.send(handle_request(controller, request));
            }
            Some(mut changes) = inputs.network.recv() => {
                while let Ok(more) = inputs.network.try_recv() {
                    changes = changes.merge(more);
                }
                handle_network_changes(controller, &mut throttles, changes);
            }
            () = wait_until(controller.reconciler.requested_observation_time()) => observe_if_due(controller),
            () = wait_until(throttles.due_time()) => follow_network(controller, &mut throttles),
            _ = inputs.reload_poll.tick() => {
                if controller.configuration.is_reload_due() {
                    controller.reload();
                }
            }
            _ = inputs.attachments.tick() => {
                let Controller { configuration, network, reconciler, .. } = controller;
                reconciler.repair_attachments(&configuration.active, &mut network.netlink);
            }
            _ = inputs.repair.tick() => {
                controller.repair_drift();
                controller.refresh_next_hops();
                controller.update_activation();
                controller.sample_answers();
                controller.update_findings();
                feed_watchdog(controller);
            }
            signal = inputs.signals.next() => match signal {
                SignalRequest::Reload => drop(controller.reload()),
                SignalRequest::Dump(kind) => dump::write_dump(controller, kind),
                SignalRequest::Stop => return StopKind::Release,
                SignalRequest::HandOver => return StopKind::HandOver,
            }
        }
    }
}

/// Waits until a moment; for ever without one.
async fn wait_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep(moment.duration_since(clock::now())).await,
        None => std::future::pending().await,
    }
}

fn handle_request(controller: &mut Controller, request: Request) -> Reply {
    match request {
        Request::Status => Reply::Status(Box::new(status::status(controller))),
        Request::Reload => controller.reload(),
        Request::Override { change } => controller.apply_override(change),
        Request::Plan { file } => controller.plan_reload(Path::new(&file)),
        Request::Observe => {
            controller.reconciler.request_observation();
            observe_if_due(controller);
            Reply::Observed
        }
    }
}

/// A client changed the data plane: observes it before its time, but not so often that it costs more than its share.
fn observe_if_due(controller: &mut Controller) {
    let start = clock::now();
    if controller.reconciler.is_observation_due(start) {
        controller.repair_drift();
        controller.refresh_next_hops();
        controller.reconciler.postpone_observation(start);
    }
}

fn handle_network_changes(controller: &mut Controller, throttles: &mut EventThrottles, changes: NetworkChanges) {
    if changes.links {
        throttles.links.request();
    }
    if changes.links || changes.addresses || changes.routes {
        throttles.attachments.request();
        throttles.activation.request();
    }
    if changes.links || changes.routes_or_neighbours {
        throttles.next_hops.request();
    }
    if changes.links || changes.addresses {
        controller.update_suspended_checks(false);
    }
    follow_network(controller, throttles);
}

/// Does what network events have requested, as far as it is due.
fn follow_network(controller: &mut Controller, throttles: &mut EventThrottles) {
    let Controller { configuration, network, reconciler, .. } = controller;
    let config = &configuration.active;
    throttles.links.run(|| network.handle_link_change(config));
    let netlink = &mut network.netlink;
    throttles.attachments.run(|| {
        reconciler.update_attachments(config, netlink, UpdateReason::NetworkEvent);
        throttles.next_hops.request(); // next hops in new VLANs become usable
    });
    throttles.activation.run(|| reconciler.update_activation(config, netlink));
    throttles.next_hops.run(|| reconciler.refresh_next_hops(netlink));
}

/// What follows network events. On a host with thousands of containers, or with the routes of the whole Internet, there
/// is an event at any moment, and each list of links or routes takes milliseconds.
struct EventThrottles {
    links: Throttle,
    attachments: Throttle,
    activation: Throttle,
    next_hops: Throttle,
}

impl EventThrottles {
    fn new() -> EventThrottles {
        EventThrottles {
            links: Throttle::new(20),
            attachments: Throttle::new(20),
            activation: Throttle::new(4), // a new master waits for it
            next_hops: Throttle::new(10),
        }
    }

    /// When the first thing is due.
    fn due_time(&self) -> Option<Instant> {
        let all = [&self.links, &self.attachments, &self.activation, &self.next_hops];
        all.into_iter().filter_map(Throttle::due_time).min()
    }
}

/// Feeds systemd's watchdog, but only while the router thread answers.
fn feed_watchdog(controller: &Controller) {
    if controller.router.snapshot().is_some() {
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    } else {
        tracing::error!("the router thread does not answer: systemd's watchdog is not fed");
    }
}

/// Stops the threads. For [`StopKind::Release`] also removes what the daemon put into the system, and runs
/// `shutdown_script`.
async fn stop(mut controller: Controller, mut inputs: Inputs, router_thread: JoinHandle<()>, kind: StopKind) {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    let release_vrrp = !controller.args.dont_release_vrrp;
    controller.router.send(match kind {
        StopKind::HandOver => {
            tracing::info!("handing over to the next daemon: addresses, services and forwarding stay in place");
            router::Command::HandOver
        }
        StopKind::Release => {
            tracing::info!("stopping");
            router::Command::Stop { release: release_vrrp }
        }
    });
    let _ = router_thread.join();
    while let Ok(event) = inputs.router.try_recv() {
        controller.handle_router_event(event);
    }
    if kind == StopKind::Release {
        let events = controller.health.omega_events(&controller.configuration.active);
        controller.notify_all(events);
    }
    controller.edge.flush().await;
    controller.edge.stop().await;
    if kind == StopKind::HandOver {
        return;
    }
    controller.network.stop(release_vrrp);
    let global = &controller.configuration.active.global;
    if !controller.args.dont_release_ipvs {
        controller.network.restore_local_igmp();
        controller.reconciler.release(global.flush_on_stop, &mut controller.network.netlink);
    }
    if let Some((script, limit)) = &global.shutdown_script {
        match evenkeel_probe::program::run_program(script, *limit, global.enable_script_security).await {
            Ok(status) if status.success() => {}
            Ok(status) => tracing::warn!("shutdown_script failed: {status}"),
            Err(reason) => tracing::warn!("shutdown_script failed: {reason}"),
        }
    }
}
