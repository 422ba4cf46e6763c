//! The edge process: this program, started by the worker with a socket as standard input, and without the capabilities
//! that change networks or load programs into the kernel. It ends when the worker closes the socket.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::process::ExitCode;

use evenkeel_sys::user;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Event;
use super::messages::{self, Report, Request};
use super::tasks::EdgeTasks;

/// The capabilities that the process keeps, by their numbers in capability.h. It reads files of other users, runs
/// scripts as other users and kills them; probes use low ports, firewall marks, raw packets and many descriptors;
/// priority and memory locking are configurable. A script that runs as root gets all capabilities of root.
const KEPT_CAPS: &[u32] = &[
    1,  // CAP_DAC_OVERRIDE
    2,  // CAP_DAC_READ_SEARCH
    5,  // CAP_KILL
    6,  // CAP_SETGID
    7,  // CAP_SETUID
    10, // CAP_NET_BIND_SERVICE
    13, // CAP_NET_RAW
    14, // CAP_IPC_LOCK
    23, // CAP_SYS_NICE
    24, // CAP_SYS_RESOURCE
];

/// Runs the process. Standard input is the socket.
pub fn run() -> ExitCode {
    let _ = nix::sys::prctl::set_name(c"evenkeel-edge");
    if let Err(e) = user::drop_capabilities_except(KEPT_CAPS) {
        tracing::warn!("the edge process keeps all its capabilities: {e}");
    }
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map(StdStream::from);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match (socket, runtime) {
        (Ok(socket), Ok(runtime)) => {
            let result = runtime.block_on(serve(socket));
            evenkeel_probe::program::kill_all();
            result
        }
        (Err(e), _) | (_, Err(e)) => Err(e),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("the edge process (health checks, scripts) cannot run: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Ignores signals that are sent to the whole daemon: the worker acts on them and closes the socket. Handlers and not
/// SIG_IGN, which scripts would inherit.
fn ignore_signals() -> io::Result<Vec<Signal>> {
    let kinds = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::hangup(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    kinds.into_iter().map(signal).collect()
}

async fn serve(socket: StdStream) -> io::Result<()> {
    let _ignored = ignore_signals()?;
    socket.set_nonblocking(true)?;
    let (reader, writer) = UnixStream::from_std(socket)?.into_split();
    let (request_tx, requests) = unbounded_channel();
    tokio::spawn(read_requests(reader, request_tx));
    let (event_tx, events) = unbounded_channel();
    let (reply_tx, replies) = unbounded_channel();
    tokio::spawn(write_reports(writer, events, replies));
    EdgeTasks::new(event_tx, reply_tx).run(requests).await;
    Ok(())
}

async fn read_requests(mut socket: OwnedReadHalf, requests: UnboundedSender<Request>) {
    loop {
        match messages::read_message(&mut socket).await {
            Ok(Some(request)) => {
                if requests.send(request).is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(e) => return tracing::error!("the edge process cannot read a request of the worker: {e}"),
        }
    }
}

async fn write_reports(
    mut socket: OwnedWriteHalf,
    mut events: UnboundedReceiver<Event>,
    mut replies: UnboundedReceiver<Report>,
) {
    loop {
        let report = tokio::select! {
            Some(event) = events.recv() => Report::Event(event),
            Some(reply) = replies.recv() => reply,
            else => return,
        };
        if messages::write_message(&mut socket, &report).await.is_err() {
            return;
        }
    }
}
