//! libFuzzer's way to the target `rewrite`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mote_fuzz::run("rewrite", input));
