//! `evenkeel explain [CODE|KEYWORD]` and the generated pages.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::bail;
use evenkeel_core::config::keywords::{ROOT_PATH, Support, entries};
use evenkeel_core::config::{codes, diag};

use crate::output;

/// Prints a keyword in every block that has it, a diagnostic's code, or a line for each of all keywords.
pub fn run(what: Option<&str>) -> anyhow::Result<ExitCode> {
    let all = entries();
    let mut text = String::new();
    let Some(what) = what else {
        for (block, k) in all {
            let path = if block.path == ROOT_PATH { String::new() } else { format!("{}/", block.path) };
            let _ = writeln!(text, "{path}{}  {}", k.name, k.doc);
        }
        output::print(&text);
        return Ok(ExitCode::SUCCESS);
    };
    // Blocks that say the same of it are told together: eight checkers share `retry`.
    let mut told: Vec<(String, Vec<&str>)> = Vec::new();
    for (block, k) in all.iter().filter(|(_, k)| k.name == what) {
        let mut entry = format!("{} {}\n    {}\n", k.name, k.usage(), k.doc);
        if !k.default.is_empty() {
            let _ = writeln!(entry, "    default: {}", k.default);
        }
        let since = if k.since == "evenkeel" {
            "an addition of evenkeel's".to_owned()
        } else {
            format!("since keepalived {}", k.since)
        };
        let _ = writeln!(entry, "    {since}");
        match k.deprecated.map(|old| old.replacement) {
            Some(Some(new)) => {
                let _ = writeln!(entry, "    an old name of `{new}`");
            }
            Some(None) => entry.push_str("    old\n"),
            None => {}
        }
        match k.support {
            Support::Full if !k.differs.is_empty() => {
                let _ = writeln!(entry, "    differs from keepalived: {}", k.differs);
            }
            Support::Full => {}
            Support::NotYet => entry.push_str("    accepted, not in force yet\n"),
            Support::Refused => {
                entry.push_str("    not in force yet, and harmful to go without: a file that has it is refused\n")
            }
            Support::NoEffect(why) => {
                let _ = writeln!(entry, "    accepted, and never in force: {why}");
            }
        }
        let place = if block.path == ROOT_PATH { "the top level" } else { block.path };
        match told.iter_mut().find(|(e, _)| *e == entry) {
            Some((_, places)) => places.push(place),
            None => told.push((entry, vec![place])),
        }
    }
    for (entry, places) in told {
        let _ = writeln!(text, "{entry}    in {}\n", places.join(", "));
    }
    if let Some(c) = codes::find(what) {
        let _ = writeln!(text, "{}\n    {}", c.name, c.text);
    }
    if text.is_empty() {
        let names = all.iter().map(|(_, k)| k.name).chain(codes::CODES.iter().map(|c| c.name));
        match diag::nearest_word(what, names) {
            Some(near) => bail!("no keyword and no diagnostic is called `{what}`; did you mean `{near}`?"),
            None => bail!("no keyword and no diagnostic is called `{what}`"),
        }
    }
    output::print(&text);
    Ok(ExitCode::SUCCESS)
}
