//! `include` and its strict forms (keepalived.conf(5), "include").
//!
//! `include`, `includer`, `includem`, `includew`, `includeb` and `includea` take a pattern of glob(7), also with
//! `{a,b}`, relative to the directory of the including file. The letter says what must hold, or else keepalived exits
//! with status 6: `r`: files are readable; `m`: a name without wildcards exists; `w`: a pattern matches; `b`: every
//! alternative in braces matches; `a`: all of these. `include_check` in `global_defs` requires the same of plain
//! `include`.

use std::path::{Path, PathBuf};

use super::super::diag::KeepalivedVerdict;
use super::super::environment::ReadError;
use super::super::{Diagnostic, Span};
use super::{ExpandedItem, Expander, MAX_DEPTH, text_span, trim};

/// Which conditions an include must meet.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct IncludeCheck {
    readable: bool,
    matches: bool,
    wildcard_match: bool,
    brace_match: bool,
}

impl IncludeCheck {
    const ALL: IncludeCheck = IncludeCheck { readable: true, matches: true, wildcard_match: true, brace_match: true };

    fn union(self, other: IncludeCheck) -> IncludeCheck {
        IncludeCheck {
            readable: self.readable || other.readable,
            matches: self.matches || other.matches,
            wildcard_match: self.wildcard_match || other.wildcard_match,
            brace_match: self.brace_match || other.brace_match,
        }
    }
}

/// Expands `{a,b}c` to `ac` and `bc`, as GLOB_BRACE of glob(3) does; at most 1,024 results.
fn expand_braces(pattern: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut todo = vec![pattern.to_owned()];
    while let Some(p) = todo.pop() {
        let braces = p.find('{').and_then(|open| matching_brace(&p, open).map(|close| (open, close)));
        match braces {
            Some((open, close)) if done.len() + todo.len() < 1024 => {
                let (head, tail) = (p.get(..open).unwrap_or(""), p.get(close + 1..).unwrap_or(""));
                let inner = p.get(open + 1..close).unwrap_or("");
                todo.extend(split_alternatives(inner).into_iter().rev().map(|m| format!("{head}{m}{tail}")));
            }
            _ => done.push(p),
        }
    }
    done
}

/// The brace that closes the one at `open`.
fn matching_brace(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (i, b) in text.bytes().enumerate().skip(open) {
        match b {
            b'{' => depth += 1,
            b'}' if depth == 1 => return Some(i),
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Splits at the commas that are not inside nested braces.
fn split_alternatives(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut out) = (0usize, 0, Vec::new());
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                out.extend(text.get(from..i));
                from = i + 1;
            }
            _ => {}
        }
    }
    out.extend(text.get(from..));
    out
}

