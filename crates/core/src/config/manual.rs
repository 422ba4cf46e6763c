//! What is generated from the registry: the configuration reference, the man page and the table of compatibility.

use std::fmt::Write;

use super::codes::CODES;
use super::keywords::{Block, Keyword, ROOT_PATH, Support, blocks};

/// A block's name for a heading.
fn heading(block: &Block) -> String {
    match block.path {
        ROOT_PATH => "Top level".to_owned(),
        path => path.replace('/', " → "),
    }
}

/// In one word, how far a keyword does what it does in keepalived, and what is to be said of it.
fn support_summary(k: &Keyword) -> (&'static str, String) {
    if k.since == "evenkeel" {
        return ("ours", "an addition".to_owned());
    }
    let old = match k.deprecated {
        Some(("", _)) => "an old keyword".to_owned(),
        Some((new, _)) => format!("old name of `{new}`"),
        None => String::new(),
    };
    let join = |a: &str, b: &str| match (a.is_empty(), b.is_empty()) {
        (false, false) => format!("{a}; {b}"),
        _ => format!("{a}{b}"),
    };
    match k.support {
        Support::Full if k.differs.is_empty() => ("same", old),
        Support::Full => ("differs", join(&old, k.differs)),
        Support::NotYet => ("accepted", join(&old, "not in force yet")),
        Support::Refused => ("refused", join(&old, "not in force yet, and harmful to go without")),
        Support::NoEffect(why) => ("never", join(&old, why)),
    }
}

/// For a cell of a table.
fn escape_cell(text: &str) -> String {
    text.replace('|', "\\|")
}

const GRAMMAR: &[(&str, &str)] = &[
    (
        "Lines",
        "A statement is a keyword with its arguments, on one line. A block in braces may follow, the opening brace on the same line or the next. One keyword stands on a line.",
    ),
    ("Comments", "`#` and `!` begin a comment anywhere outside quotes; `\\#` and `\\!` are the characters themselves."),
    (
        "Quotes",
        "`\"…\"` keeps blanks together on one line. A script in quotes is split once more into its words: `'` and `\"` keep blanks, and `\\` begins an escape.",
    ),
    ("Numbers", "Decimal digits, a `+` before them allowed. Times are seconds with up to six decimals."),
    (
        "Conditions",
        "`@id LINE` takes the line on the machine of this id (`-i`, else the host's name up to its first dot), `@^id LINE` on all others.",
    ),
    (
        "Definitions",
        "`$NAME=VALUE` defines; a `\\` at the end of its line goes on with the next. `${NAME}` anywhere, and `$NAME` before a blank, a comma, a `)` or the end, are replaced; late, so that a value may name what is defined below it. `${_PWD}`, `${_INSTANCE}`, `${_RANDOM MIN MAX}`, `${_ENV NAME}`, `${_HASH}` and `${_BANG}` are there without a definition.",
    ),
    (
        "Repetition",
        "`~SEQ(NAME, [[FIRST,] STEP,] LAST) LINE` repeats the rest of its line, `~SEQx` in hexadecimal; `~LST(NAME, VALUE…) LINE` and `~LST({A,B}, {1,2}, {3,4}) LINE` over lists.",
    ),
    (
        "Includes",
        "`include PATTERN` reads files by a pattern of glob(7) with `{a,b}`, relative to the file that it stands in. `includer` insists on reading them, `includem` on a name that matches, `includew` on a pattern that matches, `includeb` on each alternative, `includea` on all of that; `include_check` in global_defs says so for plain `include`.",
    ),
];

