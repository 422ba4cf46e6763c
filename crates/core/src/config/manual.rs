//! The pages that are generated from the keyword registry: the configuration reference, the man page, and the
//! comparison with keepalived.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::codes::CODES;
use super::keywords::{Block, Deprecation, Keyword, ROOT_PATH, Support, blocks};

/// The heading of a block.
fn heading(block: &Block) -> String {
    match block.path {
        ROOT_PATH => "Top level".to_owned(),
        path => path.replace('/', " → "),
    }
}

/// How far a keyword does what it does in keepalived: in one word, and with a remark, which may be empty.
fn support_summary(k: &Keyword) -> (&'static str, &'static str) {
    if k.since == "evenkeel" {
        return ("addition", "");
    }
    match k.support {
        Support::Full if k.differs.is_empty() => ("same", ""),
        Support::Full => ("differs", k.differs),
        Support::NotYet => ("accepted", "not implemented yet"),
        Support::Refused => ("rejected", "not implemented yet, and harmful to ignore"),
        Support::NoEffect(reason) => ("no effect", reason),
    }
}

/// What replaces an old keyword; empty for others.
fn deprecation_remark(k: &Keyword) -> String {
    match k.deprecated {
        Some(Deprecation { replacement: Some(new), .. }) => format!("replaced by `{new}`"),
        Some(Deprecation { replacement: None, .. }) => "old".to_owned(),
        None => String::new(),
    }
}

/// The remark on a keyword beside its documentation: deprecation and support, without what the documentation says
/// already.
fn remark(k: &Keyword) -> String {
    let support = match support_summary(k) {
        (_, "") => String::new(),
        ("differs", difference) => format!("differs: {difference}"),
        ("no effect", reason) => format!("no effect: {reason}"),
        (_, remark) => remark.to_owned(),
    };
    let deprecation = if k.doc.starts_with("Old name of") { String::new() } else { deprecation_remark(k) };
    join_remarks(&[deprecation, support])
}

fn join_remarks(remarks: &[String]) -> String {
    let remarks: Vec<&str> = remarks.iter().map(String::as_str).filter(|r| !r.is_empty()).collect();
    remarks.join("; ")
}

/// Escapes the text of a cell of a Markdown table.
fn escape_cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The grammar of the file, for the reference and the man page: a term and its description.
const GRAMMAR: &[(&str, &str)] = &[
    (
        "Lines",
        "A statement is a keyword with its arguments on one line. A line contains one statement. A block in braces may follow; its opening brace is on the same line or on the next one.",
    ),
    ("Comments", "`#` and `!` start a comment, except in quotes. `\\#` and `\\!` are the characters themselves."),
    (
        "Quotes",
        "`\"…\"` is one word on one line, including its spaces. A quoted script is split into words once more: `'` and `\"` quote spaces, and `\\` starts an escape sequence.",
    ),
    (
        "Numbers",
        "Numbers consist of decimal digits, with an optional `+` before them. Times are in seconds, with up to six decimals, unless the table says otherwise.",
    ),
    (
        "Conditions",
        "`@id LINE` applies the line on the machine with this id only, `@^id LINE` on all other machines. The id is the argument of `-i`, or the host name up to its first dot.",
    ),
    (
        "Definitions",
        "`$NAME=VALUE` defines a parameter; a `\\` at the end of the line continues the value on the next line. `${NAME}` is replaced everywhere, `$NAME` before a space, a comma, a `)` and the end of the line. Parameters in a value are replaced when the value is used, so that they may be defined after it. `${_PWD}`, `${_INSTANCE}`, `${_RANDOM MIN MAX}`, `${_ENV NAME}`, `${_HASH}` and `${_BANG}` are predefined.",
    ),
    (
        "Repetition",
        "`~SEQ(NAME, [[FIRST,] STEP,] LAST) LINE` repeats the rest of the line for each number, `~SEQx` in hexadecimal. `~LST(NAME, VALUE…) LINE` and `~LST({A,B}, {1,2}, {3,4}) LINE` repeat it for each value of a list.",
    ),
    (
        "Includes",
        "`include PATTERN` includes the files that match the pattern (glob(7), and `{a,b}`), relative to the including file. Variants turn a failure into an error: `includer` if a file cannot be read, `includem` if a name without wildcards matches nothing, `includew` if a pattern matches nothing, `includeb` if an alternative in braces matches nothing, `includea` in all of these cases. `include_check` in global_defs sets this for plain `include`.",
    ),
];

