//! DNS messages (RFC 1035 section 4) as far as asking a resolver for addresses needs them: bytes in, bytes out.
//!
//! Knows no sockets, no time-outs and no guard. Everything read is bounded: the count of records, the length of
//! names, and compression pointers, which may only point backwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kith_model::limits::DNS_RECORDS_MAX;

/// Longest name on the wire (RFC 1035 section 2.3.4).
const NAME_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: usize = 63;
/// Longest chain of aliases that is followed. Large networks have three.
const ALIASES_MAX: usize = 8;
const CLASS_INTERNET: u16 = 1;
const TYPE_CNAME: u16 = 5;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

impl Kind {
    fn code(self) -> u16 {
        match self {
            Kind::A => 1,
            Kind::Aaaa => 28,
        }
    }
}

/// A question to a recursive resolver.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    id: u16,
    name: Vec<u8>,
    kind: Kind,
}

/// What a resolver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The addresses at the end of the name's chain of aliases; none when it has none of this kind.
    Addresses(Vec<IpAddr>),
    /// The answer did not fit: ask by TCP.
    Truncated,
    /// The resolver could not or would not say.
    Failed,
}

impl Query {
    /// Nothing when `host` is no name that DNS can carry.
    pub(crate) fn new(id: u16, host: &str, kind: Kind) -> Option<Self> {
        let mut name = Vec::with_capacity(host.len() + 2);
        for label in host.strip_suffix('.').unwrap_or(host).split('.') {
            let length = u8::try_from(label.len()).ok()?;
            if label.is_empty() || label.len() > LABEL_BYTES_MAX {
                return None;
            }
            name.push(length);
            name.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        name.push(0);
        (name.len() <= NAME_BYTES_MAX).then_some(Self { id, name, kind })
    }

    /// The message to send: one question, recursion desired, and room for long answers (RFC 6891).
    pub(crate) fn encode(&self, answer_bytes_max: u16) -> Vec<u8> {
        let mut message = Vec::with_capacity(12 + self.name.len() + 4 + 11);
        message.extend(self.id.to_be_bytes());
        message.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1]);
        message.extend(&self.name);
        message.extend(self.kind.code().to_be_bytes());
        message.extend(CLASS_INTERNET.to_be_bytes());
        // OPT: root name, type 41, the size in place of the class, no flags, no options
        message.extend([0, 0, 41]);
        message.extend(answer_bytes_max.to_be_bytes());
        message.extend([0; 6]);
        message
    }

    /// Reads a message; nothing when it is not an answer to this very question, whoever sent it.
    pub(crate) fn decode(&self, message: &[u8]) -> Option<Reply> {
        let mut reader = Reader { message, at: 0 };
        let id = reader.u16()?;
        let flags = reader.u16()?;
        let is_response = flags & 0x8000 != 0;
        let [questions, answers, _, _] = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        if id != self.id || !is_response || questions != 1 {
            return None;
        }
        let asked = (reader.name()?, reader.u16()?, reader.u16()?);
        if asked != (self.name.clone(), self.kind.code(), CLASS_INTERNET) {
            return None;
        }
        if flags & 0x0200 != 0 {
            return Some(Reply::Truncated);
        }
        Some(match flags & 0x000f {
            0 => self.follow(&mut reader, usize::from(answers).min(DNS_RECORDS_MAX)).unwrap_or(Reply::Failed),
            // the name does not exist
            3 => Reply::Addresses(Vec::new()),
            _ => Reply::Failed,
        })
    }

    /// Walks from the name over its aliases and collects the addresses of the last one. The records may stand in any
    /// order: RFC 1034 section 4.3.2 can be read so, and resolvers differ.
    fn follow(&self, reader: &mut Reader<'_>, answers: usize) -> Option<Reply> {
        let records: Vec<Record<'_>> = (0..answers).map(|_| reader.record()).collect::<Option<_>>()?;
        let of = |owner: &[u8], kind| {
            let is_wanted = move |record: &&Record<'_>| {
                record.name == owner && record.kind == kind && record.class == CLASS_INTERNET
            };
            records.iter().filter(is_wanted).collect::<Vec<_>>()
        };
        let mut owner = self.name.clone();
        for _ in 0..ALIASES_MAX {
            let aliases = of(&owner, TYPE_CNAME);
            let Some(alias) = aliases.first() else { break };
            owner = Reader { message: reader.message, at: alias.data_at }.name()?;
        }
        let addresses = of(&owner, self.kind.code());
        Some(Reply::Addresses(addresses.iter().map(|record| address(record.data)).collect::<Option<_>>()?))
    }
}

fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => <[u8; 4]>::try_from(data).ok().map(|octets| Ipv4Addr::from(octets).into()),
        16 => <[u8; 16]>::try_from(data).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

struct Record<'a> {
    name: Vec<u8>,
    kind: u16,
    class: u16,
    data: &'a [u8],
    data_at: usize,
}

