//! Arbitrary text through all stages of reading a configuration file: its diagnostics can be rendered in both forms,
//! and formatting keeps its meaning.
#![no_main]

use evenkeel_core::config::{fmt, parse_text};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let parsed = parse_text("fuzz.conf", text);
    let rendered = parsed.render(false);
    assert!(parsed.diagnostics.is_empty() || !rendered.is_empty());
    for d in parsed.diagnostics.iter().take(50) {
        d.to_json(&parsed.sources);
    }
    parsed.keepalived_exit_status();
    if parsed.error_count() == 0 {
        let formatted = parse_text("fuzz.conf", &fmt::format_text(text));
        assert!(formatted.typed == parsed.typed, "formatting changed the meaning");
    }
});
