//! Mirrors that an origin names, from its answer to the bytes a client reads: honest ones, slow ones and liars.

use std::fmt::Write as _;
use std::future::ready;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64, HEXLOWER};
use futures_util::StreamExt as _;
use http::HeaderMap;
use kith_fetch::ask::{Origin as _, Redirects, Verb};
use kith_fetch::fetcher::{Config, Fetcher};
use kith_fetch::journal::Event;
use kith_fetch::source::{Lead, Source, SourceError};
use kith_fetch::wish::{Arriving, ByteWish, Company, Fetched, Wish};
use kith_model::key::Target;
use kith_model::range::GroupSpan;
use kith_model::time::UnixMillis;
use kith_origin::web;
use kith_store::Store;
use tokio::sync::Notify;

use crate::origin::{Origin, Seen, Step, question, room, room_with, sample, say};

const MIB: u64 = 1024 * 1024;
const LENGTH: u64 = 8 * MIB;

/// A box without doors: store, hearth and well.
struct Box {
    fetcher: Fetcher,
    _dir: tempfile::TempDir,
}

impl Box {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let config = kith_store::Config {
            dir: dir.path().to_owned(),
            bytes_max: 1 << 30,
            reserve_bytes: 0,
            object_bytes_max: 1 << 29,
            cache_bytes: 1 << 20,
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let now = UnixMillis(u64::try_from(since.as_millis()).expect("fits"));
        let store = Store::open(config, now).expect("the store opens");
        let config = Config { neighbour_bytes_min: u64::MAX };
        Self { fetcher: Fetcher::new(store, Arc::new(room()), Vec::new(), config), _dir: dir }
    }

    async fn begin(&self, url: &str, range: Option<ByteWish>) -> Arriving {
        let wish = Wish {
            target: Target::parse(url).expect(url),
            verb: Verb::Get,
            headers: HeaderMap::new(),
            conditions: HeaderMap::new(),
            range,
            stored: None,
            redirects: Redirects::Follow,
            company: Company::Shared,
        };
        match self.fetcher.fetch(wish).await.expect("an answer") {
            Fetched::Arriving(arriving) => arriving,
            _ => panic!("it should arrive by way of the store"),
        }
    }

    async fn get(&self, url: &str) -> Vec<u8> {
        read(self.begin(url, None).await).await
    }

    /// Waits until the fetch of `url` has ended, which must be well.
    async fn stored(&self, url: &str) {
        let target = Target::parse(url).expect(url);
        loop {
            match self.fetcher.journal().of(&target).pop().map(|entry| entry.event) {
                Some(Event::Stored(_)) => return,
                Some(other) => panic!("{other}"),
                None => tokio::task::yield_now().await,
            }
        }
    }
}

async fn read(mut arriving: Arriving) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = arriving.reader.next().await.expect("a whole body") {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

fn body() -> Vec<u8> {
    sample(0, LENGTH)
}

fn sha256() -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA256, &body()).as_ref().to_vec()
}

fn repr_digest() -> String {
    format!("Repr-Digest: sha-256=:{}:\r\n", BASE64.encode(&sha256()))
}

fn link_to(mirror: &Origin) -> String {
    format!("Link: <{}>; rel=duplicate; pri=1\r\n", mirror.url("/copy"))
}

/// The head of an answer with a range of the sample, or the whole.
fn head(seen: &Seen, fields: &str) -> (String, Range<u64>) {
    let common = format!("ETag: \"v1\"\r\nCache-Control: max-age=600\r\n{fields}");
    match seen.range(LENGTH) {
        Some((start, end)) => (
            format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{LENGTH}\r\n{common}\r\n",
                end - start,
                end - 1
            ),
            start..end,
        ),
        None => (format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n{common}\r\n"), 0..LENGTH),
    }
}

fn serve(seen: &Seen, fields: &str) -> Vec<Step> {
    let (head, range) = head(seen, fields);
    vec![Step::Say(head.into()), Step::Pour(range.start, range.end - range.start)]
}

