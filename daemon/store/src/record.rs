//! The records that stand in sidecars, index rows and beside unfinished parts.
//!
//! A record is sealed: eight bytes of head, CBOR with integer keys, and the BLAKE3 hash of both. The seal is the same
//! for every version, so damage and a newer program are told apart. Everything here reads bytes from a disk that may
//! lie: sizes and counts are bounded and nothing panics. `FORMAT.md` describes every field.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use kith_model::key::{CacheKey, Scheme, Target, Variant};
use kith_model::ladder::{Algorithm, Digest, Ladder, Rung, Teller};
use kith_model::limits;
use kith_model::object::ObjectId;
use kith_model::representation::{Head, ObjectInfo, Representation, Standing, StrongValidator};
use kith_model::time::UnixMillis;
use minicbor::{Decode, Encode};

use crate::draft::Draft;

/// The version written by this program.
pub const VERSION: u16 = 1;
const MAGIC: &[u8; 4] = b"KITH";
const HEAD_LEN: usize = 8;
const SEAL_LEN: usize = 32;
const KIND_OBJECT: u8 = b'o';
const KIND_PART: u8 = b'p';

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Cut, flipped or foreign: what the disk gives is not what was written.
    #[error("the record is damaged")]
    Damaged,
    /// The seal is whole, but a newer program wrote it.
    #[error("the record has version {0}, which is newer than this program")]
    Newer(u16),
    /// The seal is whole, but it says what no program of ours says.
    #[error("the record makes no sense")]
    Nonsense,
}

/// All that is known of a stored object: what the sidecar and the index row say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The object.
    pub info: ObjectInfo,
    /// What it stands behind, oldest first.
    pub representations: Vec<Representation>,
    /// The body itself when it is smaller than one group.
    pub inline: Option<Vec<u8>>,
}

impl Record {
    /// Files a representation, in place of one with the same key. The oldest goes when there are too many.
    pub fn file(&mut self, representation: Representation) {
        self.representations.retain(|known| known.key != representation.key);
        self.representations.push(representation);
        if self.representations.len() > limits::RECORD_REPRESENTATIONS_MAX {
            self.representations.remove(0);
        }
    }

    /// Adds digests that are not known yet.
    pub fn learn(&mut self, ladder: &Ladder) {
        for rung in ladder.rungs() {
            // Both were checked against the same bytes, so only an unchecked md5 can contradict: the first one stays.
            let _ = self.info.ladder.add(rung.clone());
        }
    }
}

/// Whether a head fits a record: what does not would make its record unreadable.
pub(crate) fn fits(selecting: &[(String, Vec<u8>)], head: &Head) -> bool {
    let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    let all = fields.chain(selecting.iter().map(|(name, value)| name.len() + value.len()));
    let (count, bytes) = all.fold((0, 0), |(count, bytes), len| (count + 1, bytes + len));
    count <= limits::RECORD_FIELDS_MAX && bytes <= limits::RECORD_HEAD_BYTES_MAX
}

/// Seals a record of an object.
pub fn encode(record: &Record) -> Vec<u8> {
    seal(KIND_OBJECT, &ObjectWire::of(record))
}

/// Opens a sealed record of an object.
pub fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
    let wire: ObjectWire<'_> =
        minicbor::decode(open(KIND_OBJECT, bytes)?).map_err(|_| RecordError::Nonsense)?;
    wire.record().ok_or(RecordError::Nonsense)
}

/// Opens a sealed record of an object without copying its body.
pub(crate) fn decode_info(bytes: &[u8]) -> Result<ObjectInfo, RecordError> {
    let wire: ObjectWire<'_> =
        minicbor::decode(open(KIND_OBJECT, bytes)?).map_err(|_| RecordError::Nonsense)?;
    wire.info().ok_or(RecordError::Nonsense)
}

/// Opens a sealed record of an object for its representations only.
pub(crate) fn decode_representations(bytes: &[u8]) -> Result<Vec<Representation>, RecordError> {
    let wire: ObjectWire<'_> =
        minicbor::decode(open(KIND_OBJECT, bytes)?).map_err(|_| RecordError::Nonsense)?;
    wire.representations().ok_or(RecordError::Nonsense)
}

/// Seals the record of an unfinished part.
pub fn encode_draft(draft: &Draft) -> Vec<u8> {
    let validator = draft.validator.as_ref().map(StrongValidator::to_bytes);
    let wire = PartWire {
        answer: AnswerWire::of(&draft.key, &draft.selecting, &draft.head),
        validator: validator.as_deref(),
        length: draft.length,
        rungs: draft.ladder.rungs().iter().map(RungWire::of).collect(),
    };
    seal(KIND_PART, &wire)
}

