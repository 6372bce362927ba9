//! What origins say in , well and badly written (RFC 9111 section 5.2).

use super::line::Case;

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case("no-cache is checked each time", "cache-control: no-cache, max-age=60 | etag: \"a\" || 304", "GET || GET || GET", "asked || checked || checked"),
    Case("No-Cache in any case", "cache-control: No-Cache, max-age=60 | etag: \"a\" || 304", "GET || GET", "asked || checked"),
    Case("no-cache without a validator is not stored", "cache-control: no-cache, max-age=60", "GET || GET", "asked || asked"),
    Case("no-cache with a field leaves the rest", "cache-control: no-cache=\"x-a\", max-age=60 | x-a: 1 | x-b: 2", "GET || GET", "asked +x-a:1 || hit -x-a +x-b:2"),
    Case("no-cache with a bare word is no-cache", "cache-control: no-cache=x-a, max-age=60", "GET || GET", "asked || asked"),
    Case("must-revalidate while it is fresh", "cache-control: max-age=60, must-revalidate", "GET || GET", "asked || hit"),
    Case("must-revalidate when it is stale", "cache-control: max-age=60, must-revalidate | age: 61 | etag: \"a\" || 304", "GET || GET", "asked || checked"),
    Case("an unknown directive says nothing", "cache-control: max-age=60, community=\"x\"", "GET || GET", "asked || hit"),
    Case("capitals", "Cache-Control: MAX-AGE=60", "GET || GET", "asked || hit"),
    Case("a quoted number", "cache-control: max-age=\"60\"", "GET || GET", "asked || hit"),
    Case("a number in single quotes is none", "cache-control: max-age='60'", "GET || GET", "asked || asked"),
    Case("a half-quoted number is none", "cache-control: max-age=\"60", "GET || GET", "asked || asked"),
    Case("leading zeros", "cache-control: max-age=0060", "GET || GET", "asked || hit"),
    Case("a negative number is none", "cache-control: max-age=-60", "GET || GET", "asked || asked"),
    Case("a fraction is none", "cache-control: max-age=60.5", "GET || GET", "asked || asked"),
    Case("a number with letters behind is none", "cache-control: max-age=60s", "GET || GET", "asked || asked"),
    Case("a number with letters before is none", "cache-control: max-age=s60", "GET || GET", "asked || asked"),
    Case("a space before the equals sign", "cache-control: max-age =60", "GET || GET", "asked || asked"),
    Case("a space behind the equals sign", "cache-control: max-age= 60", "GET || GET", "asked || asked"),
    Case("no number", "cache-control: max-age", "GET || GET", "asked || asked"),
    Case("an empty number", "cache-control: max-age=", "GET || GET", "asked || asked"),
    Case("the shorter of two", "cache-control: max-age=60, max-age=0", "GET || GET", "asked || asked"),
    Case("the shorter of two the other way round", "cache-control: max-age=0, max-age=60", "GET || GET", "asked || asked"),
    Case("the shorter of two lines", "cache-control: max-age=60 | cache-control: max-age=0", "GET || GET", "asked || asked"),
    Case("a number inside quotes of another", "cache-control: x=\"max-age=60\"", "GET || GET", "asked || asked"),
    Case("a comma inside quotes", "cache-control: x=\"a, max-age=0\", max-age=60", "GET || GET", "asked || hit"),
    Case("an escaped quote inside quotes", "cache-control: x=\"\\\", no-store\", max-age=60", "GET || GET", "asked || hit"),
    Case("commas and nothing", "cache-control: ,, max-age=60,,", "GET || GET", "asked || hit"),
    Case("without spaces", "cache-control: public,max-age=60", "GET || GET", "asked || hit"),
    Case("behind a semicolon", "cache-control: public; max-age=60", "GET || GET", "asked || hit"),
    Case("tabs", "cache-control: public,\tmax-age=60", "GET || GET", "asked || hit"),
];
