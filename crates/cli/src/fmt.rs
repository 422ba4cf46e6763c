//! `evenkeel fmt FILE`: formats a configuration file.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use evenkeel_core::config::fmt::format_text;
use evenkeel_core::config::{Options, parse};
use evenkeel_sys::environment::HostEnvironment;

use crate::check::read_config;
use crate::output;

/// Prints the file in the canonical layout, or replaces it (`write`), or tests it (`check`; exit status 1 if it
/// differs).
pub fn run(file: &Path, write: bool, check: bool) -> anyhow::Result<ExitCode> {
    let (text, before) = read_config(file, None)?;
    let formatted = format_text(&text);
    let after = parse(&file.display().to_string(), formatted.clone(), &HostEnvironment::new(), &Options::default());
    // The command must not change the meaning of a file: a defect of the formatter must not reach the disk.
    if before.typed != after.typed || before.keepalived_exit_status() != after.keepalived_exit_status() {
        bail!(
            "{}: formatting would change the meaning of the file; nothing was written (please report this file)",
            file.display()
        );
    }
    if check {
        let same = text == formatted;
        if !same {
            output::print(&format!("{}: not in the canonical layout\n", file.display()));
        }
        return Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if !write {
        output::print(&formatted);
    } else if text != formatted {
        replace_file(file, &formatted)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a new file and renames it over the old one, so that no reader sees half of it.
fn replace_file(file: &Path, text: &str) -> anyhow::Result<()> {
    let new = file.with_extension("evenkeel-fmt");
    let permissions = fs::metadata(file)?.permissions();
    fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
    fs::set_permissions(&new, permissions)?;
    fs::rename(&new, file).with_context(|| format!("replace {}", file.display()))
}
