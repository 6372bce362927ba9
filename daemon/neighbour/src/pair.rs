//! Pairing over the network: the thin driver of [`crate::pairing`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kith_model::limits::{NEIGHBOUR_CONNECT_TIMEOUT, PAIRING_TIMEOUT};
use kith_model::trust::Role;
use quinn::{Connection, ConnectionError, SendStream, TransportErrorCode};
use tokio::time::{sleep, timeout};

use crate::frames::{self, FrameError, FrameReader};
use crate::identity::{NodeId, NodeKey};
use crate::pairing::desk::{Code, Guess, NoGuess};
use crate::pairing::exchange::{Channel, EXPORTER_LABEL, Joining, Mismatch, OpenerProving, Secret};
use crate::peers::Peer;
use crate::room::Room;
use crate::roster::Known;
use crate::session::{canonical, close};
use crate::tls::{self, Expected};
use crate::view::FindError;
use crate::window::PairingOutcome;
use crate::wire::pairing::{PairAnswer, PairConfirm, PairStart, role_code, role_of};
use crate::wire::{self, Bye, Message, Reason};
use crate::{clock, endpoint, name};

/// Why a box could not be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Not eight digits.
    #[error("a pairing code has eight digits")]
    BadCode,
    /// No such box.
    #[error(transparent)]
    Find(#[from] FindError),
    /// Nobody answers there.
    #[error("no box answers at {0}")]
    Unreachable(SocketAddr),
    /// It shows no code.
    #[error("the other box shows no pairing code; start `kith pair` there first")]
    NotOpen,
    /// The digits are others, or somebody stands between the boxes. The code is used up.
    #[error("the code is wrong; the other box has to show a new one")]
    WrongCode,
    /// The other box has seen too many wrong codes.
    #[error("too many wrong codes were tried on the other box; it is locked for an hour")]
    LockedOut,
    /// The other box knows no such role, or speaks another version.
    #[error("the other box does not pair in this role or version")]
    Role,
    /// Our own fault.
    #[error("pairing failed: {0}")]
    Failed(String),
}

/// Why an exchange ended without a neighbour.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Write(#[from] quinn::WriteError),
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    #[error("the box said {0:?}")]
    Refused(Reason),
    #[error("a message that does not belong here")]
    OutOfPlace,
    #[error("TLS gave no channel binding")]
    Exporter,
    #[error("the list of neighbours is full or cannot be written: {0}")]
    Store(String),
}

fn channel(connection: &Connection, joiner: NodeKey, opener: NodeKey) -> Result<Channel, Failure> {
    let mut exporter = [0; 32];
    connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").map_err(|_| Failure::Exporter)?;
    Ok(Channel { joiner, opener, exporter })
}

async fn proof(reader: &mut FrameReader) -> Result<[u8; 32], Failure> {
    match reader.frame().await? {
        Some(Message::PairConfirm(confirm)) => Ok(confirm.proof),
        Some(Message::No(no)) => Err(Failure::Refused(no.reason())),
        _ => Err(Failure::OutOfPlace),
    }
}

async fn prove(send: &mut SendStream, proof: [u8; 32]) -> Result<(), Failure> {
    Ok(frames::send(send, &Message::PairConfirm(PairConfirm { proof })).await?)
}

/// By what two boxes pair, and what they are to each other at most.
pub(crate) struct Invitation {
    pub(crate) code: Code,
    pub(crate) role: Role,
    /// The code is a group's.
    pub(crate) is_of_group: bool,
}

/// Who is on the other side, as far as it was agreed.
struct Met<'a> {
    key: NodeKey,
    name: &'a str,
    role: Role,
    address: SocketAddr,
    is_of_group: bool,
}

