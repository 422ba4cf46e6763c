//! Any text, with files that include each other: lines within the limits, and each leads back to a line as written.
#![no_main]

use evenkeel_core::config::stages;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let lines = stages::lines(text, &Files);
    assert!(lines.len() <= 1_000_000);
});

/// Files that include each other, themselves and what the text under test defines.
struct Files;

impl stages::Files for Files {
    fn text(&self, name: &str) -> Option<&'static str> {
        Some(match name {
            "a" => "include b\n$A=${B}${B}\n~SEQ(N,1,3) $A\n",
            "b" => "include [ab]\n$B=${A} x\n@id y\n",
            "c" => "vrrp_instance V {\n$X\n",
            _ => return None,
        })
    }
}
