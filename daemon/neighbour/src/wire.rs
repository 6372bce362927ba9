//! The frames that boxes exchange, as `PROTOCOL.md` describes them: bytes in, messages out, nothing else.
//!
//! Pure. A frame is a length (4 bytes, big-endian) and a CBOR array of a kind and a map with integer keys; unknown keys
//! are skipped, so that later versions can add some. Whatever the bytes, decoding ends with a message or
//! a [`BadFrame`]; bounds are checked here, so that nobody behind has to.

use bytes::{BufMut, Bytes, BytesMut};
use kith_model::limits;
use kith_model::range::GroupSpan;
use minicbor::{Decode, Decoder, Encode, Encoder};

use self::pairing::{PairAnswer, PairConfirm, PairStart};

pub mod crowd;
pub mod pairing;

/// The version that this box speaks. A box of another version is refused at hello.
pub const VERSION: u32 = 1;

/// Bytes before the CBOR of a frame.
pub const PREFIX_BYTES: usize = 4;

/// Everything that can stand in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First on every connection, both ways.
    Hello(Hello),
    /// Asks whether something is held.
    Find(Find),
    /// It is held: a signed claim.
    Have(Have),
    /// No, and why.
    No(No),
    /// Asks for groups of an object.
    Get(Get),
    /// Says what the raw bytes behind this frame are.
    Slice(Slice),
    /// What the sender may share, or what has changed of it: stands before the raw bytes of two sets.
    Filter(Filter),
    /// A filter, or withdrawals, were taken in.
    Heard(Heard),
    /// Origins took files back.
    Withdraw(Withdraw),
    /// Asks to be told of a fetch.
    Gather(crowd::Gather),
    /// How far a fetch is.
    Progress(crowd::Progress),
    /// Asks for a unit of a fetch.
    Take(crowd::Take),
    /// Says what the raw bytes behind this frame are, and signs for them.
    Part(crowd::Part),
    /// The sender has another key from now on.
    Rotate(Rotate),
    /// Pairing: the first message of the PAKE, by the box where the code is typed in.
    PairStart(PairStart),
    /// Pairing: the second message of the PAKE, by the box that shows the code.
    PairAnswer(PairAnswer),
    /// Pairing: proof of having the same key.
    PairConfirm(PairConfirm),
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// [`VERSION`].
    #[n(0)]
    pub version: u32,
    /// The box's name, for people.
    #[n(1)]
    pub name: String,
    /// Drawn at random when the process starts: tells a box that started again from one that dials twice.
    #[n(2)]
    pub instance: u64,
    /// What it speaks besides kinds 1 to 6: the sum of [`speaks`]. Nothing of the kind is sent to who does not say so.
    #[n(3)]
    pub speaks: Option<u32>,
}

/// What a box may speak besides what every box speaks; one bit each.
pub mod speaks {
    /// Filters: kind 7.
    pub const FILTERS: u32 = 1;
    /// Withdrawals: kinds 8 and 9.
    pub const WITHDRAWALS: u32 = 2;
    /// Fetches that are shared while they are under way: kinds 12 to 15.
    pub const CROWDS: u32 = 4;
    /// New keys: kinds 8 and 19.
    pub const KEYS: u32 = 8;
}

/// A lookup by keyed names: whoever lacks the pair's secret learns nothing from them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Find {
    /// Days since 1970 that the names were made for.
    #[n(0)]
    pub day: u32,
    /// Names of one object, the best first; at most [`limits::FIND_IDS_MAX`].
    #[n(1)]
    pub ids: Vec<RendezvousId>,
}

/// A keyed name; see `PROTOCOL.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct RendezvousId(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

