//! The codec against its description, and against whatever bytes.

use proptest::prelude::*;

use super::*;

const DOCUMENT: &str = include_str!("../../PROTOCOL.md");

/// One message of each kind, under the name that it has in the document.
fn examples() -> Vec<(&'static str, Message)> {
    let span = Span(16, 32);
    vec![
        ("hello", Message::Hello(Hello { version: 1, name: "den".into(), instance: 7, speaks: Some(3) })),
        ("find", Message::Find(Find { day: 20_779, ids: vec![RendezvousId([0x11; 32])] })),
        (
            "have",
            Message::Have(Have {
                answers: 0,
                object: [0x22; 32],
                length: 4_194_304,
                known_at_ms: 1_795_305_600_000,
                signature: [0x33; 64],
                clients: None,
            }),
        ),
        (
            "have, and where clients connect",
            Message::Have(Have {
                answers: 0,
                object: [0x22; 32],
                length: 4_194_304,
                known_at_ms: 1_795_305_600_000,
                signature: [0x33; 64],
                clients: Some(8480),
            }),
        ),
        ("no", Reason::Busy.message()),
        ("get", Message::Get(Get { object: [0x22; 32], spans: vec![span, Span(64, 65)] })),
        ("slice", Message::Slice(Slice { span, bytes: 263_232 })),
        (
            "filter",
            Message::Filter(Filter {
                number: 1,
                salt: [0x55; 16],
                range: 24_800,
                added: SetLen { count: 3, bytes: 6 },
                removed: SetLen { count: 1, bytes: 2 },
            }),
        ),
        ("heard", Message::Heard(Heard { number: 1 })),
        ("gather", Message::Gather(crowd::Gather { day: 20_779, id: RendezvousId([0x11; 32]) })),
        ("progress", Message::Progress(progress(vec![Span(0, 4), Span(8, 9)], vec![3]))),
        ("take", Message::Take(crowd::Take { day: 20_779, id: RendezvousId([0x11; 32]), unit: 8 })),
        ("part", Message::Part(crowd::Part { bytes: 1 << 20, signature: [0x33; 64] })),
        (
            "withdraw",
            Message::Withdraw(Withdraw {
                day: 20_779,
                files: vec![Withdrawn {
                    id: RendezvousId([0x11; 32]),
                    at_ms: 1_795_305_600_000,
                    signature: [0x33; 64],
                }],
            }),
        ),
        ("rotate", Message::Rotate(Rotate { key: [0x66; 32], by_old: [0x33; 64], by_new: [0x77; 64] })),
        (
            "pair-start",
            Message::PairStart(PairStart {
                version: 1,
                name: "attic".into(),
                role: 1,
                pake: vec![0x41; 33],
                group: None,
            }),
        ),
        (
            "pair-answer",
            Message::PairAnswer(PairAnswer { name: "den".into(), pake: vec![0x42; 33], role: Some(1) }),
        ),
        ("pair-confirm", Message::PairConfirm(PairConfirm { proof: [0x44; 32] })),
    ]
}

fn progress(ready: Vec<Span>, working: Vec<u64>) -> crowd::Progress {
    crowd::Progress { ready, working, received: 320, fetches: true }
}

/// The bytes that the document gives for `name`.
fn golden(name: &str) -> Vec<u8> {
    let start = format!("| {name} | `");
    let line = DOCUMENT.lines().find_map(|line| line.strip_prefix(&start));
    let hex: String = line
        .and_then(|rest| rest.split('`').next())
        .unwrap_or_else(|| panic!("PROTOCOL.md has no golden bytes for {name}"))
        .split_whitespace()
        .collect();
    data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hexadecimal")
}

#[test]
fn the_document_and_the_codec_agree_to_the_byte() {
    for (name, message) in examples() {
        let hex = data_encoding::HEXLOWER.encode(&encode(&message));
        assert_eq!(hex, data_encoding::HEXLOWER.encode(&golden(name)), "{name}");
        assert_eq!(decode(&golden(name)[PREFIX_BYTES..]), Ok(message), "{name}");
    }
}

