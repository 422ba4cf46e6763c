//! Logging: to a file if one is named, to the journal with fields under systemd, to syslog in the background, else to
//! standard error, as text or JSON.

use std::env;
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Mutex;

use syslog_tracing::Syslog;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::args::{Args, LogFormat};

/// Sets the log up, once.
pub fn init(args: &Args) {
    // Libraries tell of every handshake; that is for those who write them.
    let whose = Targets::new().with_default(LevelFilter::WARN).with_target("evenkeel", args.log_level());
    let registry = tracing_subscriber::registry().with(whose);
    let text = tracing_subscriber::fmt::layer().with_target(false).with_ansi(false);
    if let Some(path) = &args.log_file {
        match OpenOptions::new().create(true).append(true).open(path) {
            Ok(file) => {
                registry.with(text.with_writer(Mutex::new(file))).init();
                return;
            }
            Err(e) => eprintln!("evenkeeld: cannot write {}: {e}; logging goes on elsewhere", path.display()),
        }
    }
    let system = !args.log_console && !args.no_syslog;
    // systemd sets this for services whose output goes to the journal.
    if env::var_os("JOURNAL_STREAM").is_some()
        && system
        && let Ok(journal) = tracing_journald::layer()
    {
        registry.with(journal.with_syslog_identifier("evenkeeld".into())).init();
        return;
    }
    // In the background nobody sees standard error.
    if system && !args.dont_fork && Path::new("/dev/log").exists() {
        let syslog = Syslog::new(c"evenkeeld", syslog_tracing::Options::LOG_PID, args.log_facility);
        if let Some(syslog) = syslog {
            registry.with(text.without_time().with_level(false).with_writer(syslog)).init();
            return;
        }
    }
    match args.log_format {
        LogFormat::Text => registry.with(text.with_writer(std::io::stderr)).init(),
        LogFormat::Json => {
            let json = tracing_subscriber::fmt::layer().with_target(false).json();
            registry.with(json.with_writer(std::io::stderr)).init();
        }
    }
}