/// A claim; what it is about was named by the asker and is part of what is signed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Have {
    /// Which of the ids asked for this answers.
    #[n(0)]
    pub answers: u32,
    /// The object.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub object: [u8; 32],
    /// Its length in bytes.
    #[n(2)]
    pub length: u64,
    /// When the claimant came to know, in milliseconds since 1970 by its own clock.
    #[n(3)]
    pub known_at_ms: u64,
    /// Ed25519 over the claim.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub signature: [u8; 64],
    /// The port where clients of the asker's household may have the whole by its digest; never 0. Not signed: it counts
    /// at the address of the session only.
    #[n(5)]
    pub clients: Option<u16>,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct No {
    /// One of [`Reason`]'s numbers; others are taken for [`Reason::NotHere`].
    #[n(0)]
    pub reason: u32,
}

/// What a [`No`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is not held, or not for you; which of both is not told.
    NotHere = 1,
    /// Ask later.
    Busy = 2,
    /// The question makes no sense, such as groups beyond the end.
    Malformed = 3,
    /// Pairing: the code is not the one that is shown. It is used up now.
    WrongCode = 4,
    /// Pairing: no code is shown, or it was used.
    NotOpen = 5,
    /// Pairing: too many wrong codes within the hour.
    LockedOut = 6,
    /// Pairing: this role is not taken.
    Role = 7,
}

impl Reason {
    /// As a frame.
    pub fn message(self) -> Message {
        Message::No(No { reason: self as u32 })
    }
}

impl No {
    /// What it means.
    pub fn reason(self) -> Reason {
        match self.reason {
            2 => Reason::Busy,
            3 => Reason::Malformed,
            4 => Reason::WrongCode,
            5 => Reason::NotOpen,
            6 => Reason::LockedOut,
            7 => Reason::Role,
            _ => Reason::NotHere,
        }
    }
}

/// Asks for groups. The answer is slices that follow one another through the spans, then the end of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Get {
    /// The object.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub object: [u8; 32],
    /// Which groups, in order and apart; at most [`limits::GET_SPANS_MAX`].
    #[n(1)]
    pub spans: Vec<Span>,
}

/// Groups `start..end` on the wire; never empty in a decoded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Span(#[n(0)] pub u64, #[n(1)] pub u64);

impl From<GroupSpan> for Span {
    fn from(span: GroupSpan) -> Self {
        Self(span.start(), span.end())
    }
}

impl From<Span> for GroupSpan {
    fn from(span: Span) -> Self {
        GroupSpan::clamped(span.0, span.1)
    }
}

/// Stands before `bytes` raw bytes: the groups with the part of the tree that proves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Slice {
    /// Which groups; at most [`limits::ENCODE_GROUPS_MAX`].
    #[n(0)]
    pub span: Span,
    /// Count of raw bytes that follow.
    #[n(1)]
    pub bytes: u32,
}

/// Stands before raw bytes: two sets of places, what is added and what is removed, as [`crate::filter`] codes them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Filter {
    /// 0: this is all of it. Else the count of changes since then, this one included.
    #[n(0)]
    pub number: u32,
    /// Drawn for each whole filter; its changes repeat it.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// How many places there are; its changes repeat it.
    #[n(2)]
    pub range: u32,
    /// Names that are added.
    #[n(3)]
    pub added: SetLen,
    /// Names that are removed; none in a whole filter.
    #[n(4)]
    pub removed: SetLen,
}

/// The size of a coded set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct SetLen {
    /// Places in it.
    #[n(0)]
    pub count: u32,
    /// Raw bytes that it takes.
    #[n(1)]
    pub bytes: u32,
}

/// Says that origins took files back from the sender, first-hand. The files are named as in a lookup.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Withdraw {
    /// Days since 1970 that the names were made for.
    #[n(0)]
    pub day: u32,
    /// At most [`limits::WITHDRAWALS_AT_ONCE_MAX`].
    #[n(1)]
    pub files: Vec<Withdrawn>,
}

/// One file that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Withdrawn {
    /// Its name.
    #[n(0)]
    pub id: RendezvousId,
    /// When, in milliseconds since 1970 by the sender's clock.
    #[n(1)]
    pub at_ms: u64,
    /// Ed25519 over the withdrawal; who holds the file can check it.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

/// Says under which key the sender is known from now on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rotate {
    /// The new Ed25519 key.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// Ed25519 over the change by the key of the session: its owner wants it.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub by_old: [u8; 64],
    /// The same by the new key: it is the sender's own.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub by_new: [u8; 64],
}