#[test]
fn unknown_keys_are_skipped_and_unknown_kinds_are_named() {
    // {0: 1, 1: "a", 2: 3, 9: [1, {2: h'00'}]}
    let later =
        [&[0x82, 0x01, 0xa4, 0, 1, 1, 0x61, b'a', 2, 3, 9][..], &[0x82, 1, 0xa1, 2, 0x41, 0]].concat();
    let hello = Hello { version: 1, name: "a".into(), instance: 3, speaks: None };
    assert_eq!(decode(&later), Ok(Message::Hello(hello)));
    assert_eq!(decode(&[0x82, 0x18, 99, 0xa0]), Err(BadFrame::Kind(99)));
}

#[test]
fn what_is_beyond_its_bounds_is_refused() {
    let get = |spans: Vec<Span>| Message::Get(Get { object: [0; 32], spans });
    let find = |count| Message::Find(Find { day: 0, ids: vec![RendezvousId([0; 32]); count] });
    let slice = |span, bytes| Message::Slice(Slice { span, bytes });
    let hello = |len| Message::Hello(Hello { version: 1, name: "x".repeat(len), instance: 0, speaks: None });
    let filter = |number, range, added, removed| {
        Message::Filter(Filter { number, salt: [0; 16], range, added, removed })
    };
    let withdraw = |count| {
        let file = Withdrawn { id: RendezvousId([0; 32]), at_ms: 0, signature: [0; 64] };
        Message::Withdraw(Withdraw { day: 0, files: vec![file; count] })
    };
    let many = (0..33).map(|at| Span(2 * at, 2 * at + 1)).collect();
    for message in [
        Message::Progress(progress(vec![Span(0, 1); 65], vec![])),
        Message::Progress(progress(vec![], vec![0; 9])),
        Message::Progress(progress(vec![Span(1, 1)], vec![])),
        Message::Progress(progress(vec![Span(0, 2), Span(1, 3)], vec![])),
        Message::Part(crowd::Part { bytes: 0, signature: [0; 64] }),
        get(vec![]),
        get(many),
        get(vec![Span(1, 1)]),
        get(vec![Span(2, 1)]),
        get(vec![Span(0, 2), Span(1, 3)]),
        find(0),
        find(limits::FIND_IDS_MAX + 1),
        slice(Span(0, 0), 1),
        slice(Span(3, 1), 1),
        slice(Span(0, 65), 1),
        slice(Span(0, u64::MAX), 1),
        slice(Span(0, 1), 0),
        filter(0, 100, SetLen { count: 1, bytes: 1 }, SetLen { count: 1, bytes: 1 }),
        filter(1, 100, SetLen { count: 101, bytes: 50 }, SetLen::default()),
        filter(1, 100, SetLen { count: 1, bytes: 0 }, SetLen::default()),
        filter(1, 100, SetLen::default(), SetLen { count: 0, bytes: 1 }),
        withdraw(0),
        withdraw(limits::WITHDRAWALS_AT_ONCE_MAX + 1),
        hello(limits::NAME_BYTES_MAX + 1),
        Message::Have(Have {
            answers: 0,
            object: [0; 32],
            length: 1,
            known_at_ms: 1,
            signature: [0; 64],
            clients: Some(0),
        }),
        Message::PairAnswer(PairAnswer { name: String::new(), pake: vec![0; 32], role: None }),
    ] {
        assert_eq!(decode(&encode(&message)[PREFIX_BYTES..]), Err(BadFrame::Bounds), "{message:?}");
    }
    assert!(decode(&encode(&get(vec![Span(0, 2), Span(2, u64::MAX)]))[PREFIX_BYTES..]).is_ok());
    assert_eq!(body_len([0; 4]), Err(BadFrame::Length(0)));
    assert_eq!(body_len([0, 0, 0x40, 1]), Err(BadFrame::Length(16_385)));
    assert_eq!(body_len([0, 0, 0x40, 0]), Ok(16_384));
    assert_eq!(decode(&vec![0; limits::FRAME_BYTES_MAX + 1]), Err(BadFrame::Length(16_385)));
}

