//! `evenkeel plan FILE`: prints the steps that a reload with a file would take. The steps come from the code that
//! reloads.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use evenkeel_core::ipc::{Reply, Request};
use evenkeel_core::model::Config;
use evenkeel_core::plan::{config_changes, desired_services, diff};
use evenkeel_sys::bpf::Maps;
use evenkeel_sys::paths;

use crate::control::{call_daemon, unexpected_reply};
use crate::{check, output};

/// Asks the daemon, which compares the file with its configuration in force; without a daemon, compares the file with
/// the services in the packet path. Exit status 0: the file is usable; 1: it is rejected.
pub fn run(instance: &str, file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let full = file.canonicalize().with_context(|| format!("read {}", file.display()))?;
    let steps = match call_daemon(instance, &Request::Plan { file: full.display().to_string() }) {
        Ok(Reply::Plan { steps }) => steps,
        Ok(Reply::Rejected { error }) => {
            eprintln!("{error}");
            return Ok(ExitCode::FAILURE);
        }
        Ok(_) => return Err(unexpected_reply()),
        Err(_) => {
            let (_, parsed) = check::read_config(file, None)?;
            let Some(config) = parsed.valid_config() else {
                eprint!("{}", parsed.render(output::is_colour_enabled()));
                return Ok(ExitCode::FAILURE);
            };
            eprintln!(
                "no evenkeeld runs as instance `{instance}`: the file is compared with the services in the packet path"
            );
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
