//! The firewall thread: it loads the rules of [`FirewallRules`] into nftables with nft(8).
//!
//! nft may take long, so callers only describe a change and go on. Changes that arrive while nft runs are combined: nft
//! gets the rules as they are then.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_core::firewall::FirewallRules;

/// Maximum time that a start or a reload waits for nft.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// A message to the thread.
enum Message {
    /// Change the rules.
    Update(Box<dyn FnOnce(&mut FirewallRules) + Send>),
    /// Report when the changes before this one are loaded, or failed to load. The thread reports by dropping the
    /// sender.
    Flush(Sender<()>),
    /// Load the last changes and end.
    Close,
}

/// Sends messages to the thread.
#[derive(Clone)]
pub struct Handle(Sender<Message>);

impl Handle {
    /// Changes the rules, and does not wait.
    pub fn update(&self, change: impl FnOnce(&mut FirewallRules) + Send + 'static) {
        let _ = self.0.send(Message::Update(Box::new(change)));
    }

    /// Waits until all changes are loaded, [`FLUSH_TIMEOUT`] at most.
    pub fn flush(&self) {
        let (done, wait) = channel();
        if self.0.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_TIMEOUT);
        }
    }

    /// Ends the thread when all changes are loaded.
    pub fn close(&self) {
        let _ = self.0.send(Message::Close);
    }
}

/// Starts the thread. `table` is the name of the tables.
pub fn start(table: String) -> std::io::Result<(Handle, JoinHandle<()>)> {
    let (tx, rx) = channel();
    let thread = std::thread::Builder::new().name("firewall".into()).spawn(move || run(&table, &rx))?;
    Ok((Handle(tx), thread))
}

fn run(table: &str, messages: &Receiver<Message>) {
    let mut wanted = FirewallRules::default();
    // None: the tables of an earlier daemon may exist. They are replaced even by empty rules.
    let mut loaded: Option<FirewallRules> = None;
    let mut is_open = true;
    while is_open {
        let Ok(first) = messages.recv() else { return };
        // Dropped at the end of this turn, which wakes the callers of `flush`.
        let mut flushes = Vec::new();
        for message in std::iter::once(first).chain(messages.try_iter()) {
            match message {
                Message::Update(change) => change(&mut wanted),
                Message::Flush(done) => flushes.push(done),
                Message::Close => is_open = false,
            }
        }
        if loaded.as_ref() != Some(&wanted) {
            load(table, &wanted, loaded.is_none());
            loaded = Some(wanted.clone());
        }
    }
}

/// Loads the rules and logs the result. `is_first`: nothing was loaded before.
fn load(table: &str, rules: &FirewallRules, is_first: bool) {
    let is_noop = is_first && rules.is_empty();
    match run_nft(&rules.ruleset(table)) {
        Ok(()) if is_noop => {}
        Ok(()) => {
            let (blocked, vmacs) = (rules.blocked.len(), rules.vmacs.len());
            tracing::info!(
                table,
                blocked,
                vmacs,
                "nftables: table {table} drops packets to {blocked} addresses (no_accept, strict_mode) and keeps \
                 {vmacs} virtual MAC addresses out of multicast reports"
            );
        }
        Err(_) if is_noop => {} // nft is not installed, and nothing needs it
        Err(e) => tracing::error!(
            table,
            "nftables: cannot load table {table}: {e}; packets to addresses with no_accept are accepted until it loads \
             (is the package nftables installed?)"
        ),
    }
}

/// Runs `nft -f -` with a ruleset; the error is the first line that nft printed.
fn run_nft(ruleset: &str) -> Result<(), String> {
    let mut nft = Command::new("nft");
    if let Some(path) = std::env::var_os("PATH") {
        // A service's PATH may lack the directories of root's programs.
        let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
        nft.env("PATH", std::env::join_paths(dirs).map_err(|e| e.to_string())?);
    }
    nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = nft.spawn().map_err(|e| format!("run nft: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(ruleset.as_bytes()).map_err(|e| format!("write to nft: {e}"))?;
    }
    let out = child.wait_with_output().map_err(|e| format!("wait for nft: {e}"))?;
    let errors = String::from_utf8_lossy(&out.stderr);
    if out.status.success() { Ok(()) } else { Err(errors.lines().next().unwrap_or("nft failed").to_owned()) }
}
