//! How long a response is fresh, and how old it is (RFC 9111 sections 4.2, 5.1 and 5.2.2.1).

use super::line::Case;

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case("within the lifetime", "cache-control: max-age=60 | age: 50", "GET || GET", "asked || hit age>=50"),
    Case("past it", "cache-control: max-age=60 | age: 60", "GET || GET", "asked || asked"),
    Case("nothing is no lifetime", "cache-control: max-age=0", "GET || GET", "asked || asked"),
    Case("the shared lifetime is ours", "cache-control: s-maxage=60, max-age=0", "GET || GET", "asked || hit"),
    Case("also when it is the shorter one", "cache-control: s-maxage=0, max-age=60", "GET || GET", "asked || asked"),
    Case("a lifetime wins over a date", "cache-control: max-age=60 | expires: {-60}", "GET || GET", "asked || hit"),
    Case("also when it is none", "cache-control: max-age=0 | expires: {+60}", "GET || GET", "asked || asked"),
    Case("also over a broken date", "cache-control: max-age=60 | expires: 0", "GET || GET", "asked || hit"),
    Case("an old date is age", "cache-control: max-age=60 | date: {-61}", "GET || GET", "asked || asked"),
    Case("a young date is not", "cache-control: max-age=60 | date: {-20}", "GET || GET", "asked || hit age>=20"),
    Case("a date to come is now", "cache-control: max-age=60 | date: {+3600}", "GET || GET", "asked || hit"),
    Case("no date is now", "cache-control: max-age=60 | :no-date", "GET || GET", "asked || hit"),
    Case("a broken date is now", "cache-control: max-age=60 | date: yesterday", "GET || GET", "asked || hit"),
    Case("of two ages the first counts", "cache-control: max-age=60 | age: 61, 0", "GET || GET", "asked || asked"),
    Case("of two lines of age the first counts", "cache-control: max-age=60 | age: 61 | age: 0", "GET || GET", "asked || asked"),
    Case("of two lines of age the first counts when it is the younger", "cache-control: max-age=60 | age: 0 | age: 61", "GET || GET", "asked || hit"),
    Case("an age that is no number is none", "cache-control: max-age=60 | age: old", "GET || GET", "asked || hit"),
    Case("a negative age is none", "cache-control: max-age=60 | age: -90", "GET || GET", "asked || hit"),
    Case("a broken age is none", "cache-control: max-age=60 | age: 90.5", "GET || GET", "asked || hit"),
    Case("an age with more behind it is none", "cache-control: max-age=60 | age: 90; a=b", "GET || GET", "asked || hit"),
    Case("a huge age is huge", "cache-control: max-age=60 | age: 99999999999999999999", "GET || GET", "asked || asked"),
    Case("the largest lifetime", "cache-control: max-age=2147483648", "GET || GET", "asked || hit"),
    Case("more than the largest lifetime", "cache-control: max-age=99999999999999999999", "GET || GET", "asked || hit"),
    Case("an age adds up", "cache-control: max-age=3600 | age: 100", "GET || GET", "asked || hit age>=100"),
    Case("the older of date and age counts", "cache-control: max-age=3600 | age: 100 | date: {-200}", "GET || GET", "asked || hit age>=200"),
    Case("a tenth of its age is guessed", "last-modified: {-1000} | age: 90", "GET || GET", "asked || hit"),
    Case("and no more", "last-modified: {-1000} | age: 101 || 304", "GET || GET", "asked || checked"),
    Case("a day at most", "last-modified: Sun, 06 Nov 1994 08:49:37 GMT | age: 86401 || 304", "GET || GET", "asked || checked"),
    Case("what was changed just now is not guessed", "last-modified: {-0} || 304", "GET || GET", "asked || checked"),
    Case("what changes in the future is not guessed", "last-modified: {+3600} || 304", "GET || GET", "asked || checked"),
    Case("a lifetime wins over a guess", "cache-control: max-age=0 | last-modified: {-86400} || 304", "GET || GET", "asked || checked"),
    Case("what a file is saved as changes nothing", "cache-control: max-age=60 | content-disposition: attachment", "GET || GET", "asked || hit"),
];