/// `docs/configuration.md`: the grammar, all keywords by block, and all diagnostics.
pub fn reference_page() -> String {
    let mut out = String::from(
        "# Configuration reference\n\nThis page is generated from the keyword registry (`evenkeel manual reference`). \
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
        for k in block.keywords() {
            let usage = format!("{} {}", k.name, k.usage());
            let remark = match remark(k) {
                r if r.is_empty() => r,
                r => format!(" *({r})*"),
            };
            let _ = writeln!(
                out,
                "| `{}` | {} | {}{} | {} |",
                escape_cell(usage.trim_end()),
                escape_cell(k.default),
                escape_cell(k.doc),
                escape_cell(&remark),
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

/// `docs/compatibility-keywords.md`: every keyword compared with keepalived.
pub fn compatibility_page() -> String {
    let mut out = String::from(
        "# Keywords compared with keepalived 2.4.3\n\nThis page is generated from the keyword registry (`evenkeel manual compatibility`).\n\n\
         | word | meaning |\n| --- | --- |\n\
         | same | implemented as in keepalived |\n\
         | differs | implemented, with the difference in the last column |\n\
         | accepted | read and checked, not implemented yet; reported once for each file |\n\
         | rejected | `evenkeeld -t` accepts it, as keepalived does, but the daemon rejects the file, since ignoring the keyword would do harm |\n\
         | no effect | accepted without effect, for the reason in the last column |\n\
         | addition | not in keepalived |\n",
    );
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut tables = String::new();
    for block in blocks() {
        let _ = write!(tables, "\n## {}\n\n| keyword | here | remark |\n| --- | --- | --- |\n", heading(block));
        for k in block.keywords() {
            let (word, support) = support_summary(k);
            let remark = join_remarks(&[deprecation_remark(k), support.to_owned()]);
            *counts.entry(word).or_default() += 1;
            let _ = writeln!(tables, "| `{}` | {word} | {} |", k.name, escape_cell(&remark));
        }
    }
    let counts: Vec<String> = counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
    let _ = write!(out, "\nNumber of keywords, counted in each block: {}.\n", counts.join(", "));
    out + &tables
}

/// Escapes text for roff, where a backslash, and a dot or a quote at the start of a line, are special.
fn escape_roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace("**", "").replace('`', "");
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

/// `evenkeel.conf(5)`: the grammar and all keywords by block.
pub fn man_page() -> String {
    let mut out = String::from(
        ".\\\" Generated from the keyword registry: evenkeel manual man\n.TH EVENKEEL.CONF 5 \"\" \"evenkeel\" \"File Formats\"\n.SH NAME\n\
         evenkeel.conf \\- configuration file of evenkeeld, in the language of keepalived.conf\n.SH DESCRIPTION\n\
         The file configures virtual routers (VRRP), virtual services, and the health checks of real servers. \
         A file for keepalived has the same meaning; any difference is reported with line and column.\n.SH GRAMMAR\n",
    );
    for (name, text) in GRAMMAR {
        let _ = write!(out, ".TP\n.B {name}\n{}\n", escape_roff(text));
    }
    for block in blocks() {
        let _ = writeln!(out, ".SH {}", escape_roff(&heading(block).to_uppercase().replace(" → ", " / ")));
        for k in block.keywords() {
            let _ =
                write!(out, ".TP\n\\fB{}\\fR {}\n{}", escape_roff(k.name), escape_roff(&k.usage()), escape_roff(k.doc));
            if !k.default.is_empty() {
                let _ = write!(out, " Default: {}.", escape_roff(k.default));
            }
            if let Some((first, rest)) = remark(k).split_at_checked(1) {
                let _ = write!(out, " ({}{}.)", first.to_uppercase(), escape_roff(rest));
            }
            out.push('\n');
        }
    }
    out.push_str(".SH FILES\n/etc/evenkeel/evenkeel.conf, then /etc/keepalived/keepalived.conf\n.SH SEE ALSO\n");
    out.push_str(".BR evenkeeld (8),\n.BR evenkeel (8)\n");
    out
}
