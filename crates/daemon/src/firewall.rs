//! Tells nftables what [`evenkeel_core::firewall`] says, on a thread of its own: whoever wants something of it does not
//! wait. Only the last wish counts.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_core::firewall::FirewallRules;

/// What the thread is told.
enum Message {
    /// Something is wanted otherwise now.
    Update(Box<dyn FnOnce(&mut FirewallRules) + Send>),
    /// Say when nftables know what was wanted until here, or when they could not be told.
    Flush(Sender<()>),
    /// It was the last.
    Close,
}

/// A way to the thread.
#[derive(Clone)]
pub struct Handle(Sender<Message>);

impl Handle {
    /// Something is wanted otherwise now.
    pub fn update(&self, how: impl FnOnce(&mut FirewallRules) + Send + 'static) {
        let _ = self.0.send(Message::Update(Box::new(how)));
    }

    /// Waits until nftables know what is wanted; not for long.
    pub fn flush(&self) {
        let (done, wait) = channel();
        if self.0.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_TIMEOUT);
        }
    }

    /// Nothing more will be wanted; the thread ends when it has told the last of it.
    pub fn close(&self) {
        let _ = self.0.send(Message::Close);
    }
}

/// A start or a reload waits for so long at most.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts the thread. `table` is the tables' name.
pub fn start(table: String) -> std::io::Result<(Handle, JoinHandle<()>)> {
    let (tx, rx) = channel();
    let thread = std::thread::Builder::new().name("firewall".into()).spawn(move || run(&table, &rx))?;
    Ok((Handle(tx), thread))
}

fn run(table: &str, messages: &Receiver<Message>) {
    let mut wanted = FirewallRules::default();
    // What an earlier daemon left is replaced even if nothing is wanted.
    let mut told: Option<FirewallRules> = None;
    let mut open = true;
    while open {
        let Ok(first) = messages.recv() else { return };
        // Whoever waits is let go when these are dropped.
        let mut waiting = Vec::new();
        for message in std::iter::once(first).chain(messages.try_iter()) {
            match message {
                Message::Update(how) => how(&mut wanted),
                Message::Flush(done) => waiting.push(done),
                Message::Close => open = false,
            }
        }
        if told.as_ref() == Some(&wanted) {
            continue;
        }
        match run_nft(&wanted.ruleset(table)) {
            Ok(()) => {
                let (refused, vmacs) = (wanted.blocked.len(), wanted.vmacs.len());
                if told.is_some() || !wanted.is_empty() {
                    tracing::info!(
                        refused,
                        vmacs,
                        "nftables: table {table} refuses packets to {refused} addresses, for no_accept or strict_mode, \
                         and keeps {vmacs} virtual MAC addresses out of reports of multicast groups"
                    );
                }
            }
            Err(_) if told.is_none() && wanted.is_empty() => {} // there is no nft, and nothing for it to do
            Err(e) => tracing::error!(
                "nftables were not told: {e}; packets to addresses with no_accept are taken in until they are \
                 (is the package nftables there?)"
            ),
        }
        told = Some(wanted.clone());
    }
}

/// Runs `nft -f -`.
fn run_nft(ruleset: &str) -> Result<(), String> {
    let mut nft = Command::new("nft");
    if let Some(path) = std::env::var_os("PATH") {
        // Where root's programs are may not be in a service's PATH.
        let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
        nft.env("PATH", std::env::join_paths(dirs).map_err(|e| e.to_string())?);
    }
    nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = nft.spawn().map_err(|e| format!("run nft: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(ruleset.as_bytes()).map_err(|e| format!("write to nft: {e}"))?;
    }
    let out = child.wait_with_output().map_err(|e| format!("wait for nft: {e}"))?;
    let said = String::from_utf8_lossy(&out.stderr);
    if out.status.success() { Ok(()) } else { Err(said.lines().next().unwrap_or("it failed").to_owned()) }
}
