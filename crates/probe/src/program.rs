//! Programs that are run for their exit status, as a user, in a process group of their own, with a time limit.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use evenkeel_core::model::ScriptCommand;
use evenkeel_sys::signals::send_signal_to_group;
use nix::sys::signal::Signal;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// keepalived's default user, if it exists.
const DEFAULT_USER: &str = "keepalived_script";
/// Time from SIGTERM to SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// The command that runs a program as its user, in a process group of its own.
pub fn program_command(script: &ScriptCommand, secure: bool) -> Result<Command, String> {
    let Some((program, arguments)) = script.argv.split_first() else { return Err("the command is empty".into()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0);
    let user = match &script.user {
        Some((user, group)) => Some(evenkeel_sys::user::lookup_ids(user, group.as_deref()).map_err(|e| e.to_string())?),
        None => evenkeel_sys::user::lookup_ids(DEFAULT_USER, None).ok(),
    };
    match user {
        Some((uid, gid)) if uid != 0 && script.groups => {
            let name = script.user.as_ref().map_or(DEFAULT_USER, |(name, _)| name);
            evenkeel_sys::process::run_as_user(command.as_std_mut(), name, uid, gid).map_err(|e| e.to_string())?;
        }
        Some((uid, gid)) if uid != 0 => {
            command.uid(uid).gid(gid);
        }
        _ if secure => check_writable_by_root_only(Path::new(program))?,
        _ => {}
    }
    Ok(command)
}

/// Runs a program for no longer than `limit`. If it takes longer, its process group is killed.
pub async fn run_program(script: &ScriptCommand, limit: Duration, secure: bool) -> Result<ExitStatus, String> {
    let mut command = program_command(script, secure)?;
    let program = script.argv.first().map_or("", String::as_str);
    let child = command.spawn().map_err(|e| format!("cannot run {program}: {e}"))?;
    if let Some(group) = child.id() {
        set_running(group, true);
    }
    let mut run = RunningProgram(Some(child));
    let Some(child) = &mut run.0 else { return Err("the process has vanished".to_owned()) };
    let group = child.id().unwrap_or(0);
    match timeout(limit, child.wait()).await {
        Ok(ended) => {
            set_running(group, false);
            run.0 = None;
            ended.map_err(|e| e.to_string())
        }
        Err(_) => Err(format!("still running after {} s", limit.as_secs_f64())), // dropping `run` kills it
    }
}

/// The process groups of running programs.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn set_running(group: u32, running: bool) {
    if let Ok(mut all) = RUNNING.lock() {
        if running {
            all.insert(group)
        } else {
            all.remove(&group)
        };
    }
}

/// Kills the process groups of all running programs, before this process exits.
pub fn kill_all() {
    for group in RUNNING.lock().iter().flat_map(|all| all.iter()) {
        send_signal_to_group(*group, Signal::SIGKILL);
    }
}

/// A running program. Dropping it sends SIGTERM to its group, and SIGKILL after [`TERM_GRACE`].
struct RunningProgram(Option<Child>);

impl Drop for RunningProgram {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        let Some(group) = child.id() else { return };
        send_signal_to_group(group, Signal::SIGTERM);
        let end = async move {
            let _ = timeout(TERM_GRACE, child.wait()).await;
            // Processes that it has started may have ignored SIGTERM.
            send_signal_to_group(group, Signal::SIGKILL);
            let _ = child.wait().await;
            set_running(group, false);
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(end);
        } else {
            send_signal_to_group(group, Signal::SIGKILL);
        }
    }
}

/// `enable_script_security`: root runs no program that others than root may write to, or in whose path they may write
/// to a directory.
fn check_writable_by_root_only(program: &Path) -> Result<(), String> {
    for part in program.ancestors() {
        let meta = part.metadata().map_err(|e| format!("{}: {e}", part.display()))?;
        let others = meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0;
        if meta.uid() != 0 || others {
            let why = "is writable by others than root, and enable_script_security is set";
            return Err(format!("not run: {} {why}", part.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_runs_as_its_user_with_or_without_its_other_groups() {
        if !evenkeel_sys::user::is_root() {
            eprintln!("skipped: this test needs root");
            return;
        }
        let id_command = |groups| ScriptCommand {
            argv: vec!["/usr/bin/id".into(), "-un".into()],
            user: Some(("nobody".into(), None)),
            groups,
        };
        for groups in [false, true] {
            let mut command = program_command(&id_command(groups), false).expect("a program");
            let out = command.stdout(Stdio::piped()).output().await.expect("runs");
            assert_eq!(String::from_utf8_lossy(&out.stdout), "nobody\n", "{groups}");
        }
    }
}
