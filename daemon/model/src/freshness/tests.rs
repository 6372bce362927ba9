//! One line a row. Times are seconds after [`START`]; a response is asked for and received there.

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::key::{CacheKey, Target, Variant};
use crate::object::ObjectId;
use crate::representation::{Head, Representation, Standing};

mod selecting;
mod serving;
mod storing;
mod validating;

/// Sun, 06 Nov 1994 08:49:37 GMT.
const START: u64 = 784_111_777;
const DATE: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT";
const TAG: &str = "etag: \"a\"";
/// Thirty days before [`DATE`]: the heuristic gives a day, its most.
const MODIFIED: &str = "last-modified: Fri, 07 Oct 1994 08:49:37 GMT";
/// A hundred minutes before [`DATE`]: the heuristic gives ten minutes.
const RECENT: &str = "last-modified: Sun, 06 Nov 1994 07:09:37 GMT";

fn at(seconds: u64) -> UnixMillis {
    UnixMillis((START + seconds) * 1000)
}

/// Fields from `name: value` lines separated by ` | `.
fn fields(text: &str) -> HeaderMap {
    let lines = text.split(" | ").filter(|line| !line.is_empty());
    let pairs = lines.map(|line| {
        let (name, value) = line.split_once(':').expect("name: value");
        let name = HeaderName::from_bytes(name.trim().as_bytes()).expect("name");
        (name, HeaderValue::from_bytes(value.trim().as_bytes()).expect("value"))
    });
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, value);
    }
    headers
}

fn head(text: &str) -> Head {
    Head { status: StatusCode::OK, headers: fields(text), requested_at: at(0), received_at: at(0) }
}

fn stored(request: &str, response: &str) -> Representation {
    let head = head(response);
    let (selecting, variant) = selecting(&head.headers, &fields(request)).expect("selectable");
    let target = Target::parse("http://example.com/a").expect("valid");
    let key = CacheKey { target, variant };
    let object = ObjectId::of(response.as_bytes());
    Representation { key, selecting, head, object, length: 1, standing: Standing::FirstHand }
}

/// The decision in a word; "ask" when the stored one helps out while the origin cannot be reached.
fn word(seconds: u64, asked: &Asked<'_>, stored: &[Representation]) -> &'static str {
    let helps_out = fallback(at(seconds), asked, stored, Trouble::Unreachable).is_some();
    match decide(at(seconds), asked, stored) {
        Decision::Serve { state: State::Fresh, .. } => "fresh",
        Decision::Serve { state: State::Tolerated, .. } => "stale",
        Decision::Serve { state: State::Revalidating, .. } => "stale while asking",
        Decision::Revalidate { .. } if helps_out => "ask",
        Decision::Revalidate { .. } => "ask or fail",
        Decision::Fetch { .. } => "fetch",
        Decision::PassThrough { .. } => "pass",
        Decision::OnlyIfCached504 => "504",
    }
}

fn check(response: &str, request: &str, seconds: u64, expected: &str) {
    let stored = [stored("", response)];
    let asked = Asked { method: &Method::GET, headers: &fields(request) };
    assert_eq!(word(seconds, &asked, &stored), expected, "{response} <- {request} after {seconds} s");
}

fn any_seconds() -> impl Strategy<Value = Option<Duration>> {
    prop::option::of((0u64..1 << 31).prop_map(Duration::from_secs))
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let mut headers = HeaderMap::new();
            for name in ["cache-control", "vary", "age", "expires", "date", "cdn-cache-control", "accept-encoding", "content-encoding", "etag"] {
                headers.insert(name, value.clone());
            }
            let head = Head { headers: headers.clone(), ..head("") };
            let _ = (storable(&headers, &head), lifetime(&head), age(at(0), &head), renewed(&head, &head));
        }
    }

    #[test]
    fn what_is_written_is_read(flags in prop::collection::vec(0usize..10, 0..10), numbers in prop::array::uniform6(any_seconds())) {
        let names = ["no-store", "no-cache", "private", "public", "must-revalidate", "proxy-revalidate", "must-understand", "no-transform", "only-if-cached", "immutable"];
        let [max_age, s_maxage, min_fresh, max_stale, stale_if_error, stale_while_revalidate] = numbers;
        let text = flags.iter().map(|flag| names[*flag]).collect::<Vec<_>>().join(",");
        let mut control = CacheControl::of_response(&fields(&format!("cache-control: {text}")));
        (control.max_age, control.s_maxage, control.min_fresh) = (max_age, s_maxage, min_fresh);
        (control.max_stale, control.stale_if_error) = (max_stale, stale_if_error);
        control.stale_while_revalidate = stale_while_revalidate;
        let again = CacheControl::of_response(&fields(&format!("cache-control: {control}")));
        prop_assert_eq!(again, control);
    }

    #[test]
    fn what_is_no_longer_fresh_never_becomes_fresh_again(max_age in 0u64..10_000, told in 0u64..10_000, early in 0u64..20_000, later in 0u64..20_000) {
        let stored = [stored("", &format!("{DATE} | {TAG} | cache-control: max-age={max_age} | age: {told}"))];
        let asked = Asked { method: &Method::GET, headers: &HeaderMap::new() };
        let fresh = |seconds| word(seconds, &asked, &stored) == "fresh";
        prop_assert!(fresh(early) || !fresh(early + later));
        prop_assert_eq!(fresh(early), told + early < max_age);
    }
}