/// Serves ranges well, and of a whole one mebibyte; the rest of it when `signal` comes.
fn serve_slowly(seen: &Seen, fields: &str, signal: &Arc<Notify>) -> Vec<Step> {
    if seen.field("range").is_some() {
        return serve(seen, fields);
    }
    let rest = Step::Pour(MIB, LENGTH - MIB);
    vec![Step::Say(head(seen, fields).0.into()), Step::Pour(0, MIB), Step::Await(signal.clone()), rest]
}

/// An honest mirror.
fn honest() -> Origin {
    Origin::start(|seen| serve(seen, ""))
}

/// One that sends other bytes.
fn liar() -> Origin {
    Origin::start(|seen| {
        let (head, range) = head(seen, "");
        vec![Step::Say(head.into()), Step::Pour(range.start + 7, range.end - range.start)]
    })
}

#[tokio::test]
async fn a_mirror_delivers_what_the_origin_does_not() {
    let mirror = honest();
    let fields = format!("{}{}", repr_digest(), link_to(&mirror));
    let never = Arc::new(Notify::new());
    // Of everything but the front the origin is silent.
    let origin = Origin::start(move |seen| match seen.field("range") {
        Some(_) => vec![Step::Hang],
        None => serve_slowly(seen, &fields, &never),
    });
    let attic = Box::new();
    assert_eq!(attic.get(&origin.url("/f")).await, body());
    attic.stored(&origin.url("/f")).await;
    assert!(origin.sent() <= MIB && mirror.sent() >= LENGTH - MIB, "{} {}", origin.sent(), mirror.sent());
    assert!(mirror.seen().iter().all(|seen| seen.field("range").is_some() && seen.path() == "/copy"));
    // The first answer's own validator binds the later ones.
    assert_eq!(mirror.seen()[0].field("if-range"), None);
    assert!(mirror.seen()[1..].iter().all(|seen| seen.field("if-range") == Some("\"v1\"")));
}

#[tokio::test]
async fn a_mirror_is_asked_only_as_far_as_the_owner_allows() {
    let mirror = Origin::start(|seen| vec![Step::Say(head(seen, "").0.into()), Step::Hang]);
    let fields = format!("{}{}", repr_digest(), link_to(&mirror));
    let origin = Origin::start(move |seen| serve(seen, &fields));
    let web = room_with(web::Config { connections_per_host_max: 2, ..web::Config::default() });
    let mut answer = web.ask(question(&origin.url("/f"))).await.expect("an answer");
    let leads = answer.source.take().expect("a source").leads();
    let mirrors = leads.filter_map(|lead| ready(as_mirror(lead)));
    let copy = pin!(mirrors).next().await.expect("a mirror");
    let part = || copy.open(GroupSpan::clamped(8, 16));
    let lanes = [part().await.expect("the first"), part().await.expect("the second")];
    assert!(matches!(part().await.map(drop), Err(SourceError::Busy)));
    drop(lanes);
    part().await.expect("there is a place again");
    assert_eq!(mirror.seen().len(), 3);
}

fn as_mirror(lead: Lead) -> Option<Arc<dyn Source>> {
    match lead {
        Lead::Mirror { source, .. } => Some(source),
        _ => None,
    }
}

#[tokio::test]
async fn a_lying_mirror_costs_the_client_nothing_and_is_not_asked_again() {
    let mirror = Arc::new(liar());
    let fields = format!("{}{}", repr_digest(), link_to(&mirror));
    let signal = Arc::new(Notify::new());
    let (ours, wait) = (signal.clone(), mirror.clone());
    let origin = Origin::start(move |seen| serve_slowly(seen, &fields, &ours));
    let attic = Box::new();
    let arriving = attic.begin(&origin.url("/f"), None).await;
    wait.asked().await;
    signal.notify_one();
    assert_eq!(read(arriving).await, body());
    attic.stored(&origin.url("/f")).await;
    assert_eq!(attic.fetcher.counters().mismatched_mirror.count(), 1);
    let asked = mirror.seen().len();
    // A release: what is named anew is not believed either.
    signal.notify_one();
    assert_eq!(attic.get(&origin.url("/g")).await, body());
    assert_eq!(mirror.seen().len(), asked);
}

