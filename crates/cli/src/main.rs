//! The `evenkeel` command: the command line and its subcommands. A program of this file that is started as `ipvsadm`,
//! `ipvsadm-save` or `ipvsadm-restore` behaves as that command.
//!
//! Each subcommand has a file. The doc comments of the clap structures are the texts of `--help`.

mod check;
mod connections;
mod control;
mod demo;
mod explain;
mod fmt;
mod genhash;
mod ipvsadm;
mod output;
mod plan;
mod real_server;
mod reload;
mod server;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use evenkeel_core::config;

/// Operate evenkeel, a layer-4 load balancer with VRRP that reads keepalived.conf
///
/// `evenkeel` checks configurations, shows what the daemon evenkeeld does and why, and changes services without a
/// reload. `check`, `fmt`, `explain`, `genhash` and `ipvsadm` need no running daemon.
#[derive(Parser)]
#[command(
    name = "evenkeel",
    version,
    after_help = "Exit status: 0 success, 1 failure, 2 wrong usage; further meanings are in `evenkeel COMMAND --help`.\n\n\
                  Examples:\n  evenkeel check /etc/keepalived/keepalived.conf\n  evenkeel status"
)]
struct Cli {
    /// Instance of the daemon, as in `evenkeeld --instance NAME`
    #[arg(long, global = true, env = "EVENKEEL_INSTANCE", default_value = "main", value_name = "NAME")]
    instance: String,
    #[command(subcommand)]
    command: Command,
}

/// The format of a command's output.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text for people
    Text,
    /// JSON for programs
    Json,
}

/// The generated pages.
#[derive(Clone, Copy, ValueEnum)]
enum Page {
    /// docs/configuration.md
    Reference,
    /// docs/compatibility-keywords.md
    Compatibility,
    /// evenkeel.conf(5)
    Man,
}

#[derive(Subcommand)]
enum Command {
    /// Check a configuration file and explain each error
    ///
    /// Reads FILE as evenkeeld on this host would read it: included files, interfaces, users and scripts are looked up
    /// here. Starts and changes nothing.
    #[command(after_help = "Exit status: 0 the file is usable, 1 it is not.\n\n\
                            Example:\n  evenkeel check /etc/keepalived/keepalived.conf")]
    Check {
        /// Configuration file, in the syntax of keepalived.conf
        file: PathBuf,
        /// Output format
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        /// Treat warnings as errors
        #[arg(long)]
        strict: bool,
        /// Identifier that `@ID` lines are compared with [default: the host's name up to its first dot]
        #[arg(short = 'i', long, value_name = "ID")]
        config_id: Option<String>,
    },
    /// Format a configuration file; comments and meaning stay
    ///
    /// Prints FILE in the canonical layout. The command parses the result and writes nothing if its meaning differs.
    #[command(after_help = "Exit status: 0 success; with --check, 1 if the file is not in the canonical layout.\n\n\
                            Example:\n  evenkeel fmt --write /etc/keepalived/keepalived.conf")]
    Fmt {
        /// Configuration file, in the syntax of keepalived.conf
        file: PathBuf,
        /// Replace the file instead of printing the result
        #[arg(short, long)]
        write: bool,
        /// Only test whether the file is in the canonical layout
        #[arg(long, conflicts_with = "write")]
        check: bool,
    },
    /// Print the steps that a reload with a file would take; change nothing
    ///
    /// Asks the running daemon. If none runs, FILE is compared with the services that the packet path holds.
    #[command(after_help = "Exit status: 0 the file is usable, whether or not anything would change; 1 it is not.\n\n\
                            Example:\n  evenkeel plan /etc/keepalived/keepalived.conf")]
    Plan {
        /// Configuration file, in the syntax of keepalived.conf
        file: PathBuf,
        /// Output format
        #[arg(short, long, value_enum, default_value = "text")]
        output: Format,
    },
    /// Show virtual routers, health checks, services and the packet path
    ///
    /// Every state is shown with the time since its last change and the reason for it.
    #[command(
        after_help = "Exit status: 0 all is well; 1 there is a warning or a rejected reload, or the daemon does not answer; 2 a \
                      virtual router is in FAULT, a service has no quorum or no healthy server, or something else that is \
                      critical does not work.\n\n\
                            Example:\n  evenkeel status --output json"
    )]
    Status {
        /// Output format
        #[arg(short, long, value_enum, default_value = "text")]
        output: Format,
    },
    /// Reload the daemon's configuration file and print what changed
    ///
    /// A file with an error is rejected as a whole; the configuration in force stays.
    #[command(
        after_help = "Exit status: 0 the file was applied; 1 it was rejected, or the daemon does not answer.\n\n\
                            Example:\n  evenkeel reload"
    )]
    Reload,
    /// Add, remove, weigh or drain real servers without a reload
    ///
    /// Such a change is an override: it takes precedence over the configuration file until it is reverted.
    #[command(after_help = "Example:\n  evenkeel server drain 192.0.2.1:80 192.168.1.11")]
    Server {
        #[command(subcommand)]
        command: server::Command,
    },
    /// List or end connections
    Connections(connections::Options),
    /// Prepare this host as a real server for direct routing or tunnels
    ///
    /// Run it on the real server, not on the director.
    #[command(after_help = "Example:\n  evenkeel real-server up 192.0.2.1")]
    RealServer {
        #[command(subcommand)]
        command: real_server::Command,
    },
    /// Explain a keyword of the configuration or the code of a diagnostic
    #[command(after_help = "Exit status: 0 found, 1 unknown.\n\n\
                            Examples:\n  evenkeel explain lvs_sched\n  evenkeel explain duplicate-vrid")]
    Explain {
        /// A keyword or a code; without it all keywords are listed
        #[arg(value_name = "KEYWORD|CODE")]
        what: Option<String>,
    },
    /// Print the MD5 digest of a web page, for `digest` in a `url` block
    Genhash(genhash::Options),
    /// Print a page that is generated from the keyword registry
    #[command(hide = true)]
    Manual {
        /// The page
        #[arg(value_enum)]
        page: Page,
    },
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  evenkeel completions bash >/etc/bash_completion.d/evenkeel")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Run ipvsadm on the packet path or the kernel's IPVS
    ///
    /// ARGS are ipvsadm's; `evenkeel ipvsadm -h` lists them.
    #[command(disable_help_flag = true)]
    Ipvsadm {
        /// Arguments of ipvsadm(8)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run two directors, three real servers and a client in network namespaces, and a fail-over
    Demo(demo::Options),
}

