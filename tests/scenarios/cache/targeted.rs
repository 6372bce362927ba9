//!  (RFC 9213).

use super::line::Case;

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case("takes the place of Cache-Control", "cdn-cache-control: max-age=60 | cache-control: max-age=0", "GET || GET", "asked || hit"),
    Case("also of no-store", "cdn-cache-control: max-age=60 | cache-control: no-store", "GET || GET", "asked || hit"),
    Case("also of private", "cdn-cache-control: max-age=60 | cache-control: private", "GET || GET", "asked || hit"),
    Case("also when it forbids", "cdn-cache-control: no-store | cache-control: max-age=60", "GET || GET", "asked || asked"),
    Case("also when it is private", "cdn-cache-control: private | cache-control: max-age=60", "GET || GET", "asked || asked"),
    Case("also when it is to be checked", "cdn-cache-control: no-cache | cache-control: max-age=60 | etag: \"a\" || 304", "GET || GET", "asked || checked"),
    Case("also when it lives for nothing", "cdn-cache-control: max-age=0 | cache-control: max-age=60", "GET || GET", "asked || asked"),
    Case("takes the place of Expires", "cdn-cache-control: public | expires: {+60}", "GET || GET", "asked || asked"),
    Case("takes the place of a broken Expires", "cdn-cache-control: max-age=60 | expires: 0", "GET || GET", "asked || hit"),
    Case("has its own shared lifetime", "cdn-cache-control: s-maxage=60, max-age=0 | cache-control: max-age=0", "GET || GET", "asked || hit"),
    Case("knows age", "cdn-cache-control: max-age=60 | age: 61", "GET || GET", "asked || asked"),
    Case("is handed on", "cdn-cache-control: max-age=60", "GET || GET", "asked +cdn-cache-control:max-age=60 || hit +cdn-cache-control:max-age=60"),
    Case("in capitals is not there", "cdn-cache-control: MAX-AGE=0 | cache-control: max-age=60", "GET || GET", "asked || hit"),
    Case("with a space before the equals sign is not there", "cdn-cache-control: max-age =0 | cache-control: max-age=60", "GET || GET", "asked || hit"),
    Case("with a space behind the equals sign is not there", "cdn-cache-control: max-age= 0 | cache-control: max-age=60", "GET || GET", "asked || hit"),
    Case("with a comma at the end is not there", "cdn-cache-control: max-age=0, | cache-control: max-age=60", "GET || GET", "asked || hit"),
    Case("that is empty is not there", "cdn-cache-control: | cache-control: max-age=60", "GET || GET", "asked || hit"),
    Case("with a text for a number has no number", "cdn-cache-control: max-age=\"60\" | cache-control: max-age=60", "GET || GET", "asked || asked"),
    Case("with a parameter", "cdn-cache-control: max-age=60;x=1 | cache-control: max-age=0", "GET || GET", "asked || hit"),
    Case("with something unknown", "cdn-cache-control: max-age=60, x=(a b) | cache-control: max-age=0", "GET || GET", "asked || hit"),
    Case("on two lines", "cdn-cache-control: public | cdn-cache-control: max-age=60 | cache-control: max-age=0", "GET || GET", "asked || hit"),
    Case("the last of two", "cdn-cache-control: max-age=0, max-age=60", "GET || GET", "asked || hit"),
    Case("a no that is taken back", "cdn-cache-control: max-age=60, no-store=?0", "GET || GET", "asked || hit"),
    Case("Surrogate-Control is for others", "surrogate-control: max-age=60 | cache-control: max-age=0", "GET || GET", "asked || asked"),
];
