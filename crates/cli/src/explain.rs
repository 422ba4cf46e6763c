//! `evenkeel explain [KEYWORD|CODE]`: explains a keyword of the configuration language or the code of a diagnostic.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::bail;
use evenkeel_core::config::keywords::{Keyword, ROOT_PATH, Support, entries};
use evenkeel_core::config::{codes, diag};

use crate::output;

/// Prints a keyword in every block that has it, or a diagnostic's code; without `what`, one line for each keyword.
pub fn run(what: Option<&str>) -> anyhow::Result<ExitCode> {
    let text = match what {
        None => list_keywords(),
        Some(what) => explain(what)?,
    };
    output::print(&text);
    Ok(ExitCode::SUCCESS)
}

fn list_keywords() -> String {
    let mut text = String::new();
    for (block, k) in entries() {
        let path = if block.path == ROOT_PATH { String::new() } else { format!("{}/", block.path) };
        let _ = writeln!(text, "{path}{}  {}", k.name, k.doc);
    }
    text
}

fn explain(what: &str) -> anyhow::Result<String> {
    let all = entries();
    // Blocks with the same text for a keyword are listed together: eight checkers share `retry`.
    let mut texts: Vec<(String, Vec<&str>)> = Vec::new();
    for (block, k) in all.iter().filter(|(_, k)| k.name == what) {
        let text = explain_keyword(k);
        let path = if block.path == ROOT_PATH { "the top level" } else { block.path };
        match texts.iter_mut().find(|(t, _)| *t == text) {
            Some((_, paths)) => paths.push(path),
            None => texts.push((text, vec![path])),
        }
    }
    let mut out = String::new();
    for (text, paths) in texts {
        let _ = writeln!(out, "{text}    in {}\n", paths.join(", "));
    }
    if let Some(code) = codes::find(what) {
        let _ = writeln!(out, "{}\n    {}", code.name, code.text);
    }
    if out.is_empty() {
        let names = all.iter().map(|(_, k)| k.name).chain(codes::CODES.iter().map(|c| c.name));
        match diag::nearest_word(what, names) {
            Some(near) => bail!("there is no keyword and no diagnostic `{what}`; did you mean `{near}`?"),
            None => bail!("there is no keyword and no diagnostic `{what}`; `evenkeel explain` lists all keywords"),
        }
    }
    Ok(out)
}

fn explain_keyword(k: &Keyword) -> String {
    let mut text = format!("{} {}\n    {}\n", k.name, k.usage(), k.doc);
    if !k.default.is_empty() {
        let _ = writeln!(text, "    default: {}", k.default);
    }
    if k.since == "evenkeel" {
        text.push_str("    an extension of evenkeel\n");
    } else {
        let _ = writeln!(text, "    since keepalived {}", k.since);
    }
    match k.deprecated.map(|d| d.replacement) {
        Some(Some(new)) => {
            let _ = writeln!(text, "    an old name of `{new}`");
        }
        Some(None) => text.push_str("    deprecated\n"),
        None => {}
    }
    match k.support {
        Support::Full if !k.differs.is_empty() => {
            let _ = writeln!(text, "    differs from keepalived: {}", k.differs);
        }
        Support::Full => {}
        Support::NotYet => text.push_str("    accepted, but not implemented yet: it has no effect\n"),
        Support::Refused => {
            text.push_str("    not implemented yet; a file with it is rejected, because ignoring it would do harm\n");
        }
        Support::NoEffect(reason) => {
            let _ = writeln!(text, "    accepted without effect: {reason}");
        }
    }
    text
}
