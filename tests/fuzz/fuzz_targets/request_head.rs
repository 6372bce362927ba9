//! Request heads of clients: whatever comes, and however it is cut into pieces, there is one verdict; what passes is
//! something that hyper and the URL parser can be given.
#![no_main]

use http::HeaderValue;
use kith_gateway::{range, strict};
use kith_model::key::Target;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, head)) = input.split_first() else { return };
    let at_once = strict::Scanner::default().advance(head);
    if let Ok(Some(end)) = at_once {
        assert!(end <= head.len());
        let mut scanner = strict::Scanner::default();
        let early = scanner.advance(&head[..end.min(usize::from(cut))]);
        if matches!(early, Ok(None)) {
            assert_eq!(scanner.advance(&head[..end]), Ok(Some(end)), "the pieces change nothing");
        }
        accepted(&head[..end]);
    }
    if let Ok(value) = HeaderValue::from_bytes(head) {
        let _ = range::parse(&value);
    }
    if let Ok(text) = std::str::from_utf8(head)
        && let Ok(target) = Target::parse(text)
    {
        assert_eq!(Target::parse(target.as_str()).as_ref(), Ok(&target), "one spelling each");
        if let Ok(joined) = target.join(text) {
            assert!(!joined.host().is_empty());
        }
    }
});

/// A head that was let through has exactly one Host, which HTTP/1.0 may leave out, and no lone control characters.
fn accepted(head: &[u8]) {
    if strict::check(head).is_err() {
        return;
    }
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let hosts = text.split("\r\n").filter(|line| line.starts_with("host:")).count();
    let is_old = text.split("\r\n").next().is_some_and(|line| line.ends_with(" http/1.0"));
    assert!(hosts == 1 || (hosts == 0 && is_old));
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    assert!(!text.contains('\0'));
}
