//! The bytes from a client that hyper has not got yet, and what they may become.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::ReadBufCursor;
use kith_model::limits::{EARLY_BYTES_MAX, REQUEST_HEAD_TIMEOUT, UPLOAD_PIECE_BYTES};
use tokio::time::Sleep;

use super::{OWN_METHODS, READ_BYTES, REFUSED, Switch};
use crate::strict::{self, Checked, Follows, HeadError, Scanner, Scope, content};

/// Where the reading side stands: `Fresh -> Partial -> Between -> Partial -> ... -> Ended`, with `Content` or `Held`
/// before `Between` where a request has them, and `Held -> Open` when the protocol is switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No byte has come yet.
    Fresh,
    /// A head has begun.
    Partial,
    /// Waiting for the next head; hyper closes what idles for too long.
    Between,
    /// In the content of a request.
    Content,
    /// Behind a request whose answer decides what comes next.
    Held,
    /// Everything is another protocol's.
    Open,
    /// The last request is through.
    Ended,
}

/// The bytes from the client that hyper has not got yet.
#[derive(Debug)]
pub(super) struct Heads {
    pub(super) stage: Stage,
    buffer: Vec<u8>,
    pub(super) filled: usize,
    scanner: Scanner,
    /// In [`Stage::Content`] only.
    content: Option<content::Scanner>,
    switch: Switch,
    /// How much of the buffer's front is checked and may go to hyper.
    granted: usize,
    given: usize,
    deadline: Option<Pin<Box<Sleep>>>,
    /// The last head was HTTP/1.0.
    pub(super) old: bool,
}

impl Heads {
    pub(super) fn new(switch: Switch) -> Self {
        Self {
            stage: Stage::Fresh,
            buffer: Vec::new(),
            filled: 0,
            scanner: Scanner::default(),
            content: None,
            switch,
            granted: 0,
            given: 0,
            deadline: None,
            old: false,
        }
    }

    /// Gives checked bytes to hyper. `true` when there were some.
    pub(super) fn give(&mut self, out: &mut ReadBufCursor<'_>) -> bool {
        let count = (self.granted - self.given).min(out.remaining());
        if count == 0 {
            return false;
        }
        out.put_slice(&self.buffer[self.given..self.given + count]);
        self.given += count;
        if self.given == self.granted {
            self.forget_given();
        }
        true
    }

    fn forget_given(&mut self) {
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        self.granted = 0;
        if self.filled == 0 && self.buffer.len() > READ_BYTES {
            self.buffer = Vec::new();
        }
    }

    /// Looks for what may be given next in what is buffered. An error when content is not framed as it should be:
    /// there is nobody but the reader of the content to tell.
    pub(super) fn advance(&mut self) -> io::Result<()> {
        if self.stage == Stage::Held {
            match self.switch.decided() {
                Switch::TUNNEL => self.stage = Stage::Open,
                Switch::REQUESTS => self.stage = Stage::Between,
                _ => return Ok(()),
            }
        }
        if self.stage == Stage::Ended || self.granted > 0 || self.filled == 0 {
            return Ok(());
        }
        match self.stage {
            Stage::Open => self.granted = self.filled,
            Stage::Content => self.advance_content()?,
            _ => self.advance_head(),
        }
        Ok(())
    }

    fn advance_content(&mut self) -> io::Result<()> {
        let Some(content) = &mut self.content else { return Ok(()) };
        let seen = content.advance(&self.buffer[..self.filled]).map_err(|error| {
            self.stage = Stage::Ended;
            io::Error::new(io::ErrorKind::InvalidData, error)
        })?;
        self.granted = seen.bytes;
        if seen.is_over {
            self.content = None;
            self.stage = Stage::Between;
        }
        Ok(())
    }

    fn advance_head(&mut self) {
        // RFC 9112 section 2.2: some clients send an empty line behind a request.
        if self.stage != Stage::Partial && self.buffer[..self.filled].starts_with(b"\r\n") {
            self.given = 2;
            self.forget_given();
        }
        if self.filled == 0 || (self.stage != Stage::Partial && self.buffer[..self.filled] == *b"\r") {
            return;
        }
        match self.scanner.advance(&self.buffer[..self.filled]) {
            Ok(None) => self.stage = Stage::Partial,
            Ok(Some(end)) => self.grant(end),
            Err(error) => self.refuse(error),
        }
    }

    fn grant(&mut self, end: usize) {
        self.scanner = Scanner::default();
        self.deadline = None;
        let head = &self.buffer[..end];
        // Nobody but us speaks these methods.
        let is_ours = head.starts_with(OWN_METHODS.as_bytes());
        match if is_ours { Err(HeadError::Method) } else { strict::check(head) } {
            Ok(Checked { follows, scope }) => {
                let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
                self.old = line.ends_with(b"/1.0");
                self.granted = end;
                if scope == Scope::Site {
                    drop(self.buffer.splice(..0, OWN_METHODS.bytes()));
                    self.granted += OWN_METHODS.len();
                    self.filled += OWN_METHODS.len();
                }
                self.stage = match follows {
                    Follows::Request => Stage::Between,
                    Follows::Content(framing) => {
                        self.content = Some(content::Scanner::new(framing));
                        Stage::Content
                    }
                    Follows::Either => {
                        self.switch.reset();
                        Stage::Held
                    }
                };
            }
            Err(error) => self.refuse(error),
        }
    }

    fn refuse(&mut self, error: HeadError) {
        let request =
            format!("{REFUSED} /{} HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n", error.number());
        self.stage = Stage::Ended;
        self.deadline = None;
        self.buffer = request.into_bytes();
        self.filled = self.buffer.len();
        self.granted = self.filled;
        self.given = 0;
    }

    /// Whether the head that is expected has taken too long.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.stage, Stage::Fresh | Stage::Partial) {
            return Poll::Pending;
        }
        self.deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(REQUEST_HEAD_TIMEOUT)))
            .as_mut()
            .poll(cx)
    }

    /// Whether nothing more is read until it is decided what it is.
    pub(super) fn is_full(&self) -> bool {
        self.stage == Stage::Held && self.filled >= EARLY_BYTES_MAX
    }

    pub(super) fn room(&mut self) -> &mut [u8] {
        let piece =
            if matches!(self.stage, Stage::Content | Stage::Open) { UPLOAD_PIECE_BYTES } else { READ_BYTES };
        if self.buffer.len() - self.filled < piece / 2 {
            self.buffer.resize(self.filled + piece, 0);
        }
        &mut self.buffer[self.filled..]
    }
}