#[tokio::test]
async fn without_a_digest_no_mirror_is_asked() {
    let mirror = honest();
    let fields = link_to(&mirror);
    let origin = Origin::start(move |seen| serve(seen, &fields));
    let attic = Box::new();
    assert_eq!(attic.get(&origin.url("/f")).await, body());
    attic.stored(&origin.url("/f")).await;
    assert_eq!(mirror.connections(), 0);
}

/// A download whose origin waits until the mirror was asked ends well whatever the mirror answers.
async fn check_useless(mirror: Origin) -> Origin {
    let mirror = Arc::new(mirror);
    let fields = format!("{}{}", repr_digest(), link_to(&mirror));
    let signal = Arc::new(Notify::new());
    let ours = signal.clone();
    let origin = Origin::start(move |seen| serve_slowly(seen, &fields, &ours));
    let attic = Box::new();
    let arriving = attic.begin(&origin.url("/f"), None).await;
    mirror.asked().await;
    signal.notify_one();
    assert_eq!(read(arriving).await, body());
    attic.stored(&origin.url("/f")).await;
    Arc::into_inner(mirror).expect("nobody else has it")
}

#[tokio::test]
async fn a_mirror_that_is_silent_is_worked_around() {
    check_useless(Origin::always(vec![Step::Hang])).await;
}

#[tokio::test]
async fn a_mirror_of_another_length_is_not_used() {
    let shorter = check_useless(Origin::always(say(
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nContent-Range: bytes 7340032-7340036/7340037\r\n\r\nabcde",
    )))
    .await;
    assert_eq!(shorter.seen().len(), 1);
}

#[tokio::test]
async fn a_mirror_that_leads_to_a_private_address_is_not_followed() {
    let inside = Origin::start_at("127.0.0.2:0", |seen| serve(seen, ""));
    let location = inside.url("/secret");
    let mirror = Origin::start(move |_| {
        say(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"))
    });
    check_useless(mirror).await;
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_reader_of_a_part_does_not_wait_for_a_mirrors_proof() {
    let mirror = Arc::new(honest());
    let fields = format!("{}{}", repr_digest(), link_to(&mirror));
    let signal = Arc::new(Notify::new());
    let ours = signal.clone();
    let origin = Origin::start(move |seen| serve_slowly(seen, &fields, &ours));
    let attic = Box::new();
    let whole = attic.begin(&origin.url("/f"), None).await;
    mirror.asked().await;
    // The back is what the mirror was asked for; the whole cannot be checked as long as the origin is silent.
    let back = attic.begin(&origin.url("/f"), Some(ByteWish::Last(100))).await;
    assert_eq!(read(back).await, sample(LENGTH - 100, 100));
    signal.notify_one();
    assert_eq!(read(whole).await, body());
}

/// A metalink with pieces of one mebibyte.
fn metalink(mirrors: &[&Origin]) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\"?><metalink xmlns=\"urn:ietf:params:xml:ns:metalink\"><file name=\"f\"><size>{LENGTH}</size>\
         <hash type=\"sha-256\">{}</hash><pieces length=\"{MIB}\" type=\"sha-256\">",
        HEXLOWER.encode(&sha256())
    );
    for piece in 0..LENGTH / MIB {
        let digest = ring::digest::digest(&ring::digest::SHA256, &sample(piece * MIB, MIB));
        let _ = write!(text, "<hash>{}</hash>", HEXLOWER.encode(digest.as_ref()));
    }
    text.push_str("</pieces>");
    for (priority, mirror) in mirrors.iter().enumerate() {
        let _ = write!(text, "<url priority=\"{}\">{}</url>", priority + 1, mirror.url("/copy"));
    }
    text + "</file></metalink>"
}

