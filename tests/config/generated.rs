//! The pages in the repository that are generated from the keyword registry are up to date.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use evenkeel_core::config::keywords::{Support, blocks, entries};
use evenkeel_core::config::{codes, compatibility_page, man_page, reference_page};
use evenkeel_tests::program;

#[test]
fn the_pages_in_the_repository_are_those_of_the_registry() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let pages = [
        ("docs/configuration.md", reference_page()),
        ("docs/compatibility-keywords.md", compatibility_page()),
        ("packaging/man/evenkeel.conf.5", man_page()),
    ];
    for (path, text) in pages {
        let path = root.join(path);
        if std::env::var_os("EVENKEEL_BLESS").is_some() {
            fs::write(&path, &text).expect("writable");
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "{} is not what `evenkeel manual` prints: make docs", path.display());
    }
}

#[test]
fn the_registry_has_every_keyword_of_keepalived() {
    // The number of pairs of block and keyword in the keyword tables of keepalived 2.4.3.
    let ours = entries().iter().filter(|(_, k)| k.since == "evenkeel").count();
    assert_eq!(entries().len() - ours, 531);
    for block in blocks() {
        let names: BTreeSet<&str> = block.keywords().map(|k| k.name).collect();
        assert_eq!(names.len(), block.keywords().count(), "{} lists a keyword twice", block.path);
    }
    for (block, k) in entries() {
        assert!(k.doc.ends_with('.') && k.doc.len() > 4, "{}/{} is not documented: {}", block.path, k.name, k.doc);
        assert!(
            k.since == "evenkeel" || k.since == "unreleased" || k.since.starts_with('v'),
            "{}: {}",
            k.name,
            k.since
        );
        if let Support::NoEffect(why) = k.support {
            assert!(!why.is_empty());
        }
    }
    let mut sorted: Vec<&str> = codes::CODES.iter().map(|c| c.name).collect();
    sorted.sort();
    assert_eq!(sorted, codes::CODES.iter().map(|c| c.name).collect::<Vec<_>>(), "codes must be in alphabetical order");
}

#[test]
fn the_man_page_is_well_formed() {
    let Ok(out) = Command::new("man")
        .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .parent()
                .expect("the workspace")
                .join("packaging/man/evenkeel.conf.5"),
        )
        .output()
    else {
        return;
    };
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(!err.contains("warning"), "{err}");
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let out = Command::new(program("evenkeel")).args(["completions", shell]).output().expect("runs");
        let text = String::from_utf8_lossy(&out.stdout);
        for command in ["check", "fmt", "plan", "explain", "status", "reload"] {
            assert!(text.contains(command), "{shell} lacks {command}");
        }
    }
}
