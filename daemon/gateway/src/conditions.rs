//! Preconditions of requests (RFC 9110 section 13), evaluated against what would be served. Pure.

use std::time::Duration;

use http::header::{
    DATE, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderValue};
use kith_model::representation::http_date;

/// What a client made its request depend on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    matches: Vec<HeaderValue>,
    none_matches: Vec<HeaderValue>,
    modified_since: Option<HeaderValue>,
    unmodified_since: Option<HeaderValue>,
    range: Option<HeaderValue>,
}

/// What comes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answer as if there were none.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412.
    Failed,
}

impl Conditions {
    /// Takes the fields out of a request.
    pub(crate) fn take(headers: &mut HeaderMap) -> Self {
        let mut list = |name| match headers.entry(name) {
            http::header::Entry::Occupied(entry) => entry.remove_entry_mult().1.collect(),
            http::header::Entry::Vacant(_) => Vec::new(),
        };
        let (matches, none_matches) = (list(IF_MATCH), list(IF_NONE_MATCH));
        Self {
            matches,
            none_matches,
            modified_since: headers.remove(IF_MODIFIED_SINCE),
            unmodified_since: headers.remove(IF_UNMODIFIED_SINCE),
            range: headers.remove(IF_RANGE),
        }
    }

    /// What an origin may judge when there is nothing to judge it by here: whether the client has the newest version
    /// already. What a client wants to be sure of before it gets anything is judged when there is an answer.
    pub(crate) fn for_origin(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let is_sure = self.matches.is_empty() && self.unmodified_since.is_none();
        for tags in self.none_matches.iter().filter(|_| is_sure) {
            headers.append(IF_NONE_MATCH, tags.clone());
        }
        if let Some(since) = self.modified_since.as_ref().filter(|_| is_sure) {
            headers.insert(IF_MODIFIED_SINCE, since.clone());
        }
        headers
    }

    /// Section 13.2.2: the order of evaluation. `fields` are those of the response that would be sent.
    pub(crate) fn judge(&self, fields: &HeaderMap) -> Verdict {
        let tag = fields.get(ETAG).map(HeaderValue::as_bytes);
        let modified = fields.get(LAST_MODIFIED).and_then(http_date);
        if self.matches.is_empty() {
            let limit = self.unmodified_since.as_ref().and_then(http_date);
            if let (Some(modified), Some(limit)) = (modified, limit)
                && modified > limit
            {
                return Verdict::Failed;
            }
        } else if !any_tag(&self.matches, tag, strongly) {
            return Verdict::Failed;
        }
        if !self.none_matches.is_empty() {
            let known = any_tag(&self.none_matches, tag, weakly);
            return if known { Verdict::NotModified } else { Verdict::Proceed };
        }
        let limit = self.modified_since.as_ref().and_then(http_date);
        // RFC 9111 section 4.3.2: what does not say when it changed had changed when it was sent, at the latest.
        let modified = modified.or_else(|| fields.get(DATE).and_then(http_date));
        match (modified, limit) {
            (Some(modified), Some(limit)) if modified <= limit => Verdict::NotModified,
            _ => Verdict::Proceed,
        }
    }

    /// Section 13.1.5: whether a range may be answered as such. Without `If-Range` always.
    pub(crate) fn range_applies(&self, fields: &HeaderMap) -> bool {
        let Some(condition) = &self.range else { return true };
        let bytes = condition.as_bytes();
        if bytes.starts_with(b"W/") {
            return false;
        }
        if bytes.starts_with(b"\"") {
            return fields.get(ETAG).is_some_and(|tag| tag == condition);
        }
        // A date counts when it is exactly the stored one and strong (section 8.8.2.2).
        let date = fields.get(DATE).and_then(http_date);
        let modified =
            fields.get(LAST_MODIFIED).filter(|modified| *modified == condition).and_then(http_date);
        matches!((date, modified), (Some(date), Some(modified)) if date.since(modified) >= Duration::from_secs(60))
    }
}

/// Whether a list of entity tags has one like `tag`; `*` is like any.
fn any_tag(lists: &[HeaderValue], tag: Option<&[u8]>, alike: fn(&[u8], &[u8]) -> bool) -> bool {
    lists.iter().any(|list| {
        let list = list.as_bytes();
        list == b"*" || tag.is_some_and(|tag| tags(list).any(|other| alike(other, tag)))
    })
}

