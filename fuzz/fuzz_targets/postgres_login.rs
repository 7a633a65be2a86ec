#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mainstay::fuzzing::postgres_login(bytes));
