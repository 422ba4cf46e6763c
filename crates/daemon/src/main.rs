//! evenkeeld: the director's daemon.
//!
//! A parent watches the process that works ([`guard`]). In this the router thread speaks VRRP, in real time, and holds the
//! addresses ([`router`]); the main thread reconciles the data plane with what should be, and answers the control socket
//! ([`control`]). A third process makes health checks and runs scripts, which may hang or crash as they like ([`edge`]). They
//! talk by messages.

mod args;
mod backoff;
mod control;
mod control_socket;
mod dump;
mod edge;
mod firewall;
mod instance_lock;
mod log;
mod notifications;
mod plane;
mod router;
mod services;
mod status;
mod supervisor;
mod vmacs;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use evenkeel_core::config::{Options, Parsed, parse};
use evenkeel_core::model::{Config, ScriptCommand};
use evenkeel_sys::environment::HostEnvironment;

use args::Args;

/// keepalived's exit statuses (its man page, and what it really does).
mod exit {
    pub const FATAL: u8 = 1;
    pub const CONFIG: u8 = 2;
    pub const NO_PERMISSION: u8 = 4;
}

/// Capabilities, by their numbers in capability.h: for addresses and sockets, then for the packet path.
const REQUIRED_CAPS: &[(&str, u32)] =
    &[("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(name) = &args.signum {
        // keepalived(8): prints the number and exits; 1 for a name that it does not know.
        return match dump::signal_number(name) {
            Some(n) => {
                println!("{n}");
                ExitCode::SUCCESS
            }
            None => {
                eprintln!("evenkeeld: no signal is named {name}: STOP, RELOAD, DATA, STATS, STATS_CLEAR, JSON are");
                ExitCode::from(exit::FATAL)
            }
        };
    }
    if args.edge {
        log::init(&args);
        return edge::run_role();
    }
    if let Err(e) = apply_process_options(&args) {
        eprintln!("evenkeeld: {e}");
        return ExitCode::from(exit::FATAL);
    }
    let path = args.config_file();
    let (config, left_out) = match load_initial_config(&args, &path) {
        Ok(read) => read,
        Err(code) => return code,
    };
    // Both processes would keep what reading a large file took.
    evenkeel_sys::sched::trim_heap();
    if !evenkeel_sys::user::is_root() {
        eprintln!("evenkeeld: it needs root, to hold addresses and to load the packet path");
        return ExitCode::from(exit::NO_PERMISSION);
    }
    let lacking = evenkeel_sys::user::missing_capabilities(if config.virtual_servers.is_empty() {
        &REQUIRED_CAPS[..2]
    } else {
        REQUIRED_CAPS
    });
    if !lacking.is_empty() {
        eprintln!("evenkeeld: it lacks {}; give it back, or run it as a root that has it", lacking.join(", "));
        return ExitCode::from(exit::NO_PERMISSION);
    }
    // Reloads read the same file, wherever this was started.
    let path = path.canonicalize().unwrap_or(path);
    if !args.dont_fork
        && let Err(e) = evenkeel_sys::signals::daemonize()
    {
        eprintln!("evenkeeld: {e}");
        return ExitCode::from(exit::FATAL);
    }
    log::init(&args);
    if args.dump_conf {
        tracing::info!("the configuration in force: {config:#?}");
    }
    if let Some((script, limit)) = &config.global.startup_script {
        run_startup_script("startup_script", script, *limit, config.global.enable_script_security);
    }
    match run_supervised(&args, &path, (config, left_out)) {
        Ok(code) => code,
        Err(e) => {
            tracing::error!("{e:#}");
            ExitCode::from(exit::FATAL)
        }
    }
}

/// Runs a script to its end, or until its time is over; what comes of it is told.
fn run_startup_script(name: &str, script: &ScriptCommand, limit: Duration, secure: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(rt) => rt.block_on(evenkeel_probe::program::run_program(script, limit, secure)),
        Err(e) => Err(e.to_string()),
    };
    match ended {
        Ok(status) if status.success() => tracing::info!("{name} has ended"),
        Ok(status) => tracing::warn!("{name}: {status}"),
        Err(why) => tracing::warn!("{name}: {why}"),
    }
}