impl<'a> Expander<'a, '_> {
    /// The directory of the file that is being read.
    pub(super) fn current_directory(&self) -> PathBuf {
        self.open_files.last().and_then(|p| p.parent()).map(Path::to_owned).unwrap_or_default()
    }

    /// Reads the files that a line includes; `false` if it is another line. `include_check` takes effect here, and is a
    /// keyword of its block too.
    pub(super) fn try_include(&mut self, text: &'a str, base: u32) -> bool {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let (pattern, at) = trim(rest, base + end as u32);
        let Some(letter) = word.strip_prefix("include") else { return false };
        if letter == "_check" {
            self.set_include_check(pattern);
            return false;
        }
        let mut strict = self.include_check;
        strict = strict.union(match letter {
            "" => IncludeCheck::default(),
            "r" => IncludeCheck { readable: true, ..IncludeCheck::default() },
            "m" => IncludeCheck { matches: true, ..IncludeCheck::default() },
            "w" => IncludeCheck { wildcard_match: true, ..IncludeCheck::default() },
            "b" => IncludeCheck { brace_match: true, ..IncludeCheck::default() },
            "a" => IncludeCheck::ALL,
            _ => return false,
        });
        if pattern.is_empty() {
            return false;
        }
        self.include_pattern(pattern, text_span(pattern, at), strict);
        true
    }

    /// `include_check [[+|-]read] [match] [wildcard_match] [brace_match]`
    fn set_include_check(&mut self, words: &str) {
        if words.is_empty() {
            self.include_check = IncludeCheck::ALL;
        }
        for w in words.split_whitespace() {
            let (on, name) = match w.split_at_checked(1) {
                Some(("+", n)) => (true, n),
                Some(("-", n)) => (false, n),
                _ => (true, w),
            };
            match name {
                "read" | "readable" => self.include_check.readable = on,
                "match" => self.include_check.matches = on,
                "wildcard_match" => self.include_check.wildcard_match = on,
                "brace_match" => self.include_check.brace_match = on,
                _ => {}
            }
        }
    }

    /// Reads all files that match a pattern.
    fn include_pattern(&mut self, pattern: &str, at: Span, strict: IncludeCheck) {
        let wild = |p: &str| p.contains(['*', '?', '[']);
        let braces = expand_braces(pattern);
        let mut found = Vec::new();
        for p in &braces {
            let full = self.current_directory().join(p);
            let files = if wild(p) { self.environment.glob(&full) } else { vec![full] };
            let exists = |f: &PathBuf| self.environment.read_file(f) != Err(ReadError::Missing);
            let files: Vec<PathBuf> = files.into_iter().filter(exists).collect();
            if files.is_empty() {
                let must = (strict.brace_match && braces.len() > 1)
                    || (strict.wildcard_match && wild(p))
                    || (strict.matches && !wild(p));
                if must || !wild(p) {
                    self.report_missing_file(p, at, must);
                }
            }
            found.extend(files);
        }
        for f in found {
            if !self.limit_reached {
                self.include_file(f, at, strict.readable);
            }
        }
    }

    fn report_missing_file(&mut self, pattern: &str, at: Span, must: bool) {
        let d = if must {
            Diagnostic::error("include-missing", at, format!("no file matches `{pattern}`"))
                .verdict(KeepalivedVerdict::Exits(6))
        } else {
            Diagnostic::lint("include-missing", at, format!("there is no file `{pattern}`"))
                .help("the configuration continues without it; `includea` makes this an error")
        };
        let from = self.current_directory();
        let from = if from.as_os_str().is_empty() { ".".into() } else { from.display().to_string() };
        self.report(d.label(format!("searched from directory {from}")));
    }

    /// Reads one file, unless it is open already.
    fn include_file(&mut self, path: PathBuf, at: Span, must_read: bool) {
        let name = path.display().to_string();
        if self.open_files.contains(&path) || self.open_files.len() > MAX_DEPTH {
            let d = Diagnostic::error("include-loop", at, format!("`{name}` includes itself"));
            return self.report(d.label("this file is already open").help("remove this line"));
        }
        let bytes = match self.environment.read_file(&path) {
            Ok(b) => b,
            Err(why) => {
                let what = format!("`{name}` cannot be read: {why}");
                let d = match must_read {
                    true => Diagnostic::error("include-unreadable", at, what).verdict(KeepalivedVerdict::Exits(6)),
                    false => Diagnostic::lint("include-unreadable", at, what),
                };
                let help = match why {
                    ReadError::Directory => "name the files in it: `DIRECTORY/*.conf`",
                    ReadError::Executable => "only files that are not executable are read: `chmod a-x` it",
                    _ => "give the user that runs evenkeeld permission to read it",
                };
                return self.report(d.label("skipped").help(help));
            }
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((text, base)) = self.sources.add_file(&name, text, Some(at)) else {
            return self.report_limit(at, "4 GiB");
        };
        self.open_files.push(path);
        self.items.push(ExpandedItem::FileStart);
        self.expand_file(text, base);
        self.items.push(ExpandedItem::FileEnd(at));
        self.open_files.pop();
    }
}
