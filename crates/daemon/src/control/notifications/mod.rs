//! The notifications part: FIFOs, notify scripts and mail, and the results of notify scripts.
//!
//! A line is written to the FIFOs at once, so that the order of lines is the order of events. Scripts and mail go to
//! the edge process, which starts scripts in this order and waits for none. Texts, states and names are keepalived's:
//! its scripts and readers of its FIFOs work unchanged.

mod fifos;

use std::collections::BTreeMap;

use evenkeel_core::health::HealthEvent;
use evenkeel_core::ipc::NotificationStatus;
use evenkeel_core::model::{Config, NotifyConfig, RealServer, ScriptCommand, ServerKey, ServiceKey, VirtualServer};
use evenkeel_core::vrrp::State;

use self::fifos::Fifos;
use super::configuration::router_id;
use super::health::PendingEvent;
use super::monitored_services::quorum_message;
use crate::edge;

/// An instance or a sync group, as notifications name it.
#[derive(Clone, Copy)]
pub enum VrrpObject<'a> {
    /// An instance by its name.
    Instance(&'a str),
    /// A sync group by its name.
    Group(&'a str),
}

impl<'a> VrrpObject<'a> {
    fn kind_and_name(self) -> (&'static str, &'a str) {
        match self {
            VrrpObject::Instance(name) => ("INSTANCE", name),
            VrrpObject::Group(name) => ("GROUP", name),
        }
    }
}

/// A new state of an instance or a sync group.
#[derive(Clone, Copy)]
pub struct VrrpTransition<'a> {
    /// What changed.
    pub object: VrrpObject<'a>,
    /// Its new state.
    pub to: State,
    /// The configuration has no such instance any more.
    pub deleted: bool,
    /// Its priority; 0 for a group.
    pub priority: u8,
}

/// FIFOs, scripts and mail of this daemon.
pub struct Notifications {
    fifos: Fifos,
    /// The last run of each notify script, by object and script.
    results: BTreeMap<(String, String), NotificationStatus>,
}

impl Notifications {
    /// No FIFO is open.
    pub fn new() -> Notifications {
        Notifications { fifos: Fifos::default(), results: BTreeMap::new() }
    }

    /// Applies a configuration.
    pub fn configure(&mut self, config: &Config) {
        self.fifos.configure(&config.global.fifos);
    }

    /// Records how a notify script ended.
    pub fn record_result(&mut self, result: NotificationStatus) {
        self.results.insert((result.object.clone(), result.program.clone()), result);
    }

    /// The last run of each notify script.
    pub fn results(&self) -> Vec<NotificationStatus> {
        self.results.values().cloned().collect()
    }

    /// Notifies FIFOs and scripts of a transition.
    pub fn notify_transition(&mut self, edge: &edge::Handle, transition: VrrpTransition<'_>, notify: &NotifyConfig) {
        let VrrpTransition { object, to, deleted, priority } = transition;
        let (kind, name) = object.kind_and_name();
        let (state, script) = match (to, deleted) {
            (State::Master, _) => ("MASTER", &notify.master),
            (State::Backup, _) => ("BACKUP", &notify.backup),
            (State::Fault, _) => ("FAULT", &notify.fault),
            (State::Init, false) => ("STOP", &notify.stop),
            (State::Init, true) => match &notify.deleted {
                Some(script) => ("DELETED", script),
                None => ("FAULT", &notify.fault),
            },
        };
        self.fifos.write_vrrp(kind, name, state, priority);
        let arguments = [kind, name, state, &priority.to_string()];
        let general = notify.any.as_ref().map(|script| with_args(script, arguments));
        run_scripts(edge, format!("{kind} {name}"), state, script.clone().into_iter().chain(general));
    }

    /// Notifies FIFOs of a priority that changed (`notify_priority_changes`).
    pub fn notify_priority(&mut self, instance: &str, state: State, priority: u8) {
        self.fifos.write_vrrp("INSTANCE", instance, &format!("{state}_PRIORITY"), priority);
    }

    /// Notifies FIFOs and scripts of a master that received an advert of a lower priority.
    pub fn notify_lower_priority(&mut self, edge: &edge::Handle, instance: &str, priority: u8, notify: NotifyConfig) {
        self.fifos.write_vrrp("INSTANCE", instance, edge::LOWER_PRIORITY, priority);
        run_scripts(edge, format!("INSTANCE {instance}"), edge::LOWER_PRIORITY, notify.lower_priority);
    }

