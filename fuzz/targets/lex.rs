//! The words and braces of arbitrary text: each has a span of its own in the text.
#![no_main]

use evenkeel_core::config::stages;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let words = stages::lex_words(text);
    assert!(words.len() <= text.len());
});
