//! Logging: to the journal with fields under systemd, else to standard error, as text or JSON.

use std::env;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::prelude::*;

use crate::args::{Args, LogFormat};

/// Sets the log up, once.
pub fn init(args: &Args) {
    let level = match args.log_detail {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let registry = tracing_subscriber::registry().with(level);
    // systemd sets this for services whose output goes to the journal.
    if env::var_os("JOURNAL_STREAM").is_some()
        && !args.log_console
        && let Ok(journal) = tracing_journald::layer()
    {
        registry.with(journal.with_syslog_identifier("evenkeeld".into())).init();
        return;
    }
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    match args.log_format {
        LogFormat::Text => registry.with(stderr.with_ansi(false)).init(),
        LogFormat::Json => registry.with(stderr.json()).init(),
    }
}
