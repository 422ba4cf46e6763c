//! The pages and the shape of the repository: what a page names exists, and files and functions stay short enough to read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The pages whose names are checked.
const PAGES: &[&str] = &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/guide.md", "docs/compatibility.md"];
/// The most lines of ARCHITECTURE.md.
const MAX_ARCHITECTURE_LINES: usize = 200;
/// The most lines of a source file, and of half of them.
const MAX_FILE_LINES: usize = 600;
const MAX_MEDIAN_LINES: usize = 200;
/// The most lines of a C function; clippy.toml has the same bound for Rust.
const MAX_C_FUNCTION_LINES: usize = 150;

/// Words that a term of the field has replaced, and that term.
const REPLACED_WORDS: &[(&str, &str)] = &[
    ("straight way", "fast path"),
    ("long way", "slow path"),
    ("seen of late", "flow cache"),
    ("heritage", "migration"),
    ("testament", "will store"),
    ("last words", "last will"),
    ("farewell", "resignation packet"),
    ("happening", "health event"),
    ("weather", "link faults"),
    ("keeper", "supervisor"),
    ("stranger", "unknown VRID, unknown peer"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the repository").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every file with one of these extensions, build output and recordings of others apart.
fn files_with(extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The file or folder that a page names: from the root, in bpf/, `core/…` for crates/core/src/…, or a bare file name.
fn exists(name: &str, sources: &[PathBuf]) -> bool {
    let root = root();
    let Some((crate_name, rest)) = name.split_once('/') else { return sources.iter().any(|f| f.ends_with(name)) };
    let in_crate = root.join("crates").join(crate_name).join("src").join(rest);
    root.join(name).exists() || root.join("bpf").join(name).exists() || in_crate.exists()
}

fn is_file_name(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    let source = [".rs", ".h", ".bpf.c", ".md", ".jsonl"].iter().any(|e| word.ends_with(e));
    let first = word.split('/').next().unwrap_or_default();
    let folder =
        ["bpf", "crates", "tests", "benches", "fuzz", "packaging", "docs", "core", "sys", "daemon", "cli", "probe"];
    plain && !word.starts_with('/') && (source || (word.contains('/') && folder.contains(&first)))
}

/// Words between backticks; of fenced blocks every word.
fn code_words(page: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut fenced = false;
    for line in page.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            words.extend(line.split(|c: char| c.is_whitespace() || "│(),:".contains(c)).map(str::to_owned));
        } else {
            words.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    words
}

#[test]
fn pages_name_files_that_exist() {
    let sources = files_with(&["rs", "h", "c", "md", "jsonl"]);
    let sources = &sources;
    let missing: Vec<String> = PAGES
        .iter()
        .flat_map(|page| {
            let words = code_words(&read(&root().join(page)));
            words.into_iter().filter(|w| is_file_name(w) && !exists(w, sources)).map(move |w| format!("{page}: {w}"))
        })
        .collect();
    assert!(missing.is_empty(), "named, but not there:\n{}", missing.join("\n"));
}

#[test]
fn links_of_pages_lead_somewhere() {
    for page in PAGES {
        let folder = root().join(page).parent().expect("a folder").to_owned();
        let text = read(&root().join(page));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            assert!(file.is_empty() || file.contains("://") || folder.join(file).exists(), "{page}: {link}");
        }
    }
}

#[test]
fn names_in_the_architecture_exist_in_the_code() {
    let source: String = files_with(&["rs", "h", "c"]).iter().map(|f| read(f)).collect();
    let is_name = |w: &str| {
        let name = w.trim_end_matches("()");
        (name.contains('_')
            || name.contains("::")
            || w.ends_with("()")
            || name.starts_with(|c: char| c.is_ascii_uppercase()))
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
    };
    let page = read(&root().join("ARCHITECTURE.md"));
    let words: BTreeSet<&str> = page.split('`').skip(1).step_by(2).filter(|w| is_name(w)).collect();
    for word in words {
        for part in word.trim_end_matches("()").split("::") {
            assert!(source.contains(part), "ARCHITECTURE.md names {word}, which is not in the code");
        }
    }
}

#[test]
fn the_architecture_fits_two_hundred_lines() {
    let lines = read(&root().join("ARCHITECTURE.md")).lines().count();
    assert!(lines <= MAX_ARCHITECTURE_LINES, "ARCHITECTURE.md has {lines} lines");
}

#[test]
fn files_are_short_enough_to_read() {
    let mut lengths: Vec<(usize, PathBuf)> =
        files_with(&["rs", "h", "c"]).into_iter().map(|f| (read(&f).lines().count(), f)).collect();
    lengths.sort();
    let long: Vec<_> = lengths.iter().filter(|(n, _)| *n > MAX_FILE_LINES).collect();
    assert!(long.is_empty(), "longer than {MAX_FILE_LINES} lines: {long:?}");
    let median = lengths[lengths.len() / 2].0;
    assert!(median <= MAX_MEDIAN_LINES, "half of the files have more than {median} lines");
}

#[test]
fn c_functions_are_short_enough_to_read() {
    for file in files_with(&["h", "c"]) {
        let mut start = None;
        for (n, line) in read(&file).lines().enumerate() {
            match (line, start) {
                ("{", _) => start = Some(n),
                ("}", Some(first)) => {
                    let length = n - first;
                    assert!(length <= MAX_C_FUNCTION_LINES, "{}:{first}: {length} lines", file.display());
                    start = None;
                }
                _ => {}
            }
        }
    }
}

#[test]
fn one_thing_has_one_name() {
    let mut found = Vec::new();
    for file in files_with(&["rs", "h", "c", "md", "8", "5"]) {
        if file.ends_with("tests/docs/main.rs") {
            continue;
        }
        for (n, line) in read(&file).lines().enumerate() {
            let line = line.to_lowercase();
            for (word, term) in REPLACED_WORDS.iter().filter(|(w, _)| line.contains(w)) {
                found.push(format!("{}:{}: {word}: say {term}", file.display(), n + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
