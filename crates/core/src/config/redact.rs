//! Redaction: no diagnostic shows a secret of the file. Diagnostics go to the log, to `status` and to whoever asks for
//! help with a file.
//!
//! A secret is what follows a keyword for secrets on its line, whether or not it can be used, and the value of a
//! definition that such a line refers to. In an excerpt each of its bytes is replaced by `*`, so that columns stay.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeSet;

use super::diag::nearest_word;
use super::{Diagnostic, Sources, Span};

/// The keywords whose arguments are secret, and how many arguments before the secret may be shown.
const SECRET_KEYWORDS: &[(&str, usize)] = &[("auth_pass", 0), ("smtp_login", 0), ("password", 0), ("key", 1)];
/// Shorter keywords are not recognised if they are misspelt: too many words are similar to them.
const MIN_MISSPELT_LENGTH: usize = 7;

/// What replaces a secret word in a message.
const REPLACEMENT: &str = "***";

/// Hides the secrets of one set of texts.
pub(crate) struct Redactor<'s> {
    sources: &'s Sources,
    /// The names of definitions whose values are secret; searched for at the first use.
    definitions: OnceCell<BTreeSet<&'s str>>,
}

impl<'s> Redactor<'s> {
    pub(crate) fn new(sources: &'s Sources) -> Redactor<'s> {
        Redactor { sources, definitions: OnceCell::new() }
    }

    /// Lines of a file, as they may be shown. The result has the same length in bytes, and the same lines.
    pub(crate) fn redact_lines<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !text.lines().any(|line| self.secret_start(line).is_some()) {
            return Cow::Borrowed(text);
        }
        let redacted = text.split_inclusive('\n').map(|line| match self.secret_start(line) {
            Some(start) => {
                let (shown, secret) = line.split_at(start);
                let hide = |c: char| if c.is_whitespace() { c.to_string() } else { "*".repeat(c.len_utf8()) };
                shown.chars().map(String::from).chain(secret.chars().map(hide)).collect()
            }
            None => line.to_owned(),
        });
        Cow::Owned(redacted.collect())
    }

    /// Text of a diagnostic. Words in backquotes that begin a secret word of the lines at `span` are replaced.
    pub(crate) fn redact_message<'t>(&self, text: &'t str, span: Span) -> Cow<'t, str> {
        let secrets = self.secret_words(span);
        let is_secret = |quoted: &str| {
            let quoted = quoted.trim_end_matches('…');
            !quoted.is_empty()
                && secrets.iter().any(|s| s.starts_with(quoted) || s.trim_matches(['"', '\'']).starts_with(quoted))
        };
        let mut pieces = text.split('`').enumerate().map(|(n, piece)| (n % 2 == 1, piece));
        if secrets.is_empty() || !pieces.clone().any(|(quoted, piece)| quoted && is_secret(piece)) {
            return Cow::Borrowed(text);
        }
        let first = pieces.next().map_or("", |(_, piece)| piece).to_owned();
        Cow::Owned(pieces.fold(first, |mut out, (quoted, piece)| {
            out.push('`');
            out.push_str(if quoted && is_secret(piece) { REPLACEMENT } else { piece });
            out
        }))
    }

    /// What is secret on the line of a location, as written and as expanded, and in its definition: the words, and all of
    /// it as one.
    fn secret_words(&self, span: Span) -> Vec<String> {
        let location = self.sources.written_location(span);
        let definition = location.definition.map(|d| self.sources.line(d).to_owned());
        let lines = [Some(self.sources.line(location.span).to_owned()), location.expanded_line, definition];
        let secret = |line: String| self.secret_start(&line).and_then(|start| line.get(start..).map(str::to_owned));
        let secrets = lines.into_iter().flatten().filter_map(secret);
        secrets.flat_map(|s| s.split_whitespace().chain([s.trim()]).map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// Where the secret of a line begins.
    fn secret_start(&self, line: &str) -> Option<usize> {
        if let Some(start) = secret_argument(line) {
            return Some(start);
        }
        let (name, _) = line.trim_start().strip_prefix('$')?.split_once('=')?;
        self.definitions().contains(name.trim()).then(|| line.find('=').map(|n| n + 1)).flatten()
    }

    fn definitions(&self) -> &BTreeSet<&'s str> {
        self.definitions.get_or_init(|| {
            let secrets = self.sources.texts().flat_map(str::lines).filter_map(|l| l.get(secret_argument(l)?..));
            secrets.flat_map(references).collect()
        })
    }
}