/// An origin that names no digest itself but points to a metalink, and is silent about all but the front.
fn described(metalink: String) -> Origin {
    let never = Arc::new(Notify::new());
    let link = "Link: <f.meta4>; rel=describedby; type=\"application/metalink4+xml\"\r\n";
    Origin::start(move |seen| match (seen.path(), seen.field("range")) {
        ("/f.meta4", _) => {
            say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{metalink}", metalink.len()))
        }
        (_, Some(_)) => vec![Step::Say(head(seen, link).0.into()), Step::Hang],
        (_, None) => serve_slowly(seen, link, &never),
    })
}

#[tokio::test]
async fn pieces_of_a_metalink_are_shown_as_they_come_and_a_lie_is_found_at_once() {
    let (liar, mirror) = (liar(), honest());
    let origin = described(metalink(&[&liar, &mirror]));
    let attic = Box::new();
    // Also to who reads a part: each piece has a proof of its own.
    let back = attic.begin(&origin.url("/f"), Some(ByteWish::From(LENGTH - 2 * MIB))).await;
    assert_eq!(read(back).await, sample(LENGTH - 2 * MIB, 2 * MIB));
    assert_eq!(attic.get(&origin.url("/f")).await, body());
    assert!(mirror.sent() >= LENGTH - 2 * MIB, "{}", mirror.sent());
    // It was struck at its first piece.
    assert!(liar.sent() <= 2 * MIB + MIB / 2, "{}", liar.sent());
}

#[tokio::test]
async fn a_piece_that_is_a_lie_is_counted_against_mirrors() {
    let liar = liar();
    let text = metalink(&[&liar]);
    let link = "Link: <f.meta4>; rel=describedby; type=\"application/metalink4+xml\"\r\n";
    let signal = Arc::new(Notify::new());
    let ours = signal.clone();
    let origin = Origin::start(move |seen| {
        if seen.path() == "/f.meta4" {
            return say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
        let (head, range) = head(seen, link);
        let front = if range.start == 0 { MIB.min(range.end) } else { 0 };
        vec![
            Step::Say(head.into()),
            Step::Pour(range.start, front),
            Step::Await(ours.clone()),
            Step::Pour(range.start + front, range.end - range.start - front),
        ]
    });
    let attic = Box::new();
    let arriving = attic.begin(&origin.url("/f"), None).await;
    let counters = attic.fetcher.counters();
    while counters.mismatched_mirror.count() == 0 {
        tokio::task::yield_now().await;
    }
    let reading = tokio::spawn(read(arriving));
    while !reading.is_finished() {
        // However many lanes wait.
        signal.notify_one();
        tokio::task::yield_now().await;
    }
    assert_eq!(reading.await.expect("no panic"), body());
    assert_eq!((counters.mismatched_mirror.count(), counters.mismatched_origin.count()), (1, 0));
}

#[tokio::test]
async fn a_metalink_of_somebody_else_vouches_for_nothing() {
    let mirror = honest();
    let text = metalink(&[&mirror]);
    let elsewhere =
        Origin::always(say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())));
    let link = format!(
        "Link: <{}>; rel=describedby; type=\"application/metalink4+xml\"\r\n",
        elsewhere.url("/f.meta4")
    );
    let signal = Arc::new(Notify::new());
    let ours = signal.clone();
    let origin = Origin::start(move |seen| serve_slowly(seen, &link, &ours));
    let attic = Box::new();
    let arriving = attic.begin(&origin.url("/f"), None).await;
    elsewhere.asked().await;
    signal.notify_one();
    assert_eq!(read(arriving).await, body());
    assert_eq!(mirror.connections(), 0);
}
