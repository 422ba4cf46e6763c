//! The command line: keepalived's options, and a few longer ones of our own.

use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};
use evenkeel_core::config::Options;
use evenkeel_core::model::Config;
pub use syslog_tracing::Facility;
use tracing::level_filters::LevelFilter;

/// How log lines look on standard error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// evenkeeld: VRRP, health checks and layer-4 load balancing from a keepalived.conf
#[derive(Parser, Clone, Debug)]
#[command(name = "evenkeeld", version, disable_version_flag = true)]
pub struct Args {
    /// Configuration file [default: /etc/evenkeel/evenkeel.conf, then /etc/keepalived/keepalived.conf]
    #[arg(short = 'f', long = "use-file", value_name = "FILE")]
    pub use_file: Option<PathBuf>,
    /// The process that a daemon starts for health checks and scripts; its standard input is a socket
    #[arg(long, hide = true)]
    pub edge: bool,
    /// Stay in the foreground
    #[arg(short = 'n', long)]
    pub dont_fork: bool,
    /// Log to standard error even where there is a journal
    #[arg(short = 'l', long)]
    pub log_console: bool,
    /// Log more
    #[arg(short = 'D', long, action = ArgAction::Count)]
    pub log_detail: u8,
    /// Log to this file [default for FILE: /tmp/keepalived.log]
    #[arg(short = 'g', long, value_name = "FILE", num_args = 0..=1, default_missing_value = "/tmp/keepalived.log")]
    pub log_file: Option<PathBuf>,
    /// Accepted: every line is written to the log file at once in any case
    #[arg(long)]
    flush_log_file: bool,
    /// Log neither to the journal nor to syslog
    #[arg(short = 'G', long)]
    pub no_syslog: bool,
    /// What syslog takes the log for: 0 to 7 and local0 to local7, user or daemon
    #[arg(short = 'S', long, value_name = "FACILITY", default_value = "daemon", value_parser = parse_facility)]
    pub log_facility: Facility,
    /// Log the configuration at the start
    #[arg(short = 'd', long)]
    pub dump_conf: bool,
    /// Only virtual routers: no virtual server of the configuration is served
    #[arg(short = 'P', long)]
    pub vrrp: bool,
    /// Only virtual servers: no virtual router of the configuration speaks
    #[arg(short = 'C', long)]
    pub check: bool,
    /// No BFD session of the configuration
    #[arg(short = 'B', long = "no_bfd")]
    pub no_bfd: bool,
    /// Accepted: everything that the configuration asks for runs in any case
    #[arg(long)]
    all: bool,
    /// Run in this network namespace, of those that `ip netns` lists
    #[arg(short = 's', long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Octal: what others may not do with files that are made
    #[arg(short = 'u', long, value_name = "MASK", value_parser = parse_umask)]
    pub umask: Option<u32>,
    /// Take away addresses that an earlier daemon left, and go on from none of its states
    #[arg(short = 'X', long)]
    pub release_vips: bool,
    /// Write a core file if the daemon crashes
    #[arg(short = 'm', long)]
    pub core_dump: bool,
    /// Accepted: the pattern of core files is the system's
    #[arg(short = 'M', long, value_name = "PATTERN", num_args = 0..=1, default_missing_value = "")]
    core_dump_pattern: Option<String>,
    /// Accepted: what becomes of addresses is logged in any case
    #[arg(short = 'a', long)]
    address_monitoring: bool,
    /// Accepted: a missing file that is included is told in any case
    #[arg(short = 'e', long)]
    all_config: bool,
    /// Accepted: there is no SNMP
    #[arg(short = 'x', long)]
    snmp: bool,
    /// Accepted: there is no SNMP
    #[arg(short = 'A', long, value_name = "SOCKET")]
    snmp_agent_socket: Option<String>,
    /// Take no notice of SIGINT
    #[arg(long)]
    pub ignore_sigint: bool,
    /// Another file for the process id, as keepalived has for its process that speaks VRRP
    #[arg(short = 'r', long = "vrrp_pid", value_name = "FILE")]
    vrrp_pid: Option<PathBuf>,
    /// Another one, as for health checks
    #[arg(short = 'c', long = "checkers_pid", value_name = "FILE")]
    checkers_pid: Option<PathBuf>,
    /// Another one, as for BFD
    #[arg(short = 'b', long = "bfd_pid", value_name = "FILE")]
    bfd_pid: Option<PathBuf>,
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
    #[arg(long, default_value = "main", value_parser = parse_instance_name)]
    pub instance: String,
    /// How log lines look on standard error
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// keepalived(8): 0 to 7 stand for local0 to local7.
fn parse_facility(s: &str) -> Result<Facility, String> {
    let local = [
        Facility::Local0,
        Facility::Local1,
        Facility::Local2,
        Facility::Local3,
        Facility::Local4,
        Facility::Local5,
        Facility::Local6,
        Facility::Local7,
    ];
    match s {
        "daemon" => Ok(Facility::Daemon),
        "user" => Ok(Facility::User),
        _ => {
            let number = s.strip_prefix("local").unwrap_or(s).parse().ok();
            let found = number.and_then(|n: usize| local.into_iter().nth(n));
            found.ok_or_else(|| "0 to 7, local0 to local7, user or daemon".into())
        }
    }
}

fn parse_umask(s: &str) -> Result<u32, String> {
    u32::from_str_radix(s, 8).ok().filter(|n| *n <= 0o777).ok_or_else(|| "an octal number up to 777".into())
}

fn parse_instance_name(s: &str) -> Result<String, String> {
    // The BPF file system keeps names with dots to itself.
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !s.is_empty() && s.len() <= 64 && s.chars().all(good) {
        Ok(s.to_owned())
    } else {
        Err("a name of letters, digits, - and _".into())
    }
}

impl Args {
    /// How much is logged.
    pub fn log_level(&self) -> LevelFilter {
        match self.log_detail {
            0 => LevelFilter::INFO,
            1 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }

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

    /// What names of real servers stood for.
    pub fn resolved_servers_file(&self) -> PathBuf {
        self.run_dir().join("names.json")
    }

    /// What was ordered by hand.
    pub fn overrides_file(&self) -> PathBuf {
        self.run_dir().join("orders.json")
    }

    /// The services that were made in the kernel's IPVS.
    pub fn ipvs_services_file(&self) -> PathBuf {
        self.run_dir().join("services.json")
    }

    /// When each virtual router last spoke as master.
    pub fn mastership_file(&self) -> PathBuf {
        self.run_dir().join("vrrp.memo")
    }

    /// What was changed of devices that others own, and will be set back.
    pub fn saved_sysctls_file(&self) -> PathBuf {
        self.run_dir().join("borrowed")
    }

    /// The name of our tables of nftables, unless the configuration has one.
    pub fn nft_table_name(&self) -> String {
        if self.instance == "main" { "evenkeel".into() } else { format!("evenkeel_{}", self.instance) }
    }

    /// Where the id of the process that takes signals stands.
    pub fn pid_file(&self) -> PathBuf {
        self.pid.clone().unwrap_or_else(|| self.run_dir().join("evenkeeld.pid"))
    }

    /// Where it stands besides.
    pub fn extra_pid_files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.vrrp_pid, &self.checkers_pid, &self.bfd_pid].into_iter().flatten()
    }

    /// What of a configuration is to run.
    pub fn restrict_config(&self, mut config: Config) -> Config {
        let only = self.vrrp || self.check;
        if only && !self.check {
            config.virtual_servers.clear();
        }
        if only && !self.vrrp {
            config.instances.clear();
            config.sync_groups.clear();
            config.vmacs.clear();
            config.statics = Default::default();
        }
        if self.no_bfd {
            config.bfd.clear();
        }
        config
    }

    /// Where maps and links are pinned.
    pub fn bpf_dir(&self) -> PathBuf {
        evenkeel_sys::paths::bpf_dir(&self.instance)
    }
}