/// Says that so many withdrawals, or a new key, were taken in. Of a filter nothing is said: the end of the stream tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Heard {
    /// The count of withdrawals; 0 for a key.
    #[n(0)]
    pub number: u32,
}

/// Bytes that are no frame. The sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// The length is 0 or beyond [`limits::FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes")]
    Length(u32),
    /// Not the CBOR of any message, or bytes behind it.
    #[error("a frame that is no message")]
    Malformed,
    /// A kind that this version does not know.
    #[error("a message of unknown kind {0}")]
    Kind(u32),
    /// A list is too long, a span empty or out of order, a name too long.
    #[error("a message beyond its bounds")]
    Bounds,
}

const HELLO: u32 = 1;
const FIND: u32 = 2;
const HAVE: u32 = 3;
const NO: u32 = 4;
const GET: u32 = 5;
const SLICE: u32 = 6;
const FILTER: u32 = 7;
const HEARD: u32 = 8;
const WITHDRAW: u32 = 9;
const GATHER: u32 = 12;
const PROGRESS: u32 = 13;
const TAKE: u32 = 14;
const PART: u32 = 15;
const PAIR_START: u32 = 16;
const PAIR_ANSWER: u32 = 17;
const PAIR_CONFIRM: u32 = 18;
const ROTATE: u32 = 19;

/// The frame of a message, prefix included.
pub fn encode(message: &Message) -> Bytes {
    let body = match message {
        Message::Hello(fields) => body(HELLO, fields),
        Message::Find(fields) => body(FIND, fields),
        Message::Have(fields) => body(HAVE, fields),
        Message::No(fields) => body(NO, fields),
        Message::Get(fields) => body(GET, fields),
        Message::Slice(fields) => body(SLICE, fields),
        Message::Filter(fields) => body(FILTER, fields),
        Message::Heard(fields) => body(HEARD, fields),
        Message::Withdraw(fields) => body(WITHDRAW, fields),
        Message::Gather(fields) => body(GATHER, fields),
        Message::Progress(fields) => body(PROGRESS, fields),
        Message::Take(fields) => body(TAKE, fields),
        Message::Part(fields) => body(PART, fields),
        Message::Rotate(fields) => body(ROTATE, fields),
        Message::PairStart(fields) => body(PAIR_START, fields),
        Message::PairAnswer(fields) => body(PAIR_ANSWER, fields),
        Message::PairConfirm(fields) => body(PAIR_CONFIRM, fields),
    };
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + body.len());
    frame.put_u32(u32::try_from(body.len()).expect("invariant: our messages are within FRAME_BYTES_MAX"));
    frame.extend_from_slice(&body);
    frame.freeze()
}

fn body(kind: u32, fields: &impl Encode<()>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes);
    let written = encoder
        .array(2)
        .and_then(|encoder| encoder.u32(kind))
        .and_then(|encoder| encoder.encode(fields))
        .map(|_| ());
    written.expect("invariant: writing to a Vec does not fail");
    bytes
}

/// How many bytes follow the prefix of a frame.
pub fn body_len(prefix: [u8; PREFIX_BYTES]) -> Result<usize, BadFrame> {
    let len = u32::from_be_bytes(prefix);
    match usize::try_from(len) {
        Ok(bytes @ 1..=limits::FRAME_BYTES_MAX) => Ok(bytes),
        _ => Err(BadFrame::Length(len)),
    }
}

