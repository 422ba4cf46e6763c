//! `evenkeel explain [KEYWORD]`

use std::process::ExitCode;

use anyhow::bail;
use evenkeel_core::config::{diag, keywords};

use crate::out;

/// Prints the registry's entries of a keyword, or of all.
pub fn run(keyword: Option<&str>) -> anyhow::Result<ExitCode> {
    let all = keywords::entries();
    let mut text = String::new();
    for e in all.iter().filter(|e| keyword.is_none_or(|k| k == e.name)) {
        let place = if e.block.is_empty() { "top level".to_owned() } else { format!("in {}", e.block) };
        text += &format!("{} {}    ({place}, since {})\n    {}\n", e.name, e.args, e.since, e.doc);
    }
    if text.is_empty() {
        let k = keyword.unwrap_or_default();
        match diag::nearest(k, all.iter().map(|e| e.name)) {
            Some(near) => bail!("no keyword `{k}` is in force; did you mean `{near}`?"),
            None => bail!("no keyword `{k}` is in force"),
        }
    }
    out::print(&text);
    Ok(ExitCode::SUCCESS)
}