/// Keeps a new neighbour, durably.
async fn keep(room: &Arc<Room>, met: Met<'_>, secret: &Secret) -> Result<(), Failure> {
    let id = met.key.id();
    let mut peer = Peer::new(met.key, name::cleaned(met.name), met.role, secret.0, clock::now());
    peer.address = Some(canonical(met.address).to_string());
    // A session under the secret from before would speak in names that the other no longer knows.
    room.sessions.end(&id, Bye::Unpaired);
    room.registry.change(|peers| peers.add(peer)).map_err(|full| Failure::Store(full.to_string()))?;
    room.roster().note(&id, Known::Paired);
    if !met.is_of_group {
        let noting = Arc::clone(room);
        room.blocking(move || noting.membership.note(|group| group.let_in(&id))).await;
    }
    room.registry.save().await.map_err(|error| Failure::Store(error.to_string()))
}

/// The side that shows the code: a stranger has come while the window was open.
pub(crate) async fn opened(room: &Arc<Room>, connection: &Connection, joiner: NodeKey) {
    let exchanged = timeout(PAIRING_TIMEOUT, welcome(room, connection, joiner)).await;
    match exchanged {
        Ok(Ok(())) => {
            // The other closes when it has read the last frame; closing first could lose it.
            let _ = timeout(NEIGHBOUR_CONNECT_TIMEOUT, connection.closed()).await;
        }
        Ok(Err(error)) => {
            tracing::info!(joiner = %joiner.id().short(), %error, "pairing refused");
            let _ = timeout(NEIGHBOUR_CONNECT_TIMEOUT, connection.closed()).await;
        }
        Err(_) => tracing::info!(joiner = %joiner.id().short(), "pairing took too long"),
    }
    close(connection, Bye::Done);
}

async fn welcome(room: &Arc<Room>, connection: &Connection, joiner: NodeKey) -> Result<(), Failure> {
    let (mut send, receive) = connection.accept_bi().await?;
    let mut reader = FrameReader::new(receive);
    let Some(Message::PairStart(start)) = reader.frame().await? else { return Err(Failure::OutOfPlace) };
    let theirs = role_of(start.role).filter(|_| start.version == wire::VERSION);
    let reason = match (theirs, start.group == Some(true)) {
        (None, _) => Reason::Role,
        (Some(theirs), true) => match invited(room, joiner) {
            Some(invitation) => {
                let guest = Guest { key: joiner, start: &start, role: theirs.max(invitation.role) };
                return welcome_member(room, connection, guest, &invitation, (&mut send, &mut reader)).await;
            }
            None => Reason::NotOpen,
        },
        (Some(theirs), false) => {
            // In a block of its own, as the lock must not be held over an await.
            let guess = room.pairing().desk.guess(clock::now());
            match guess {
                Ok(guess) => {
                    let guest = Guest { key: joiner, start: &start, role: theirs.max(guess.role) };
                    return try_code(room, connection, guest, guess, (&mut send, &mut reader)).await;
                }
                Err(NoGuess::NotOpen) => Reason::NotOpen,
                Err(NoGuess::LockedOut) => Reason::LockedOut,
            }
        }
    };
    frames::send(&mut send, &reason.message()).await?;
    let _ = send.finish();
    Err(Failure::Refused(reason))
}

/// Who came, and what both will take each other for: neither is trusted more than both owners said.
#[derive(Clone, Copy)]
struct Guest<'a> {
    key: NodeKey,
    start: &'a PairStart,
    role: Role,
}

/// What a member may come in by. Not one that is known already and was not always good: pairing anew would wipe that
/// out.
fn invited(room: &Room, joiner: NodeKey) -> Option<Invitation> {
    let id = joiner.id();
    let is_marked = |peer: &Peer| !peer.struck().is_empty() || peer.evidence().is_some();
    let is_known_as_bad = room.registry.read().find(&id).is_some_and(is_marked);
    if is_known_as_bad || room.membership.goes_first(room.identity.id(), id) {
        return None;
    }
    room.membership.invitation(&id)
}

