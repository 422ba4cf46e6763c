//! Checks of scripts: whether they exist, and whether a user other than root can modify them.
//!
//! keepalived.conf(5), "enable_script_security": every element of the path must belong to root and must not be writable
//! by others. Without that setting a script that runs as root makes `-t` exit with status 6.

use super::super::diag::KeepalivedVerdict;
use super::super::environment::ProgramStatus;
use super::super::value::{Script, Section, Value};
use super::super::{Diagnostic, Severity, Span};
use super::CheckContext;

pub(super) fn check(c: &mut CheckContext<'_>) {
    let root = c.root;
    let secure = c.global_setting(|g| g.get("enable_script_security").map(|_| ())).is_some();
    let script_user = c.global_setting(|g| match &g.get("script_user")?.value {
        Value::User(u) => Some(u.0.clone()),
        _ => None,
    });
    // keepalived runs scripts as the user of this name if it exists.
    let fallback_user = c.environment.has_user("keepalived_script");
    let mut scripts = Vec::new();
    collect_scripts(root, &mut scripts);
    // One report of each kind is enough: the remedy is the same for all scripts.
    let (mut user_reported, mut security_reported) = (false, false);
    for script in scripts {
        let user =
            script.user.or(script_user.as_deref()).or((fallback_user == Some(true)).then_some("keepalived_script"));
        if user.is_none() && secure && fallback_user == Some(false) && !user_reported {
            user_reported = true;
            c.report(
                Diagnostic::warning("script-user", script.span, "no user is configured to run this script")
                    .label("keepalived does not run it")
                    .help("write `script_user USER` in global_defs, or create the user keepalived_script"),
            );
        }
        let as_root = user.is_none_or(|u| u == "root" || u == "0");
        let program =
            script.script.argv.first().map_or(ProgramStatus::Unknown, |path| c.environment.program_status(path));
        check_script(c, &script, &program, secure, as_root);
        let can_run = matches!(program, ProgramStatus::Safe | ProgramStatus::Unsafe { .. });
        if as_root && !secure && can_run && !security_reported {
            security_reported = true;
            c.report(
                Diagnostic::warning(
                    "script-security",
                    script.span,
                    "scripts run as root without a check of who can modify them",
                )
                .label("such as this one")
                .help("write `enable_script_security` in global_defs, and `script_user USER` for an unprivileged user")
                .verdict(KeepalivedVerdict::ReportsScript),
            );
        }
    }
}

/// A script in a statement of the file.
struct ScriptUse<'s> {
    script: &'s Script,
    user: Option<&'s str>,
    span: Span,
    /// Whether instances track it, so that keepalived checks it when it reads the file.
    tracked: bool,
}

fn collect_scripts<'s>(s: &'s Section, out: &mut Vec<ScriptUse<'s>>) {
    let block_user = s.entries.iter().rev().find(|e| e.keyword.name == "user").and_then(|e| match &e.value {
        Value::User(u) => Some(u.0.as_str()),
        _ => None,
    });
    for e in &s.entries {
        match &e.value {
            Value::Section(inner) => collect_scripts(inner, out),
            Value::Script(script) if !e.keyword.name.ends_with("_fifo") => {
                let user = script.user.as_ref().map(|(u, _)| u.as_str()).or(block_user);
                out.push(ScriptUse { script, user, span: e.args_span, tracked: s.block.path == "vrrp_script" });
            }
            _ => {}
        }
    }
}

/// Reports a script that cannot be run, or that others than root can modify. `secure`: `enable_script_security` is set.
fn check_script(
    c: &mut CheckContext<'_>,
    script: &ScriptUse<'_>,
    program: &ProgramStatus,
    secure: bool,
    as_root: bool,
) {
    let path = script.script.argv.first().map_or("", String::as_str);
    let mut d = match program {
        ProgramStatus::Safe | ProgramStatus::Unknown => return,
        ProgramStatus::Unusable(reason) => {
            Diagnostic::error("script-missing", script.span, format!("the script `{path}` cannot be run"))
                .label(reason.clone())
        }
        ProgramStatus::Unsafe { element, owner, mode } if secure || as_root => {
            let message = format!("users other than root can modify the script `{path}`");
            let d = Diagnostic::error("script-unsafe", script.span, message)
                .label(format!("`{element}` belongs to {owner} and has mode {mode:04o}"))
                .help(format!(
                    "run `chown root {element}` and `chmod go-w {element}`, or run the script as another user"
                ));
            if secure { d } else { d.verdict(KeepalivedVerdict::Silent) }
        }
        ProgramStatus::Unsafe { .. } => return,
    };
    if !script.tracked {
        d.verdict = KeepalivedVerdict::Silent;
    }
    if d.verdict == KeepalivedVerdict::Silent {
        d.severity = Severity::Warning;
    }
    c.report(d);
}
