//! Heads of HTTP/1.1 messages as text: reading, taking apart, nothing more. Lenient on purpose, since it reads what a
//! program under test wrote; the tests judge it.

use std::io::{BufRead, Error, ErrorKind, Result};

/// Largest head that is read, in bytes.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// A first line and fields.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Request or status line.
    pub first: String,
    /// In order, names as sent.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// Reads up to the empty line; `None` when the connection ended before the first byte.
    pub fn read(source: &mut impl BufRead) -> Result<Option<Self>> {
        let Some(first) = line(source)? else { return Ok(None) };
        let mut head = Self { first, fields: Vec::new() };
        let mut size = 0;
        loop {
            let text = line(source)?.ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?;
            if text.is_empty() {
                return Ok(Some(head));
            }
            size += text.len();
            if size > HEAD_BYTES_MAX {
                return Err(Error::new(ErrorKind::InvalidData, "the head does not end"));
            }
            let (name, value) = text.split_once(':').unwrap_or((&text, ""));
            head.fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// The first field of that name, in any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Word `index` of the first line.
    pub fn word(&self, index: usize) -> &str {
        self.first.split(' ').nth(index).unwrap_or("")
    }

    /// The status of an answer; 0 when the line has none.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }
}

/// A line without its ending; `None` at the end of the connection.
pub fn line(source: &mut impl BufRead) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    if source.read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    while bytes.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
        bytes.pop();
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
