//! A box that takes another one's place, with its key and its pairs, and is a bad neighbour: it flips a bit, trickles,
//! says nothing, takes its claim back, or claims an absurd length. It is made of the neighbour room's own building blocks, so that the program itself needs no hook for it.
//!
//! `liar DATA_DIR ADDRESS FILE URL ETAG MANNER`: answers for the box that keeps its data in `DATA_DIR`, dials the one
//! at `ADDRESS`, and claims to have fetched `FILE` from `URL` (or each of several, with commas between them) under
//! `ETAG`. `MANNER` is `honest`, `flip`, `trickle`, `mute`, `refuse` or `absurd`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http::HeaderValue;
use kith_model::key::Target;
use kith_model::limits::Profile;
use kith_model::limits::{Limits, SLICE_GROUPS};
use kith_model::object::ObjectId;
use kith_model::range::{GROUP_BYTES, GroupSpan};
use kith_model::representation::StrongValidator;
use kith_model::time::UnixMillis;
use kith_model::verify;
use kith_neighbour::claim::{Claim, Rendezvous, Statement};
use kith_neighbour::endpoint;
use kith_neighbour::frames::{self, FrameReader};
use kith_neighbour::identity::{Identity, NodeKey};
use kith_neighbour::peers::{FILE_NAME, Peers};
use kith_neighbour::tls::{self, Admits, Door, Expected};
use kith_neighbour::wire::{Find, Get, Have, Hello, Message, Reason, Slice, VERSION};
use quinn::{Connection, Endpoint, SendStream};
use tokio::task::JoinSet;

/// Where boxes listen for each other.
const PORT: u16 = 8482;

/// What the trickle lets through a second.
const TRICKLE_BYTES: usize = 1024;

/// Between two tries to reach the other box.
const REDIAL: Duration = Duration::from_millis(500);

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    Flip,
    Trickle,
    Mute,
    Refuse,
    Absurd,
}

/// What it says it holds, and how it says it.
struct Liar {
    identity: Identity,
    peers: Peers,
    bytes: Vec<u8>,
    outboard: Vec<u8>,
    claims: Vec<Claim>,
    manner: Manner,
    instance: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [data, address, file, url, etag, manner] = words.as_slice() else {
        bail!("usage: liar DATA_DIR ADDRESS FILE URL ETAG honest|flip|trickle|mute|refuse|absurd");
    };
    let liar = Arc::new(Liar::new(&PathBuf::from(data), &std::fs::read(file)?, (url, etag), manner)?);
    let limits = Profile::Board.limits();
    let server = endpoint::server_config(&liar.identity, liar.admits(), Door::Shut, &limits)?;
    let endpoint = endpoint::bind(&liar.identity, SocketAddr::from(([0, 0, 0, 0], PORT)), &limits, server)?;
    let address: SocketAddr = address.parse()?;
    tokio::select! {
        () = accept(&liar, &endpoint) => Ok(()),
        () = dial(&liar, &endpoint, address, &limits) => Ok(()),
    }
}

/// Serves whoever of the paired boxes comes.
async fn accept(liar: &Arc<Liar>, endpoint: &Endpoint) {
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let liar = Arc::clone(liar);
        connections.spawn(async move {
            let connection = incoming.await?;
            let (mut send, receive) = connection.accept_bi().await?;
            FrameReader::new(receive).frame().await?;
            frames::send(&mut send, &liar.hello()).await?;
            let _ = send.finish();
            liar.serve(connection).await
        });
    }
}

/// Keeps a connection to the other box.
async fn dial(liar: &Arc<Liar>, endpoint: &Endpoint, address: SocketAddr, limits: &Limits) {
    loop {
        if let Err(error) = session(liar, endpoint, address, limits).await {
            eprintln!("liar: {error:#}");
        }
        tokio::time::sleep(REDIAL).await;
    }
}

async fn session(liar: &Arc<Liar>, endpoint: &Endpoint, address: SocketAddr, limits: &Limits) -> Result<()> {
    let expected = Expected::Paired(liar.admits());
    let config = endpoint::client_config(&liar.identity, expected, tls::ALPN, limits)?;
    let connection = endpoint.connect_with(config, address, tls::SERVER_NAME)?.await?;
    let (mut send, receive) = connection.open_bi().await?;
    frames::send(&mut send, &liar.hello()).await?;
    let _ = send.finish();
    ensure!(matches!(FrameReader::new(receive).frame().await?, Some(Message::Hello(_))), "no hello");
    Arc::clone(liar).serve(connection).await
}

