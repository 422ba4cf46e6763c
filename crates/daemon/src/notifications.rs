//! Who is told of transitions: FIFOs here and at once, so that their order is that of the events; programs by the edge
//! thread, which starts them in this order and waits for none.

use std::collections::BTreeMap;
use std::path::Path;

use evenkeel_core::model::{Fifo, NotifyConfig, ScriptCommand, ServerKey, ServiceKey, VirtualServer};
use evenkeel_core::vrrp::State;

use crate::edge;

/// The FIFOs that are open, by their configuration.
#[derive(Default)]
pub struct Fifos(BTreeMap<Fifo, evenkeel_sys::fifo::Fifo>);

impl Fifos {
    /// Opens what is new and closes what is not configured any more.
    pub fn configure(&mut self, wanted: &[Fifo]) {
        self.0.retain(|f, _| wanted.contains(f));
        for f in wanted {
            if self.0.contains_key(f) {
                continue;
            }
            let owner = f.user.as_ref().map(|(u, g)| evenkeel_sys::user::lookup_ids(u, g.as_deref())).transpose();
            match owner.and_then(|o| evenkeel_sys::fifo::Fifo::open(Path::new(&f.path), o)) {
                Ok(open) => {
                    self.0.insert(f.clone(), open);
                }
                Err(e) => tracing::error!("{e}"),
            }
        }
    }

    fn write_line(&mut self, line: &str, who: impl Fn(&Fifo) -> bool) {
        for (f, open) in self.0.iter_mut().filter(|(f, _)| who(f)) {
            if let Err(e) = open.write_line(line.as_bytes()) {
                tracing::warn!("{} was not told `{}`: {e}", f.path, line.trim_end());
            }
        }
    }

    /// `INSTANCE "V" MASTER 100`, as keepalived writes it.
    pub fn write_vrrp(&mut self, kind: &str, name: &str, state: &str, priority: u8) {
        self.write_line(&format!("{kind} \"{name}\" {state} {priority}\n"), |f| f.vrrp);
    }

    /// `RS [10.0.0.7]:tcp:80 [10.0.0.1]:tcp:80 UP`. keepalived ends such lines with a NUL byte behind the newline, which is
    /// a mistake of its own that no reader of lines wants.
    pub fn write_server(&mut self, rs: &str, vs: &str, state: &str) {
        self.write_line(&format!("RS {rs} {vs} {state}\n"), |f| f.servers);
    }

    /// `VS [10.0.0.1]:tcp:80 UP`
    pub fn write_service(&mut self, vs: &str, state: &str) {
        self.write_line(&format!("VS {vs} {state}\n"), |f| f.servers);
    }
}

/// A real server as keepalived writes it in notifications.
pub fn server_name(service: ServiceKey, server: ServerKey) -> String {
    format!("[{}]:{}:{}", server.addr, service.protocol.to_string().to_lowercase(), server.port)
}

/// A virtual server as keepalived writes it in notifications; a group by its name.
pub fn service_name(v: &VirtualServer) -> String {
    match &v.group {
        Some((name, _)) => format!("[{name}]:{}", v.key.port),
        None => format!("[{}]:{}:{}", v.key.addr, v.key.protocol.to_string().to_lowercase(), v.key.port),
    }
}

/// What keepalived calls a state in notifications; `None` where it says nothing.
fn keepalived_state(to: State, deleted: bool, notify: &NotifyConfig) -> Option<&'static str> {
    match (to, deleted) {
        (State::Master, _) => Some("MASTER"),
        (State::Backup, _) => Some("BACKUP"),
        (State::Fault, _) => Some("FAULT"),
        (State::Init, true) => Some(if notify.deleted.is_some() { "DELETED" } else { "FAULT" }),
        (State::Init, false) => Some("STOP"),
    }
}

/// Tells FIFOs and programs of a transition of an instance or a group.
pub fn notify_transition(
    fifos: &mut Fifos,
    edge: &edge::Handle,
    (kind, name): (&str, &str),
    (to, deleted): (State, bool),
    priority: u8,
    notify: &NotifyConfig,
) {
    let Some(state) = keepalived_state(to, deleted, notify) else { return };
    let of = format!("{kind} {name}");
    fifos.write_vrrp(kind, name, state, priority);
    let own = match state {
        "MASTER" => &notify.master,
        "BACKUP" => &notify.backup,
        "FAULT" => &notify.fault,
        "STOP" => &notify.stop,
        _ => notify.deleted.as_ref().unwrap_or(&None),
    };
    let own = own.clone();
    let any = notify.any.as_ref().map(|script| with_args(script, [kind, name, state, &priority.to_string()]));
    run_notify_scripts(edge, of, state, own.into_iter().chain(any).collect());
}

/// Tells programs of something, if there are any.
pub fn run_notify_scripts(edge: &edge::Handle, of: String, state: &str, programs: Vec<ScriptCommand>) {
    if !programs.is_empty() {
        edge.notify(edge::Notification { subject: of, state: state.to_owned(), scripts: programs });
    }
}

/// A program with further arguments.
pub fn with_args<const N: usize>(script: &ScriptCommand, arguments: [&str; N]) -> ScriptCommand {
    let mut script = script.clone();
    script.argv.extend(arguments.map(str::to_owned));
    script
}
