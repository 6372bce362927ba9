//! Heads of origins' answers: whatever the status and the fields are, there is one verdict, and what passes says
//! without contradiction which bytes the content is.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use kith_fetch::ask::{Part, Verb};
use kith_origin::strict::{Asked, Framing, end_to_end, framing, framing_of_passed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&[high, low, start, span], fields)) = input.split_first_chunk::<4>() else { return };
    let Ok(status) = StatusCode::from_u16(u16::from_be_bytes([high, low]) % 1000) else { return };
    let headers = headers(fields);
    let (start, span) = (u64::from(start), u64::from(span));
    let part = Part { start, end: (span > 0).then_some(start + span), of: None };
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        for verb in [Verb::Get, Verb::Head] {
            for part in [None, Some(part.clone())] {
                for conditional in [false, true] {
                    let asked = Asked { verb, part: part.clone(), conditional };
                    if let Ok(framing) = framing(&asked, version, status, &headers) {
                        consistent(&framing, &headers);
                        if let Some(part) = &part
                            && status == StatusCode::PARTIAL_CONTENT
                            && verb == Verb::Get
                        {
                            assert_eq!(framing.start, part.start);
                        }
                    }
                }
            }
            if let Ok(framing) = framing_of_passed(verb, version, status, &headers) {
                consistent(&framing, &headers);
            }
        }
    }
    let kept = end_to_end(&headers);
    assert_eq!(end_to_end(&kept), kept, "once is enough");
    assert!(!kept.contains_key("connection") && !kept.contains_key("transfer-encoding"));
    assert_eq!(kept.contains_key("content-length"), headers.contains_key("content-length"));
});

/// One line each, as far as the HTTP library would take it.
fn headers(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n').take(200) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

fn consistent(framing: &Framing, headers: &HeaderMap) {
    let lengths = headers.get_all("content-length").iter().count();
    let coded = headers.contains_key("transfer-encoding");
    assert!(!(coded && lengths > 0), "two framings at once were let through");
    if let Some(end) = framing.end {
        assert!(framing.start <= end);
        if let Some(length) = framing.length {
            assert!(end <= length);
        }
    }
}
