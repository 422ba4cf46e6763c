//! Programs that are run for their exit status: as their user, in a group of their own, and never for longer than allowed.

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
/// From SIGTERM to SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// A program as its user, in a process group of its own.
pub fn program_command(script: &ScriptCommand, secure: bool) -> Result<Command, String> {
    let Some((program, arguments)) = script.argv.split_first() else { return Err("nothing to run".into()) };
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

/// Runs a program for no longer than `limit`, and ends what it leaves behind if it takes longer.
pub async fn run_program(script: &ScriptCommand, limit: Duration, secure: bool) -> Result<ExitStatus, String> {
    let mut command = program_command(script, secure)?;
    let program = script.argv.first().map_or("", String::as_str);
    let child = command.spawn().map_err(|e| format!("cannot run {program}: {e}"))?;
    if let Some(group) = child.id() {
        set_running(group, true);
    }
    let mut run = RunningProgram(Some(child));
    let Some(child) = &mut run.0 else { return Err("it is gone".to_owned()) };
    let group = child.id().unwrap_or(0);
    match timeout(limit, child.wait()).await {
        Ok(ended) => {
            set_running(group, false);
            run.0 = None;
            ended.map_err(|e| e.to_string())
        }
        Err(_) => Err(format!("still running after {} s", limit.as_secs_f64())), // and `run` ends it
    }
}

/// The groups of programs that run and are not let out of sight.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn set_running(group: u32, runs: bool) {
    if let Ok(mut all) = RUNNING.lock() {
        if runs {
            all.insert(group)
        } else {
            all.remove(&group)
        };
    }
}

/// Ends every program that [`once`] runs, and all that it has started: for a process that ends itself.
pub fn kill_all() {
    for group in RUNNING.lock().iter().flat_map(|all| all.iter()) {
        send_signal_to_group(*group, Signal::SIGKILL);
    }
}

/// A program that runs. Whoever gives it up ends it and its group, first kindly.
struct RunningProgram(Option<Child>);

impl Drop for RunningProgram {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        let Some(group) = child.id() else { return };
        send_signal_to_group(group, Signal::SIGTERM);
        let end = async move {
            let _ = timeout(TERM_GRACE, child.wait()).await;
            // Those that it has started may not have heard, or may not care.
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

/// `enable_script_security`: root runs nothing that somebody else may change, nor from a directory that they may.
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
    async fn a_user_comes_with_or_without_its_other_groups() {
        if !evenkeel_sys::user::is_root() {
            eprintln!("skipped: it needs root");
            return;
        }
        let of = |groups| ScriptCommand {
            argv: vec!["/usr/bin/id".into(), "-un".into()],
            user: Some(("nobody".into(), None)),
            groups,
        };
        for groups in [false, true] {
            let mut command = program_command(&of(groups), false).expect("a program");
            let out = command.stdout(Stdio::piped()).output().await.expect("runs");
            assert_eq!(String::from_utf8_lossy(&out.stdout), "nobody\n", "{groups}");
        }
    }
}
