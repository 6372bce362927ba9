//! The `Link` and digest fields: reading ends, and what was read is written so that it reads the same.
#![no_main]

use kith_model::{digest_field, link};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    for link in link::parse(line) {
        // Parameters beyond what can be written again are foreign forms; the reference always is.
        let again = link::parse(&link.to_string());
        assert_eq!(again.first().map(|link| link.reference().to_owned()), Some(link.reference().to_owned()));
    }
    for digest in digest_field::parse(line) {
        assert_eq!(digest_field::parse(&digest_field::format(&digest)), [digest]);
    }
});
