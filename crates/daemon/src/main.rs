//! evenkeeld: the daemon of a director, with keepalived's command line and configuration.
//!
//! Three processes of this program:
//!
//! - The supervisor ([`supervisor`]) holds the instance lock and restarts the worker. If the worker dies, it sends the
//!   resignation packets that the worker left and removes its virtual addresses, so that peers take over at once.
//! - The worker runs VRRP and BFD in a real-time thread ([`router`]), and the control thread ([`control`]):
//!   configuration, data plane ([`plane`]), control socket, notifications.
//! - The edge process ([`edge`]) runs health checks, scripts, name lookups and mail, which may hang or crash, without
//!   the capabilities that change networks.
//!
//! Threads and processes exchange messages and share no state but the memory of the last wills.

mod args;
mod backoff;
mod config_file;
mod control;
mod control_socket;
mod edge;
mod exit_status;
mod firewall;
mod instance_lock;
mod log;
mod plane;
mod router;
mod signum;
mod supervisor;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use evenkeel_core::model::{Config, ScriptCommand};
use evenkeel_sys::{limits, netns, signals, user};

use args::Args;
use config_file::{InitialConfig, load_initial_config, netns_path, reread_config};

/// Required capabilities with their numbers in capability.h. The first two are for addresses and sockets, the others
/// for the packet path: only a configuration with virtual servers needs these.
const REQUIRED_CAPS: &[(&str, u32)] =
    &[("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(name) = &args.signum {
        return print_signal_number(name);
    }
    if args.edge {
        log::init(&args);
        return edge::run_process();
    }
    match prepare(&args).and_then(|initial| run(&args, initial)) {
        Ok(code) | Err(code) => code,
    }
}

/// keepalived(8): prints the number and exits; status 1 for an unknown name.
fn print_signal_number(name: &str) -> ExitCode {
    match signum::signal_number(name) {
        Some(n) => {
            println!("{n}");
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("evenkeeld: unknown signal name {name}: use STOP, RELOAD, DATA, STATS, STATS_CLEAR or JSON");
            ExitCode::from(exit_status::FATAL)
        }
    }
}

/// Sets the process up, reads the configuration and checks privileges. `Err` is the exit status of a run that ends
/// here.
fn prepare(args: &Args) -> Result<InitialConfig, ExitCode> {
    if let Err(e) = apply_process_options(args) {
        eprintln!("evenkeeld: {e}");
        return Err(ExitCode::from(exit_status::FATAL));
    }
    let initial = load_initial_config(args, &args.config_file())?;
    // Supervisor and worker would both keep the memory that reading a large file took.
    limits::trim_heap();
    check_privileges(&initial.config)?;
    Ok(initial)
}

fn check_privileges(config: &Config) -> Result<(), ExitCode> {
    if !user::is_root() {
        eprintln!("evenkeeld: it must run as root, to hold addresses and to load the packet path");
        return Err(ExitCode::from(exit_status::NO_PERMISSION));
    }
    let required = if config.virtual_servers.is_empty() { &REQUIRED_CAPS[..2] } else { REQUIRED_CAPS };
    let missing = user::missing_capabilities(required);
    if !missing.is_empty() {
        eprintln!("evenkeeld: missing capabilities {}: grant them to the service or container", missing.join(", "));
        return Err(ExitCode::from(exit_status::NO_PERMISSION));
    }
    Ok(())
}

/// Goes to the background, starts the log, and runs the daemon to its end.
fn run(args: &Args, initial: InitialConfig) -> Result<ExitCode, ExitCode> {
    // Reloads read the same file, whatever the working directory becomes.
    let path = args.config_file();
    let path = path.canonicalize().unwrap_or(path);
    if !args.dont_fork
        && let Err(e) = signals::daemonize()
    {
        eprintln!("evenkeeld: {e}");
        return Err(ExitCode::from(exit_status::FATAL));
    }
    log::init(args);
    let config = &initial.config;
    if args.dump_conf {
        tracing::info!("the configuration in force: {config:#?}");
    }
    if let Some((script, limit)) = &config.global.startup_script {
        run_startup_script(script, *limit, config.global.enable_script_security);
    }
    run_supervised(args, &path, initial).map_err(|e| {
        tracing::error!("{e:#}");
        ExitCode::from(exit_status::FATAL)
    })
}

/// `startup_script`: runs it to its end, or until its time limit. The daemon starts whatever its result.
fn run_startup_script(script: &ScriptCommand, limit: Duration, secure: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(rt) => rt.block_on(evenkeel_probe::program::run_program(script, limit, secure)),
        Err(e) => Err(e.to_string()),
    };
    match result {
        Ok(status) if status.success() => tracing::info!("startup_script has ended"),
        Ok(status) => tracing::warn!("startup_script failed: {status}"),
        Err(reason) => tracing::warn!("startup_script failed: {reason}"),
    }
}

/// Applies the command line options that concern the process itself.
fn apply_process_options(args: &Args) -> evenkeel_sys::Result<()> {
    if let Some(mask) = args.umask {
        limits::set_umask(mask);
    }
    if let Some(name) = &args.namespace {
        netns::enter(&netns_path(name))?;
    }
    if args.ignore_sigint {
        signals::ignore_sigint();
    }
    if args.core_dump {
        limits::allow_core_dumps()?;
    }
    Ok(())
}

/// Takes the instance lock and runs the worker under the supervisor. The first worker gets the configuration that was
/// read at start; a worker that is started again reads the file.
fn run_supervised(args: &Args, path: &Path, initial: InitialConfig) -> anyhow::Result<ExitCode> {
    let _lock = instance_lock::acquire(args)?;
    supervisor::run(!args.dont_respawn, &args.mastership_file(), initial, |context, initial| {
        abort_on_panic();
        let InitialConfig { config, skipped } = match initial.map_or_else(|| reread_config(args, path), Ok) {
            Ok(initial) => initial,
            Err(e) => {
                tracing::error!("the worker cannot start again: {e:#}");
                return ExitCode::from(exit_status::CONFIG);
            }
        };
        match control::run(args, path.to_owned(), config, skipped, context) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                tracing::error!("{e:#}");
                ExitCode::from(exit_status::FATAL)
            }
        }
    })
}

/// Makes a panic of any thread abort the process. A worker without its VRRP thread would hold addresses that nobody
/// advertises; the supervisor acts on the end of the process.
fn abort_on_panic() {
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        default_hook(info);
        std::process::abort();
    }));
}
