//! Serving what is stale (RFC 9111 section 4.2.4, RFC 5861).

use super::line::Case;

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case("when the origin says nothing", "cache-control: max-age=60 | age: 61 || close", "GET || GET", "asked || stale#1 ~cache-status:offline age>=61"),
    Case("when it has trouble", "cache-control: max-age=60 | age: 61 || 503", "GET || GET", "asked || stale#1 =200"),
    Case("when its way is broken", "cache-control: max-age=60 | age: 61 || 502", "GET || GET", "asked || stale#1 =200"),
    Case("when its way is slow", "cache-control: max-age=60 | age: 61 || 504", "GET || GET", "asked || stale#1 =200"),
    Case("not when it made a mistake", "cache-control: max-age=60 | age: 61 || 500", "GET || GET", "asked || asked =500"),
    Case("unless it says so", "cache-control: max-age=60, stale-if-error=60 | age: 61 || 500", "GET || GET", "asked || stale#1 =200"),
    Case("or the client does", "cache-control: max-age=60 | age: 61 || 500", "GET || GET | cache-control: stale-if-error=60", "asked || stale#1 =200"),
    Case("for as long as it says", "cache-control: max-age=60, stale-if-error=60 | age: 121 || 503", "GET || GET", "asked || asked =503"),
    Case("for as long as it says also in silence", "cache-control: max-age=60, stale-if-error=60 | age: 121 || close", "GET || GET", "asked || stale#1 =502"),
    Case("not what must be checked", "cache-control: max-age=60, must-revalidate | age: 61 || 503", "GET || GET", "asked || asked =503"),
    Case("not what must be checked, in silence", "cache-control: max-age=60, must-revalidate | age: 61 || close", "GET || GET", "asked || stale#1 =502"),
    Case("not what proxies must check", "cache-control: max-age=60, proxy-revalidate | age: 61 || 503", "GET || GET", "asked || asked =503"),
    Case("not what lives shared", "cache-control: s-maxage=60 | age: 61 || 503", "GET || GET", "asked || asked =503"),
    Case("not what is checked each time", "cache-control: no-cache, max-age=60 | etag: \"a\" || 503", "GET || GET", "asked || checked =503"),
    Case("must-revalidate wins over stale-if-error", "cache-control: max-age=60, must-revalidate, stale-if-error=60 | age: 61 || 503", "GET || GET", "asked || asked =503"),
    Case("not to who wants it checked", "cache-control: max-age=60 || 503", "GET || GET | cache-control: no-cache", "asked || asked =503"),
    Case("not a page that is gone", "cache-control: max-age=60 | age: 61 || 404", "GET || GET", "asked || asked =404"),
    Case("an error with a lifetime does not take its place", "cache-control: max-age=60 | age: 61 || 503 | cache-control: max-age=60 || cache-control: max-age=60", "GET || GET || GET", "asked || stale#1 =200 || asked"),
    Case("while it is asked", "cache-control: max-age=60, stale-while-revalidate=60 | age: 61 | etag: \"a\" || 304 | cache-control: max-age=60", "GET || GET || GET", "asked || stale#1 ~cache-status:ttl=- later:2 || stale#1"),
    Case("while it is fetched anew", "cache-control: max-age=60, stale-while-revalidate=60 | age: 61 || cache-control: max-age=60", "GET || GET", "asked || stale#1 later:2"),
    Case("not for longer", "cache-control: max-age=60, stale-while-revalidate=60 | age: 121 || cache-control: max-age=60", "GET || GET", "asked || asked"),
    Case("not what must be checked, while it is asked", "cache-control: max-age=60, stale-while-revalidate=60, must-revalidate | age: 61", "GET || GET", "asked || asked"),
    Case("not to who wants it young", "cache-control: max-age=60, stale-while-revalidate=60 | age: 61", "GET || GET | cache-control: max-age=30", "asked || asked"),
    Case("a broken window is none", "cache-control: max-age=60, stale-while-revalidate=x | age: 61", "GET || GET", "asked || asked"),
];
