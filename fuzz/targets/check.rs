//! Any text through all stages, rendered both ways; and laid out anew it means the same.
#![no_main]

use evenkeel_core::config::{fmt, parse_file};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let parsed = parse_file("fuzz.conf", text);
    let shown = parsed.render(false);
    assert!(parsed.diagnostics.is_empty() || !shown.is_empty());
    for d in parsed.diagnostics.iter().take(50) {
        d.to_json(&parsed.sources);
    }
    parsed.keepalived_status();
    if parsed.errors() == 0 {
        let again = parse_file("fuzz.conf", &fmt::layout(text));
        assert!(again.typed == parsed.typed, "another meaning");
    }
});
