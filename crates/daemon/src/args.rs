//! The command line: keepalived's options, and a few long options of evenkeel's own. Also the files of an instance,
//! whose names follow from it.

use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};
use evenkeel_core::config::Options;
use evenkeel_core::model::Config;
pub use syslog_tracing::Facility;
use tracing::level_filters::LevelFilter;

/// The format of log lines on standard error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

const ABOUT: &str = "\
evenkeeld is the daemon of a director: virtual addresses that fail over between machines (VRRP), and layer-4 load \
balancing with health checks, in XDP or in the kernel's IPVS. It takes keepalived's configuration file and command \
line.";

const AFTER_HELP: &str = "\
Forms of arguments:
  FILE, LOG    a path, absolute or relative to the working directory
  INSTANCE     letters, digits, - and _, at most 64
  MASK         an octal number up to 777, as 022
  FACILITY     0 to 7, local0 to local7, user or daemon
  [LOG]        in brackets: may be omitted

Example: check a configuration, then run it in the foreground with debug messages on standard error
  evenkeeld -t -f /etc/keepalived/keepalived.conf
  evenkeeld -n -l -D -f /etc/keepalived/keepalived.conf

See also: `evenkeel status` (state of a running daemon), `evenkeel check` (diagnostics of a configuration file with
explanations), evenkeeld(8).";

/// The command line of evenkeeld.
#[derive(Parser, Clone, Debug)]
#[command(name = "evenkeeld", version, disable_version_flag = true, about = ABOUT, after_help = AFTER_HELP)]
pub struct Args {
    /// Configuration file [default: /etc/evenkeel/evenkeel.conf, then /etc/keepalived/keepalived.conf]
    #[arg(short = 'f', long = "use-file", value_name = "FILE")]
    pub use_file: Option<PathBuf>,
    /// Run as the edge process, which the daemon starts; standard input is its socket
    #[arg(long, hide = true)]
    pub edge: bool,
    /// Stay in the foreground
    #[arg(short = 'n', long)]
    pub dont_fork: bool,
    /// Log to standard error instead of the journal or syslog
    #[arg(short = 'l', long)]
    pub log_console: bool,
    /// Log debug messages; twice: log everything
    #[arg(short = 'D', long, action = ArgAction::Count)]
    pub log_detail: u8,
    /// Log to this file [FILE if omitted: /tmp/keepalived.log]
    #[arg(short = 'g', long, value_name = "FILE", num_args = 0..=1, default_missing_value = "/tmp/keepalived.log")]
    pub log_file: Option<PathBuf>,
    /// Accepted, no effect: every line is written to the log file at once
    #[arg(long)]
    flush_log_file: bool,
    /// Log neither to the journal nor to syslog
    #[arg(short = 'G', long)]
    pub no_syslog: bool,
    /// Syslog facility: 0 to 7 (local0 to local7), local0 to local7, user or daemon
    #[arg(short = 'S', long, value_name = "FACILITY", default_value = "daemon", value_parser = parse_facility)]
    pub log_facility: Facility,
    /// Log the configuration at start
    #[arg(short = 'd', long)]
    pub dump_conf: bool,
    /// Run VRRP only: ignore virtual servers
    #[arg(short = 'P', long)]
    pub vrrp: bool,
    /// Run virtual servers and health checks only: ignore VRRP instances
    #[arg(short = 'C', long)]
    pub check: bool,
    /// Ignore BFD sessions
    #[arg(short = 'B', long = "no_bfd")]
    pub no_bfd: bool,
    /// Accepted, no effect: everything that is configured runs
    #[arg(long)]
    all: bool,
    /// Run in this network namespace, one of those that `ip netns` lists
    #[arg(short = 's', long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// File mode creation mask (umask), octal
    #[arg(short = 'u', long, value_name = "MASK", value_parser = parse_umask)]
    pub umask: Option<u32>,
    /// Remove virtual addresses that an earlier daemon left, and continue none of its masterships
    #[arg(short = 'X', long)]
    pub release_vips: bool,
    /// Write a core file if the daemon crashes
    #[arg(short = 'm', long)]
    pub core_dump: bool,
    /// Accepted, no effect: the system sets the pattern of core files
    #[arg(short = 'M', long, value_name = "PATTERN", num_args = 0..=1, default_missing_value = "")]
    core_dump_pattern: Option<String>,
    /// Accepted, no effect: changes of addresses are always logged
    #[arg(short = 'a', long)]
    address_monitoring: bool,
    /// Accepted, no effect: a missing include file is always reported
    #[arg(short = 'e', long)]
    all_config: bool,
    /// Accepted, no effect: SNMP is not supported
    #[arg(short = 'x', long)]
    snmp: bool,
    /// Accepted, no effect: SNMP is not supported
    #[arg(short = 'A', long, value_name = "SOCKET")]
    snmp_agent_socket: Option<String>,
    /// Ignore SIGINT
    #[arg(long)]
    pub ignore_sigint: bool,
    /// A further file for the process id (keepalived: of its VRRP process)
    #[arg(short = 'r', long = "vrrp_pid", value_name = "FILE")]
    vrrp_pid: Option<PathBuf>,
    /// A further file for the process id (keepalived: of its health checker process)
    #[arg(short = 'c', long = "checkers_pid", value_name = "FILE")]
    checkers_pid: Option<PathBuf>,
    /// A further file for the process id (keepalived: of its BFD process)
    #[arg(short = 'b', long = "bfd_pid", value_name = "FILE")]
    bfd_pid: Option<PathBuf>,
    /// Configuration id: lines that begin with @ID are used only if it matches [default: the host name up to its first
    /// dot]
    #[arg(short = 'i', long, value_name = "ID")]
    pub config_id: Option<String>,
    /// Do not start if the configuration has an error; otherwise, as keepalived, skip the affected blocks and start
    #[arg(long)]
    pub strict: bool,
    /// Check the configuration, print the diagnostics (to LOG if given) and exit with keepalived's status: 0 no
    /// diagnostics, 2 a missing parameter, 4 an unreadable file, 5 an error or a warning, 6 unsafe scripts or a missing
    /// include file
    #[arg(short = 't', long, value_name = "LOG", num_args = 0..=1, default_missing_value = "")]
    pub config_test: Option<String>,
    /// Print the number of the signal for STOP, RELOAD, DATA, STATS, STATS_CLEAR or JSON, and exit
    #[arg(long, value_name = "NAME")]
    pub signum: Option<String>,
    /// Do not restart the worker process when it dies
    #[arg(short = 'R', long)]
    pub dont_respawn: bool,
    /// File for the process id [default: RUN-DIR/evenkeeld.pid]
    #[arg(short = 'p', long, value_name = "FILE")]
    pub pid: Option<PathBuf>,
    /// Keep virtual addresses at stop
    #[arg(short = 'V', long)]
    pub dont_release_vrrp: bool,
    /// Keep virtual services and forwarding at stop
    #[arg(short = 'I', long)]
    pub dont_release_ipvs: bool,
    /// Name of this daemon: several daemons on one machine each have their own run directory and maps
    #[arg(long, default_value = "main", value_parser = parse_instance_name)]
    pub instance: String,
    /// Format of log lines on standard error
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
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
            let facility = number.and_then(|n: usize| local.into_iter().nth(n));
            facility.ok_or_else(|| "0 to 7, local0 to local7, user or daemon".into())
        }
    }
}

