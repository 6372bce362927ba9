//! What clients ask of caches (RFC 9111 sections 5.2.1 and 5.4).

use super::line::Case;

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case("no-cache asks", "cache-control: max-age=60", "GET || GET | cache-control: no-cache", "asked || asked"),
    Case("no-cache checks", "cache-control: max-age=60 | etag: \"a\" || 304", "GET || GET | cache-control: no-cache", "asked || checked"),
    Case("NO-CACHE in any case", "cache-control: max-age=60", "GET || GET | cache-control: NO-Cache", "asked || asked"),
    Case("max-age=0 asks", "cache-control: max-age=60", "GET || GET | cache-control: max-age=0", "asked || asked"),
    Case("max-age below the age asks", "cache-control: max-age=60 | age: 20", "GET || GET | cache-control: max-age=10", "asked || asked"),
    Case("max-age above the age does not", "cache-control: max-age=60 | age: 20", "GET || GET | cache-control: max-age=50", "asked || hit"),
    Case("max-age that is no number asks", "cache-control: max-age=60 | age: 20", "GET || GET | cache-control: max-age=x", "asked || asked"),
    Case("max-age=0 of something immutable does not", "cache-control: max-age=60, immutable", "GET || GET | cache-control: max-age=0", "asked || hit"),
    Case("no-cache of something immutable does", "cache-control: max-age=60, immutable", "GET || GET | cache-control: no-cache", "asked || asked"),
    Case("min-fresh that is left", "cache-control: max-age=60 | age: 20", "GET || GET | cache-control: min-fresh=20", "asked || hit"),
    Case("min-fresh that is not left", "cache-control: max-age=60 | age: 20", "GET || GET | cache-control: min-fresh=50", "asked || asked"),
    Case("max-stale takes what is stale", "cache-control: max-age=60 | age: 90", "GET || GET | cache-control: max-stale", "asked || hit ~cache-status:ttl=-"),
    Case("max-stale takes what is not too stale", "cache-control: max-age=60 | age: 90", "GET || GET | cache-control: max-stale=50", "asked || hit"),
    Case("max-stale does not take what is too stale", "cache-control: max-age=60 | age: 90", "GET || GET | cache-control: max-stale=10", "asked || asked"),
    Case("max-stale does not lift must-revalidate", "cache-control: max-age=60, must-revalidate | age: 90", "GET || GET | cache-control: max-stale", "asked || asked"),
    Case("max-stale does not lift proxy-revalidate", "cache-control: max-age=60, proxy-revalidate | age: 90", "GET || GET | cache-control: max-stale", "asked || asked"),
    Case("max-stale does not lift s-maxage", "cache-control: s-maxage=60 | age: 90", "GET || GET | cache-control: max-stale", "asked || asked"),
    Case("no-store keeps nothing", "cache-control: max-age=60", "GET | cache-control: no-store || GET", "asked || asked"),
    Case("no-store takes what is there", "cache-control: max-age=60", "GET || GET | cache-control: no-store", "asked || hit"),
    Case("only-if-cached takes what is there", "cache-control: max-age=60", "GET || GET | cache-control: only-if-cached", "asked || hit"),
    Case("only-if-cached asks nobody", "cache-control: max-age=60", "GET | cache-control: only-if-cached", "none =504"),
    Case("only-if-cached does not take what is stale", "cache-control: max-age=60 | age: 61", "GET || GET | cache-control: only-if-cached", "asked || none =504"),
    Case("only-if-cached takes what is stale when told", "cache-control: max-age=60 | age: 61", "GET || GET | cache-control: only-if-cached, max-stale", "asked || hit"),
    Case("Pragma: no-cache asks", "cache-control: max-age=60", "GET || GET | pragma: no-cache", "asked || asked"),
    Case("Pragma with Cache-Control does not", "cache-control: max-age=60", "GET || GET | pragma: no-cache | cache-control: max-age=50", "asked || hit"),
    Case("another Pragma does not", "cache-control: max-age=60", "GET || GET | pragma: foo", "asked || hit"),
    Case("an unknown directive does not", "cache-control: max-age=60", "GET || GET | cache-control: nothing-to-see-here", "asked || hit"),
    Case("Pragma in an answer says nothing", "cache-control: max-age=60 | pragma: no-cache", "GET || GET", "asked || hit"),
];