/// `docs/configuration.md`
pub fn reference_page() -> String {
    let mut out = String::from(
        "# The configuration\n\nThis page is generated from the registry that reads the file (`evenkeel manual reference`). \
         `evenkeel explain KEYWORD` prints one entry.\n\n## Grammar\n\n",
    );
    for (name, text) in GRAMMAR {
        let _ = writeln!(out, "- **{name}.** {text}");
    }
    for block in blocks() {
        let _ = write!(
            out,
            "\n## {}\n\n| keyword | default | meaning | since |\n| --- | --- | --- | --- |\n",
            heading(block)
        );
        for k in block.keywords {
            let usage = k.usage();
            let usage = if usage.is_empty() { String::new() } else { format!(" {usage}") };
            let note = match support_summary(k) {
                ("same" | "ours", _) => String::new(),
                (_, why) => format!(" *({why})*"),
            };
            let _ = writeln!(
                out,
                "| `{}` | {} | {}{} | {} |",
                escape_cell(&(k.name.to_owned() + &usage)),
                escape_cell(k.default),
                escape_cell(k.doc),
                escape_cell(&note),
                k.since
            );
        }
    }
    out.push_str("\n## Diagnostics\n\n| code | meaning |\n| --- | --- |\n");
    for c in CODES {
        let _ = writeln!(out, "| `{}` | {} |", c.name, escape_cell(c.text));
    }
    out
}

/// The table of keywords in `docs/compatibility-keywords.md`.
pub fn compatibility_page() -> String {
    let mut out = String::from(
        "# Keywords beside keepalived 2.4.3\n\nThis page is generated from the registry (`evenkeel manual compatibility`). **same**: as in \
         keepalived. **differs**: in force, with the difference said. **accepted**: read, checked and kept, not in force yet; told once \
         a file. **refused**: `evenkeeld -t` accepts it as keepalived does, and the daemon does not take the file, because to go on \
         without it would do harm. **never**: accepted, without effect for the reason given. **ours**: an addition.\n",
    );
    let mut counts: std::collections::BTreeMap<&str, usize> = Default::default();
    let mut tables = String::new();
    for block in blocks() {
        let _ = write!(tables, "\n## {}\n\n| keyword | here | |\n| --- | --- | --- |\n", heading(block));
        for k in block.keywords {
            let (word, why) = support_summary(k);
            *counts.entry(word).or_default() += 1;
            let _ = writeln!(tables, "| `{}` | {word} | {} |", k.name, escape_cell(&why));
        }
    }
    let counts: Vec<String> = counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
    let _ = write!(out, "\nOf all pairs of a block and a keyword: {}.\n", counts.join(", "));
    out + &tables
}

/// For roff: a backslash, and a dot or a quote at the beginning of a line, mean something there.
fn escape_roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace("**", "").replace('`', "");
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

/// `evenkeel.conf(5)`
pub fn man_page() -> String {
    let mut out = String::from(
        ".\\\" Generated from the registry: evenkeel manual man\n.TH EVENKEEL.CONF 5 \"\" \"evenkeel\" \"File Formats\"\n.SH NAME\n\
         evenkeel.conf \\- configuration of evenkeeld, in the language of keepalived.conf\n.SH DESCRIPTION\n\
         The file says which addresses move between directors, which services are balanced, and how real servers are checked. \
         A file for keepalived means the same here, or what differs is told with line and column.\n.SH GRAMMAR\n",
    );
    for (name, text) in GRAMMAR {
        let _ = write!(out, ".TP\n.B {name}\n{}\n", escape_roff(text));
    }
    for block in blocks() {
        let _ = writeln!(out, ".SH {}", escape_roff(&heading(block).to_uppercase().replace(" → ", " / ")));
        for k in block.keywords {
            let _ =
                write!(out, ".TP\n\\fB{}\\fR {}\n{}", escape_roff(k.name), escape_roff(&k.usage()), escape_roff(k.doc));
            if !k.default.is_empty() {
                let _ = write!(out, " Default: {}.", escape_roff(k.default));
            }
            match support_summary(k) {
                ("same" | "ours", _) => {}
                (_, why) => {
                    let _ = write!(out, " ({}.)", escape_roff(&why));
                }
            }
            out.push('\n');
        }
    }
    out.push_str(".SH FILES\n/etc/evenkeel/evenkeel.conf, then /etc/keepalived/keepalived.conf\n.SH SEE ALSO\n");
    out.push_str(".BR evenkeeld (8),\n.BR evenkeel (8)\n");
    out
}
