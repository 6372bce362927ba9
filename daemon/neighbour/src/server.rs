//! Answers what a paired box asks: find and get. Serves only what the store holds and sharing allows, in bounds.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use kith_model::limits::{NEIGHBOUR_REQUEST_TIMEOUT, SLICE_GROUPS};
use kith_model::object::ObjectId;
use kith_model::range::GroupSpan;
use kith_model::trust::Role;
use kith_store::Body;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::claim::Rendezvous;
use crate::clients;
use crate::config::Sharing;
use crate::crowd;
use crate::frames::{self, FrameError, FrameReader};
use crate::room::Room;
use crate::rotation;
use crate::session::Session;
use crate::telling::{self, HearError};
use crate::uploads::Place;
use crate::wire::{Bye, Find, Get, Have, Message, Reason, Slice};
use crate::withdrawals;

/// Serves a session until it ends, then makes it unknown.
pub(crate) async fn run(room: Arc<Room>, session: Arc<Session>) {
    let mut requests = JoinSet::new();
    requests.spawn(telling::tell(Arc::clone(&room), Arc::clone(&session)).boxed());
    requests.spawn(withdrawals::tell(Arc::clone(&room), Arc::clone(&session)).boxed());
    let ended = loop {
        tokio::select! {
            stream = session.connection.accept_bi() => match stream {
                Ok((send, receive)) => {
                    requests.spawn(answer(Arc::clone(&room), Arc::clone(&session), send, receive).boxed());
                }
                Err(error) => break error,
            },
            Some(_) = requests.join_next() => {}
        }
    };
    requests.shutdown().await;
    if room.sessions.leave(&session) {
        tracing::info!(neighbour = %session.id.short(), reason = %ended, "neighbour gone");
    }
    room.changed();
}