impl Liar {
    fn new(data: &std::path::Path, bytes: &[u8], (url, etag): (&str, &str), manner: &str) -> Result<Self> {
        let manner = match manner {
            "honest" => Manner::Honest,
            "flip" => Manner::Flip,
            "trickle" => Manner::Trickle,
            "mute" => Manner::Mute,
            "refuse" => Manner::Refuse,
            "absurd" => Manner::Absurd,
            other => bail!("{other} is no manner"),
        };
        let group_bytes = usize::try_from(GROUP_BYTES)?;
        let leaves: Vec<_> =
            (0..).zip(bytes.chunks(group_bytes)).map(|(group, part)| verify::leaf(group, part)).collect();
        let folded = verify::fold(&leaves).context("a file of two groups or more")?;
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::ETAG, HeaderValue::from_str(etag)?);
        let validator = StrongValidator::of(&headers).context("a strong validator")?;
        let claims = url.split(',').map(|url| {
            Ok(Claim {
                statement: Statement::Fetched(Target::parse(url)?, validator.clone()),
                object: folded.id,
                length: bytes.len() as u64,
                known_at: UnixMillis(1_700_000_000_000),
            })
        });
        let claims = claims.collect::<Result<Vec<Claim>>>()?;
        Ok(Self {
            identity: Identity::open(data)?,
            peers: Peers::from_bytes(&std::fs::read(data.join(FILE_NAME))?)?,
            bytes: bytes.to_vec(),
            outboard: folded.outboard,
            claims,
            manner,
            instance: u64::from(std::process::id()),
        })
    }

    fn hello(&self) -> Message {
        Message::Hello(Hello { version: VERSION, name: "a".into(), instance: self.instance, speaks: None })
    }

    fn admits(self: &Arc<Self>) -> Admits {
        let liar = Arc::clone(self);
        Arc::new(move |key: &NodeKey| liar.peers.find(&key.id()).is_some())
    }

    /// Answers until the connection ends.
    async fn serve(self: Arc<Self>, connection: Connection) -> Result<()> {
        let key = tls::peer_key(&connection).context("the other side has a key")?;
        let secret = *self.peers.find(&key.id()).context("a paired box")?.secret();
        let mut requests = JoinSet::new();
        loop {
            let (send, receive) = connection.accept_bi().await?;
            let liar = Arc::clone(&self);
            requests.spawn(async move {
                let mut send = send;
                match FrameReader::new(receive).frame().await? {
                    Some(Message::Find(find)) => liar.answer_find(&secret, &find, &mut send).await?,
                    Some(Message::Get(get)) => liar.answer_get(&get, &mut send).await?,
                    _ => {}
                }
                let _ = send.finish();
                anyhow::Ok(())
            });
        }
    }

    async fn answer_find(&self, secret: &[u8; 32], find: &Find, send: &mut SendStream) -> Result<()> {
        let rendezvous = Rendezvous::new(secret, find.day);
        let asked_for = |claim: &&Claim| {
            let name = rendezvous.id(claim.statement.subject(claim.length));
            find.ids.contains(&name)
        };
        let Some(claim) = self.claims.iter().find(asked_for) else {
            return Ok(frames::send(send, &Reason::NotHere.message()).await?);
        };
        let name = rendezvous.id(claim.statement.subject(claim.length));
        let answers = find.ids.iter().position(|id| *id == name).context("it was asked for")?;
        let have = Have {
            answers: u32::try_from(answers)?,
            object: *claim.object.as_bytes(),
            length: if self.manner == Manner::Absurd { u64::MAX } else { claim.length },
            known_at_ms: claim.known_at.0,
            signature: claim.sign(&self.identity),
            clients: None,
        };
        Ok(frames::send(send, &Message::Have(have)).await?)
    }

    async fn answer_get(&self, get: &Get, send: &mut SendStream) -> Result<()> {
        let object = ObjectId::from_bytes(get.object);
        match self.manner {
            Manner::Refuse => return Ok(frames::send(send, &Reason::NotHere.message()).await?),
            Manner::Mute => std::future::pending::<()>().await,
            _ => {}
        }
        for span in &get.spans {
            let wanted: GroupSpan = (*span).into();
            let mut at = wanted.start();
            while at < wanted.end() {
                let edge = (at / SLICE_GROUPS + 1) * SLICE_GROUPS;
                let piece = GroupSpan::clamped(at, edge.min(wanted.end()));
                at = piece.end();
                let slice = self.slice(object, piece)?;
                let head = Slice { span: piece.into(), bytes: u32::try_from(slice.len())? };
                frames::send(send, &Message::Slice(head)).await?;
                self.write(send, &slice).await?;
            }
        }
        Ok(())
    }

    /// Groups with their proof; one bit of the last one is wrong when that is the manner and they lie in the middle.
    fn slice(&self, object: ObjectId, span: GroupSpan) -> Result<Vec<u8>> {
        let length = self.bytes.len() as u64;
        let encoded = verify::encode(object, length, span, &self.outboard[..], &self.bytes[..])?;
        let mut encoded = encoded.to_vec();
        let middle = length / GROUP_BYTES / 2;
        let last = encoded.last_mut().filter(|_| span.contains(middle) || span.start() > middle);
        if let (Manner::Flip, Some(last)) = (self.manner, last) {
            *last ^= 1;
        }
        Ok(encoded)
    }

    async fn write(&self, send: &mut SendStream, bytes: &[u8]) -> Result<()> {
        if self.manner != Manner::Trickle {
            return Ok(send.write_all(bytes).await?);
        }
        for piece in bytes.chunks(TRICKLE_BYTES) {
            send.write_all(piece).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }
}
