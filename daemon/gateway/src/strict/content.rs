//! Where the content of a request ends, byte by byte: by its length or in chunks (RFC 9112 sections 6 and 7.1).
//!
//! The HTTP library reads the same bytes behind this; what it would take and another reader would not (bare line
//! feeds, space around a size, endless extensions) does not get through here. Pure. Changes no byte.

use kith_model::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

use super::{HeadError, is_control, split_field};

/// How content is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; never 0.
    Length(u64),
    /// Chunks, the last of them empty, then trailer fields.
    Chunked,
}

/// Follows content while it comes.
#[derive(Debug)]
pub struct Scanner(State);

/// `Data -> ...` within a length; `Size -> Data -> DataEnd -> Size ... -> Trailer -> Over` in chunks.
#[derive(Debug)]
enum State {
    /// So many bytes of a length.
    Rest(u64),
    /// In the line that begins a chunk.
    Size(Line),
    /// So many bytes of a chunk.
    Data(u64),
    /// The CR LF behind a chunk: how much of it came.
    DataEnd(Line),
    /// In a line of the trailer section; bytes of it so far.
    Trailer(Line, usize),
    Over,
}

/// What came of a line.
#[derive(Debug, Default)]
struct Line(Vec<u8>);

/// What is known of the bytes that were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// So many belong to the content.
    pub bytes: usize,
    /// It ends with them.
    pub is_over: bool,
}

impl Scanner {
    /// At the first byte behind the head.
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Length(length) => State::Rest(length),
            Framing::Chunked => State::Size(Line::default()),
        })
    }

    /// Looks at the next bytes of the connection. Looks at none beyond the end of the content.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Seen, HeadError> {
        let mut seen = 0;
        while seen < bytes.len() && !matches!(self.0, State::Over) {
            seen += self.step(&bytes[seen..])?;
        }
        Ok(Seen { bytes: seen, is_over: matches!(self.0, State::Over) })
    }

    fn step(&mut self, bytes: &[u8]) -> Result<usize, HeadError> {
        let (taken, next) = match &mut self.0 {
            State::Over => (0, None),
            State::Rest(left) => {
                let taken = take(left, bytes.len());
                (taken, (*left == 0).then_some(State::Over))
            }
            State::Data(left) => {
                let taken = take(left, bytes.len());
                (taken, (*left == 0).then(|| State::DataEnd(Line::default())))
            }
            State::Size(line) => {
                let (taken, line) = line.read(bytes, CHUNK_LINE_BYTES_MAX)?;
                let next = match line.map(|line| chunk_size(&line)).transpose()? {
                    Some(0) => Some(State::Trailer(Line::default(), 0)),
                    size => size.map(State::Data),
                };
                (taken, next)
            }
            State::DataEnd(line) => {
                let (taken, line) = line.read(bytes, 0)?;
                (taken, line.map(|_| State::Size(Line::default())))
            }
            State::Trailer(line, total) => {
                let (taken, line) = line.read(bytes, TRAILER_BYTES_MAX)?;
                *total += taken;
                if *total > TRAILER_BYTES_MAX {
                    return Err(HeadError::Chunk);
                }
                let next = match line {
                    Some(line) if line.is_empty() => Some(State::Over),
                    Some(line) => {
                        split_field(&line).map_err(|_| HeadError::Chunk)?;
                        Some(State::Trailer(Line::default(), *total))
                    }
                    None => None,
                };
                (taken, next)
            }
        };
        if let Some(next) = next {
            self.0 = next;
        }
        Ok(taken)
    }
}

