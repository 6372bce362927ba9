//! Sealed records of the store: sidecars, index rows and parts. The seal would stop nearly every input, so each is
//! tried as it is and with a seal of its own.
#![no_main]

use kith_store::record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    try_both(input);
    for kind in *b"op" {
        let mut sealed = vec![b'K', b'I', b'T', b'H', kind, 0, 1, 0];
        sealed.extend_from_slice(input);
        let seal = kith_model::object::ObjectId::of(&sealed);
        sealed.extend_from_slice(seal.as_bytes());
        try_both(&sealed);
    }
});

fn try_both(bytes: &[u8]) {
    if let Ok(found) = record::decode(bytes) {
        let again = record::decode(&record::encode(&found)).expect("what we write we read");
        assert_eq!(record::encode(&again), record::encode(&found));
    }
    if let Ok(draft) = record::decode_draft(bytes) {
        assert!(record::decode_draft(&record::encode_draft(&draft)).is_ok());
    }
}