/// Section 8.8.3.2.
fn strongly(a: &[u8], b: &[u8]) -> bool {
    a == b && !a.starts_with(b"W/")
}

/// Also alike are tags of which one lost its quotes on the way: some clients keep only what is inside.
fn weakly(a: &[u8], b: &[u8]) -> bool {
    fn opaque(tag: &[u8]) -> &[u8] {
        let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
        tag.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(tag)
    }
    opaque(a) == opaque(b)
}

/// The entity tags of a list; a comma may stand inside of one that has quotes.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|byte| !matches!(byte, b',' | b' ' | b'\t'))?;
        let tag = &rest[start..];
        let open = if tag.starts_with(b"W/\"") { 2 } else { 0 };
        let end = if tag.get(open) == Some(&b'"') {
            open + 2 + tag[open + 1..].iter().position(|byte| *byte == b'"')?
        } else {
            tag.iter().position(|byte| *byte == b',').unwrap_or(tag.len())
        };
        let (tag, behind) = tag.split_at(end);
        rest = behind;
        Some(tag.trim_ascii_end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATE: &str = "Sun, 06 Nov 1994 08:50:37 GMT";

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn preconditions_are_judged_in_the_order_of_the_rfc() {
        let served = fields(&[("etag", "\"a,b\""), ("last-modified", EARLY)]);
        let weak = fields(&[("etag", "W/\"a\"")]);
        let dated = fields(&[("date", EARLY)]);
        for (asked, served, expected) in [
            (&[][..], &served, Verdict::Proceed),
            (&[("if-none-match", "\"x\", \"a,b\"")], &served, Verdict::NotModified),
            (&[("if-none-match", "W/\"a,b\"")], &served, Verdict::NotModified),
            (&[("if-none-match", "*")], &served, Verdict::NotModified),
            (&[("if-none-match", "\"a\"")], &served, Verdict::Proceed),
            (&[("if-none-match", "a")], &weak, Verdict::NotModified),
            (&[("if-none-match", "x, a")], &weak, Verdict::NotModified),
            (&[("if-none-match", "\"x, a")], &weak, Verdict::Proceed),
            (&[("if-none-match", ", ,")], &weak, Verdict::Proceed),
            (&[("if-match", "a")], &weak, Verdict::Failed),
            (&[("if-modified-since", EARLY)], &dated, Verdict::NotModified),
            (&[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")], &dated, Verdict::Proceed),
            (&[("if-none-match", "\"a\"")], &weak, Verdict::NotModified),
            (&[("if-none-match", "\"x\""), ("if-modified-since", LATE)], &served, Verdict::Proceed),
            (&[("if-modified-since", EARLY)], &served, Verdict::NotModified),
            (&[("if-modified-since", "yesterday")], &served, Verdict::Proceed),
            (&[("if-modified-since", LATE)], &weak, Verdict::Proceed),
            (&[("if-match", "\"a,b\"")], &served, Verdict::Proceed),
            (&[("if-match", "\"x\"")], &served, Verdict::Failed),
            (&[("if-match", "W/\"a\"")], &weak, Verdict::Failed),
            (&[("if-match", "\"a,b\""), ("if-none-match", "\"a,b\"")], &served, Verdict::NotModified),
            (&[("if-unmodified-since", EARLY)], &served, Verdict::Proceed),
            (&[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT")], &served, Verdict::Failed),
        ] {
            let mut headers = fields(asked);
            let conditions = Conditions::take(&mut headers);
            assert!(headers.is_empty());
            assert_eq!(conditions.judge(served), expected, "{asked:?}");
        }
    }

    #[test]
    fn if_range_takes_only_strong_validators() {
        let served = fields(&[("etag", "\"a\""), ("last-modified", EARLY), ("date", LATE)]);
        let young = fields(&[("last-modified", EARLY), ("date", EARLY)]);
        let weak = fields(&[("etag", "W/\"a\"")]);
        for (condition, served, expected) in [
            ("\"a\"", &served, true),
            ("\"b\"", &served, false),
            ("W/\"a\"", &weak, false),
            ("\"a\"", &weak, false),
            (EARLY, &served, true),
            (LATE, &served, false),
            (EARLY, &young, false),
            ("nonsense", &served, false),
        ] {
            let conditions = Conditions::take(&mut fields(&[("if-range", condition)]));
            assert_eq!(conditions.range_applies(served), expected, "{condition}");
        }
        assert!(Conditions::default().range_applies(&served));
    }
}
