//! Programs that are run for their exit status, as a user, in a process group of their own, with a time limit.

use std::collections::BTreeSet;
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use evenkeel_core::model::ScriptCommand;
use evenkeel_sys::signals::send_signal_to_group;
use evenkeel_sys::trusted_path;
use evenkeel_sys::user::lookup_ids;
use nix::sys::signal::Signal;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// keepalived's default user, if it exists.
const DEFAULT_USER: &str = "keepalived_script";
/// Time from SIGTERM to SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// The command that runs a program as its user, in a process group of its own. `secure`: `enable_script_security`, with
/// which root runs only programs that nobody else can change ([`trusted_path`]), and none without a configured user.
pub fn program_command(script: &ScriptCommand, secure: bool) -> Result<Command, String> {
    let Some((program, arguments)) = script.argv.split_first() else { return Err("the command is empty".into()) };
    let user = match &script.user {
        Some((user, group)) => Some(lookup_ids(user, group.as_deref()).map_err(|e| e.to_string())?),
        None => lookup_ids(DEFAULT_USER, None).ok(),
    };
    if secure && user.is_none() {
        return Err(format!(
            "not run: enable_script_security is set, and no user is configured: write `script_user USER` in global_defs, \
             or create the user {DEFAULT_USER}"
        ));
    }
    let mut command = if secure && user.is_some_and(|(uid, _)| uid == 0) {
        let resolved = trusted_path::resolve_program(program).map_err(|e| {
            format!(
                "not run: {e}, and enable_script_security is set: correct owner and mode, or run it as another user"
            )
        })?;
        let mut command = Command::new(resolved);
        command.arg0(program);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0);
    match user {
        Some((uid, gid)) if uid != 0 && script.groups => {
            let name = script.user.as_ref().map_or(DEFAULT_USER, |(name, _)| name);
            evenkeel_sys::process::run_as_user(command.as_std_mut(), name, uid, gid).map_err(|e| e.to_string())?;
        }
        Some((uid, gid)) if uid != 0 => {
            command.uid(uid).gid(gid);
        }
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
    /// A directory in which root's programs are trusted, and one that another user owns.
    fn directories(name: &str) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
        if !evenkeel_sys::user::is_root() {
            eprintln!("skipped: this test needs root");
            return None;
        }
        let dir = std::path::PathBuf::from(format!("/run/evenkeel-program-{name}-{}", std::process::id()));
        let home = dir.join("home");
        std::fs::create_dir_all(&home).expect("writable");
        std::os::unix::fs::chown(&home, Some(65_533), None).expect("an owner");
        Some((dir, home))
    }

    fn write_script(path: &std::path::Path, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(path, text).expect("writable");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    fn as_root(program: &std::path::Path) -> ScriptCommand {
        ScriptCommand { argv: vec![program.display().to_string()], user: Some(("root".into(), None)), groups: false }
    }

    #[tokio::test]
    async fn root_runs_no_program_that_a_link_leads_to_in_another_users_directory() {
        let Some((dir, home)) = directories("swap") else { return };
        write_script(&home.join("check.sh"), "#!/bin/sh\nexit 7\n");
        std::os::unix::fs::symlink(home.join("check.sh"), dir.join("check")).expect("a link");
        let command = as_root(&dir.join("check"));
        let limit = Duration::from_secs(10);
        let refused = run_program(&command, limit, true).await.expect_err("refused");
        assert!(refused.contains("/home (it belongs to 65533"), "{refused}");
        // Checked before every run: the owner changes meanwhile.
        std::os::unix::fs::chown(&home, Some(0), None).expect("an owner");
        assert_eq!(run_program(&command, limit, true).await.expect("runs").code(), Some(7));
        std::os::unix::fs::chown(&home, Some(65_533), None).expect("an owner");
        assert!(run_program(&command, limit, true).await.is_err());
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[tokio::test]
    async fn a_program_sees_the_name_that_it_was_configured_with() {
        let Some((dir, _)) = directories("name") else { return };
        // A script's $0 is its real path: what lies beside it is found.
        write_script(&dir.join("real.sh"), "#!/bin/sh\n. \"$(dirname \"$0\")/lib.sh\"\n");
        std::fs::write(dir.join("lib.sh"), "exit 9\n").expect("writable");
        std::fs::create_dir(dir.join("links")).expect("writable");
        std::os::unix::fs::symlink("../real.sh", dir.join("links/check")).expect("a link");
        let ended = run_program(&as_root(&dir.join("links/check")), Duration::from_secs(10), true).await;
        assert_eq!(ended.expect("runs").code(), Some(9));
        // A program that acts by its name (busybox): argv[0] is the configured one.
        std::os::unix::fs::symlink("/bin/busybox", dir.join("links/false")).expect("a link");
        if std::path::Path::new("/bin/busybox").exists() {
            let ended = run_program(&as_root(&dir.join("links/false")), Duration::from_secs(10), true).await;
            assert_eq!(ended.expect("runs").code(), Some(1));
        }
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn without_a_user_no_program_runs_when_scripts_are_secured() {
        if lookup_ids(DEFAULT_USER, None).is_ok() {
            eprintln!("skipped: the user {DEFAULT_USER} exists");
            return;
        }
        let command = ScriptCommand { argv: vec!["/bin/true".into()], user: None, groups: false };
        let refused = program_command(&command, true).expect_err("refused");
        assert!(refused.contains("script_user"), "{refused}");
        assert!(program_command(&command, false).is_ok());
    }
}