/// Reads the configuration for the start, or for `-t`, which ends with it. What is wrong with it is told.
fn load_initial_config(args: &Args, path: &Path) -> Result<(Config, Option<String>), ExitCode> {
    let reading = || {
        read_config(path, &args.options()).map_err(|e| {
            eprintln!("evenkeeld: cannot read {}: {e}", path.display());
            ExitCode::from(exit::NO_PERMISSION)
        })
    };
    let mut parsed = reading()?;
    if let Some(name) = parsed.config.namespace.clone().filter(|_| args.namespace.is_none()) {
        match evenkeel_sys::netns::enter(&Path::new("/run/netns").join(name)) {
            // What the file is compared with, interfaces above all, is in there.
            Ok(()) => parsed = reading()?,
            Err(_) if args.config_test.is_some() => {}
            Err(e) => {
                eprintln!("evenkeeld: net_namespace: {e}");
                return Err(ExitCode::from(exit::CONFIG));
            }
        }
    }
    let told = parsed.render(false);
    if let Some(log) = args.config_test.as_deref().filter(|l| !l.is_empty()) {
        if let Err(e) = fs::write(log, &told) {
            eprintln!("evenkeeld: cannot write {log}: {e}");
        }
    } else {
        eprint!("{told}");
    }
    if args.config_test.is_some() {
        return Err(ExitCode::from(parsed.keepalived_exit_status()));
    }
    if !parsed.may_start() || (args.strict && parsed.error_count() > 0) {
        eprintln!("evenkeeld: {} is not usable; nothing was started", path.display());
        return Err(ExitCode::from(exit::CONFIG));
    }
    let left_out = skipped_blocks_message(&parsed);
    if let Some(told) = &left_out {
        eprintln!("evenkeeld: {}: {told}; a reload will refuse it", path.display());
    }
    Ok((args.restrict_config(parsed.config), left_out))
}

/// What the command line says of the process itself.
fn apply_process_options(args: &Args) -> evenkeel_sys::Result<()> {
    if let Some(mask) = args.umask {
        evenkeel_sys::sched::set_umask(mask);
    }
    if let Some(name) = &args.namespace {
        evenkeel_sys::netns::enter(&Path::new("/run/netns").join(name))?;
    }
    if args.ignore_sigint {
        evenkeel_sys::sched::ignore_sigint();
    }
    if args.core_dump {
        evenkeel_sys::sched::allow_core_dumps()?;
    }
    Ok(())
}

/// Holds the instance, and runs the daemon under its guard.
fn run_supervised(args: &Args, path: &Path, first: (Config, Option<String>)) -> anyhow::Result<ExitCode> {
    let _hold = instance_lock::acquire(args)?;
    supervisor::run(!args.dont_respawn, &args.mastership_file(), first, |charge, first| {
        abort_on_panic();
        let (config, left_out) = match first.map_or_else(|| reread_config(args, path), Ok) {
            Ok(read) => read,
            Err(e) => {
                tracing::error!("{e:#}");
                return ExitCode::from(exit::CONFIG);
            }
        };
        match control::run(args, path.to_owned(), config, left_out, charge) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                tracing::error!("{e:#}");
                ExitCode::from(exit::FATAL)
            }
        }
    })
}

/// A thread that panics takes the process with it: a process without its VRRP thread would hold addresses that nobody
/// speaks for, and its parent knows what to do.
fn abort_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        std::process::abort();
    }));
}

/// Reads the configuration again, as it is now.
fn reread_config(args: &Args, path: &Path) -> anyhow::Result<(Config, Option<String>)> {
    let parsed = read_config(path, &args.options()).with_context(|| format!("read {}", path.display()))?;
    anyhow::ensure!(parsed.may_start(), "{} is not usable any more", path.display());
    let left_out = skipped_blocks_message(&parsed);
    Ok((args.restrict_config(parsed.config), left_out))
}

/// What a start leaves out, in words.
fn skipped_blocks_message(parsed: &Parsed) -> Option<String> {
    let n = parsed.error_count();
    let errors = if n == 1 { "1 error".to_owned() } else { format!("{n} errors") };
    (n > 0).then(|| format!("{errors} in the file: started without what is concerned, as keepalived does"))
}

/// Reads and parses a configuration file.
fn read_config(path: &Path, options: &Options) -> std::io::Result<Parsed> {
    let bytes = fs::read(path)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(parse(&path.display().to_string(), text, &HostEnvironment::new(), options))
}
