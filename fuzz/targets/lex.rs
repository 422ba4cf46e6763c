//! Any text: words and braces, and every word stands where its place says.
#![no_main]

use evenkeel_core::config::stages;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let seen = stages::words(text);
    assert!(seen.len() <= text.len());
});
