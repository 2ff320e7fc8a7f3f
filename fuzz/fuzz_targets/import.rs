#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sleepingd::fuzzing::run("import", bytes));