fn parse_umask(s: &str) -> Result<u32, String> {
    u32::from_str_radix(s, 8).ok().filter(|n| *n <= 0o777).ok_or_else(|| "an octal number up to 777".into())
}

fn parse_instance_name(s: &str) -> Result<String, String> {
    // The BPF file system reserves names with dots.
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !s.is_empty() && s.len() <= 64 && s.chars().all(is_allowed) {
        Ok(s.to_owned())
    } else {
        Err("a name of letters, digits, - and _".into())
    }
}

impl Args {
    /// The most detailed level that is logged.
    pub fn log_level(&self) -> LevelFilter {
        match self.log_detail {
            0 => LevelFilter::INFO,
            1 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.use_file.clone().unwrap_or_else(|| {
            let ours = PathBuf::from("/etc/evenkeel/evenkeel.conf");
            if ours.exists() { ours } else { PathBuf::from("/etc/keepalived/keepalived.conf") }
        })
    }

    /// Options of the configuration parser.
    pub fn options(&self) -> Options {
        Options { config_id: self.config_id.clone() }
    }

    /// The run directory: sockets, locks, and state that outlives the process until the next boot.
    pub fn run_dir(&self) -> PathBuf {
        evenkeel_sys::paths::run_dir(&self.instance)
    }

    /// Real servers that are configured by name, with their last addresses.
    pub fn resolved_servers_file(&self) -> PathBuf {
        self.run_dir().join("resolved-servers.json")
    }

    /// Overrides by an operator.
    pub fn overrides_file(&self) -> PathBuf {
        self.run_dir().join("overrides.json")
    }

    /// The services that this instance added to the kernel's IPVS.
    pub fn ipvs_services_file(&self) -> PathBuf {
        self.run_dir().join("ipvs-services.json")
    }

    /// The mastership record: when each virtual router last sent an advert as master.
    pub fn mastership_file(&self) -> PathBuf {
        self.run_dir().join("mastership")
    }

    /// Former values of sysctls that this instance changed on devices of others.
    pub fn saved_sysctls_file(&self) -> PathBuf {
        self.run_dir().join("saved-sysctls")
    }

    /// The name of this instance's nftables tables, unless `nftables` sets another.
    pub fn nft_table_name(&self) -> String {
        if self.instance == "main" { "evenkeel".into() } else { format!("evenkeel_{}", self.instance) }
    }

    /// The file for the id of the process that receives signals, the supervisor.
    pub fn pid_file(&self) -> PathBuf {
        self.pid.clone().unwrap_or_else(|| self.run_dir().join("evenkeeld.pid"))
    }

    /// Further files for the same process id.
    pub fn extra_pid_files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.vrrp_pid, &self.checkers_pid, &self.bfd_pid].into_iter().flatten()
    }

    /// Removes from a configuration what `--vrrp`, `--check` and `--no_bfd` exclude.
    pub fn restrict_config(&self, mut config: Config) -> Config {
        if self.vrrp && !self.check {
            config.virtual_servers.clear();
        }
        if self.check && !self.vrrp {
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

    /// The directory of pinned maps and links.
    pub fn bpf_dir(&self) -> PathBuf {
        evenkeel_sys::paths::bpf_dir(&self.instance)
    }
}
