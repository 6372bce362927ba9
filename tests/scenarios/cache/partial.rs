//! Parts of responses (RFC 9111 sections 3.3 and 3.4, RFC 9110 section 14).

use super::line::Case;

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case("a part of what is stored", "cache-control: max-age=60 | :body=0123456789", "GET || GET | range: bytes=2-4", "asked || hit =206 +content-range:bytes~2-4/10 +content-length:3"),
    Case("the end of what is stored", "cache-control: max-age=60 | :body=0123456789", "GET || GET | range: bytes=-3", "asked || hit =206 +content-range:bytes~7-9/10"),
    Case("the rest of what is stored", "cache-control: max-age=60 | :body=0123456789", "GET || GET | range: bytes=5-", "asked || hit =206 +content-range:bytes~5-9/10"),
    Case("more than is stored", "cache-control: max-age=60 | :body=0123456789", "GET || GET | range: bytes=5-99", "asked || hit =206 +content-range:bytes~5-9/10"),
    Case("beyond what is stored", "cache-control: max-age=60 | :body=0123456789", "GET || GET | range: bytes=10-", "asked || none =416 +content-range:bytes~*/10"),
    Case("several parts are the whole", "cache-control: max-age=60 | :body=0123456789", "GET || GET | range: bytes=0-0,2-2", "asked || hit"),
    Case("another unit is the whole", "cache-control: max-age=60 | :body=0123456789", "GET || GET | range: lines=0-0", "asked || hit"),
    Case("a part of the right version", "cache-control: max-age=60 | etag: \"a\" | :body=0123456789", "GET || GET | range: bytes=0-0 | if-range: \"a\"", "asked || hit =206"),
    Case("a part of another version is the whole", "cache-control: max-age=60 | etag: \"a\" | :body=0123456789", "GET || GET | range: bytes=0-0 | if-range: \"b\"", "asked || hit"),
    Case("a part of a weak version is the whole", "cache-control: max-age=60 | etag: W/\"a\" | :body=0123456789", "GET || GET | range: bytes=0-0 | if-range: W/\"a\"", "asked || hit"),
    Case("a part of a dated version", "cache-control: max-age=60 | last-modified: Sun, 06 Nov 1994 08:49:37 GMT | :body=0123456789", "GET || GET | range: bytes=0-0 | if-range: Sun, 06 Nov 1994 08:49:37 GMT", "asked || hit =206"),
    Case("a part before a condition", "cache-control: max-age=60 | etag: \"a\" | :body=0123456789", "GET || GET | range: bytes=0-0 | if-none-match: \"a\"", "asked || hit =304"),
    Case("a part is asked for with what stands around it", "206 | content-range: bytes 0-9/10 | etag: \"a\" | cache-control: max-age=60 | :body=0123456789", "GET | range: bytes=2-4 || GET | range: bytes=5-6 || GET", "asked =206 part ?range:bytes=0- +content-range:bytes~2-4/10 || hit =206 part +content-range:bytes~5-6/10 || hit =200"),
    Case("a server that knows no parts gives the whole", "etag: \"a\" | cache-control: max-age=60 | :body=0123456789", "GET | range: bytes=2-4 || GET", "asked =206 +content-range:bytes~2-4/10 || hit"),
    Case("a part without a version passes by", "206 | content-range: bytes 0-9/10 | cache-control: max-age=60 | :body=0123456789", "GET | range: bytes=2-4 || GET | range: bytes=2-4", "asked =206 part || asked =206 part"),
    Case("a server that gives only what a client wanted is passed on", "206 | content-range: bytes 2-4/10 | etag: \"a\" | cache-control: max-age=60 | :body=234", "GET | range: bytes=2-4", "asked =206 +content-range:bytes~2-4/10"),
    Case("a server that gives something else is not", "206 | content-range: bytes 5-6/10 | etag: \"a\" | :body=56", "GET | range: bytes=2-4", "asked =502"),
    Case("a stale whole is confirmed for a part", "etag: \"a\" | :body=0123456789 || 304", "GET || GET | range: bytes=2-4", "asked || checked =206 +content-range:bytes~2-4/10"),
    Case("chunked content has parts once it is stored", "cache-control: max-age=60 | :chunked | :body=0123456789", "GET || GET | range: bytes=2-4", "asked || hit =206 +content-range:bytes~2-4/10"),
];