    /// Logs a health event and notifies FIFOs, scripts and mail. Of a virtual server group only one address, the one
    /// that is marked for it, notifies.
    pub fn notify_health(&mut self, edge: &edge::Handle, config: &Config, pending: &PendingEvent) {
        let Some(v) = config.virtual_servers.iter().find(|v| v.key == pending.service) else { return };
        if v.group.as_ref().is_some_and(|(_, notifies)| !notifies) {
            return;
        }
        match pending.event {
            HealthEvent::Server { key, up } => {
                let Some(r) = v.servers.iter().find(|r| r.key == key) else { return };
                self.notify_server(edge, config, (v, r), up, &pending.reason);
            }
            HealthEvent::Quorum { up, .. } => {
                self.notify_quorum(edge, config, v, up, &quorum_message(pending.event));
            }
        }
    }

    fn notify_server(
        &mut self,
        edge: &edge::Handle,
        config: &Config,
        (v, r): (&VirtualServer, &RealServer),
        up: bool,
        reason: &str,
    ) {
        let (service, server, state) = (v.key, r.key, up_or_down(up));
        tracing::info!(%service, %server, "{server} of {service} is {state}: {reason}");
        let (rs, vs) = (server_name(service, server), service_name(v));
        self.fifos.write_server(&rs, &vs, state);
        let script = if up { &r.notify_up } else { &r.notify_down };
        run_scripts(edge, format!("RS {rs} {vs}"), state, script.clone());
        if r.mail {
            let subject = format!("Realserver {rs} of virtual server {vs} - {state}");
            send_mail(edge, config, &subject, format!("{reason}\n"));
        }
    }

    fn notify_quorum(&mut self, edge: &edge::Handle, config: &Config, v: &VirtualServer, up: bool, reason: &str) {
        let (service, state, vs) = (v.key, up_or_down(up), service_name(v));
        tracing::info!(%service, "{service} is {state}: {reason}");
        self.fifos.write_service(&vs, state);
        let script = if up { &v.quorum_up } else { &v.quorum_down };
        run_scripts(edge, format!("VS {vs}"), state, script.clone());
        if v.mail {
            send_mail(edge, config, &format!("Virtualserver {vs} - {state}"), format!("{reason}\n"));
        }
    }
}

/// Sends mail of a transition to `to`, if mail is configured for such a state (`smtp_alert`).
pub fn send_transition_mail(edge: &edge::Handle, config: &Config, object: VrrpObject<'_>, to: State, body: String) {
    let faults = || config.global.mail.as_ref().is_some_and(|m| m.faults);
    if to == State::Init || (to == State::Fault && !faults()) {
        return;
    }
    let object = match object {
        VrrpObject::Instance(name) => format!("VRRP Instance {name}"),
        VrrpObject::Group(name) => format!("VRRP Group {name}"),
    };
    send_mail(edge, config, &format!("{object} - Entering {to} state"), body);
}

/// Sends mail, if mail is configured. The subject begins with the director's name in brackets, as keepalived writes it.
fn send_mail(edge: &edge::Handle, config: &Config, subject: &str, body: String) {
    let Some(mail) = config.global.mail.clone() else { return };
    let subject = format!("[{}] {subject}", router_id(config));
    edge.send_mail(edge::MailMessage { mail, subject, body });
}

fn run_scripts(edge: &edge::Handle, subject: String, state: &str, scripts: impl IntoIterator<Item = ScriptCommand>) {
    let scripts: Vec<ScriptCommand> = scripts.into_iter().collect();
    if !scripts.is_empty() {
        edge.notify(edge::Notification { subject, state: state.to_owned(), scripts });
    }
}

fn with_args<const N: usize>(script: &ScriptCommand, arguments: [&str; N]) -> ScriptCommand {
    let mut script = script.clone();
    script.argv.extend(arguments.map(str::to_owned));
    script
}

/// A real server as keepalived writes it in notifications.
fn server_name(service: ServiceKey, server: ServerKey) -> String {
    format!("[{}]:{}:{}", server.addr, service.protocol.to_string().to_lowercase(), server.port)
}

/// A virtual service as keepalived writes it in notifications; a group by its name.
fn service_name(v: &VirtualServer) -> String {
    match &v.group {
        Some((name, _)) => format!("[{name}]:{}", v.key.port),
        None => format!("[{}]:{}:{}", v.key.addr, v.key.protocol.to_string().to_lowercase(), v.key.port),
    }
}

fn up_or_down(up: bool) -> &'static str {
    if up { "UP" } else { "DOWN" }
}
