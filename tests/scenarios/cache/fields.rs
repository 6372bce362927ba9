//! Which fields are stored and given out (RFC 9111 section 3.1, RFC 9110 section 7.6.1).

use super::line::Case;

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case("unknown fields are kept", "cache-control: max-age=60 | x-a: 1 | y_b: 2", "GET || GET", "asked +x-a:1 +y_b:2 || hit +x-a:1 +y_b:2"),
    Case("fields that Connection names are not", "cache-control: max-age=60 | connection: x-a | x-a: 1 | x-b: 2", "GET || GET", "asked -x-a +x-b:2 || hit -x-a +x-b:2"),
    Case("end-to-end fields that Connection names are", "cache-control: max-age=60 | connection: cache-control, etag | etag: \"a\"", "GET || GET", "asked || hit +etag:\"a\" +cache-control:max-age=60"),
    Case("Keep-Alive is not", "cache-control: max-age=60 | keep-alive: timeout=5", "GET || GET", "asked -keep-alive || hit -keep-alive"),
    Case("Proxy-Connection is not", "cache-control: max-age=60 | proxy-connection: keep-alive", "GET || GET", "asked -proxy-connection || hit -proxy-connection"),
    Case("Proxy-Authenticate is not", "cache-control: max-age=60 | proxy-authenticate: Basic", "GET || GET", "asked -proxy-authenticate || hit -proxy-authenticate"),
    Case("Proxy-Authentication-Info is not", "cache-control: max-age=60 | proxy-authentication-info: a=b", "GET || GET", "asked || hit -proxy-authentication-info"),
    Case("TE is not", "cache-control: max-age=60 | te: trailers", "GET || GET", "asked || hit -te"),
    Case("Upgrade is not", "cache-control: max-age=60 | upgrade: h9", "GET || GET", "asked || hit -upgrade"),
    Case("Content-Type is kept", "cache-control: max-age=60 | content-type: a/b", "GET || GET", "asked || hit +content-type:a/b"),
    Case("proxy: Content-Language and Content-Location are kept", "cache-control: max-age=60 | content-language: de | content-location: /x", "GET || GET", "asked || hit +content-language:de +content-location:/x"),
    Case("proxy: several lines of one field are kept", "cache-control: max-age=60 | link: <a> | link: <b>", "GET || GET", "asked || hit +link:<a>"),
    Case("the date stays that of the origin", "cache-control: max-age=7200 | date: {-3600}", "GET || GET", "asked ~date:GMT || hit age>=3600"),
    Case("what came without a date gets one", "cache-control: max-age=60 | :no-date", "GET || GET", "asked ~date:GMT || hit ~date:GMT"),
    Case("the way is told", "cache-control: max-age=60 | via: 1.0 fred", "GET || GET", "asked ~via:fred || hit ~via:fred"),
    Case("a hit says so", "cache-control: max-age=60", "GET || GET", "asked ~cache-status:kith;fwd=uri-miss;fwd-status=200;stored || hit ~cache-status:kith;hit"),
    Case("an error that was stored says which", "404 | cache-control: max-age=60", "GET || GET", "asked ~cache-status:fwd-status=404;stored || hit ~cache-status:hit"),
    Case("a confirmation says so", "etag: \"a\" || 304", "GET || GET", "asked || checked ~cache-status:hit;fwd=stale;fwd-status=304"),
    Case("a reload says so", "cache-control: max-age=60 | etag: \"a\" || 304", "GET || GET | cache-control: no-cache", "asked || checked ~cache-status:fwd=request"),
    Case("another variant says so", "cache-control: max-age=60 | vary: accept-language", "GET | accept-language: de || GET | accept-language: fr", "asked || asked ~cache-status:fwd=vary-miss"),
    Case("what is not stored does not say stored", "cache-control: no-store", "GET", "asked ~cache-status:fwd=uri-miss;fwd-status=200"),
    Case("the status of caches before us stays first", "cache-control: max-age=60 | cache-status: other;hit", "GET", "asked ~cache-status:other;hit"),
    Case("a question carries the way it came", "x-a: 1", "GET", "asked ?via:kith"),
];