/// Guessing a group's secret is hopeless, so a wrong one has no consequence.
async fn welcome_member(
    room: &Arc<Room>,
    connection: &Connection,
    guest: Guest<'_>,
    invitation: &Invitation,
    (send, reader): (&mut SendStream, &mut FrameReader),
) -> Result<(), Failure> {
    let secret = match compare(room, connection, guest, &invitation.code, (send, reader)).await {
        Err(Failure::Mismatch(mismatch)) => {
            let _ = frames::send(send, &Reason::WrongCode.message()).await;
            let _ = send.finish();
            return Err(mismatch.into());
        }
        compared => compared?,
    };
    let address = connection.remote_address();
    let (name, role) = (guest.start.name.as_str(), guest.role);
    keep(room, Met { key: guest.key, name, role, address, is_of_group: true }, &secret).await?;
    let _ = send.finish();
    tracing::info!(neighbour = %guest.key.id().short(), role = role.as_str(), "paired as of our group");
    room.changed();
    Ok(())
}

/// Takes the guess to its end. Whatever goes wrong counts as a wrong code: it cannot be told from one.
async fn try_code(
    room: &Arc<Room>,
    connection: &Connection,
    guest: Guest<'_>,
    guess: Guess,
    (send, reader): (&mut SendStream, &mut FrameReader),
) -> Result<(), Failure> {
    let mut unfinished = Unfinished { room, guess: &guess, is_over: false };
    sleep(guess.answer_at.since(clock::now())).await;
    let exchanged = compare(room, connection, guest, &guess.code, (send, reader)).await;
    let outcome = match &exchanged {
        Ok(secret) => {
            let address = connection.remote_address();
            let met = Met {
                key: guest.key,
                name: &guest.start.name,
                role: guest.role,
                address,
                is_of_group: false,
            };
            match keep(room, met, secret).await {
                Ok(()) => {
                    let _ = send.finish();
                    tracing::info!(neighbour = %guest.key.id().short(), role = guest.role.as_str(), "paired");
                    PairingOutcome::Paired(guest.key.id())
                }
                Err(error) => PairingOutcome::Failed(error.to_string()),
            }
        }
        Err(Failure::Mismatch(_)) => {
            let _ = frames::send(send, &Reason::WrongCode.message()).await;
            let _ = send.finish();
            PairingOutcome::WrongCode
        }
        Err(error) => PairingOutcome::Failed(error.to_string()),
    };
    unfinished.is_over = true;
    let mut pairing = room.pairing();
    if exchanged.is_err() {
        pairing.desk.failed(guess.window, clock::now());
    }
    pairing.ended(guess.window, outcome);
    drop(pairing);
    room.changed();
    exchanged.map(|_| ())
}

/// A guess that ends because its connection or its time ended counts as a wrong one too.
struct Unfinished<'a> {
    room: &'a Room,
    guess: &'a Guess,
    is_over: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let mut pairing = self.room.pairing();
            pairing.desk.failed(self.guess.window, clock::now());
            pairing.ended(self.guess.window, PairingOutcome::Failed("the other box broke off".into()));
        }
    }
}

async fn compare(
    room: &Room,
    connection: &Connection,
    guest: Guest<'_>,
    code: &Code,
    (send, reader): (&mut SendStream, &mut FrameReader),
) -> Result<Secret, Failure> {
    let channel = channel(connection, guest.key, room.identity.key())?;
    let (proving, answer) = OpenerProving::answer(code, &channel, &guest.start.pake)?;
    let role = Some(role_code(guest.role));
    let answer = PairAnswer { name: room.config.name.clone(), pake: answer, role };
    frames::send(send, &Message::PairAnswer(answer)).await?;
    let (proven, ours) = proving.proven(&proof(reader).await?)?;
    prove(send, ours).await?;
    Ok(proven.stored(&proof(reader).await?)?)
}