/// Why an answer ends early.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    /// They do not want it any more, or are gone.
    #[error(transparent)]
    Write(#[from] quinn::WriteError),
    /// Our disk.
    #[error(transparent)]
    Read(#[from] kith_store::ReadError),
    /// Our index.
    #[error(transparent)]
    Index(#[from] kith_store::IndexError),
    /// Ours.
    #[error(transparent)]
    Task(#[from] tokio::task::JoinError),
}

async fn answer(room: Arc<Room>, session: Arc<Session>, mut send: SendStream, receive: RecvStream) {
    let mut reader = FrameReader::new(receive);
    let question = match timeout(NEIGHBOUR_REQUEST_TIMEOUT, reader.frame()).await {
        Ok(Ok(Some(question))) => question,
        Ok(Err(FrameError::Bad(error))) => return malformed(&room, &session, &error),
        Ok(Ok(None) | Err(_)) | Err(_) => return give_up(&mut send),
    };
    let answered = match question {
        Message::Find(find) => answer_find(&room, &session, &mut send, find).await,
        Message::Get(get) => answer_get(&room, &session, &mut send, &get).await,
        Message::Filter(filter) => match telling::hear(&room, &session, &mut reader, &filter).await {
            Ok(Some(refusal)) => say(&mut send, &refusal).await,
            Ok(None) => {
                // Nothing is said to what was taken in: the end of the stream tells it.
                let _ = send.finish();
                Ok(())
            }
            Err(HearError::Bad(error)) => return malformed(&room, &session, &error),
            Err(_) => return give_up(&mut send),
        },
        Message::Withdraw(withdraw) => match withdrawals::hear(&room, &session, withdraw).await {
            Some(answer) => say(&mut send, &answer).await,
            None => return give_up(&mut send),
        },
        Message::Gather(gather) => {
            crowd::tell(&room, &session, &mut send, &gather).await.map_err(ServeError::from)
        }
        Message::Take(take) => crowd::give(&room, &session, &mut send, &take).await.map_err(ServeError::from),
        Message::Rotate(rotate) => match rotation::hear(&room, &session, &rotate).await {
            Some(answer) => {
                let said = say(&mut send, &answer).await;
                // The key of this session is a stranger's now.
                let _ = timeout(NEIGHBOUR_REQUEST_TIMEOUT, session.connection.closed()).await;
                session.close(Bye::Unpaired);
                room.changed();
                said
            }
            None => return malformed(&room, &session, &"a new key that is not signed"),
        },
        _ => refuse(&mut send, Reason::Malformed).await,
    };
    if let Err(error) = answered {
        // A stop is how a lane ends that was cut short; what else went wrong is ours.
        if !matches!(error, ServeError::Write(_)) {
            tracing::warn!(neighbour = %session.id.short(), %error, "answer broken off");
        }
        give_up(&mut send);
    }
}

/// Ends a stream on which something went wrong: one that is only dropped looks as if it had been taken in.
fn give_up(send: &mut SendStream) {
    let _ = send.reset(VarInt::from_u32(0));
}

fn malformed(room: &Arc<Room>, session: &Session, error: &dyn std::fmt::Display) {
    tracing::debug!(neighbour = %session.id.short(), %error, "malformed request");
    room.strike(session, "a malformed request");
    session.close(Bye::Malformed);
}

async fn refuse(send: &mut SendStream, reason: Reason) -> Result<(), ServeError> {
    say(send, &reason.message()).await
}

/// Answers with one message.
async fn say(send: &mut SendStream, message: &Message) -> Result<(), ServeError> {
    frames::send(send, message).await?;
    let _ = send.finish();
    Ok(())
}

async fn answer_find(
    room: &Arc<Room>,
    session: &Session,
    send: &mut SendStream,
    find: Find,
) -> Result<(), ServeError> {
    if !session.lookups.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
        return refuse(send, Reason::Busy).await;
    }
    let (Sharing::On, Some((role, secret))) = (room.config.share, room.registry.paired(&session.key)) else {
        return refuse(send, Reason::NotHere).await;
    };
    let (shelf, names) = (room.shelf.clone(), Arc::clone(&session.names));
    let looking = room.tracker.spawn_blocking(move || {
        let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.find(role.audience(), &Rendezvous::new(&secret, find.day), &find.ids, &mut names)
    });
    let Some(answer) = looking.await?? else { return refuse(send, Reason::NotHere).await };
    let have = Have {
        answers: u32::try_from(answer.answers).unwrap_or(u32::MAX),
        object: *answer.claim.object.as_bytes(),
        length: answer.claim.length,
        known_at_ms: answer.claim.known_at.0,
        signature: answer.claim.sign(&room.identity),
        clients: clients::told(room, session),
    };
    say(send, &Message::Have(have)).await
}

async fn answer_get(
    room: &Arc<Room>,
    session: &Session,
    send: &mut SendStream,
    get: &Get,
) -> Result<(), ServeError> {
    let Some((role, _)) = room.registry.paired(&session.key) else {
        return refuse(send, Reason::NotHere).await;
    };
    let Some(place) = room.uploads.admit(session.id, role) else {
        return refuse(send, Reason::Busy).await;
    };
    let object = ObjectId::from_bytes(get.object);
    let Some((body, length)) = open(room, role, object).await? else {
        return refuse(send, Reason::NotHere).await;
    };
    let whole = GroupSpan::whole(length);
    if get.spans.iter().any(|span| span.1 > whole.end()) {
        return refuse(send, Reason::Malformed).await;
    }
    let mut slices = get.spans.iter().flat_map(|span| cut((*span).into()));
    let mut ready = encode(&body, slices.next()).await?;
    while let Some((span, bytes)) = ready {
        // The next slice is read while this one is sent.
        let (sent, next) = tokio::join!(
            send_slice(&place, session, send, span, bytes, length),
            encode(&body, slices.next())
        );
        sent?;
        ready = next?;
    }
    let _ = send.finish();
    Ok(())
}

/// The body of an object that may be given to this box now: to know its name is no permission.
async fn open(room: &Arc<Room>, role: Role, object: ObjectId) -> Result<Option<(Body, u64)>, ServeError> {
    if room.config.share == Sharing::Off {
        return Ok(None);
    }
    let shelf = room.shelf.clone();
    let Some(length) =
        room.tracker.spawn_blocking(move || shelf.shareable(&object, role.audience())).await??
    else {
        return Ok(None);
    };
    Ok(room.store.open_object(&object).await?.map(|body| (body, length)))
}

/// A span in pieces of at most [`SLICE_GROUPS`]. Pieces begin at multiples of it, so that the paths in their proofs
/// are short.
fn cut(span: GroupSpan) -> impl Iterator<Item = GroupSpan> {
    let mut at = span.start();
    std::iter::from_fn(move || {
        let edge = (at / SLICE_GROUPS + 1).saturating_mul(SLICE_GROUPS);
        let piece = GroupSpan::clamped(at, edge.min(span.end()));
        at = piece.end();
        (!piece.is_empty()).then_some(piece)
    })
}

async fn encode(body: &Body, span: Option<GroupSpan>) -> Result<Option<(GroupSpan, Bytes)>, ServeError> {
    let Some(span) = span else { return Ok(None) };
    Ok(Some((span, body.encode(span).await?)))
}

async fn send_slice(
    place: &Place,
    session: &Session,
    send: &mut SendStream,
    span: GroupSpan,
    bytes: Bytes,
    length: u64,
) -> Result<(), ServeError> {
    let count = u32::try_from(bytes.len()).expect("invariant: a slice of SLICE_GROUPS is below 1 MiB");
    place.turn(count).await;
    frames::send(send, &Message::Slice(Slice { span: span.into(), bytes: count })).await?;
    send.write_chunk(bytes).await?;
    session.tally.sent_bytes.fetch_add(span.bytes(length).len(), Relaxed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_pieces_of_a_span_are_the_span(start in 0u64..1000, len in 0u64..300) {
            let span = GroupSpan::clamped(start, start + len);
            let pieces: Vec<GroupSpan> = cut(span).collect();
            prop_assert!(pieces.iter().all(|piece| (1..=SLICE_GROUPS).contains(&piece.len())));
            prop_assert!(pieces.windows(2).all(|pair| pair[0].end() == pair[1].start()));
            let ends = pieces.first().map(|piece| piece.start()).zip(pieces.last().map(|piece| piece.end()));
            prop_assert_eq!(ends, (len > 0).then_some((span.start(), span.end())));
        }
    }
}