fn main() -> ExitCode {
    let mut argv = std::env::args();
    let name = argv.next().unwrap_or_default();
    let instance = || std::env::var("EVENKEEL_INSTANCE").unwrap_or_else(|_| "main".into());
    match Path::new(&name).file_name().and_then(|n| n.to_str()) {
        Some("ipvsadm") => return ipvsadm::run(&instance(), &argv.collect::<Vec<_>>()),
        Some("ipvsadm-save") => return ipvsadm::save_script(&instance(), &argv.collect::<Vec<_>>()),
        Some("ipvsadm-restore") => return ipvsadm::restore_script(&instance(), &argv.collect::<Vec<_>>()),
        _ => {}
    }
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("evenkeel: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let instance = cli.instance.as_str();
    match cli.command {
        Command::Check { file, format, strict, config_id } => {
            check::run(&file, format == Format::Json, strict, config_id.as_deref())
        }
        Command::Fmt { file, write, check } => fmt::run(&file, write, check),
        Command::Plan { file, output } => plan::run(instance, &file, output == Format::Json),
        Command::Status { output } => status::run(instance, output == Format::Json),
        Command::Reload => reload::run(instance),
        Command::Connections(options) => connections::run(instance, &options),
        Command::RealServer { command } => real_server::run(instance, &command),
        Command::Server { command } => server::run(instance, &command),
        Command::Genhash(options) => genhash::run(&options),
        Command::Explain { what } => explain::run(what.as_deref()),
        Command::Manual { page } => {
            output::print(&match page {
                Page::Reference => config::reference_page(),
                Page::Compatibility => config::compatibility_page(),
                Page::Man => config::man_page(),
            });
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "evenkeel", &mut text);
            output::print(&String::from_utf8_lossy(&text));
            Ok(ExitCode::SUCCESS)
        }
        Command::Ipvsadm { args } => Ok(ipvsadm::run(instance, &args)),
        Command::Demo(options) => demo::run(&options),
    }
}
