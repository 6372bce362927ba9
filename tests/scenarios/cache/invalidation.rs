//! What unsafe requests make doubtful (RFC 9111 section 4.4). They pass the proxy only.

use super::line::Case;

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case("proxy: POST", "cache-control: max-age=60", "GET || POST || GET", "asked || asked || asked"),
    Case("proxy: PUT", "cache-control: max-age=60", "GET || PUT || GET", "asked || asked || asked"),
    Case("proxy: DELETE", "cache-control: max-age=60", "GET || DELETE || GET", "asked || asked || asked"),
    Case("proxy: PATCH", "cache-control: max-age=60", "GET || PATCH || GET", "asked || asked || asked"),
    Case("proxy: a method nobody knows", "cache-control: max-age=60", "GET || FROB || GET", "asked || asked || asked"),
    Case("proxy: an answer without content", "cache-control: max-age=60 || 204 || cache-control: max-age=60", "GET || PUT || GET", "asked || asked || asked"),
    Case("proxy: an answer that leads elsewhere", "cache-control: max-age=60 || 303 | location: /y || cache-control: max-age=60", "GET || POST || GET", "asked || asked || asked"),
    Case("proxy: not a mistake of the asker", "cache-control: max-age=60 || 404", "GET || POST || GET", "asked || asked || hit#1"),
    Case("proxy: not a mistake of the server", "cache-control: max-age=60 || 500", "GET || PUT || GET", "asked || asked || hit#1"),
    Case("proxy: not a question for options", "cache-control: max-age=60", "GET || OPTIONS || GET", "asked || asked || hit#1"),
    Case("proxy: what Location names", "cache-control: max-age=60 | location: {path}", "GET || POST /x || GET", "asked || none || asked"),
    Case("proxy: what Content-Location names", "cache-control: max-age=60 | content-location: {path}", "GET || PUT /x || GET", "asked || none || asked"),
    Case("proxy: not what it names at another origin", "cache-control: max-age=60 | location: http://127.0.0.1:1{path}", "GET || POST /x || GET", "asked || none || hit"),
    Case("proxy: not what it does not name", "cache-control: max-age=60", "GET || POST /x || GET", "asked || none || hit"),
    Case("proxy: an answer to POST is not stored", "cache-control: max-age=60", "POST || GET", "asked || asked"),
    Case("proxy: every variant", "cache-control: max-age=60 | vary: accept-language", "GET | accept-language: de || GET | accept-language: fr || POST || GET | accept-language: de || GET | accept-language: fr", "asked || asked || asked || asked || asked"),
    Case("prefix: changes are refused", "cache-control: max-age=60", "GET || POST || GET", "asked || none =405 || hit"),
];
