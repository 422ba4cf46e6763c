//! Drafts to a configuration: defaults, names, and what must agree across blocks.

mod instances;
mod services;

use std::collections::BTreeMap;
use std::time::Duration;

use super::keywords::{Cx, Draft};
use super::{Diagnostic, Span, diag};
use crate::model::{Config, ScriptCommand, VrrpScript};

/// Fills in defaults and resolves names. Diagnostics go to `cx`; what is wrong is left out.
pub(crate) fn finish(cx: &mut Cx<'_>, draft: Draft) -> Config {
    let mut scripts = scripts(cx, &draft);
    let instances = instances::finish(cx, &draft, &scripts);
    let virtual_servers = services::finish(cx, &draft);
    let tracked = |name: &str| draft.instances.iter().any(|i| i.track_scripts.iter().any(|t| t.name == name));
    for d in draft.scripts.iter().filter(|d| !tracked(&d.name)) {
        cx.push(
            Diagnostic::warning("unused-script", d.at, format!("no instance tracks the script `{}`", d.name))
                .label("it will not be run"),
        );
    }
    scripts.retain(|s| instances.iter().any(|i| i.track_scripts.iter().any(|t| t.name == s.name)));
    Config { global: draft.global.defs, scripts, instances, virtual_servers }
}

/// Is this name new? If not, tells where it stood first.
fn unique<'a>(cx: &mut Cx<'_>, seen: &mut BTreeMap<&'a str, Span>, what: &str, name: &'a str, at: Span) -> bool {
    let Some(first) = seen.insert(name, at) else { return true };
    cx.push(
        Diagnostic::error("duplicate", at, format!("the {what} `{name}` is defined twice"))
            .label("second definition")
            .note(first, "first defined here"),
    );
    false
}

/// A diagnostic with the nearest of some names, if one is near.
fn suggest<'a>(d: Diagnostic, word: &str, names: impl Iterator<Item = &'a str>) -> Diagnostic {
    match diag::nearest(word, names) {
        Some(n) => d.help(format!("did you mean `{n}`?")),
        None => d,
    }
}

fn scripts(cx: &mut Cx<'_>, draft: &Draft) -> Vec<VrrpScript> {
    let mut seen = BTreeMap::new();
    let mut out = Vec::new();
    for d in &draft.scripts {
        if !unique(cx, &mut seen, "script", &d.name, d.at) {
            continue;
        }
        let interval = d.interval.unwrap_or(Duration::from_secs(1));
        let user = d.user.clone().or(draft.global.defs.script_user.clone());
        out.push(VrrpScript {
            name: d.name.clone(),
            command: ScriptCommand { argv: d.argv.clone(), user },
            interval,
            timeout: d.timeout.unwrap_or(interval),
            weight: d.weight,
            reverse: d.reverse,
            rise: d.rise,
            fall: d.fall,
            init_fail: d.init_fail,
        });
    }
    out
}
