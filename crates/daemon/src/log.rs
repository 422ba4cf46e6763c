//! The log's destination: the file of `--log-file`; the journal, with fields, under systemd; syslog in the background;
//! otherwise standard error, as text or JSON.

use std::env;
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Mutex;

use syslog_tracing::Syslog;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::args::{Args, LogFormat};

/// Sets the log up, once in a process.
pub fn init(args: &Args) {
    // Libraries log every handshake at INFO and below, which is of use to their developers only.
    let filter = Targets::new().with_default(LevelFilter::WARN).with_target("evenkeel", args.log_level());
    let registry = tracing_subscriber::registry().with(filter);
    let text = tracing_subscriber::fmt::layer().with_target(false).with_ansi(false);
    if let Some(path) = &args.log_file {
        match OpenOptions::new().create(true).append(true).open(path) {
            Ok(file) => {
                registry.with(text.with_writer(Mutex::new(file))).init();
                return;
            }
            Err(e) => eprintln!("evenkeeld: cannot write {}: {e}; logging without --log-file", path.display()),
        }
    }
    let may_use_system_log = !args.log_console && !args.no_syslog;
    // systemd sets this variable for services whose output goes to the journal.
    if env::var_os("JOURNAL_STREAM").is_some()
        && may_use_system_log
        && let Ok(journal) = tracing_journald::layer()
    {
        registry.with(journal.with_syslog_identifier("evenkeeld".into())).init();
        return;
    }
    // In the background standard error is /dev/null.
    if may_use_system_log && !args.dont_fork && Path::new("/dev/log").exists() {
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
