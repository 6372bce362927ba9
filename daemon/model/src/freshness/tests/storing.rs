//! What may be stored (RFC 9111 sections 3, 3.3 and 3.5).

use super::*;

#[test]
fn what_may_be_stored() {
    use NotStorable as No;
    let good = format!("{DATE} | {TAG} | ");
    let (ours, all) = (Ok(Reach::Household), Ok(Reach::Anyone));
    for (request, response, expected) in [
        ("", "cache-control: max-age=60", all),
        ("", "", all),
        ("", "content-encoding: identity", all),
        ("", "cache-control: no-cache", all),
        ("", "cache-control: No-Store", Err(No::NoStore)),
        ("", "cache-control: max-age=60 | cache-control: no-store", Err(No::NoStore)),
        ("", "cache-control: max-age=60; no-store", Err(No::NoStore)),
        ("", "cache-control: no-store=1", Err(No::NoStore)),
        ("", "cache-control: no-store, must-understand, max-age=60", all),
        ("", "cache-control: x=\"no-store\"", all),
        ("", "cache-control: private", Err(No::Private)),
        ("", "cache-control: private=x-name, public", Err(No::Private)),
        ("", "cache-control: private=\"x-name\", public", ours),
        ("", "cache-control: private | cdn-cache-control: max-age=60", ours),
        ("", "cache-control: max-age=60 | cdn-cache-control: private", Err(No::Private)),
        ("", "cache-control: max-age=60 | cdn-cache-control: no-store=5", Err(No::NoStore)),
        ("", "cache-control: max-age=60 | cdn-cache-control: No-Store", all),
        ("", "set-cookie: a=b", Err(No::SetCookie)),
        ("", "set-cookie: a=b | cache-control: max-age=60", Err(No::SetCookie)),
        ("", "set-cookie: a=b | cache-control: public, max-age=60", ours),
        ("", "set-cookie: a=b | cache-control: s-maxage=60", ours),
        ("", "set-cookie: a=b | cache-control: max-age=60, no-cache=\"Set-Cookie\"", ours),
        ("", "vary: *", Err(No::VaryAny)),
        ("", "vary: accept-encoding, *", Err(No::VaryAny)),
        ("", "vary: not a name", Err(No::VaryAny)),
        ("", "vary: a, b, c, d, e, f, g, h, i", Err(No::VaryAny)),
        ("", "vary: cookie", all),
        ("cookie: a=b", "", Err(No::Cookie)),
        ("cookie: a=b", MODIFIED, Err(No::Cookie)),
        ("cookie: a=b", "cache-control: max-age=0", Err(No::Cookie)),
        ("cookie: a=b", "cache-control: max-age=60", ours),
        ("cookie: a=b", "cache-control: public", ours),
        ("cookie: a=b", "cache-control: public, max-age=60 | vary: cookie", Err(No::Cookie)),
        ("cookie: a=b", "cache-control: max-age=60 | set-cookie: a=b", Err(No::SetCookie)),
        ("authorization: Basic eA==", "cache-control: max-age=60", Err(No::Authorization)),
        ("authorization: Basic eA==", "cache-control: max-age=60, must-revalidate", ours),
        ("authorization: Basic eA==", "cache-control: public", ours),
        ("authorization: Basic eA==", "cache-control: s-maxage=60", ours),
        ("authorization: Basic eA==", "cache-control: public | vary: authorization", Err(No::Authorization)),
        ("cache-control: no-store", "cache-control: max-age=60", Err(No::RequestNoStore)),
        ("accept-encoding: gzip", "content-encoding: gzip | vary: accept-encoding", all),
        ("accept-encoding: gzip", "content-encoding: x-gzip | vary: accept-encoding", all),
        ("accept-encoding: *", "content-encoding: br | vary: accept-encoding", all),
        ("", "content-encoding: gzip | vary: accept-encoding", Err(No::Encoding)),
        ("accept-encoding: gzip;q=0", "content-encoding: gzip", Err(No::Encoding)),
    ] {
        let head = head(&format!("{good}{response}"));
        assert_eq!(storable(&fields(request), &head), expected, "{response} <- {request}");
    }
    for (response, expected) in [
        ("", Err(No::NotReusable)),
        ("cache-control: max-age=0", Err(No::NotReusable)),
        ("cache-control: max-age=60, no-cache", Err(No::NotReusable)),
        ("expires: 0", Err(No::NotReusable)),
        ("etag: not quoted", Err(No::NotReusable)),
        ("etag: \"a\" | etag: \"b\"", Err(No::NotReusable)),
        ("cache-control: max-age=60", all),
        ("etag: W/\"a\"", all),
        (MODIFIED, all),
    ] {
        assert_eq!(
            storable(&HeaderMap::new(), &head(&format!("{DATE} | {response}"))),
            expected,
            "{response}"
        );
    }
    for (status, response, expected) in [
        (206, "", all),
        (203, "", all),
        (204, "cache-control: max-age=60", all),
        (299, "cache-control: max-age=60", all),
        (301, "cache-control: max-age=60", all),
        (302, "cache-control: max-age=60", all),
        (302, "", Err(No::NotReusable)),
        (404, "cache-control: max-age=60", all),
        (404, "", Err(No::NotReusable)),
        (404, MODIFIED, all),
        (403, MODIFIED, Err(No::NotReusable)),
        (403, "last-modified: Fri, 07 Oct 1994 08:49:37 GMT | cache-control: public", all),
        (500, "cache-control: max-age=60", all),
        (503, "cache-control: max-age=60, no-cache", Err(No::NotReusable)),
        (599, "cache-control: max-age=60", all),
        (599, "cache-control: max-age=60, must-understand", Err(No::Status)),
        (404, "cache-control: max-age=60, must-understand, no-store", all),
        (401, "cache-control: max-age=60", Err(No::Status)),
        (416, "cache-control: max-age=60", Err(No::Status)),
        (511, "cache-control: max-age=60", Err(No::Status)),
    ] {
        let head = Head {
            status: StatusCode::from_u16(status).expect("valid"),
            ..head(&format!("{good}{response}"))
        };
        assert_eq!(storable(&HeaderMap::new(), &head), expected, "{status} {response}");
    }
}

