#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pyro_store::fuzzing::forged(data));
