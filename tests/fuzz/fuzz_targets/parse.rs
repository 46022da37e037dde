//! See `bodies/parse.rs`.
#![no_main]

#[path = "../bodies/parse.rs"]
mod body;
#[path = "../../../lb-core/tests/generate/mod.rs"]
mod generate;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
