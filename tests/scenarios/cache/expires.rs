//! Dates of expiry, good and bad (RFC 9111 section 5.3, RFC 9110 section 5.6.7).

use super::line::Case;

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case("to come", "expires: {+60}", "GET || GET", "asked || hit"),
    Case("past", "expires: {-60}", "GET || GET", "asked || asked"),
    Case("now", "expires: {+0}", "GET || GET", "asked || asked"),
    Case("far away", "expires: Thu, 31 Dec 2099 23:59:59 GMT", "GET || GET", "asked || hit"),
    Case("beyond 32 bits", "expires: Fri, 01 Jan 2286 00:00:00 GMT", "GET || GET", "asked || hit"),
    Case("zero", "expires: 0", "GET || GET", "asked || asked"),
    Case("minus one", "expires: -1", "GET || GET", "asked || asked"),
    Case("nothing", "expires:", "GET || GET", "asked || asked"),
    Case("never", "expires: never", "GET || GET", "asked || asked"),
    Case("as RFC 850 has it", "expires: Thursday, 18-Aug-50 02:01:18 GMT", "GET || GET", "asked || hit"),
    Case("as C has it", "expires: Thu Aug 18 02:01:18 2050", "GET || GET", "asked || hit"),
    Case("without a comma", "expires: Thu 18 Aug 2050 02:01:18 GMT", "GET || GET", "asked || asked"),
    Case("with dashes", "expires: Thu, 18-Aug-2050 02:01:18 GMT", "GET || GET", "asked || asked"),
    Case("in another zone", "expires: Thu, 18 Aug 2050 02:01:18 AEST", "GET || GET", "asked || asked"),
    Case("with an hour of one digit", "expires: Thu, 18 Aug 2050 2:01:18 GMT", "GET || GET", "asked || asked"),
    Case("with a year of two digits", "expires: Thu, 18 Aug 50 02:01:18 GMT", "GET || GET", "asked || asked"),
    Case("with points in the time", "expires: Thu, 18 Aug 2050 02.01.18 GMT", "GET || GET", "asked || asked"),
    Case("with two spaces", "expires: Thu, 18  Aug 2050 02:01:18 GMT", "GET || GET", "asked || asked"),
    Case("on a day that is none", "expires: Thu, 31 Feb 2050 02:01:18 GMT", "GET || GET", "asked || asked"),
    Case("twice", "expires: {+60} | expires: {+90}", "GET || GET", "asked || asked"),
    Case("against an old date", "date: {-3600} | expires: {+60}", "GET || GET", "asked || hit age>=3600"),
    Case("against a fast clock", "date: {+3600} | expires: {+3660}", "GET || GET", "asked || hit"),
    Case("against a fast clock, past", "date: {+3600} | expires: {+60}", "GET || GET", "asked || asked"),
    Case("against an age", "expires: {+60} | age: 61", "GET || GET", "asked || asked"),
];
