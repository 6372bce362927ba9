//! What an origin serves under one path, and what goes wrong with it.

use std::time::Duration;

use crate::body::Body;

/// A file with its fields and its faults. Built by chaining; nothing is wrong with it unless said.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Content.
    pub body: Body,
    /// `ETag`, with quotes.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
    /// Further fields.
    pub fields: Vec<(String, String)>,
    /// Answers with another status than 200, whatever the request.
    pub status: Option<(u16, &'static str)>,
    /// Serves `Range`.
    pub ranges: bool,
    /// Chunked coding instead of a length.
    pub chunked: bool,
    /// Waits so long before the head.
    pub delay: Duration,
    /// Every answer breaks off after so many bytes of content.
    pub breaks_after: Option<u64>,
    /// What it becomes later.
    pub turn: Option<Box<Turn>>,
}

/// A new version that takes the place of the old one.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Once so many bytes of content of the old one were sent, over all answers.
    pub after: u64,
    /// What is served from then on.
    pub to: Resource,
    /// What happens to the answers under way.
    pub under_way: UnderWay,
}

/// What a server does with old answers when a file is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderWay {
    /// They go on with the old version: the file was open.
    GoOn,
    /// They break off.
    BreakOff,
}

impl Resource {
    /// A file with a strong `ETag` that may be kept for an hour.
    pub fn of(body: Body) -> Self {
        let etag = Some(format!("\"{}\"", &body.blake3()[..16]));
        Self {
            body,
            etag,
            last_modified: None,
            fields: vec![("Content-Type".into(), "application/octet-stream".into())],
            status: None,
            ranges: true,
            chunked: false,
            delay: Duration::ZERO,
            breaks_after: None,
            turn: None,
        }
        .field("Cache-Control", "max-age=3600")
    }

    /// Sets a field, in place of one of that name.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Must be asked about each time, but may be served stale when the origin is away.
    pub fn stale_at_once(self) -> Self {
        self.field("Cache-Control", "max-age=0")
    }

    /// With another `ETag`; in quotes.
    pub fn etag(mut self, etag: &str) -> Self {
        self.etag = Some(etag.to_owned());
        self
    }

    /// Without `ETag`, with this date.
    pub fn last_modified(mut self, date: &str) -> Self {
        self.etag = None;
        self.last_modified = Some(date.to_owned());
        self
    }

    /// With `Repr-Digest`.
    pub fn with_digest(self) -> Self {
        let digest = self.body.repr_digest();
        self.field("Repr-Digest", &digest)
    }

    /// Without ranges.
    pub fn without_ranges(mut self) -> Self {
        self.ranges = false;
        self
    }

    /// In chunks, of unknown length.
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// The head comes late.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Answers break off.
    pub fn breaks_after(mut self, bytes: u64) -> Self {
        self.breaks_after = Some(bytes);
        self
    }

    /// Another version takes its place after so many bytes of content.
    pub fn turns(mut self, after: u64, to: Resource, under_way: UnderWay) -> Self {
        self.turn = Some(Box::new(Turn { after, to, under_way }));
        self
    }

    /// A redirect.
    pub fn redirect(to: &str) -> Self {
        let mut resource = Self::of(Body::of(*b"over there\n")).field("Location", to);
        resource.etag = None;
        resource.status = Some((302, "Found"));
        resource
    }

    /// An error page.
    pub fn refusal(status: u16, reason: &'static str) -> Self {
        let mut resource = Self::of(Body::of(*b"no\n"));
        resource.etag = None;
        resource.status = Some((status, reason));
        resource
    }
}
