//! The link to a running edge process: its socket, its replies, its heartbeat and its end.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use super::messages::{self, Report, Request};
use super::{CheckSnapshot, Event};

/// How often the process is sent a ping.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A process that leaves this many pings unanswered hangs.
const MAX_UNANSWERED: u32 = 3;
/// A process that does not read a message for this long hangs as well.
const WRITE_TIMEOUT: Duration = HEARTBEAT.saturating_mul(MAX_UNANSWERED);
/// Time for a process to exit after its socket was closed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a process is of no use any more.
pub enum ProcessFailure {
    /// It closed its socket.
    Disconnected,
    /// It does not answer.
    NotResponding,
}

/// An input of the link.
pub enum LinkInput {
    /// The next ping is due.
    Heartbeat,
    /// The process reports something.
    Report(Report),
    /// The process closed its socket.
    Disconnected,
}

/// Who waits for a reply.
pub enum PendingReply {
    /// Waits for the state of all checks.
    Checks(mpsc::Sender<CheckSnapshot>),
    /// Waits until everything requested before is done.
    Flush(oneshot::Sender<()>),
}

/// A running edge process.
pub struct ProcessLink {
    child: Child,
    writer: OwnedWriteHalf,
    reports: UnboundedReceiver<Report>,
    last_id: u64,
    pending: HashMap<u64, PendingReply>,
    heartbeat: Interval,
    unanswered: u32,
}

impl ProcessLink {
    /// Starts this program again as the edge process. /proc/self/exe is the program in memory; the file of its name may
    /// be a newer one.
    pub fn start() -> std::io::Result<ProcessLink> {
        let (ours, theirs) = StdStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("--edge").args(std::env::args_os().skip(1)).stdin(Stdio::from(OwnedFd::from(theirs)));
        command.as_std_mut().arg0("evenkeeld");
        let child = command.spawn()?;
        ours.set_nonblocking(true)?;
        let (mut from, writer) = UnixStream::from_std(ours)?.into_split();
        let (tx, reports) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(report)) = messages::read_message(&mut from).await {
                if tx.send(report).is_err() {
                    return;
                }
            }
        });
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        // After the machine was suspended, the missed pings are not sent all at once: left unanswered they would count
        // as a hang.
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(ProcessLink { child, writer, reports, last_id: 0, pending: HashMap::new(), heartbeat, unanswered: 0 })
    }

    /// Waits for the next input. Cancel-safe.
    pub async fn next_input(&mut self) -> LinkInput {
        tokio::select! {
            _ = self.heartbeat.tick() => LinkInput::Heartbeat,
            report = self.reports.recv() => report.map_or(LinkInput::Disconnected, LinkInput::Report),
        }
    }

    /// Passes a reply to the one who waits for it; returns an event.
    pub fn handle_report(&mut self, report: Report) -> Option<Event> {
        match report {
            Report::Pong => self.unanswered = 0,
            Report::Event(event) => return Some(event),
            Report::Checks(id, snapshot) => {
                if let Some(PendingReply::Checks(to)) = self.pending.remove(&id) {
                    let _ = to.send(snapshot);
                }
            }
            Report::Flushed(id) => {
                if let Some(PendingReply::Flush(done)) = self.pending.remove(&id) {
                    let _ = done.send(());
                }
            }
        }
        None
    }

    /// Sends a ping, unless too many are unanswered.
    pub async fn ping(&mut self) -> Result<(), ProcessFailure> {
        if self.unanswered == MAX_UNANSWERED {
            return Err(ProcessFailure::NotResponding);
        }
        self.unanswered += 1;
        self.send(&Request::Ping).await
    }

    /// Sends a request. Not cancel-safe: half a message may have been written.
    pub async fn send(&mut self, request: &Request) -> Result<(), ProcessFailure> {
        match timeout(WRITE_TIMEOUT, messages::write_message(&mut self.writer, request)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ProcessFailure::Disconnected),
            Err(_) => Err(ProcessFailure::NotResponding),
        }
    }

    /// Registers who waits for a reply; returns the request with its number.
    pub fn register_reply(&mut self, reply: PendingReply, request: impl Fn(u64) -> Request) -> Request {
        self.last_id += 1;
        self.pending.insert(self.last_id, reply);
        request(self.last_id)
    }

    /// Waits for the end of a process that failed, kills it if need be, and describes how it ended. Those who wait for
    /// replies are released.
    pub async fn reap(mut self, failure: ProcessFailure) -> String {
        self.pending.clear();
        if let ProcessFailure::NotResponding = failure {
            let _ = self.child.kill().await;
            return format!("hung: it did not answer for {WRITE_TIMEOUT:?} and was killed");
        }
        match timeout(EXIT_TIMEOUT, self.child.wait()).await {
            Ok(Ok(status)) => format!("has ended: {status}"),
            Ok(Err(e)) => format!("has ended: {e}"),
            Err(_) => {
                let _ = self.child.kill().await;
                "closed its socket and was killed".to_owned()
            }
        }
    }

    /// Stops the process: it exits by itself when its socket is closed.
    pub async fn stop(mut self) {
        drop(self.writer);
        self.reports.close();
        if timeout(EXIT_TIMEOUT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
