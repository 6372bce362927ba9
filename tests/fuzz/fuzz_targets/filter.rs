//! Filters of neighbours: a frame and the raw bytes behind it, taken in as the first filter and then once more as a
//! change of it, lead to a set or to a refusal.
#![no_main]

use kith_neighbour::filter::{Heard, Hearing, is_too_large};
use kith_neighbour::wire::{Filter, SetLen};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((head, bytes)) = input.split_first_chunk::<12>() else { return };
    let number = |at: usize| u32::from(u16::from_be_bytes([head[at], head[at + 1]]));
    let set = |at| SetLen { count: number(at), bytes: number(at + 2) };
    let range = number(0) << 8;
    let filter = |number, removed| Filter { number, salt: [0; 16], range, added: set(2), removed };
    let (first, second) = (filter(0, SetLen::default()), filter(1, set(6)));
    let (first_len, second_len) = (first.added.bytes as usize, (second.added.bytes + second.removed.bytes) as usize);
    if is_too_large(&first) || is_too_large(&second) {
        return;
    }
    let Some((first_bytes, rest)) = bytes.split_at_checked(first_len) else { return };
    let Ok(Hearing::Heard(heard)) = Heard::hear(None, &[0; 32], &first, first_bytes) else { return };
    assert_eq!(heard.names(), first.added.count as usize);
    let Some(second_bytes) = rest.get(..second_len) else { return };
    if let Ok(hearing) = Heard::hear(Some(heard), &[0; 32], &second, second_bytes) {
        assert!(matches!(hearing, Hearing::Heard(_)), "it follows the first");
    }
});
