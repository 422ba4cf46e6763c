//! The grammar: 110 files with keepalived's verdicts, and the words that result from their expansion.

use std::path::PathBuf;

use evenkeel_core::config::environment::{Environment, IprouteDirs, ProgramStatus, ReadError};
use evenkeel_core::config::{Options, parse};
use evenkeel_sys::environment::HostEnvironment;

use crate::corpus::RecordedMachine;

/// Files that evenkeel reads differently on purpose, with the reason.
const INTENDED_DIFFERENCES: &[(&str, &str)] = &[(
    "33_long_line_1100.conf",
    "keepalived splits a line after 1,024 bytes and reads the rest as another line; evenkeel does not",
)];

/// Files with the same verdict as keepalived, but with other unknown words, and the reason.
const DIFFERENT_UNKNOWN_WORDS: &[(&str, &str)] = &[
    ("62_var_undefined.conf", "an undefined `${NAME}` is one word, reported as undefined, and does not open a block"),
    ("66_var_space_before_eq.conf", "as 62"),
    ("68_var_bad_name.conf", "as 62"),
];

/// The recorded machine, with the files of this directory.
struct SyntaxFolder(HostEnvironment);

impl Environment for SyntaxFolder {
    fn read_file(&self, path: &std::path::Path) -> Result<Vec<u8>, ReadError> {
        self.0.read_file(path)
    }
    fn glob(&self, pattern: &std::path::Path) -> Vec<PathBuf> {
        self.0.glob(pattern)
    }
    fn env_variable(&self, name: &str) -> Option<String> {
        RecordedMachine.env_variable(name)
    }
    fn host_name(&self) -> String {
        RecordedMachine.host_name()
    }
    fn has_interface(&self, name: &str) -> Option<bool> {
        RecordedMachine.has_interface(name)
    }
    fn has_user(&self, name: &str) -> Option<bool> {
        RecordedMachine.has_user(name)
    }
    fn has_group(&self, name: &str) -> Option<bool> {
        RecordedMachine.has_group(name)
    }
    fn iproute_id(&self, at: &IprouteDirs, table: &str, name: &str) -> Option<Option<u32>> {
        RecordedMachine.iproute_id(at, table, name)
    }
    fn cpu_count(&self) -> Option<u32> {
        RecordedMachine.cpu_count()
    }
    fn program_status(&self, path: &str) -> ProgramStatus {
        RecordedMachine.program_status(path)
    }
}

#[test]
fn the_grammar_is_keepaliveds() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/config/syntax"));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for line in include_str!("syntax/verdicts.tsv").lines().filter(|l| !l.starts_with('#')) {
        let f: Vec<&str> = line.split('\t').collect();
        let [file, old, new, words] = f[..] else { panic!("four fields: {line}") };
        seen += 1;
        let path = folder.join(file);
        let bytes = std::fs::read(&path).expect("readable");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let options = Options { config_id: Some("low".into()) };
        let parsed = parse(&path.display().to_string(), text, &SyntaxFolder(HostEnvironment::new()), &options);
        let status = parsed.keepalived_exit_status().to_string();
        let listed = INTENDED_DIFFERENCES.iter().any(|(n, _)| *n == file);
        if !listed && status != new && status != old {
            wrong.push(format!("{file}: status {status}, not {new}\n{}", parsed.render(false)));
        }
        let unknown: Vec<String> = parsed
            .diagnostics
            .iter()
            .filter(|d| d.code == "unknown-keyword")
            .map(|d| parsed.sources.text(d.span).replace('\\', ""))
            .filter(|w| w.starts_with("zz"))
            .map(|w| w.replace(&folder.display().to_string(), "WORK"))
            .collect();
        let mut got = unknown;
        let mut expected: Vec<&str> = words.split_whitespace().collect();
        // evenkeel reports in the order of the file, keepalived in that of the repetition.
        got.sort();
        expected.sort();
        // evenkeel reports equal diagnostics once, and reads on where keepalived exits.
        got.dedup();
        expected.dedup();
        if got != expected && status != "6" && !DIFFERENT_UNKNOWN_WORDS.iter().any(|(n, _)| *n == file) {
            wrong.push(format!("{file}: unknown are {got:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen, 110, "the directory and the list have the same files");
}