/// Where the argument of a keyword for secrets begins on a line, wherever the keyword is: what is wrong may be its place.
fn secret_argument(line: &str) -> Option<usize> {
    let mut words = words_with_offsets(line);
    while let Some((_, word)) = words.next() {
        let Some((_, shown)) = SECRET_KEYWORDS.iter().find(|(k, _)| is_keyword(word, k)) else { continue };
        return words.nth(*shown).map(|(offset, _)| offset);
    }
    None
}

fn is_keyword(word: &str, keyword: &str) -> bool {
    let similar = || keyword.len() >= MIN_MISSPELT_LENGTH && nearest_word(word, [keyword]).is_some();
    word == keyword || similar()
}

fn words_with_offsets(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let offset = |word: &str| word.as_ptr() as usize - line.as_ptr() as usize;
    line.split_whitespace().map(move |word| (offset(word), word))
}

/// The names of the definitions that a text refers to: `$NAME` and `${NAME}`.
fn references(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).filter_map(|rest| {
        let bare = rest.strip_prefix('{').unwrap_or(rest);
        let end = bare.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(bare.len());
        bare.get(..end).filter(|n| !n.is_empty())
    })
}

impl Diagnostic {
    /// The diagnostic without secrets in its texts.
    pub(super) fn redacted(mut self, redactor: &Redactor<'_>) -> Diagnostic {
        let span = self.span;
        let redact = |text: &mut String| {
            if let Cow::Owned(redacted) = redactor.redact_message(text, span) {
                *text = redacted;
            }
        };
        redact(&mut self.message);
        redact(&mut self.label);
        self.help.iter_mut().for_each(redact);
        self.notes.iter_mut().for_each(|(_, text)| redact(text));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_text;

    /// All that a file's diagnostics show, as text and as JSON.
    fn shown(text: &str) -> String {
        let parsed = parse_text("test.conf", text);
        assert!(!parsed.diagnostics.is_empty(), "{text}");
        let json = parsed.diagnostics.iter().map(|d| d.to_json(&parsed.sources).to_string());
        parsed.render(false) + &json.collect::<String>()
    }

    #[test]
    fn no_diagnostic_shows_a_secret() {
        let instance = |lines: &str| {
            format!("vrrp_instance V {{\n interface eth0\n virtual_router_id 5\n authentication {{\n{lines}\n }}\n}}\n")
        };
        let files = [
            instance("auth_type PASS\nauth_pass Zebra-Zebra-Zebra"),
            instance("auth_type PASS\nauth_pass \"Zebra and more\" extra"),
            instance("auth_type PASS\nauth_pas Zebra"),
            instance("auth_typ PASS\nauth_pass Zebra"), // on the line beside the one that is wrong
            "authentication { auth_type PASS auth_pass Zebra }\n".to_owned(),
            "global_defs {\n smtp_login Zebra\n}\n".to_owned(),
            "global_defs {\n smtp_login user Zebra extra\n smtp_logn user Zebra\n}\n".to_owned(),
            format!("$WORD=Zebra-Zebra-Zebra\n{}", instance("auth_type PASS\nauth_pass $WORD")),
            format!("$WORD=Zebra\nnonsense\n{}", instance("auth_type PASS\nauth_pass ${WORD}")),
            "vrrp_instance V {\n auth_hmac {\n key 1 Zebra\n key 300 Zebra\n }\n}\n".to_owned(),
        ];
        for file in files {
            let shown = shown(&file);
            assert!(!shown.contains("Zebra"), "{file}\n{shown}");
        }
    }

    #[test]
    fn columns_and_other_words_stay() {
        let text = "vrrp_instance V {\n authentication {\n  auth_type PASS\n  auth_pass Zebra-Zebra € # why\n }\n}\n";
        let shown = shown(text);
        assert!(shown.contains("  auth_pass *********** *** * ***\n"), "{shown}");
    }
}
