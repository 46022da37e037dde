//! See `bodies/datapath.rs`.
#![no_main]

#[path = "../bodies/datapath.rs"]
mod body;
#[path = "../../../lb-core/tests/generate/mod.rs"]
mod generate;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
