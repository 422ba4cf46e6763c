//! `evenkeel check FILE`

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use evenkeel_core::config::parse_file;

use crate::out;

/// Exit status 0: usable; 1: not.
pub fn run(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let parsed = parse_file(&file.display().to_string(), &String::from_utf8_lossy(&bytes));
    let usable = parsed.config.is_some();
    if json {
        let all: Vec<_> = parsed.diagnostics.iter().map(|d| d.to_json(&parsed.source)).collect();
        out::print(&format!("{}\n", serde_json::json!({ "usable": usable, "diagnostics": all })));
    } else {
        eprint!("{}", parsed.render(out::colour()));
        let warnings = parsed.diagnostics.len() - parsed.errors();
        let verdict = if usable { "usable" } else { "not usable" };
        out::print(&format!("{}: {verdict}, {} errors, {warnings} warnings\n", file.display(), parsed.errors()));
    }
    Ok(if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
