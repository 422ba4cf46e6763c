//! `evenkeel`: the operator's tool. Started as `ipvsadm`, `ipvsadm-save` or `ipvsadm-restore` it is
//! that.

mod check;
mod connections;
mod demo;
mod explain;
mod genhash;
mod ipvsadm;
mod output;
mod plan;
mod real_server;
mod server;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use evenkeel_core::config;

/// The operator's tool of evenkeel, a layer-4 load balancer with VRRP
#[derive(Parser)]
#[command(name = "evenkeel", version)]
struct Cli {
    /// Which daemon, where several run
    #[arg(long, global = true, env = "EVENKEEL_INSTANCE", default_value = "main")]
    instance: String,
    #[command(subcommand)]
    command: Command,
}

/// For people or for programs.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Pages that are generated.
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
    /// Is this configuration right? Says where it is not, and how to mend it
    Check {
        /// The file
        file: PathBuf,
        /// How to say it
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        /// Refuse it for warnings as well
        #[arg(long)]
        strict: bool,
        /// What `@id` lines are compared with [default: the host's name up to its first dot]
        #[arg(short = 'i', long)]
        config_id: Option<String>,
    },
    /// Lay a configuration out anew; comments are kept, and so, proven by reading both, is its meaning
    Fmt {
        /// The file
        file: PathBuf,
        /// Write it back instead of printing it
        #[arg(short, long)]
        write: bool,
        /// Only say whether it is laid out already; exit status 1 if not
        #[arg(long, conflicts_with = "write")]
        check: bool,
    },
    /// What would a reload with this file change, step by step? Nothing is changed
    Plan {
        /// The file
        file: PathBuf,
        /// How to say it
        #[arg(short, long, value_enum, default_value = "text")]
        output: Format,
    },
    /// What is master, since when and why; what is up; what flows
    Status {
        /// How to say it
        #[arg(short, long, value_enum, default_value = "text")]
        output: Format,
    },
    /// Read the configuration again; says what changed, or why it was refused
    Reload,
    /// Change a service's real servers by hand, without touching the file
    Server {
        #[command(subcommand)]
        command: server::Command,
    },
    /// The connections, filtered; and ended by hand
    Connections(connections::Options),
    /// Make this host a real server for direct routing or tunnels, or see whether it is one
    RealServer {
        #[command(subcommand)]
        command: real_server::Command,
    },
    /// What a keyword or a diagnostic's code means
    Explain {
        /// The keyword or the code; without one, all keywords
        what: Option<String>,
    },
    /// The digest of a page, for `digest` in a `url` block; genhash(1)'s options
    Genhash(genhash::Options),
    /// Prints a page that is generated from the keywords
    #[command(hide = true)]
    Manual {
        /// Which
        #[arg(value_enum)]
        page: Page,
    },
    /// Prints a script that completes this command's words in a shell
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// ipvsadm, by its own options; needs no daemon
    #[command(disable_help_flag = true)]
    Ipvsadm {
        /// As ipvsadm(8)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Two directors, three real servers and a client in network namespaces: see it work, and fail over
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
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Check { file, format, strict, config_id } => {
            check::run(&file, format == Format::Json, strict, config_id.as_deref())
        }
        Command::Fmt { file, write, check } => check::run_fmt(&file, write, check),
        Command::Plan { file, output } => plan::run(&cli.instance, &file, output == Format::Json),
        Command::Status { output } => status::run(&cli.instance, output == Format::Json),
        Command::Reload => status::reload(&cli.instance),
        Command::Connections(options) => connections::run(&cli.instance, &options),
        Command::RealServer { command } => real_server::run(&cli.instance, &command),
        Command::Server { command } => server::run(&cli.instance, &command),
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
        Command::Ipvsadm { args } => return ipvsadm::run(&cli.instance, &args),
        Command::Demo(options) => demo::run(&options),
    };
    match done {
        Ok(code) => code,
        Err(e) => {
            eprintln!("evenkeel: {e:#}");
            ExitCode::FAILURE
        }
    }
}