impl Line {
    /// Reads on to the line's end: how many bytes were taken, and the line without its ending once it is whole.
    fn read(&mut self, bytes: &[u8], bytes_max: usize) -> Result<(usize, Option<Vec<u8>>), HeadError> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        // The line's own ending may have come.
        if self.0.len() + taken > bytes_max + 2 {
            return Err(HeadError::Chunk);
        }
        self.0.extend_from_slice(&bytes[..taken]);
        if end.is_none() {
            return Ok((taken, None));
        }
        let line = std::mem::take(&mut self.0);
        let line = line.strip_suffix(b"\r\n").ok_or(HeadError::Chunk)?.to_vec();
        if line.iter().any(|byte| is_control(*byte)) {
            return Err(HeadError::Chunk);
        }
        Ok((taken, Some(line)))
    }
}

fn take(left: &mut u64, available: usize) -> usize {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(available);
    *left -= taken as u64;
    taken
}

/// Hex digits, then nothing or an extension. No sign, no `0x`, no space: readers differ in what they skip there.
fn chunk_size(line: &[u8]) -> Result<u64, HeadError> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let is_hex = !digits.is_empty() && digits.len() <= 16 && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_hex).ok_or(HeadError::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| HeadError::Chunk)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of the content, when it ends within `text`.
    fn end(framing: Framing, text: &[u8]) -> Result<Option<usize>, HeadError> {
        let seen = Scanner::new(framing).advance(text)?;
        Ok(seen.is_over.then_some(seen.bytes))
    }

    #[test]
    fn content_ends_where_its_framing_says() {
        let chunked = |text: &str| end(Framing::Chunked, text.as_bytes());
        assert_eq!(end(Framing::Length(3), b"abcdef"), Ok(Some(3)));
        assert_eq!(end(Framing::Length(3), b"ab"), Ok(None));
        for (text, expected) in [
            ("0\r\n\r\nGET", Some(5)),
            ("3\r\nabc\r\n0\r\n\r\n", Some(13)),
            ("3;a=b;c=\"d\"\r\nabc\r\n000\r\n\r\n", Some(25)),
            ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\nX: y\r\nZ: w\r\n\r\nrest", Some(47)),
            ("3\r\nabc\r\n0\r\n", None),
            ("ffffffffffffffff\r\nx", None),
        ] {
            assert_eq!(chunked(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn chunks_that_two_readers_could_read_in_two_ways_are_refused() {
        let long = format!("3;{}\r\nabc\r\n", "x".repeat(CHUNK_LINE_BYTES_MAX));
        let trailer = format!("0\r\nX: {}\r\n\r\n", "x".repeat(TRAILER_BYTES_MAX));
        let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(TRAILER_BYTES_MAX / 6 + 1));
        for text in [
            "\r\n",
            "3\nabc\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\r\nabc0\r\n\r\n",
            "3 \r\nabc\r\n0\r\n\r\n",
            " 3\r\nabc\r\n0\r\n\r\n",
            "0x3\r\nabc\r\n0\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            "-1\r\nabc\r\n0\r\n\r\n",
            "g\r\n",
            "10000000000000000\r\n",
            "00000000000000003\r\nabc\r\n",
            "3;a\rb\r\nabc\r\n",
            "3;a\0\r\nabc\r\n",
            "0\r\nX\r\n\r\n",
            "0\r\n X: y\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nX: y\n\r\n",
            &long,
            &trailer,
            &trailers,
        ] {
            assert_eq!(end(Framing::Chunked, text.as_bytes()), Err(HeadError::Chunk), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_pieces_in_which_content_comes_change_nothing(
            text in "([0-4]|[0-4];a|[a-b0\r\n;x ]){0,30}",
            cut in 0usize..40,
        ) {
            let text = text.as_bytes();
            let cut = cut.min(text.len());
            let mut scanner = Scanner::new(Framing::Chunked);
            let in_two = scanner.advance(&text[..cut]).and_then(|first| {
                if first.is_over {
                    return Ok(Some(first.bytes));
                }
                let second = scanner.advance(&text[cut..])?;
                Ok(second.is_over.then_some(first.bytes + second.bytes))
            });
            prop_assert_eq!(in_two, end(Framing::Chunked, text));
        }
    }
}
