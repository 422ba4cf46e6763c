//! Reading the configuration file: for a start, for `-t`, for a restart of the worker, and for reloads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use evenkeel_core::config::{Options, Parsed, parse};
use evenkeel_core::model::Config;
use evenkeel_sys::environment::HostEnvironment;
use evenkeel_sys::netns;

use crate::args::Args;
use crate::exit_status;

/// A configuration to start with.
pub struct InitialConfig {
    /// The blocks that are valid.
    pub config: Config,
    /// A description of the blocks that were skipped, if any.
    pub skipped: Option<String>,
}

impl InitialConfig {
    fn new(args: &Args, parsed: Parsed) -> InitialConfig {
        let skipped = skipped_blocks_message(&parsed);
        InitialConfig { config: args.restrict_config(parsed.config), skipped }
    }
}

/// Reads and parses a configuration file. Bytes that are not UTF-8 are replaced.
pub fn read_config(path: &Path, options: &Options) -> std::io::Result<Parsed> {
    let bytes = fs::read(path)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(parse(&path.display().to_string(), text, &HostEnvironment::new(), options))
}

/// Reads the configuration for a start, or for `-t`, and prints its diagnostics. `Err` is the exit status of a run that
/// ends here.
pub fn load_initial_config(args: &Args, path: &Path) -> Result<InitialConfig, ExitCode> {
    let read = || {
        read_config(path, &args.options()).map_err(|e| {
            eprintln!("evenkeeld: cannot read {}: {e}", path.display());
            ExitCode::from(exit_status::NO_PERMISSION)
        })
    };
    let mut parsed = read()?;
    if let Some(name) = parsed.config.namespace.clone().filter(|_| args.namespace.is_none()) {
        match netns::enter(&netns_path(&name)) {
            // The file is checked against the interfaces of the namespace, so it is read again inside it.
            Ok(()) => parsed = read()?,
            Err(_) if args.config_test.is_some() => {}
            Err(e) => {
                eprintln!("evenkeeld: net_namespace: {e}");
                return Err(ExitCode::from(exit_status::CONFIG));
            }
        }
    }
    print_diagnostics(args, &parsed);
    if args.config_test.is_some() {
        return Err(ExitCode::from(parsed.keepalived_exit_status()));
    }
    if !parsed.may_start() || (args.strict && parsed.error_count() > 0) {
        eprintln!("evenkeeld: {} is not usable; nothing was started", path.display());
        return Err(ExitCode::from(exit_status::CONFIG));
    }
    let initial = InitialConfig::new(args, parsed);
    if let Some(message) = &initial.skipped {
        eprintln!("evenkeeld: {}: {message}; a reload will reject it", path.display());
    }
    Ok(initial)
}

/// Prints diagnostics to standard error, or to the file that `-t` names.
fn print_diagnostics(args: &Args, parsed: &Parsed) {
    let text = parsed.render(false);
    match args.config_test.as_deref().filter(|log| !log.is_empty()) {
        Some(log) => {
            if let Err(e) = fs::write(log, &text) {
                eprintln!("evenkeeld: cannot write {log}: {e}");
            }
        }
        None => eprint!("{text}"),
    }
}

/// Reads the configuration for a worker that is started again: the file may have changed since the start.
pub fn reread_config(args: &Args, path: &Path) -> anyhow::Result<InitialConfig> {
    let parsed = read_config(path, &args.options()).with_context(|| format!("read {}", path.display()))?;
    anyhow::ensure!(parsed.may_start(), "{} is no longer usable", path.display());
    Ok(InitialConfig::new(args, parsed))
}

/// The file of a network namespace that `ip netns` lists.
pub fn netns_path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// Describes the blocks that a start skips.
fn skipped_blocks_message(parsed: &Parsed) -> Option<String> {
    let n = parsed.error_count();
    let errors = if n == 1 { "1 error".to_owned() } else { format!("{n} errors") };
    (n > 0).then(|| format!("{errors} in the file: the affected blocks are skipped, as keepalived does"))
}
