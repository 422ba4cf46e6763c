//! `evenkeel`: the operator's tool. Started as `ipvsadm` it is ipvsadm.

mod check;
mod demo;
mod explain;
mod ipvsadm;
mod out;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

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

#[derive(Subcommand)]
enum Command {
    /// Is this configuration right? Says where it is not, and how to mend it
    Check {
        /// The file
        file: PathBuf,
        /// How to say it
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// What is master, since when and why; what is up; what flows
    Status {
        /// How to say it
        #[arg(short, long, value_enum, default_value = "text")]
        output: Format,
    },
    /// Read the configuration again; says what changed, or why it was refused
    Reload,
    /// What a keyword means
    Explain {
        /// The keyword; without one, all of them
        keyword: Option<String>,
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
    if Path::new(&name).file_name().is_some_and(|n| n == "ipvsadm") {
        let instance = std::env::var("EVENKEEL_INSTANCE").unwrap_or_else(|_| "main".into());
        return ipvsadm::run(&instance, &argv.collect::<Vec<_>>());
    }
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Check { file, format } => check::run(&file, format == Format::Json),
        Command::Status { output } => status::run(&cli.instance, output == Format::Json),
        Command::Reload => status::reload(&cli.instance),
        Command::Explain { keyword } => explain::run(keyword.as_deref()),
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
