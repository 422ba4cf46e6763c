//! `evenkeel check FILE`: reports the errors and warnings of a configuration file.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use evenkeel_core::config::{Options, Parsed, parse};
use evenkeel_sys::environment::HostEnvironment;

use crate::output;

/// Parses a file as the daemon on this host would. Returns its text as well.
pub fn read_config(file: &Path, config_id: Option<&str>) -> anyhow::Result<(String, Parsed)> {
    let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let options = Options { config_id: config_id.map(str::to_owned) };
    let parsed = parse(&file.display().to_string(), text.clone(), &HostEnvironment::new(), &options);
    Ok((text, parsed))
}

/// Exit status 0: the file is usable; 1: it is not. With `strict` a file with a warning is not usable.
pub fn run(file: &Path, json: bool, strict: bool, config_id: Option<&str>) -> anyhow::Result<ExitCode> {
    let (_, parsed) = read_config(file, config_id)?;
    let errors = parsed.error_count();
    let warnings = parsed.diagnostics.len() - errors;
    let usable = errors == 0 && (!strict || warnings == 0);
    if json {
        let all: Vec<_> = parsed.diagnostics.iter().map(|d| d.to_json(&parsed.sources)).collect();
        let status = parsed.keepalived_exit_status();
        output::print(&format!(
            "{}\n",
            serde_json::json!({ "usable": usable, "keepalived_exit_status": status, "diagnostics": all })
        ));
    } else {
        eprint!("{}", parsed.render(output::is_colour_enabled()));
        let verdict = if usable { "usable" } else { "not usable" };
        let plural = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
        let counts = format!("{}, {}", plural(errors, "error"), plural(warnings, "warning"));
        output::print(&format!("{}: {verdict}, {counts}\n", file.display()));
    }
    Ok(if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
