//! Scripts: are they there, and could somebody else than root have written them?
//!
//! keepalived.conf(5), "enable_script_security": every element of the path must belong to root and be writable by nobody
//! else. Without that setting a script that runs as root makes `-t` exit with 6.

use super::super::diag::KeepalivedVerdict;
use super::super::environment::ProgramStatus;
use super::super::value::{Script, Section, Value};
use super::super::{Diagnostic, Span};
use super::CheckContext;

pub(super) fn check(c: &mut CheckContext<'_>) {
    let root = c.root;
    let secure = c.global_setting(|g| g.get("enable_script_security").map(|_| ())).is_some();
    let default = c.global_setting(|g| match &g.get("script_user")?.value {
        Value::User(u) => Some(u.0.clone()),
        _ => None,
    });
    let made_for = c.environment.has_user("keepalived_script");
    let mut all = Vec::new();
    collect_scripts(root, &mut all);
    let mut told = (false, false);
    for found in all {
        let user = found.user.or(default.as_deref()).or((made_for == Some(true)).then_some("keepalived_script"));
        if user.is_none() && secure && made_for == Some(false) && !std::mem::replace(&mut told.0, true) {
            c.push(
                Diagnostic::warning("script-user", found.span, "nobody is named who could run this script")
                    .label("keepalived does not run it")
                    .help("write `script_user USER` in global_defs, or make the user keepalived_script"),
            );
        }
        let as_root = user.is_none_or(|u| u == "root" || u == "0");
        let program = found.script.argv.first().map_or(ProgramStatus::Unknown, |p| c.environment.program_status(p));
        check_script(c, &found, &program, secure, as_root);
        if as_root
            && !secure
            && matches!(program, ProgramStatus::Safe | ProgramStatus::Unsafe { .. })
            && !std::mem::replace(&mut told.1, true)
        {
            c.push(
                Diagnostic::warning(
                    "script-security",
                    found.span,
                    "scripts run as root, and nothing makes sure who wrote them",
                )
                .label("this one, for example")
                .help("write `enable_script_security` in global_defs, and `script_user USER` for one with fewer rights")
                .verdict(KeepalivedVerdict::ReportsScript),
            );
        }
    }
}

/// A script somewhere in the file.
struct ScriptUse<'s> {
    script: &'s Script,
    user: Option<&'s str>,
    span: Span,
    /// Does keepalived look at it when it reads the file?
    tracked: bool,
}

fn collect_scripts<'s>(s: &'s Section, out: &mut Vec<ScriptUse<'s>>) {
    let own = s.entries.iter().rev().find(|e| e.keyword.name == "user").and_then(|e| match &e.value {
        Value::User(u) => Some(u.0.as_str()),
        _ => None,
    });
    for e in &s.entries {
        match &e.value {
            Value::Section(inner) => collect_scripts(inner, out),
            Value::Script(script) if !e.keyword.name.ends_with("_fifo") => {
                let user = script.user.as_ref().map(|(u, _)| u.as_str()).or(own);
                out.push(ScriptUse { script, user, span: e.args_span, tracked: s.block.path == "vrrp_script" });
            }
            _ => {}
        }
    }
}

fn check_script(c: &mut CheckContext<'_>, found: &ScriptUse<'_>, program: &ProgramStatus, secure: bool, as_root: bool) {
    let path = found.script.argv.first().map_or("", String::as_str);
    let mut d = match program {
        ProgramStatus::Safe | ProgramStatus::Unknown => return,
        ProgramStatus::Unusable(why) => {
            Diagnostic::error("script-missing", found.span, format!("the script `{path}` cannot be run"))
                .label(why.clone())
        }
        ProgramStatus::Unsafe { element, owner, mode } if secure || as_root => {
            let d = Diagnostic::error(
                "script-unsafe",
                found.span,
                format!("somebody else than root can change the script `{path}`"),
            )
            .label(format!("`{element}` belongs to {owner} and has mode {mode:04o}"))
            .help(format!("`chown root {element}` and `chmod go-w {element}`, or let another user run the script"));
            if secure { d } else { d.verdict(KeepalivedVerdict::Silent) }
        }
        ProgramStatus::Unsafe { .. } => return,
    };
    if !found.tracked {
        d.verdict = KeepalivedVerdict::Silent;
    }
    if d.verdict == KeepalivedVerdict::Silent {
        d.severity = super::super::Severity::Warning;
    }
    c.push(d);
}
