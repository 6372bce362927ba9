//! Which of several responses is the answer (RFC 9111 section 4.1).

use super::line::Case;

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case("the same selecting field", "cache-control: max-age=60 | vary: x-lang", "GET | accept-language: de || GET | accept-language: de", "asked || hit"),
    Case("the same field that selects", "cache-control: max-age=60 | vary: accept-language", "GET | accept-language: de || GET | accept-language: de", "asked || hit"),
    Case("another value", "cache-control: max-age=60 | vary: accept-language", "GET | accept-language: de || GET | accept-language: fr", "asked || asked"),
    Case("a value against none", "cache-control: max-age=60 | vary: accept-language", "GET | accept-language: de || GET", "asked || asked"),
    Case("none against a value", "cache-control: max-age=60 | vary: accept-language", "GET || GET | accept-language: de", "asked || asked"),
    Case("none against an empty one", "cache-control: max-age=60 | vary: accept-language", "GET || GET | accept-language:  ", "asked || asked"),
    Case("none against none", "cache-control: max-age=60 | vary: accept-language", "GET || GET", "asked || hit"),
    Case("both variants are kept", "cache-control: max-age=60 | vary: accept-language", "GET | accept-language: de || GET | accept-language: fr || GET | accept-language: de || GET | accept-language: fr", "asked || asked || hit#1 || hit#2"),
    Case("the selecting field in any case", "cache-control: max-age=60 | vary: ACCEPT-Language", "GET | accept-language: de || GET | accept-language: fr", "asked || asked"),
    Case("an unknown field selects", "cache-control: max-age=60 | vary: foo", "GET | foo: 1 || GET | foo: 1 || GET | foo: 2", "asked || hit || asked"),
    Case("two fields that are the same", "cache-control: max-age=60 | vary: foo, bar", "GET | foo: 1 | bar: a || GET | bar: a | foo: 1", "asked || hit"),
    Case("two fields of which one differs", "cache-control: max-age=60 | vary: foo, bar", "GET | foo: 1 | bar: a || GET | foo: 1 | bar: b", "asked || asked"),
    Case("two fields of which one is missing", "cache-control: max-age=60 | vary: foo, bar", "GET | foo: 1 | bar: a || GET | foo: 1", "asked || asked"),
    Case("two lines of names", "cache-control: max-age=60 | vary: foo | vary: bar", "GET | foo: 1 | bar: a || GET | foo: 1 | bar: b || GET | foo: 1 | bar: a", "asked || asked || hit#1"),
    Case("a field in two lines is one in a list", "cache-control: max-age=60 | vary: foo", "GET | foo: 1 | foo: 2 || GET | foo: 1, 2", "asked || hit"),
    Case("the order of values matters", "cache-control: max-age=60 | vary: foo", "GET | foo: 1, 2 || GET | foo: 2, 1", "asked || asked"),
    Case("the case of values matters", "cache-control: max-age=60 | vary: foo", "GET | foo: a || GET | foo: A", "asked || asked"),
    Case("but not that of languages", "cache-control: max-age=60 | vary: accept-language", "GET | accept-language: de-AT || GET | accept-language: DE-at", "asked || hit"),
    Case("nor spaces among languages", "cache-control: max-age=60 | vary: accept-language", "GET | accept-language: de, en;q=0.5 || GET | accept-language: de,en; q=0.5", "asked || hit"),
    Case("nor the order of codings", "cache-control: max-age=60 | vary: accept-encoding", "GET | accept-encoding: gzip, br || GET | accept-encoding: br;q=0.9,gzip", "asked || hit"),
    Case("another coding", "cache-control: max-age=60 | vary: accept-encoding", "GET | accept-encoding: gzip || GET", "asked || asked"),
    Case("a star is never the same", "cache-control: max-age=60 | vary: *", "GET || GET", "asked || asked"),
    Case("a star among names", "cache-control: max-age=60 | vary: foo, *", "GET || GET", "asked || asked"),
    Case("a star on a second line", "cache-control: max-age=60 | vary: foo | vary: *", "GET || GET", "asked || asked"),
    Case("a star after an empty member", "cache-control: max-age=60 | vary: , *", "GET || GET", "asked || asked"),
    Case("nonsense is a star", "cache-control: max-age=60 | vary: a b", "GET || GET", "asked || asked"),
    Case("the other variant's tag is asked about", "cache-control: max-age=60 | vary: accept-language | etag: \"a\" || 304 | etag: \"a\"", "GET | accept-language: de || GET | accept-language: fr || GET | accept-language: fr || GET | accept-language: de", "asked || checked ?if-none-match:\"a\" || hit || hit"),
    Case("the other variant's weak tag is not", "cache-control: max-age=60 | vary: accept-language | etag: W/\"a\"", "GET | accept-language: de || GET | accept-language: fr", "asked || asked"),
    Case("a 304 by another tag is no answer to it", "cache-control: max-age=60 | vary: accept-language | etag: \"a\" || cache-control: max-age=60 | vary: accept-language | etag: \"b\"", "GET | accept-language: de || GET | accept-language: fr || GET | accept-language: fr || GET | accept-language: de", "asked || checked || hit#2 || hit#1"),
];
