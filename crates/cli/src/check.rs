//! `evenkeel check FILE` and `evenkeel fmt FILE`

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use evenkeel_core::config::fmt::format_text;
use evenkeel_core::config::{Options, Parsed, parse};
use evenkeel_sys::environment::HostEnvironment;

use crate::output;

/// Reads a file as the daemon on this machine would.
pub fn read_config(file: &Path, config_id: Option<&str>) -> anyhow::Result<(String, Parsed)> {
    let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let options = Options { config_id: config_id.map(str::to_owned) };
    let parsed = parse(&file.display().to_string(), text.clone(), &HostEnvironment::new(), &options);
    Ok((text, parsed))
}

/// Exit status 0: usable; 1: not. With `strict`, a warning makes it unusable as well.
pub fn run(file: &Path, json: bool, strict: bool, config_id: Option<&str>) -> anyhow::Result<ExitCode> {
    let (_, parsed) = read_config(file, config_id)?;
    let (errors, warnings) = (parsed.error_count(), parsed.diagnostics.len() - parsed.error_count());
    let usable = errors == 0 && (!strict || warnings == 0);
    if json {
        let all: Vec<_> = parsed.diagnostics.iter().map(|d| d.to_json(&parsed.sources)).collect();
        let status = parsed.keepalived_exit_status();
        output::print(&format!(
            "{}\n",
            serde_json::json!({ "usable": usable, "keepalived_status": status, "diagnostics": all })
        ));
    } else {
        eprint!("{}", parsed.render(output::is_colour_enabled()));
        let verdict = if usable { "usable" } else { "not usable" };
        let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let counts = format!("{}, {}", plural(errors, "error"), plural(warnings, "warning"));
        output::print(&format!("{}: {verdict}, {counts}\n", file.display()));
    }
    Ok(if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a file in its canonical layout, or writes it back, or says whether it has it already (exit status 1 if not).
pub fn run_fmt(file: &Path, write: bool, check: bool) -> anyhow::Result<ExitCode> {
    let (text, before) = read_config(file, None)?;
    let new = format_text(&text);
    let options = Options::default();
    let after = parse(&file.display().to_string(), new.clone(), &HostEnvironment::new(), &options);
    // The promise of this command is that it changes nothing: whoever breaks it must not write.
    if before.typed != after.typed || before.keepalived_exit_status() != after.keepalived_exit_status() {
        bail!(
            "{}: laid out anew it would not mean the same; nothing was written (please report this file)",
            file.display()
        );
    }
    if check {
        let same = text == new;
        if !same {
            output::print(&format!("{}: not in the canonical layout\n", file.display()));
        }
        return Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if !write {
        output::print(&new);
    } else if text != new {
        // Written beside the file and moved over it, so that nobody reads half of it.
        let beside = file.with_extension("evenkeel-fmt");
        let meta = fs::metadata(file)?;
        fs::write(&beside, &new).with_context(|| format!("write {}", beside.display()))?;
        fs::set_permissions(&beside, meta.permissions())?;
        fs::rename(&beside, file).with_context(|| format!("replace {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