/// The message in a frame without its prefix.
pub fn decode(body: &[u8]) -> Result<Message, BadFrame> {
    if body.len() > limits::FRAME_BYTES_MAX {
        return Err(BadFrame::Length(u32::try_from(body.len()).unwrap_or(u32::MAX)));
    }
    let mut decoder = Decoder::new(body);
    if decoder.array().map_err(|_| BadFrame::Malformed)? != Some(2) {
        return Err(BadFrame::Malformed);
    }
    let kind = decoder.u32().map_err(|_| BadFrame::Malformed)?;
    let message = match kind {
        HELLO => Message::Hello(fields(&mut decoder)?),
        FIND => Message::Find(fields(&mut decoder)?),
        HAVE => Message::Have(fields(&mut decoder)?),
        NO => Message::No(fields(&mut decoder)?),
        GET => Message::Get(fields(&mut decoder)?),
        SLICE => Message::Slice(fields(&mut decoder)?),
        FILTER => Message::Filter(fields(&mut decoder)?),
        HEARD => Message::Heard(fields(&mut decoder)?),
        WITHDRAW => Message::Withdraw(fields(&mut decoder)?),
        GATHER => Message::Gather(fields(&mut decoder)?),
        PROGRESS => Message::Progress(fields(&mut decoder)?),
        TAKE => Message::Take(fields(&mut decoder)?),
        PART => Message::Part(fields(&mut decoder)?),
        PAIR_START => Message::PairStart(fields(&mut decoder)?),
        PAIR_ANSWER => Message::PairAnswer(fields(&mut decoder)?),
        PAIR_CONFIRM => Message::PairConfirm(fields(&mut decoder)?),
        ROTATE => Message::Rotate(fields(&mut decoder)?),
        unknown => return Err(BadFrame::Kind(unknown)),
    };
    if decoder.position() != body.len() {
        return Err(BadFrame::Malformed);
    }
    if is_within_bounds(&message) { Ok(message) } else { Err(BadFrame::Bounds) }
}

fn fields<'b, T: Decode<'b, ()>>(decoder: &mut Decoder<'b>) -> Result<T, BadFrame> {
    decoder.decode().map_err(|_| BadFrame::Malformed)
}

fn is_within_bounds(message: &Message) -> bool {
    match message {
        Message::Hello(hello) => hello.name.len() <= limits::NAME_BYTES_MAX,
        Message::Find(find) => (1..=limits::FIND_IDS_MAX).contains(&find.ids.len()),
        Message::Have(have) => have.clients != Some(0),
        Message::No(_)
        | Message::Heard(_)
        | Message::Gather(_)
        | Message::Take(_)
        | Message::PairConfirm(_)
        | Message::Rotate(_) => true,
        Message::Progress(progress) => progress.is_within_bounds(),
        Message::Part(part) => part.bytes > 0,
        Message::Get(get) => {
            let in_order = get.spans.windows(2).all(|pair| pair[0].1 <= pair[1].0);
            (1..=limits::GET_SPANS_MAX).contains(&get.spans.len())
                && in_order
                && get.spans.iter().all(|span| span.0 < span.1)
        }
        Message::Slice(Slice { span, bytes }) => {
            let groups = span.1.saturating_sub(span.0);
            (1..=limits::ENCODE_GROUPS_MAX).contains(&groups) && *bytes > 0
        }
        Message::Filter(filter) => {
            let is_set = |set: SetLen| set.count <= filter.range && (set.count == 0) == (set.bytes == 0);
            is_set(filter.added)
                && is_set(filter.removed)
                && (filter.number > 0 || filter.removed == SetLen::default())
        }
        Message::Withdraw(withdraw) => (1..=limits::WITHDRAWALS_AT_ONCE_MAX).contains(&withdraw.files.len()),
        Message::PairStart(start) => start.is_within_bounds(),
        Message::PairAnswer(answer) => answer.is_within_bounds(),
    }
}

/// Why a connection is closed: the application error code of QUIC's close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bye {
    /// The box stops; try again later.
    Stopping = 0,
    /// There is another connection between the two; this one was not needed.
    Duplicate = 1,
    /// The pairing has ended.
    Unpaired = 2,
    /// Something on this connection made no sense.
    Malformed = 3,
    /// Banned or quarantined.
    Banned = 4,
    /// As many connections as this box takes.
    Full = 5,
    /// A version that is not spoken here.
    Version = 6,
    /// The exchange that the connection was made for has ended.
    Done = 7,
}

impl Bye {
    /// The code.
    pub fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests;