/// The side where the code was typed in.
pub(crate) async fn join(
    room: &Arc<Room>,
    address: SocketAddr,
    invitation: &Invitation,
) -> Result<NodeId, JoinError> {
    let config =
        endpoint::client_config(&room.identity, Expected::Anyone, tls::ALPN_PAIR, &room.config.limits)
            .map_err(|error| JoinError::Failed(error.to_string()))?;
    let connecting = room
        .endpoint
        .connect_with(config, address, tls::SERVER_NAME)
        .map_err(|error| JoinError::Failed(error.to_string()))?;
    let connection = match timeout(NEIGHBOUR_CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) if is_no_protocol(&error) => return Err(JoinError::NotOpen),
        Ok(Err(_)) | Err(_) => return Err(JoinError::Unreachable(address)),
    };
    let joined = timeout(PAIRING_TIMEOUT, introduce(room, &connection, invitation)).await;
    close(&connection, Bye::Done);
    match joined {
        Ok(Ok(id)) => {
            room.changed();
            tracing::info!(neighbour = %id.short(), "paired");
            Ok(id)
        }
        Ok(Err(error)) => Err(join_error(error, address)),
        Err(_) => Err(JoinError::Unreachable(address)),
    }
}

/// TLS says `no_application_protocol` (RFC 7301 section 3.2) when no pairing window is open.
fn is_no_protocol(error: &ConnectionError) -> bool {
    const NO_APPLICATION_PROTOCOL: u8 = 120;
    let code = match error {
        ConnectionError::ConnectionClosed(close) => close.error_code,
        ConnectionError::TransportError(error) => error.code,
        _ => return false,
    };
    code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL)
}

fn join_error(error: Failure, address: SocketAddr) -> JoinError {
    match error {
        Failure::Mismatch(_) | Failure::Refused(Reason::WrongCode) => JoinError::WrongCode,
        Failure::Refused(Reason::LockedOut) => JoinError::LockedOut,
        Failure::Refused(Reason::Role) => JoinError::Role,
        Failure::Refused(_) => JoinError::NotOpen,
        Failure::Frame(_) | Failure::Write(_) | Failure::Connection(_) => JoinError::Unreachable(address),
        error => JoinError::Failed(error.to_string()),
    }
}

async fn introduce(
    room: &Arc<Room>,
    connection: &Connection,
    invitation: &Invitation,
) -> Result<NodeId, Failure> {
    let Invitation { code, role, is_of_group } = invitation;
    let opener = tls::peer_key(connection).ok_or(Failure::Exporter)?;
    let channel = channel(connection, room.identity.key(), opener)?;
    let (joining, pake) = Joining::start(code, channel);
    let (mut send, receive) = connection.open_bi().await?;
    let mut reader = FrameReader::new(receive);
    let start = PairStart {
        version: wire::VERSION,
        name: room.config.name.clone(),
        role: role_code(*role),
        pake,
        group: is_of_group.then_some(true),
    };
    frames::send(&mut send, &Message::PairStart(start)).await?;
    let answer = match reader.frame().await? {
        Some(Message::PairAnswer(answer)) => answer,
        Some(Message::No(no)) => return Err(Failure::Refused(no.reason())),
        _ => return Err(Failure::OutOfPlace),
    };
    let (proving, ours) = joining.answered(&answer.pake)?;
    prove(&mut send, ours).await?;
    let (secret, stored) = proving.proven(&proof(&mut reader).await?)?;
    // The other's owner may let us be less than ours would, never more.
    let theirs = answer.role.map_or(Some(Role::Mine), role_of).ok_or(Failure::OutOfPlace)?;
    let address = connection.remote_address();
    let role = (*role).max(theirs);
    let met = Met { key: opener, name: &answer.name, role, address, is_of_group: *is_of_group };
    keep(room, met, &secret).await?;
    prove(&mut send, stored).await?;
    let _ = send.finish();
    // The other ends its side of the stream when it has stored us too. When it does not, we know it and it does not
    // know us: TLS will keep us out there, and pairing again sets it right.
    let _ = timeout(Duration::from_secs(2), reader.frame()).await;
    Ok(opener.id())
}