/// Reads a message from front to back. Every read is checked; nothing means that the message is broken.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.message.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A name in lower case and without compression. A pointer must point before the place it was reached from, so
    /// there is no way to go round in circles.
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let mut place = Reader { message: self.message, at: self.at };
        let mut after = None;
        let mut before = self.at;
        loop {
            let length = place.u8()?;
            match length {
                0 => break,
                1..=63 => {
                    name.push(length);
                    name.extend(place.bytes(length.into())?.iter().map(u8::to_ascii_lowercase));
                }
                0xc0.. => {
                    let pointer = usize::from(u16::from_be_bytes([length & 0x3f, place.u8()?]));
                    after = after.or(Some(place.at));
                    if pointer >= before {
                        return None;
                    }
                    (before, place.at) = (pointer, pointer);
                }
                _ => return None,
            }
            if name.len() >= NAME_BYTES_MAX {
                return None;
            }
        }
        name.push(0);
        self.at = after.unwrap_or(place.at);
        Some(name)
    }

    fn record(&mut self) -> Option<Record<'a>> {
        let name = self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        self.bytes(4)?; // time to live: nothing is kept
        let length = self.u16()?;
        let data_at = self.at;
        Some(Record { name, kind, class, data: self.bytes(length.into())?, data_at })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POINTER_TO_QUESTION: [u8; 2] = [0xc0, 12];

    fn query(kind: Kind) -> Query {
        Query::new(0x1234, "Example.org", kind).expect("a name")
    }

    /// A response with the question of `query`, its flags, and answers given as (owner, type, data).
    fn response(query: &Query, flags: u16, answers: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
        let mut message = query.encode(1232);
        message.truncate(12 + query.name.len() + 4);
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[7] = u8::try_from(answers.len()).expect("few");
        message[11] = 0;
        for (owner, kind, data) in answers {
            message.extend(*owner);
            message.extend(kind.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 60]);
            message.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
            message.extend(*data);
        }
        message
    }

    #[test]
    fn a_question_has_the_bytes_of_rfc_1035() {
        assert_eq!(
            query(Kind::Aaaa).encode(1232),
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x07example\x03org\x00\x00\x1c\x00\x01\
              \x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
        );
    }

    #[test]
    fn addresses_are_those_at_the_end_of_the_aliases() {
        let query = query(Kind::A);
        let alias: &[u8] = b"\x03cdn\x07example\x03net\x00";
        let records: [(&[u8], u16, &[u8]); 4] = [
            (&POINTER_TO_QUESTION, TYPE_CNAME, alias),
            (alias, 1, &[1, 2, 3, 4]),
            (b"\x05other\x00", 1, &[6, 6, 6, 6]),
            (alias, 1, &[5, 6, 7, 8]),
        ];
        let expected: Vec<IpAddr> = vec!["1.2.3.4".parse().expect("v4"), "5.6.7.8".parse().expect("v4")];
        for turn in 0..records.len() {
            let mut turned = records;
            turned.rotate_left(turn);
            let Some(Reply::Addresses(mut found)) = query.decode(&response(&query, 0x8180, &turned)) else {
                panic!("no addresses when turned by {turn}");
            };
            found.sort_unstable();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn aliases_in_a_circle_have_no_addresses() {
        let query = query(Kind::A);
        let circle = response(&query, 0x8180, &[(&POINTER_TO_QUESTION, TYPE_CNAME, &POINTER_TO_QUESTION)]);
        assert_eq!(query.decode(&circle), Some(Reply::Addresses(vec![])));
    }

    #[test]
    fn only_answers_to_the_very_question_count() {
        let query = query(Kind::A);
        let good = response(&query, 0x8180, &[(&POINTER_TO_QUESTION, 1, &[1, 2, 3, 4])]);
        assert!(query.decode(&good).is_some());
        for (what, at) in [
            ("id", 0),
            ("name", 14),
            ("kind", 12 + query.name.len() + 1),
            ("class", 12 + query.name.len() + 3),
        ] {
            let mut other = good.clone();
            other[at] ^= 0x55;
            assert_eq!(query.decode(&other), None, "{what}");
        }
        let mut question = good;
        question[2] = 0x01;
        assert_eq!(query.decode(&question), None, "not a response");
    }

    #[test]
    fn refusals_and_truncation_are_told_apart() {
        let query = query(Kind::A);
        for (flags, expected) in [
            (0x8183, Reply::Addresses(vec![])),
            (0x8180, Reply::Addresses(vec![])),
            (0x8182, Reply::Failed),
            (0x8185, Reply::Failed),
            (0x8380, Reply::Truncated),
        ] {
            assert_eq!(query.decode(&response(&query, flags, &[])), Some(expected), "{flags:x}");
        }
    }

    #[test]
    fn pointers_in_a_circle_are_refused() {
        let query = query(Kind::A);
        let here = u8::try_from(12 + query.name.len() + 4).expect("short");
        for circle in [[0xc0, here], [0xc0, here + 2], [0xff, 0xff]] {
            let message = response(&query, 0x8180, &[(&circle, 1, &[1, 2, 3, 4])]);
            assert_eq!(query.decode(&message), Some(Reply::Failed), "{circle:?}");
        }
    }

    #[test]
    fn names_that_dns_cannot_carry_are_refused() {
        let long = format!("{}.org", "a".repeat(64));
        let longer = "a.".repeat(130);
        for host in ["", ".", "a..b", &long, &longer] {
            assert!(Query::new(1, host, Kind::A).is_none(), "{host}");
        }
        assert!(Query::new(1, "example.org.", Kind::A).is_some());
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let query = query(Kind::A);
            let _ = query.decode(&bytes);
            let mut message = response(&query, 0x8180, &[]);
            message[7] = 200;
            message.extend(bytes);
            let _ = query.decode(&message);
        }
    }
}
