//! Frames of neighbours: decoding ends with a message or a refusal, and what was decoded encodes to a frame that means
//! the same.
#![no_main]

use kith_neighbour::wire::{self, PREFIX_BYTES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Some(prefix) = body.first_chunk::<PREFIX_BYTES>() {
        let _ = wire::body_len(*prefix);
    }
    if let Ok(message) = wire::decode(body) {
        let frame = wire::encode(&message);
        let prefix = *frame.first_chunk::<PREFIX_BYTES>().expect("a frame has a prefix");
        assert_eq!(wire::body_len(prefix).ok(), Some(frame.len() - PREFIX_BYTES));
        assert_eq!(wire::decode(&frame[PREFIX_BYTES..]).as_ref().ok(), Some(&message));
    }
});
