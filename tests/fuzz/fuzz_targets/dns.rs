//! libFuzzer's way to the target `dns`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mote_fuzz::run("dns", input));
