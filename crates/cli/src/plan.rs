//! `evenkeel plan FILE`: what a reload would change, in the reconciler's own steps.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use evenkeel_core::ipc::{Reply, Request};
use evenkeel_core::model::Config;
use evenkeel_core::plan::{config_changes, desired_services, diff};
use evenkeel_sys::bpf::Maps;
use evenkeel_sys::paths;

use crate::{check, output, status};

/// Asks the daemon; without one, compares with what the packet path holds. Exit status 0: nothing or something would
/// change; 1: the file is refused.
pub fn run(instance: &str, file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let full = file.canonicalize().with_context(|| format!("read {}", file.display()))?;
    let steps = match status::call_daemon(instance, &Request::Plan { file: full.display().to_string() }) {
        Ok(Reply::Plan { steps }) => steps,
        Ok(Reply::Rejected { error }) => {
            eprintln!("{error}");
            return Ok(ExitCode::FAILURE);
        }
        Ok(_) => anyhow::bail!("the daemon answers something else; is it older than this tool?"),
        Err(_) => {
            let (_, parsed) = check::read_config(file, None)?;
            let Some(config) = parsed.valid_config() else {
                eprint!("{}", parsed.render(output::is_colour_enabled()));
                return Ok(ExitCode::FAILURE);
            };
            eprintln!("no evenkeeld runs as instance `{instance}`: compared with what the packet path holds");
            let observed =
                Maps::open(&paths::bpf_dir(instance), false).map(|m| m.observe_services()).unwrap_or_default();
            let services = diff(&desired_services(&config.virtual_servers, &|_| None), &observed);
            let rest = config_changes(&Config::default(), config);
            services.iter().map(ToString::to_string).chain(rest.iter().map(ToString::to_string)).collect()
        }
    };
    if json {
        output::print(&format!("{}\n", serde_json::json!({ "steps": steps })));
    } else if steps.is_empty() {
        output::print("nothing would change\n");
    } else {
        output::print(&format!("{}\n", steps.join("\n")));
    }
    Ok(ExitCode::SUCCESS)
}
