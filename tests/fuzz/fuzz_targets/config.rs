//! Configuration files: any text gives settings or a list of faults.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(faults) = kith::config::parse("fuzz.toml", text) {
        assert!(!faults.is_empty());
    }
});
