//! `CDN-Cache-Control` (RFC 9213): a dictionary of structured fields (RFC 8941 section 3.2), read as strictly as that
//! RFC asks, since what is malformed must be as if it were not there.
//!
//! Own code and not a library: only booleans and integers mean anything here, and the one crate that reads structured
//! fields brings more with it than it saves.

use http::HeaderMap;

use crate::limits::CACHE_CONTROL_BYTES_MAX;

/// The field that speaks to caches which act for the origin; a box in front of a house is asked to heed it.
const FIELD: &str = "cdn-cache-control";

/// What a member of the dictionary says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Its name alone, or `?1`.
    Yes,
    /// `?0`
    No,
    /// A whole number.
    Integer(i64),
    /// Anything else that a structured field may hold.
    Other,
}

/// The members of the targeted field, each name once with its last value; nothing when the field is not there, empty
/// or malformed (RFC 9213 section 2.2).
pub(super) fn members(headers: &HeaderMap) -> Option<Vec<(String, Value)>> {
    let lines: Vec<&[u8]> = headers.get_all(FIELD).iter().map(http::HeaderValue::as_bytes).collect();
    let text = lines.join(&b", "[..]);
    if text.len() > CACHE_CONTROL_BYTES_MAX || !text.is_ascii() {
        return None;
    }
    let text = std::str::from_utf8(&text).ok()?;
    Dictionary { rest: text.trim_matches(' ') }.members().filter(|members| !members.is_empty())
}

/// A text that is read from the front.
struct Dictionary<'a> {
    rest: &'a str,
}

impl<'a> Dictionary<'a> {
    fn members(mut self) -> Option<Vec<(String, Value)>> {
        let mut members: Vec<(String, Value)> = Vec::new();
        while !self.rest.is_empty() {
            let key = self.key()?;
            let value = if self.takes('=') { self.value()? } else { Value::Yes };
            self.parameters()?;
            members.retain(|(known, _)| known != key);
            members.push((key.to_owned(), value));
            self.skip(&[' ', '\t']);
            if self.rest.is_empty() {
                break;
            }
            if !self.takes(',') {
                return None;
            }
            self.skip(&[' ', '\t']);
            // a comma at the end
            if self.rest.is_empty() {
                return None;
            }
        }
        Some(members)
    }

    fn takes(&mut self, letter: char) -> bool {
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip(&mut self, letters: &[char]) {
        self.rest = self.rest.trim_start_matches(letters);
    }

    fn while_is(&mut self, is: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|letter| !is(letter)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Section 4.2.3.3: lower case only.
    fn key(&mut self) -> Option<&'a str> {
        let is_start = self.rest.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '*');
        let is_key = |letter: char| {
            letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '_' | '-' | '.' | '*')
        };
        is_start.then(|| self.while_is(is_key))
    }

    fn parameters(&mut self) -> Option<()> {
        while self.takes(';') {
            self.skip(&[' ']);
            self.key()?;
            if self.takes('=') {
                self.bare()?;
            }
        }
        Some(())
    }

    /// An item or an inner list.
    fn value(&mut self) -> Option<Value> {
        if !self.takes('(') {
            return self.bare();
        }
        loop {
            self.skip(&[' ']);
            if self.takes(')') {
                return Some(Value::Other);
            }
            self.bare()?;
            self.parameters()?;
            if !self.rest.starts_with([' ', ')']) {
                return None;
            }
        }
    }

    /// Section 4.2.3.1.
    fn bare(&mut self) -> Option<Value> {
        match self.rest.chars().next()? {
            '?' => self.boolean(),
            '"' => self.string(),
            ':' => self.bytes(),
            '-' | '0'..='9' => self.number(),
            letter if letter.is_ascii_alphabetic() || letter == '*' => {
                let is_token =
                    |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(letter);
                self.while_is(is_token);
                Some(Value::Other)
            }
            _ => None,
        }
    }

    fn boolean(&mut self) -> Option<Value> {
        let (value, rest) = match self.rest.get(..2)? {
            "?1" => (Value::Yes, &self.rest[2..]),
            "?0" => (Value::No, &self.rest[2..]),
            _ => return None,
        };
        self.rest = rest;
        Some(value)
    }

    fn string(&mut self) -> Option<Value> {
        let mut escaped = false;
        for (at, letter) in self.rest.char_indices().skip(1) {
            match letter {
                '"' | '\\' if escaped => escaped = false,
                _ if escaped => return None,
                '\\' => escaped = true,
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(Value::Other);
                }
                ' '..='~' => {}
                _ => return None,
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<Value> {
        let (inner, rest) = self.rest[1..].split_once(':')?;
        let is_base64 = |letter: char| letter.is_ascii_alphanumeric() || "+/=".contains(letter);
        self.rest = rest;
        inner.chars().all(is_base64).then_some(Value::Other)
    }

    /// Section 4.2.4: at most 15 digits, or 12 and three behind a point.
    fn number(&mut self) -> Option<Value> {
        let is_negative = self.takes('-');
        let digits = self.while_is(|letter| letter.is_ascii_digit());
        if !self.takes('.') {
            let number: i64 = digits.parse().ok().filter(|_| digits.len() <= 15)?;
            return Some(Value::Integer(if is_negative { -number } else { number }));
        }
        let fraction = self.while_is(|letter| letter.is_ascii_digit());
        let is_decimal = (1..=12).contains(&digits.len()) && (1..=3).contains(&fraction.len());
        is_decimal.then_some(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Vec<(String, Value)>> {
        let mut headers = HeaderMap::new();
        for line in text.split('|') {
            headers.append(FIELD, HeaderValue::from_str(line).ok()?);
        }
        members(&headers)
    }

    #[test]
    fn dictionaries_are_read_and_everything_else_is_as_if_it_were_not_there() {
        use Value::{Integer, No, Other, Yes};
        for (text, expected) in [
            ("max-age=60", &[("max-age", Integer(60))][..]),
            ("max-age=60, no-store", &[("max-age", Integer(60)), ("no-store", Yes)]),
            ("max-age=60|private=?0", &[("max-age", Integer(60)), ("private", No)]),
            ("max-age=-5;x=1;y", &[("max-age", Integer(-5))]),
            ("max-age=1,max-age=2", &[("max-age", Integer(2))]),
            (
                "a=1.5,\tb=\"\\\"\", c=tok/en, d=:YQ==:, e=(1 \"x\");y, f=()",
                &[("a", Other), ("b", Other), ("c", Other), ("d", Other), ("e", Other), ("f", Other)],
            ),
        ] {
            let expected = expected.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
            assert_eq!(read(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "Max-Age=60",
            "max-age =60",
            "max-age= 60",
            "max-age=60,",
            "max-age=60;",
            "max-age=60 no-store",
            "max-age=1234567890123456",
            "max-age=1.",
            "max-age='60'",
            "max-age=\"60",
            "max-age=?2",
            "max-age=(60",
            "max-age=",
            "=60",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in "[ -~]{0,80}") {
            let _ = read(&text);
        }
    }
}
