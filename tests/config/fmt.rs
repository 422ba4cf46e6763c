//! `evenkeel fmt` keeps the meaning of a file, and formatting twice changes nothing more.

use evenkeel_core::config::fmt::format_text;
use evenkeel_core::config::{Options, parse};
use proptest::prelude::*;

use crate::corpus::RecordedMachine;

fn check_same_meaning(text: &str) -> Result<(), String> {
    let new = format_text(text);
    let (a, b) = (
        parse("x", text.to_owned(), &RecordedMachine, &Options::default()),
        parse("x", new.clone(), &RecordedMachine, &Options::default()),
    );
    if a.typed != b.typed || a.keepalived_exit_status() != b.keepalived_exit_status() {
        return Err(format!(
            "the meaning changed:\n{text}\n---\n{new}\n---\n{}\n---\n{}",
            a.render(false),
            b.render(false)
        ));
    }
    if format_text(&new) != new {
        return Err(format!("not idempotent:\n{new}\n---\n{}", format_text(&new)));
    }
    let comments = |t: &str| t.matches("#c").count();
    if comments(text) != comments(&new) {
        return Err(format!("a comment was lost:\n{text}\n---\n{new}"));
    }
    Ok(())
}

#[test]
fn every_recorded_file_keeps_its_meaning() {
    let mut wrong = Vec::new();
    for line in include_str!("keepalived-config.jsonl").lines() {
        let v: serde_json::Value = serde_json::from_str(line).expect("JSON");
        wrong.extend(check_same_meaning(v["text"].as_str().expect("text")).err());
    }
    let folder = std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/config/syntax"));
    for entry in std::fs::read_dir(folder).expect("readable").flatten() {
        // Files with NUL bytes are not text.
        if let Ok(text) = std::fs::read_to_string(entry.path())
            && !text.contains('\0')
        {
            wrong.extend(check_same_meaning(&text).err().map(|e| format!("{:?} {e}", entry.path())));
        }
    }
    assert!(wrong.is_empty(), "{} files:\n{}", wrong.len(), wrong.join("\n=====\n"));
}

#[test]
fn the_format_is_this() {
    let text = "! VRRP\nvrrp_instance  V1{ #c first\n\n\n\tinterface   eth0 #c second\n virtual_router_id 51\n\
                virtual_ipaddress\n{\n10.0.0.1/24   dev eth0 }\n#c third\n  @low priority   100\n}\n$X=a   b\n\
                virtual_server 10.0.0.1 80 { protocol TCP }\n";
    let want = "! VRRP\nvrrp_instance V1 { #c first\n\n    interface eth0 #c second\n    virtual_router_id 51\n    \
                virtual_ipaddress {\n        10.0.0.1/24 dev eth0\n    }\n    #c third\n    @low priority   100\n}\n\
                $X=a   b\nvirtual_server 10.0.0.1 80 {\n    protocol TCP\n}\n";
    assert_eq!(format_text(text), want);
}

proptest! {
    #[test]
    fn any_text_keeps_its_meaning(parts in prop::collection::vec(prop::sample::select(vec![
        "vrrp_instance", "V1", "{", "}", "\n", " ", "\t", "interface", "eth0", "virtual_router_id", "7", "\"a b\"", "\"",
        "\\", "\\#", "#c", "!x", "virtual_ipaddress", "10.0.0.1", "$X=", "$X", "${X}", "~SEQ(V,1,2)", "${V}", "@low",
        "@^low", "include nosuch", "global_defs", "router_id", "script", "'", "\\\n", "\r\n", "é", "track_script",
    ]), 0..50)) {
        // A file with errors has no meaning that could be kept.
        let text: String = parts.concat();
        if let Err(e) = check_same_meaning(&text) {
            let parsed = parse("x", text.clone(), &RecordedMachine, &Options::default());
            prop_assert!(parsed.error_count() > 0 && !e.starts_with("not idempotent") , "{}", e);
        }
    }
}
