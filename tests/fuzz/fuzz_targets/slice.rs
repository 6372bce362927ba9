//! Groups with their proof, as neighbours send them: nothing but the object's own bytes is ever proven.
#![no_main]

use kith_model::object::ObjectId;
use kith_model::range::{GROUP_BYTES, GroupSpan};
use kith_model::verify;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u32, u16, u8, &[u8])| {
    let (length, start, count, encoded) = input;
    let (length, start) = (u64::from(length), u64::from(start));
    let Some(span) = GroupSpan::new(start, start + u64::from(count).min(64)) else { return };
    let object = ObjectId::of(encoded);
    if let Ok(run) = verify::decode(object, length, span, encoded) {
        // Nobody finds a second preimage of BLAKE3: only no groups at all, or an object of one group sent as it is,
        // can pass.
        assert!(run.bytes().is_empty() || (run.bytes() == encoded && length <= GROUP_BYTES));
    }
});