/// Opens the sealed record of an unfinished part.
pub fn decode_draft(bytes: &[u8]) -> Result<Draft, RecordError> {
    let wire: PartWire<'_> = minicbor::decode(open(KIND_PART, bytes)?).map_err(|_| RecordError::Nonsense)?;
    wire.draft().ok_or(RecordError::Nonsense)
}

fn seal(kind: u8, wire: &impl Encode<()>) -> Vec<u8> {
    let [low, high] = VERSION.to_le_bytes();
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[kind, 0, low, high]);
    minicbor::encode(wire, &mut bytes).expect("invariant: writing to memory cannot fail");
    let seal = blake3::hash(&bytes);
    bytes.extend_from_slice(seal.as_bytes());
    bytes
}

/// The CBOR inside, when seal, kind and version are right.
fn open(kind: u8, bytes: &[u8]) -> Result<&[u8], RecordError> {
    if bytes.len() < HEAD_LEN + SEAL_LEN || bytes.len() > limits::RECORD_BYTES_MAX {
        return Err(RecordError::Damaged);
    }
    let (sealed, seal) = bytes.split_at(bytes.len() - SEAL_LEN);
    if blake3::hash(sealed) != *seal || !sealed.starts_with(MAGIC) {
        return Err(RecordError::Damaged);
    }
    let version = u16::from_le_bytes([sealed[6], sealed[7]]);
    if version > VERSION {
        return Err(RecordError::Newer(version));
    }
    if sealed[4] != kind || sealed[5] != 0 || version == 0 {
        return Err(RecordError::Nonsense);
    }
    Ok(&sealed[HEAD_LEN..])
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct ObjectWire<'a> {
    #[cbor(b(0), with = "minicbor::bytes")]
    id: &'a [u8],
    #[n(1)]
    length: u64,
    #[b(2)]
    rungs: Vec<RungWire<'a>>,
    #[n(3)]
    stored_at: u64,
    #[n(4)]
    pinned: bool,
    #[b(5)]
    representations: Vec<RepresentationWire<'a>>,
    #[cbor(b(6), with = "minicbor::bytes")]
    inline: Option<&'a [u8]>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct PartWire<'a> {
    #[b(0)]
    answer: AnswerWire<'a>,
    #[cbor(b(1), with = "minicbor::bytes")]
    validator: Option<&'a [u8]>,
    #[n(2)]
    length: Option<u64>,
    #[b(3)]
    rungs: Vec<RungWire<'a>>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct RepresentationWire<'a> {
    #[b(0)]
    answer: AnswerWire<'a>,
    #[n(1)]
    standing: u8,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct AnswerWire<'a> {
    #[b(0)]
    target: &'a str,
    #[cbor(b(1), with = "minicbor::bytes")]
    variant: &'a [u8],
    #[b(2)]
    selecting: Vec<FieldWire<'a>>,
    #[n(3)]
    status: u16,
    #[b(4)]
    fields: Vec<FieldWire<'a>>,
    #[n(5)]
    requested_at: u64,
    #[n(6)]
    received_at: u64,
}

#[derive(Encode, Decode)]
struct FieldWire<'a> {
    #[b(0)]
    name: &'a str,
    #[cbor(b(1), with = "minicbor::bytes")]
    value: &'a [u8],
}

#[derive(Encode, Decode)]
struct RungWire<'a> {
    #[n(0)]
    algorithm: u8,
    #[cbor(b(1), with = "minicbor::bytes")]
    digest: &'a [u8],
    #[n(2)]
    teller: u8,
    #[n(3)]
    said_at: u64,
}

impl<'a> ObjectWire<'a> {
    fn of(record: &'a Record) -> Self {
        let representations = record.representations.iter().map(RepresentationWire::of).collect();
        Self {
            id: record.info.id.as_bytes(),
            length: record.info.length,
            rungs: record.info.ladder.rungs().iter().map(RungWire::of).collect(),
            stored_at: record.info.stored_at.0,
            pinned: record.info.pinned,
            representations,
            inline: record.inline.as_deref(),
        }
    }

    fn info(&self) -> Option<ObjectInfo> {
        let id = self.id()?;
        // Whether the body is inline follows from the length alone.
        let inline_len = self.inline.map(|body| body.len() as u64);
        let expected = (self.length < limits::INLINE_BYTES_LIMIT).then_some(self.length);
        (inline_len == expected).then_some(())?;
        Some(ObjectInfo {
            id,
            length: self.length,
            ladder: ladder(&self.rungs)?,
            stored_at: UnixMillis(self.stored_at),
            pinned: self.pinned,
        })
    }

    fn id(&self) -> Option<ObjectId> {
        self.id.try_into().ok().map(ObjectId::from_bytes)
    }

    fn representations(&self) -> Option<Vec<Representation>> {
        let id = self.id()?;
        (self.representations.len() <= limits::RECORD_REPRESENTATIONS_MAX).then_some(())?;
        self.representations.iter().map(|wire| wire.representation(id, self.length)).collect()
    }

