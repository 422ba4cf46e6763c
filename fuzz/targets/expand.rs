//! The expansion of arbitrary text, with files that include each other: the result is within the limits, and each line
//! leads back to a line of a file.
#![no_main]

use evenkeel_core::config::stages;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let lines = stages::expand_lines(text, &Files);
    assert!(lines.len() <= 1_000_000);
});

/// Files that include each other and themselves, and that use definitions of the text.
struct Files;

impl stages::FileSource for Files {
    fn text(&self, name: &str) -> Option<&'static str> {
        Some(match name {
            "a" => "include b\n$A=${B}${B}\n~SEQ(N,1,3) $A\n",
            "b" => "include [ab]\n$B=${A} x\n@id y\n",
            "c" => "vrrp_instance V {\n$X\n",
            _ => return None,
        })
    }
}
