//! A hostile neighbour, made of the same public pieces as an honest one: it has a key that its victim has paired, and
//! answers as it likes.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use kith_model::limits::Profile;
use kith_model::object::ObjectId;
use kith_model::range::{ChunkGroup, GroupSpan};
use kith_model::representation::StrongValidator;
use kith_model::time::UnixMillis;
use kith_model::verify::{self, Run};
use kith_neighbour::claim::{Claim, Statement};
use kith_neighbour::endpoint;
use kith_neighbour::frames::{self, FrameReader};
use kith_neighbour::identity::Identity;
use kith_neighbour::tls::Door;
use kith_neighbour::wire::{self, Find, Get, Have, Hello, Message, Slice};
use quinn::SendStream;
use tokio::task::JoinSet;

/// How it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Not at all.
    None,
    /// One bit of the fifth group is wrong.
    FlippedBit,
    /// The claim is of another length.
    Length,
    /// The claim is signed by somebody else.
    Signature,
    /// The claim answers an id that was not asked for.
    Answer,
    /// A frame of 4 GiB.
    Frame,
    /// Slices that were not asked for.
    Place,
    /// The claim is one that it made about another version.
    Validator,
    /// The claim is another box's, as that one signed it.
    Replay,
    /// A slice is shorter than its groups and their proof.
    ShortSlice,
    /// A slice is longer than its groups and their proof could be.
    LongSlice,
}

/// The liar at work; dropping it ends it.
pub(crate) struct Liar {
    pub(crate) address: SocketAddr,
    endpoint: quinn::Endpoint,
    _tasks: JoinSet<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.endpoint.close(0u32.into(), b"");
    }
}

struct Mind {
    identity: Identity,
    lie: Lie,
    bytes: Vec<u8>,
    statement: Statement,
}

/// Serves `bytes` as what `statement` says, to everybody.
pub(crate) fn start(identity: Identity, lie: Lie, bytes: Vec<u8>, statement: Statement) -> Liar {
    let limits = Profile::Board.limits();
    let config = endpoint::server_config(&identity, Arc::new(|_| true), Door::Shut, &limits).expect("config");
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoint = endpoint::bind(&identity, listen, &limits, config).expect("bound");
    let address = endpoint.local_addr().expect("bound");
    let mind = Arc::new(Mind { identity, lie, bytes, statement });
    let mut tasks = JoinSet::new();
    let accepting = endpoint.clone();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Some(incoming) = accepting.accept().await {
            let mind = Arc::clone(&mind);
            connections.spawn(async move {
                let Ok(connection) = incoming.await else { return };
                while let Ok((send, receive)) = connection.accept_bi().await {
                    answer(&mind, send, FrameReader::new(receive)).await;
                }
            });
        }
    });
    Liar { address, endpoint, _tasks: tasks }
}

async fn answer(mind: &Mind, mut send: SendStream, mut reader: FrameReader) {
    let message = match reader.frame().await {
        Ok(Some(Message::Hello(_))) => {
            Message::Hello(Hello { version: wire::VERSION, name: "liar".into(), instance: 1, speaks: None })
        }
        Ok(Some(Message::Find(find))) => claim(mind, &find),
        Ok(Some(Message::Get(get))) => return deliver(mind, &mut send, &get).await,
        _ => return,
    };
    if mind.lie == Lie::Frame && !matches!(message, Message::Hello(_)) {
        let _ = send.write_all(&[0xff; 64]).await;
    } else {
        let _ = frames::send(&mut send, &message).await;
    }
    let _ = send.finish();
}

fn claim(mind: &Mind, find: &Find) -> Message {
    let length = mind.bytes.len() as u64;
    let claim = Claim {
        statement: mind.statement.clone(),
        object: ObjectId::of(&mind.bytes),
        length: if mind.lie == Lie::Length { length + 1 } else { length },
        known_at: UnixMillis(1),
    };
    let signer = Identity::generate().expect("random");
    let signature = match mind.lie {
        Lie::Signature => signer.sign(&claim.signed_bytes(&mind.identity.key())),
        Lie::Replay => claim.sign(&signer),
        Lie::Validator => {
            let Statement::Fetched(target, _) = &claim.statement else { panic!("it claims to have fetched") };
            let other = StrongValidator::ETag(HeaderValue::from_static("\"v0\""));
            Claim { statement: Statement::Fetched(target.clone(), other), ..claim.clone() }
                .sign(&mind.identity)
        }
        _ => claim.sign(&mind.identity),
    };
    let asked = u32::try_from(find.ids.len()).expect("few");
    Message::Have(Have {
        answers: if mind.lie == Lie::Answer { asked } else { asked - 1 },
        object: *claim.object.as_bytes(),
        length: claim.length,
        known_at_ms: claim.known_at.0,
        signature,
        clients: None,
    })
}

async fn deliver(mind: &Mind, send: &mut SendStream, get: &Get) {
    let data = &mind.bytes[..];
    let whole = Run::from_origin(ChunkGroup(0), Bytes::copy_from_slice(data));
    let outboard = verify::fold(whole.leaves()).map_or_else(Vec::new, |folded| folded.outboard);
    for span in &get.spans {
        for start in (span.0..span.1).step_by(16) {
            let piece = GroupSpan::clamped(start, (start + 16).min(span.1));
            let encoded = verify::encode(ObjectId::of(data), data.len() as u64, piece, &outboard[..], data)
                .expect("own");
            let mut bytes = encoded.to_vec();
            if mind.lie == Lie::FlippedBit && piece.contains(5) {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            match mind.lie {
                Lie::ShortSlice => bytes.truncate(bytes.len() - 1),
                Lie::LongSlice => bytes.resize(2 * bytes.len(), 0),
                _ => {}
            }
            let piece = if mind.lie == Lie::Place { GroupSpan::clamped(start + 1, start + 2) } else { piece };
            let head = Slice { span: piece.into(), bytes: u32::try_from(bytes.len()).expect("small") };
            if frames::send(send, &Message::Slice(head)).await.is_err()
                || send.write_chunk(bytes.into()).await.is_err()
            {
                return;
            }
        }
    }
    let _ = send.finish();
}
