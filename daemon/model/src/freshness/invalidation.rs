//! What a request with an unsafe method makes doubtful (RFC 9111 section 4.4).

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, Method, StatusCode};

use crate::key::Target;

/// The targets of which nothing stored may be used any more after `target` answered so to `method`: itself, and what
/// the answer names in `Location` and `Content-Location` within the same origin. None when the method is safe or the
/// answer is an error: then nothing has changed.
pub fn invalidated(method: &Method, target: &Target, status: StatusCode, answer: &HeaderMap) -> Vec<Target> {
    // Section 4.4: also for methods whose safety is not known. TRACE never comes so far.
    let is_error = !(status.is_success() || status.is_redirection());
    if method.is_safe() || is_error {
        return Vec::new();
    }
    let mut doubtful = vec![target.clone()];
    for name in [LOCATION, CONTENT_LOCATION] {
        let named = answer.get(name).and_then(|value| value.to_str().ok());
        // One origin must not be able to empty the shelf of another.
        let ours = named
            .and_then(|reference| target.join(reference).ok())
            .filter(|named| is_same_origin(named, target) && !doubtful.contains(named));
        doubtful.extend(ours);
    }
    doubtful
}

/// RFC 6454 section 4.
fn is_same_origin(one: &Target, other: &Target) -> bool {
    (one.scheme(), one.host(), one.port()) == (other.scheme(), other.host(), other.port())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_change_that_was_granted_makes_stored_answers_doubtful_and_only_those_of_the_same_origin() {
        let target = Target::parse("http://a.example/x").expect("valid");
        for (method, status, location, content_location, expected) in [
            ("POST", 200, "", "", &["/x"][..]),
            ("PUT", 204, "", "", &["/x"]),
            ("DELETE", 202, "", "", &["/x"]),
            ("PATCH", 200, "", "", &["/x"]),
            ("FROB", 200, "", "", &["/x"]),
            ("POST", 303, "/y", "", &["/x", "/y"]),
            ("POST", 201, "http://a.example/y?z", "y2", &["/x", "/y?z", "/y2"]),
            ("POST", 201, "/x", "/x", &["/x"]),
            ("POST", 201, "http://b.example/y", "http://a.example:81/y", &["/x"]),
            ("POST", 201, "https://a.example/y", "", &["/x"]),
            ("POST", 201, "//", "", &["/x"]),
            ("POST", 404, "/y", "", &[]),
            ("POST", 500, "", "", &[]),
            ("GET", 200, "/y", "", &[]),
            ("HEAD", 200, "", "", &[]),
            ("OPTIONS", 200, "", "", &[]),
        ] {
            let mut answer = HeaderMap::new();
            for (name, value) in [(LOCATION, location), (CONTENT_LOCATION, content_location)] {
                if !value.is_empty() {
                    answer.insert(name, HeaderValue::from_str(value).expect("a value"));
                }
            }
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let status = StatusCode::from_u16(status).expect("a status");
            let doubtful = invalidated(&method, &target, status, &answer);
            let paths: Vec<_> = doubtful.iter().map(Target::path_and_query).collect();
            assert_eq!(paths, expected, "{method} {status} {location} {content_location}");
        }
    }
}
