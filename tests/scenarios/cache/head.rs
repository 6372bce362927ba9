//! HEAD (RFC 9111 section 4.3.5, RFC 9110 section 9.3.2).

use super::line::Case;

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case("is answered from the store", "cache-control: max-age=60", "GET || HEAD", "asked || hit empty ~content-length:1"),
    Case("is not stored", "cache-control: max-age=60", "HEAD || GET", "asked empty || asked"),
    Case("is judged like a GET", "cache-control: max-age=60 | etag: \"a\"", "GET || HEAD | if-none-match: \"a\"", "asked || hit =304"),
    Case("asks whether it still holds", "etag: \"a\" || 304 | cache-control: max-age=60", "GET || HEAD || GET", "asked || checked empty || hit"),
    Case("of the same version makes it fresh", "etag: \"a\" || etag: \"a\" | cache-control: max-age=60 | x-a: 2", "GET || HEAD || GET", "asked || checked empty +x-a:2 || hit#1 +x-a:2"),
    Case("of another version makes it stale", "etag: \"a\" | cache-control: max-age=60 || etag: \"b\" || etag: \"b\"", "GET || HEAD | cache-control: no-cache || GET", "asked || checked empty || checked"),
    Case("of another length makes it stale", "etag: \"a\" | cache-control: max-age=60 || etag: \"a\" | :body=x || etag: \"a\"", "GET || HEAD | cache-control: no-cache || GET", "asked || checked empty || checked"),
    Case("of what is gone takes it away", "etag: \"a\" | cache-control: max-age=60 || 410 || cache-control: max-age=60", "GET || HEAD | cache-control: no-cache || GET", "asked || checked =410 empty || asked"),
    Case("of an error of the server leaves it", "etag: \"a\" | cache-control: max-age=60 || 500", "GET || HEAD | cache-control: no-cache || GET", "asked || checked =500 empty || hit#1"),
];
