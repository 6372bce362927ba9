//! Metalinks: reading ends with files within their bounds or a fault.
#![no_main]

use kith_model::limits::{METALINK_FILES_MAX, MIRRORS_MAX, PIECE_BYTES_MAX};
use kith_origin::metalink;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(files) = metalink::parse(text) else { return };
    assert!(files.len() <= METALINK_FILES_MAX);
    for file in files {
        assert!(file.mirrors.len() <= MIRRORS_MAX);
        assert!(file.pieces.is_none_or(|pieces| pieces.length() <= PIECE_BYTES_MAX && pieces.count() > 0));
    }
});
