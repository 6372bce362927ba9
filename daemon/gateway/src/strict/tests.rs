use proptest::prelude::*;

use super::HeadError as E;
use super::*;

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\n{fields}\r\n")
}

const FIVE: Follows = Follows::Content(content::Framing::Length(5));
const CHUNKED: Follows = Follows::Content(content::Framing::Chunked);

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let long_url = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(URL_BYTES_MAX + 1));
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(REQUEST_LINE_BYTES_MAX));
    let large = get(&format!("Host: a\r\nX: {}\r\n", "a".repeat(REQUEST_HEADERS_BYTES_MAX)));
    let many = get(&format!("Host: a\r\n{}", "X: y\r\n".repeat(REQUEST_HEADERS_COUNT_MAX)));
    let cases: Vec<(&str, Result<Follows, E>)> = vec![
        // requests as clients send them
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Follows::Request)),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", Ok(Follows::Request)),
        ("GET http://a/ HTTP/1.0\r\n\r\n", Ok(Follows::Request)),
        ("GET http://a:80/?q HTTP/1.1\r\nHost: b\r\n\r\n", Ok(Follows::Request)),
        ("GET http://[::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", Ok(Follows::Request)),
        ("GET /https://b/c?d=e@f HTTP/1.1\r\nhost:a\r\n\r\n", Ok(Follows::Request)),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Ok(Follows::Either)),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", Ok(Follows::Either)),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Follows::Request)),
        ("GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t b c \r\nZ: \u{e9}\r\n\r\n", Ok(Follows::Request)),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Ok(Follows::Request)),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Ok(FIVE)),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Ok(CHUNKED)),
        // lines
        ("GET / HTTP/1.1\nHost: a\n\n", Err(E::LineEnd)),
        ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", Err(E::LineEnd)),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", Err(E::LineEnd)),
        ("GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", Err(E::Control)),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", Err(E::Control)),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{7f}\r\n\r\n", Err(E::Control)),
        ("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::Control)),
        ("GET /\tx HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::Target)),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::RequestLine)),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", Err(E::RequestLine)),
        ("GET / HTTP/1.1\r\nHost: a\r\n", Err(E::RequestLine)),
        ("", Err(E::RequestLine)),
        // the request line
        ("GET /\r\nHost: a\r\n\r\n", Err(E::RequestLine)),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::RequestLine)),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Err(E::RequestLine)),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::RequestLine)),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::RequestLine)),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::Method)),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Err(E::Version)),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Err(E::Version)),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", Err(E::RequestLine)),
        ("PRI * HTTP/2.0\r\n\r\n", Err(E::Version)),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::Target)),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::Target)),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::Target)),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::Target)),
        ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::Target)),
        ("GET h{}p://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::Target)),
        ("CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::Target)),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::Userinfo)),
        ("GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(E::Userinfo)),
        (&long_url, Err(E::UrlTooLong)),
        (&long_line, Err(E::UrlTooLong)),
        // fields
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Err(E::Field)),
        ("GET / HTTP/1.1\r\nHost: a\r\nX y\r\n\r\n", Err(E::Field)),
        ("GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", Err(E::Field)),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\u{e9}: y\r\n\r\n", Err(E::Field)),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", Err(E::Folded)),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Err(E::Folded)),
        (&large, Err(E::FieldsTooLarge)),
        (&many, Err(E::FieldsTooLarge)),
        // where it goes
        ("GET / HTTP/1.1\r\n\r\n", Err(E::HostMissing)),
        ("GET / HTTP/1.0\r\n\r\n", Err(E::HostMissing)),
        ("GET http://a/ HTTP/1.1\r\n\r\n", Err(E::HostMissing)),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Err(E::HostTwice)),
        ("GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", Err(E::HostTwice)),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Err(E::Host)),
        ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", Err(E::Host)),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Err(E::Host)),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Err(E::Host)),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Err(E::Host)),
        ("GET / HTTP/1.1\r\nHost: \u{e9}\r\n\r\n", Err(E::Host)),
        // where it ends
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            Err(E::ContentLength),
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", Err(E::ContentLength)),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", Err(E::ContentLength)),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Err(E::ContentLength)),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n", Err(E::ContentLength)),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Err(E::ContentLength)),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(E::TwoLengths),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
            Err(E::TwoLengths),
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", Err(E::TransferEncoding)),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Err(E::TransferEncoding)),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(E::TransferEncoding),
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", Err(E::TransferEncoding)),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", Err(E::TransferEncoding)),
        ("GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Err(E::TransferEncoding)),
    ];
    for (head, expected) in cases {
        assert_eq!(check(head.as_bytes()).map(|checked| checked.follows), expected, "{head:?}");
    }
}

#[test]
fn every_reason_survives_its_number() {
    for (number, error) in HeadError::ALL.into_iter().enumerate() {
        assert_eq!(error.number(), number);
        assert_eq!(HeadError::from_number(number), Some(error));
    }
    assert_eq!(HeadError::from_number(HeadError::ALL.len()), None);
}

#[test]
fn a_head_without_end_is_refused_within_its_bounds() {
    let line = vec![b'a'; REQUEST_LINE_BYTES_MAX + 3];
    assert_eq!(Scanner::default().advance(&line), Err(E::UrlTooLong));
    let mut fields = b"GET / HTTP/1.1\r\n".to_vec();
    fields.resize(fields.len() + REQUEST_HEADERS_BYTES_MAX + 3, b'a');
    assert_eq!(Scanner::default().advance(&fields), Err(E::FieldsTooLarge));
}

proptest! {
    #[test]
    fn the_end_is_found_however_the_head_arrives(cuts in prop::collection::vec(1usize..9, 1..40), tail in prop::collection::vec(any::<u8>(), 0..20)) {
        let head = b"GET /x HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
        let all = [&head[..], &tail].concat();
        let mut scanner = Scanner::default();
        let (mut here, mut found) = (0, None);
        for cut in cuts.iter().cycle() {
            here = (here + cut).min(all.len());
            found = scanner.advance(&all[..here]).expect("a good head");
            if found.is_some() || here == all.len() { break; }
        }
        prop_assert_eq!(found, Some(head.len()));
    }

    #[test]
    fn foreign_bytes_never_panic(head in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = check(&head);
    }

    #[test]
    fn what_looks_like_a_head_never_panics(head in "(GET|POST) [ -~]{0,20} HTTP/1.[01]\r\n([ -~\t]{0,12}\r\n){0,4}\r\n") {
        let _ = check(head.as_bytes());
    }
}

#[test]
fn only_options_of_a_bare_url_is_about_a_whole_site() {
    for (line, expected) in [
        ("OPTIONS http://a.test HTTP/1.1", Scope::Site),
        ("OPTIONS HTTPS://a.test:8443 HTTP/1.1", Scope::Site),
        ("OPTIONS http://a.test/ HTTP/1.1", Scope::Resource),
        ("OPTIONS http://a.test? HTTP/1.1", Scope::Resource),
        ("OPTIONS /http://a.test HTTP/1.1", Scope::Resource),
        ("OPTIONS * HTTP/1.1", Scope::Resource),
        ("options http://a.test HTTP/1.1", Scope::Resource),
        ("GET http://a.test HTTP/1.1", Scope::Resource),
    ] {
        let head = format!("{line}\r\nHost: a.test\r\n\r\n");
        assert_eq!(check(head.as_bytes()).map(|checked| checked.scope), Ok(expected), "{line}");
    }
}