#[test]
fn what_was_meant_for_one_asker_is_not_kept() {
    let response = "cache-control: private=\"X-A, x-b\", no-cache=\"x-c\" | x-a: 1 | X-B: 2 | x-c: 3 | x-d: 4 | set-cookie: a=b";
    let expected = format!("cache-control: private=\"X-A, x-b\", no-cache=\"x-c\" | x-d: 4 | {DATE}");
    assert_eq!(kept(head(response)).headers, fields(&expected));
    let twice = format!("{DATE} | date: Sun, 06 Nov 1994 08:50:37 GMT");
    assert_eq!(kept(head(&twice)).headers, fields(DATE));
}

#[test]
fn errors_are_believed_for_half_a_minute() {
    for (status, response, seconds) in [
        (404, "cache-control: max-age=5", 5),
        (404, "cache-control: max-age=3600", 30),
        (503, "cache-control: s-maxage=3600", 30),
        (404, MODIFIED, 30),
        (301, "cache-control: max-age=3600", 3600),
        (302, MODIFIED, 0),
        (308, MODIFIED, 86400),
    ] {
        let status = StatusCode::from_u16(status).expect("valid");
        let head = Head { status, ..head(&format!("{DATE} | {response}")) };
        assert_eq!(lifetime(&head), Duration::from_secs(seconds), "{status} {response}");
    }
}

#[test]
fn heads_that_are_larger_than_a_stored_one_may_be_are_refused() {
    let long = format!("{TAG} | x: {}", "a".repeat(33 * 1024));
    let many = format!("{TAG} | {}", vec!["x: a"; 129].join(" | "));
    for response in [long, many] {
        assert_eq!(storable(&HeaderMap::new(), &head(&response)), Err(NotStorable::TooLarge));
    }
}

#[test]
fn an_endless_cache_control_forbids_everything() {
    for value in ["a,".repeat(70), format!("max-age=60, x=\"{}\"", "a".repeat(5000))] {
        let control = CacheControl::of_response(&fields(&format!("cache-control: {value}")));
        assert!(control.has(Directive::NoStore) && control.has(Directive::NoCache));
    }
}