#[test]
fn bytes_behind_the_message_are_no_message() {
    for (name, message) in examples() {
        let mut body = encode(&message)[PREFIX_BYTES..].to_vec();
        body.push(0);
        assert_eq!(decode(&body), Err(BadFrame::Malformed), "{name}");
        assert!(decode(&body[..body.len() - 2]).is_err(), "{name}");
    }
}

fn span_strategy() -> impl Strategy<Value = Span> {
    (any::<u64>(), 1u64..64).prop_map(|(start, len)| {
        let start = start.min(u64::MAX - 64);
        Span(start, start + len)
    })
}

fn message() -> impl Strategy<Value = Message> {
    let bytes32 = any::<[u8; 32]>;
    prop_oneof![
        (any::<u32>(), "[a-z]{0,63}", any::<u64>(), any::<Option<u32>>()).prop_map(
            |(version, name, instance, speaks)| Message::Hello(Hello { version, name, instance, speaks })
        ),
        (any::<u32>(), prop::collection::vec(bytes32().prop_map(RendezvousId), 1..=limits::FIND_IDS_MAX))
            .prop_map(|(day, ids)| Message::Find(Find { day, ids })),
        (any::<u32>(), bytes32(), any::<u64>(), any::<u64>(), any::<u8>(), prop::option::of(1u16..))
            .prop_map(|(answers, object, length, known_at_ms, fill, clients)| {
                let signature = [fill; 64];
                Message::Have(Have { answers, object, length, known_at_ms, signature, clients })
            }),
        any::<u32>().prop_map(|reason| Message::No(No { reason })),
        (bytes32(), span_strategy())
            .prop_map(|(object, span)| Message::Get(Get { object, spans: vec![span] })),
        (span_strategy(), 1u32..).prop_map(|(span, bytes)| Message::Slice(Slice { span, bytes })),
        (any::<u32>(), any::<[u8; 16]>(), 1u32.., 1u32.., 1u32..).prop_map(
            |(number, salt, range, count, bytes)| {
                let added = SetLen { count: count.min(range), bytes };
                Message::Filter(Filter { number, salt, range, added, removed: SetLen::default() })
            }
        ),
        any::<u32>().prop_map(|number| Message::Heard(Heard { number })),
        (any::<u32>(), bytes32(), any::<u64>(), 1..=limits::WITHDRAWALS_AT_ONCE_MAX).prop_map(
            |(day, id, at_ms, count)| {
                let file = Withdrawn { id: RendezvousId(id), at_ms, signature: [7; 64] };
                Message::Withdraw(Withdraw { day, files: vec![file; count] })
            }
        ),
        (any::<u32>(), bytes32())
            .prop_map(|(day, id)| Message::Gather(crowd::Gather { day, id: RendezvousId(id) })),
        (span_strategy(), prop::collection::vec(any::<u64>(), 0..=limits::CROWD_REPORT_BLOCKS_MAX))
            .prop_map(|(span, working)| Message::Progress(progress(vec![span], working))),
        (any::<u32>(), bytes32(), any::<u64>()).prop_map(|(day, id, unit)| Message::Take(crowd::Take {
            day,
            id: RendezvousId(id),
            unit
        })),
        (1u32.., any::<u8>())
            .prop_map(|(bytes, fill)| Message::Part(crowd::Part { bytes, signature: [fill; 64] })),
        bytes32().prop_map(|key| Message::Rotate(Rotate { key, by_old: [7; 64], by_new: [8; 64] })),
        bytes32().prop_map(|proof| Message::PairConfirm(PairConfirm { proof })),
    ]
}

proptest! {
    #[test]
    fn every_message_survives_its_frame(message in message()) {
        let frame = encode(&message);
        let mut prefix = [0; PREFIX_BYTES];
        prefix.copy_from_slice(&frame[..PREFIX_BYTES]);
        prop_assert_eq!(body_len(prefix), Ok(frame.len() - PREFIX_BYTES));
        prop_assert_eq!(decode(&frame[PREFIX_BYTES..]), Ok(message));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn no_damage_panics(message in message(), at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut body = encode(&message)[PREFIX_BYTES..].to_vec();
        let at = at.index(body.len());
        body[at] = value;
        let _ = decode(&body);
    }
}
