//! Requests with credentials (RFC 9111 section 3.5); cookies, of which it says nothing.

use super::line::Case;

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case("what was authorised is not kept", "cache-control: max-age=60", "GET | authorization: Basic eA== || GET", "asked || asked"),
    Case("public lifts it", "cache-control: public, max-age=60", "GET | authorization: Basic eA== || GET", "asked || hit"),
    Case("s-maxage lifts it", "cache-control: s-maxage=60", "GET | authorization: Basic eA== || GET", "asked || hit"),
    Case("must-revalidate lifts it", "cache-control: max-age=60, must-revalidate", "GET | authorization: Basic eA== || GET", "asked || hit"),
    Case("not when the answer is chosen by it", "cache-control: public, max-age=60 | vary: authorization", "GET | authorization: Basic eA== || GET | authorization: Basic eA==", "asked || asked"),
    Case("private is not lifted", "cache-control: private, max-age=60", "GET | authorization: Basic eA== || GET", "asked || asked"),
    Case("what is stored is for the authorised too", "cache-control: max-age=60", "GET || GET | authorization: Basic eA==", "asked || hit"),
    Case("an authorised confirmation takes nothing from others", "etag: \"a\" | cache-control: max-age=60 | age: 60 || 304 | cache-control: max-age=60 || 304", "GET || GET | authorization: Basic eA== || GET", "asked || checked || hit"),
    Case("one person's 403 is nobody else's", "etag: \"a\" || 403 || 304", "GET || GET | authorization: Basic eA== || GET", "asked || checked =403 || checked#1"),
    Case("proxy: a cookie keeps a guess from being stored", "last-modified: {-86400}", "GET | cookie: a=b || GET", "asked || asked"),
    Case("proxy: a cookie keeps a validator from being stored", "etag: \"a\"", "GET | cookie: a=b || GET", "asked || asked"),
    Case("proxy: a lifetime is said to all", "cache-control: max-age=60", "GET | cookie: a=b || GET", "asked || hit"),
    Case("proxy: not when the answer is chosen by the cookie", "cache-control: max-age=60 | vary: cookie", "GET | cookie: a=b || GET | cookie: a=b", "asked || asked"),
    Case("proxy: not when another cookie is set", "cache-control: max-age=60 | set-cookie: a=c", "GET | cookie: a=b || GET", "asked || asked"),
    Case("prefix: cookies do not get through", "cache-control: max-age=60", "GET | cookie: a=b || GET", "asked !cookie || hit"),
];
