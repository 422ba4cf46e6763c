//! Signals of the control thread. The supervisor receives them and forwards them to this process.

use std::io;

use evenkeel_sys::signals;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::dump::DumpKind;

/// What a signal requests.
pub enum SignalRequest {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1, SIGUSR2, SIGRTMAX-1, SIGRTMIN+2: write a file.
    Dump(DumpKind),
    /// SIGTERM, SIGINT: stop, and release addresses and services.
    Stop,
    /// SIGQUIT: stop, and leave everything in place for the next daemon.
    HandOver,
}

/// The signals that are received.
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    ignores_interrupt: bool,
    quit: Signal,
    data: Signal,
    stats: Signal,
    stats_clear: Signal,
    json: Signal,
}

impl Signals {
    /// Starts receiving. `ignores_interrupt`: `--ignore-sigint`.
    pub fn new(ignores_interrupt: bool) -> io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            ignores_interrupt,
            quit: signal(SignalKind::quit())?,
            data: signal(SignalKind::user_defined1())?,
            stats: signal(SignalKind::user_defined2())?,
            stats_clear: signal(SignalKind::from_raw(signals::sig_stats_clear()))?,
            json: signal(SignalKind::from_raw(signals::sig_json()))?,
        })
    }

    /// Waits for the next signal. Cancel-safe: a signal that arrived is not lost if the wait is dropped.
    pub async fn next(&mut self) -> SignalRequest {
        tokio::select! {
            _ = self.hangup.recv() => SignalRequest::Reload,
            _ = self.data.recv() => SignalRequest::Dump(DumpKind::Data),
            _ = self.stats.recv() => SignalRequest::Dump(DumpKind::Stats),
            _ = self.stats_clear.recv() => SignalRequest::Dump(DumpKind::StatsClear),
            _ = self.json.recv() => SignalRequest::Dump(DumpKind::Json),
            _ = self.terminate.recv() => SignalRequest::Stop,
            _ = self.interrupt.recv(), if !self.ignores_interrupt => SignalRequest::Stop,
            _ = self.quit.recv() => SignalRequest::HandOver,
        }
    }
}
