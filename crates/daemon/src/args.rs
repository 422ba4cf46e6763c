//! The command line: keepalived's options, and a few longer ones of our own.

use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};
use evenkeel_core::config::Options;

/// How log lines look on standard error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// evenkeeld: VRRP, health checks and layer-4 load balancing from a keepalived.conf
#[derive(Parser, Debug)]
#[command(name = "evenkeeld", version, disable_version_flag = true)]
pub struct Args {
    /// Configuration file [default: /etc/evenkeel/evenkeel.conf, then /etc/keepalived/keepalived.conf]
    #[arg(short = 'f', long = "use-file", value_name = "FILE")]
    pub use_file: Option<PathBuf>,
    /// Stay in the foreground
    #[arg(short = 'n', long)]
    pub dont_fork: bool,
    /// Log to standard error even where there is a journal
    #[arg(short = 'l', long)]
    pub log_console: bool,
    /// Log more
    #[arg(short = 'D', long, action = ArgAction::Count)]
    pub log_detail: u8,
    /// What `@id` lines are compared with [default: the host's name up to its first dot]
    #[arg(short = 'i', long, value_name = "ID")]
    pub config_id: Option<String>,
    /// Do not start with a file in which anything is wrong; keepalived, and so this, leaves that out and starts
    #[arg(long)]
    pub strict: bool,
    /// Check the configuration and exit with keepalived's status: 0 nothing to say, 2 a parameter is missing, 4 a file
    /// cannot be read, 5 an error or a warning, 6 unsafe scripts or a missing include
    #[arg(short = 't', long, value_name = "LOG", num_args = 0..=1, default_missing_value = "")]
    pub config_test: Option<String>,
    /// Print the number of the signal that asks for this, and exit: STOP, RELOAD, DATA, STATS, STATS_CLEAR, JSON
    #[arg(long, value_name = "NAME")]
    pub signum: Option<String>,
    /// Do not start the working process anew when it has died
    #[arg(short = 'R', long)]
    pub dont_respawn: bool,
    /// File for the process id [default: RUN-DIR/evenkeeld.pid]
    #[arg(short = 'p', long, value_name = "FILE")]
    pub pid: Option<PathBuf>,
    /// Leave addresses in place at stop
    #[arg(short = 'V', long)]
    pub dont_release_vrrp: bool,
    /// Leave services and forwarding in place at stop
    #[arg(short = 'I', long)]
    pub dont_release_ipvs: bool,
    /// Several daemons on one machine: each has its own run directory and maps
    #[arg(long, default_value = "main", value_parser = instance_name)]
    pub instance: String,
    /// How log lines look on standard error
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
}

fn instance_name(s: &str) -> Result<String, String> {
    // The BPF file system keeps names with dots to itself.
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !s.is_empty() && s.len() <= 64 && s.chars().all(good) {
        Ok(s.to_owned())
    } else {
        Err("a name of letters, digits, - and _".into())
    }
}

impl Args {
    /// The file to read.
    pub fn config_file(&self) -> PathBuf {
        self.use_file.clone().unwrap_or_else(|| {
            let ours = PathBuf::from("/etc/evenkeel/evenkeel.conf");
            if ours.exists() { ours } else { PathBuf::from("/etc/keepalived/keepalived.conf") }
        })
    }

    /// How the file is to be read.
    pub fn options(&self) -> Options {
        Options { config_id: self.config_id.clone() }
    }

    /// Sockets, locks, and what outlives the process until the next boot.
    pub fn run_dir(&self) -> PathBuf {
        evenkeel_sys::paths::run_dir(&self.instance)
    }

    /// When each virtual router last spoke as master.
    pub fn memo_file(&self) -> PathBuf {
        self.run_dir().join("vrrp.memo")
    }

    /// What was changed of devices that others own, and will be set back.
    pub fn borrowed_file(&self) -> PathBuf {
        self.run_dir().join("borrowed")
    }

    /// The name of our tables of nftables, unless the configuration has one.
    pub fn table(&self) -> String {
        if self.instance == "main" { "evenkeel".into() } else { format!("evenkeel_{}", self.instance) }
    }

    /// Where the id of the process that takes signals stands.
    pub fn pid_file(&self) -> PathBuf {
        self.pid.clone().unwrap_or_else(|| self.run_dir().join("evenkeeld.pid"))
    }

    /// Where maps and links are pinned.
    pub fn bpf_dir(&self) -> PathBuf {
        evenkeel_sys::paths::bpf_dir(&self.instance)
    }
}
