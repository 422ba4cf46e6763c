//! Common mistakes, and the exact text of their diagnostics: where the mistake is, and how to correct it.
//!
//! The transcripts are beside the files. `EVENKEEL_BLESS=1 cargo test -p evenkeel-tests --test config` regenerates
//! them.

use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_core::config::environment::{Environment, ProgramStatus, ReadError};
use evenkeel_core::config::{Options, Severity, parse};

use crate::corpus::RecordedMachine;

/// The machine of the transcripts: it has an interface eth0, a script that other users can modify, and an unreadable
/// file.
struct Director;

impl Environment for Director {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        match path.to_str() {
            Some("conf.d/services.conf") => Err(ReadError::Other("Permission denied (os error 13)".into())),
            _ => Err(ReadError::Missing),
        }
    }
    fn host_name(&self) -> String {
        "director-1".into()
    }
    fn has_interface(&self, name: &str) -> Option<bool> {
        Some(name == "eth0")
    }
    fn has_user(&self, name: &str) -> Option<bool> {
        RecordedMachine.has_user(name)
    }
    fn has_group(&self, name: &str) -> Option<bool> {
        RecordedMachine.has_group(name)
    }
    fn program_status(&self, _: &str) -> ProgramStatus {
        ProgramStatus::Unsafe { element: "/opt/checks".into(), owner: "deploy".into(), mode: 0o775 }
    }
}

#[test]
fn each_common_mistake_is_reported_with_its_place_and_a_fix() {
    let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/config/mistakes"));
    let mut files: Vec<PathBuf> = fs::read_dir(&dir).expect("readable").map(|e| e.expect("an entry").path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "conf"));
    files.sort();
    assert_eq!(files.len(), 11, "ten mistakes, and one in an expanded line");
    for file in files {
        let name = file.file_name().and_then(|n| n.to_str()).expect("UTF-8");
        let parsed = parse(name, fs::read_to_string(&file).expect("UTF-8"), &Director, &Options::default());
        let shown = parsed.render(false);
        let transcript = file.with_extension("txt");
        if std::env::var_os("EVENKEEL_BLESS").is_some() {
            fs::write(&transcript, &shown).expect("writable");
        }
        assert_eq!(shown, fs::read_to_string(&transcript).expect("a transcript"), "{name}");
        // A mistake causes one diagnostic, with a label and a remedy.
        let found: Vec<_> = parsed.diagnostics.iter().filter(|d| d.code != "not-in-force").collect();
        let expected = if name.starts_with("11") { 2 } else { 1 };
        assert_eq!(found.len(), expected, "{name}:\n{shown}");
        assert!(
            found.iter().all(|d| !d.label.is_empty() && (d.help.is_some() || d.label.starts_with("expected"))),
            "{name}:\n{shown}"
        );
        let kept = found.iter().any(|d| d.severity == Severity::Warning);
        assert_eq!(parsed.valid_config().is_some(), kept, "{name}: a warning accepts the file, an error rejects it");
    }
}