    fn record(&self) -> Option<Record> {
        let inline = self.inline.map(<[u8]>::to_vec);
        Some(Record { info: self.info()?, representations: self.representations()?, inline })
    }
}

impl PartWire<'_> {
    fn draft(&self) -> Option<Draft> {
        let validator = match self.validator {
            Some(bytes) => Some(StrongValidator::from_bytes(bytes)?),
            None => None,
        };
        Some(Draft {
            key: self.answer.key()?,
            selecting: self.answer.selecting()?,
            head: self.answer.head()?,
            validator,
            length: self.length,
            ladder: ladder(&self.rungs)?,
        })
    }
}

impl<'a> RepresentationWire<'a> {
    fn of(representation: &'a Representation) -> Self {
        let standing = match representation.standing {
            Standing::FirstHand => 0,
            Standing::Claimed => 1,
            Standing::Household => 2,
        };
        let Representation { key, selecting, head, .. } = representation;
        Self { answer: AnswerWire::of(key, selecting, head), standing }
    }

    fn representation(&self, object: ObjectId, length: u64) -> Option<Representation> {
        let standing = match self.standing {
            0 => Standing::FirstHand,
            1 => Standing::Claimed,
            2 => Standing::Household,
            _ => return None,
        };
        Some(Representation {
            key: self.answer.key()?,
            selecting: self.answer.selecting()?,
            head: self.answer.head()?,
            object,
            length,
            standing,
        })
    }
}

impl<'a> AnswerWire<'a> {
    fn of(key: &'a CacheKey, selecting: &'a [(String, Vec<u8>)], head: &'a Head) -> Self {
        let field = |(name, value): &'a (String, Vec<u8>)| FieldWire { name, value };
        let header = |(name, value): (&'a HeaderName, &'a HeaderValue)| FieldWire {
            name: name.as_str(),
            value: value.as_bytes(),
        };
        Self {
            target: key.target.as_str(),
            variant: key.variant.as_bytes(),
            selecting: selecting.iter().map(field).collect(),
            status: head.status.as_u16(),
            fields: head.headers.iter().map(header).collect(),
            requested_at: head.requested_at.0,
            received_at: head.received_at.0,
        }
    }

    fn key(&self) -> Option<CacheKey> {
        let target = Target::parse(self.target).ok().filter(|target| target.as_str() == self.target)?;
        let variant = Variant::from_bytes(self.variant.try_into().ok()?);
        Some(CacheKey { target, variant })
    }

    fn selecting(&self) -> Option<Vec<(String, Vec<u8>)>> {
        (self.selecting.len() <= limits::RECORD_FIELDS_MAX).then_some(())?;
        Some(self.selecting.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect())
    }

    fn head(&self) -> Option<Head> {
        (self.fields.len() <= limits::RECORD_FIELDS_MAX).then_some(())?;
        let mut headers = HeaderMap::with_capacity(self.fields.len());
        for field in &self.fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
        }
        Some(Head {
            status: StatusCode::from_u16(self.status).ok()?,
            headers,
            requested_at: UnixMillis(self.requested_at),
            received_at: UnixMillis(self.received_at),
        })
    }
}

impl<'a> RungWire<'a> {
    fn of(rung: &'a Rung) -> Self {
        let teller = match rung.teller {
            Teller::Ourselves => 0,
            Teller::Origin(Scheme::Http) => 1,
            Teller::Origin(Scheme::Https) => 2,
            Teller::Url => 3,
        };
        Self {
            algorithm: algorithm_tag(rung.digest.algorithm()),
            digest: rung.digest.bytes(),
            teller,
            said_at: rung.said_at.0,
        }
    }

    fn rung(&self) -> Option<Rung> {
        let algorithm = match self.algorithm {
            0 => Algorithm::Md5,
            1 => Algorithm::Sha1,
            2 => Algorithm::Sha256,
            3 => Algorithm::Sha512,
            _ => return None,
        };
        let teller = match self.teller {
            0 => Teller::Ourselves,
            1 => Teller::Origin(Scheme::Http),
            2 => Teller::Origin(Scheme::Https),
            3 => Teller::Url,
            _ => return None,
        };
        Some(Rung { digest: Digest::new(algorithm, self.digest)?, teller, said_at: UnixMillis(self.said_at) })
    }
}

/// How an algorithm stands in records and in the index of digests.
pub(crate) fn algorithm_tag(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Md5 => 0,
        Algorithm::Sha1 => 1,
        Algorithm::Sha256 => 2,
        Algorithm::Sha512 => 3,
    }
}

fn ladder(rungs: &[RungWire<'_>]) -> Option<Ladder> {
    (rungs.len() <= limits::RECORD_RUNGS_MAX).then_some(())?;
    let mut ladder = Ladder::default();
    for rung in rungs {
        ladder.add(rung.rung()?).ok()?;
    }
    Some(ladder)
}
