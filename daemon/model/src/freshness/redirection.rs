//! How long an answer that was found by following redirects speaks for where the way began.

use http::header::{CACHE_CONTROL, EXPIRES, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::control::{CacheControl, Directive};
use super::{Reach, age};
use crate::representation::Head;

/// What is stored for the first target of a chain of redirects must not outlive any of them: a page called "latest"
/// may lead elsewhere tomorrow, though what it leads to today is kept for a year. `hops` are the redirects as they
/// came. Says also for whom the whole may be stored.
pub fn behind<'a>(head: &mut Head, hops: impl IntoIterator<Item = (StatusCode, &'a HeaderMap)>) -> Reach {
    let mut reach = Reach::Anyone;
    let mut shortest = None;
    for (status, headers) in hops {
        let control = CacheControl::of_response(headers);
        let closed = [Directive::NoStore, Directive::Private].into_iter().any(|closed| control.has(closed));
        if closed {
            reach = Reach::Household;
        }
        let hop = Head { status, headers: headers.clone(), ..head.clone() };
        let asked_each_time = closed || control.has(Directive::NoCache);
        let left = age::lifetime(&hop).saturating_sub(age::age(hop.received_at, &hop));
        let left = if asked_each_time { std::time::Duration::ZERO } else { left };
        shortest = Some(shortest.map_or(left, |known: std::time::Duration| known.min(left)));
    }
    let own = age::lifetime(head).saturating_sub(age::age(head.received_at, head));
    if let Some(shortest) = shortest.filter(|shortest| *shortest < own) {
        // Not no-cache: without the origin the old answer is better than none.
        let told = age::age(head.received_at, head).saturating_add(shortest).as_secs();
        let told = if shortest.is_zero() { 0 } else { told };
        head.headers.remove("cdn-cache-control");
        head.headers.remove(EXPIRES);
        head.headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_str(&format!("max-age={told}")).expect("invariant: digits"),
        );
    }
    reach
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixMillis;

    fn fields(control: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_str(control).expect("a value"));
        headers
    }

    #[test]
    fn what_a_redirect_led_to_lives_no_longer_than_the_redirect() {
        for (hops, own, expected, reach) in [
            (&[][..], "max-age=60", "max-age=60", Reach::Anyone),
            (&["max-age=90"], "max-age=60", "max-age=60", Reach::Anyone),
            (&["max-age=90", "max-age=30"], "max-age=60, immutable", "max-age=30", Reach::Anyone),
            (&["x"], "max-age=60", "max-age=0", Reach::Anyone),
            (&["no-cache, max-age=90"], "max-age=60", "max-age=0", Reach::Anyone),
            (&["no-store"], "max-age=60", "max-age=0", Reach::Household),
            (&["private, max-age=90"], "max-age=60", "max-age=0", Reach::Household),
        ] {
            let hops: Vec<_> = hops.iter().map(|control| fields(control)).collect();
            let mut head = Head {
                status: StatusCode::OK,
                headers: fields(own),
                requested_at: UnixMillis(5000),
                received_at: UnixMillis(5000),
            };
            let found = behind(&mut head, hops.iter().map(|hop| (StatusCode::FOUND, hop)));
            assert_eq!((&head.headers, found), (&fields(expected), reach), "{hops:?} {own}");
        }
    }
}
