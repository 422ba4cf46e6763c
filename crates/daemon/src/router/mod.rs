//! The router thread: VRRP and BFD, in real time.
//!
//! The engines are values (`evenkeel_core::vrrp`, `evenkeel_core::bfd`); this thread has their sockets, timers and
//! addresses. It must never wait: no name is looked up, nothing is listed, no file is written but one mapped word, and
//! log lines go through [`log_queue`]. Listing devices and addresses takes the kernel's network lock, so another thread
//! does it ([`observer`]).
//!
//! | file | content |
//! | --- | --- |
//! | `messages` | commands, events, the handle |
//! | `thread` | the state of the thread, and its loop around ppoll(2) |
//! | `commands`, `configure`, `network_state` | what changes the engines from outside |
//! | `receive`, `transmit` | adverts and announcements |
//! | `apply` | outputs of the engines: what each one does |
//! | `sync_groups`, `hold_until_frame`, `unknown_vrids` | VRRP features |
//! | `addresses`, `routes`, `installed_routes` | what masters put into the system |
//! | `last_will` | what the supervisor does if this process dies |
//! | `bfd`, `bfd_sessions` | BFD |

mod addresses;
mod apply;
mod bfd;
mod bfd_sessions;
mod commands;
mod configure;
mod hold_until_frame;
mod installed_routes;
mod instance_status;
mod last_will;
mod log_queue;
mod messages;
mod network_state;
mod observation;
mod observer;
mod receive;
mod routes;
mod sync_groups;
mod thread;
mod transmit;
mod unknown_vrids;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use evenkeel_sys::bpf::ServeAll;
use evenkeel_sys::sched;
use evenkeel_sys::signals::EventFd;
use nix::sys::eventfd::EfdFlags;
use tokio::sync::mpsc::UnboundedSender;

use self::thread::RouterThread;
use crate::args::Args;
use crate::firewall;
use crate::supervisor::WorkerContext;

pub use messages::{Command, Event, Handle, RouterConfig, Snapshot, ThreadConfig};

/// Starts the thread.
pub fn start(
    config: ThreadConfig,
    args: &Args,
    context: WorkerContext,
    shared: (firewall::Handle, Arc<ServeAll>),
    events: UnboundedSender<Event>,
) -> anyhow::Result<(Handle, JoinHandle<()>)> {
    let (commands, inbox) = channel();
    let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK)?);
    let handle = Handle::new(commands, wake.clone());
    let (log_events, level) = (events.clone(), args.log_level());
    let state = RouterThread::new(args, context, (inbox, wake), &handle, shared, events)?;
    let thread = std::thread::Builder::new().name("router".into()).spawn(move || {
        let _guard = log_queue::install(move |record| drop(log_events.send(Event::Log(record))), level);
        if let Err(e) = sched::set_realtime_priority(config.priority) {
            tracing::warn!("VRRP runs without real-time priority, adverts may be late: {e}");
        }
        if let Err(e) = sched::set_cpu_affinity(&config.cpus) {
            tracing::warn!("vrrp_cpu_affinity has no effect: {e}");
        }
        state.run();
    })?;
    Ok((handle, thread))
}
