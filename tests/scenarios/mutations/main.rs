//! Thousands of requests and answers with something wrong in them, from a seed: no origin ever sees a request that no
//! client sent, no client sees bytes that were meant for another, and the box stays up.
//!
//! `KITH_TEST_SEED` repeats a run with the seed that it printed.

mod chance;
mod reading;

use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, ensure};
use kith_tests::client::Request;
use kith_tests::kith::Kith;
use kith_tests::wire::{Asked, Moment, Said, Then, Wire};

use chance::Chance;
use reading::Meant;

/// Requests of the first run.
const REQUESTS: usize = 10_000;

/// Requests of the run in which answers are wrong, too.
const PAIRS: usize = 2_000;

/// Clients at once. Fewer than a box takes from one address.
const CLIENTS: usize = 8;

/// Silence for so long: the box waits for content that was announced and is not there.
const SILENCE: Duration = Duration::from_millis(250);

/// Fixed, so that a red run is red again.
const SEED: u64 = 0x6b69_7468;

fn seed() -> u64 {
    let seed = std::env::var("KITH_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(SEED);
    eprintln!("KITH_TEST_SEED={seed}");
    seed
}

/// What was sent, and what the box may have made of it.
#[derive(Default)]
struct Sent {
    requests: AtomicUsize,
    /// How often a strict reader finds a request in what was sent.
    meant: Mutex<HashMap<Meant, usize>>,
    /// Which connection sent a token.
    tokens: Mutex<HashMap<String, u64>>,
    connections: AtomicU64,
    /// Tokens that came back to a connection that had not sent them.
    crossed: Mutex<Vec<String>>,
}

#[test]
fn an_origin_sees_no_request_that_no_client_sent() -> Result<()> {
    let origin = Wire::start(answer)?;
    let mut kith = Kith::start_one("box")?;
    let sent = run(&kith, origin.address(), REQUESTS)?;

    let asked = origin.asked();
    // Most of what was sent must still have been something, or nothing is shown.
    ensure!(asked.len() > REQUESTS / 4, "only {} of {REQUESTS} requests came through", asked.len());
    let meant = sent.meant.lock().expect("no client panics");
    let mut seen: HashMap<Meant, usize> = HashMap::new();
    for asked in &asked {
        *seen.entry(Meant::of(asked)).or_default() += 1;
    }
    let surplus: Vec<_> =
        seen.iter().filter(|(request, count)| meant.get(request).copied().unwrap_or(0) < **count).collect();
    assert!(
        surplus.is_empty(),
        "nobody sent {} requests, such as {:?}",
        surplus.len(),
        &surplus[..surplus.len().min(3)]
    );
    let crossed = sent.crossed.lock().expect("no client panics");
    assert!(crossed.is_empty(), "{crossed:?}");
    assert_eq!(kith.has_ended(), None);
    assert_eq!(Request::by_proxy(&kith, &origin.url("clean")).fetch()?.status(), 200);
    eprintln!("{} requests sent, {} seen by the origin", sent.requests.load(Ordering::SeqCst), asked.len());
    Ok(())
}

#[test]
fn wrong_answers_to_wrong_requests_reach_nobody_else() -> Result<()> {
    let chance = Mutex::new(Chance::new(seed() ^ 1));
    let origin = Wire::start(move |asked, moment| {
        if asked.path().starts_with("/clean") {
            return answer(asked, moment);
        }
        let mut chance = chance.lock().expect("no origin panics");
        let mut said = answer(asked, moment)?;
        for _ in 0..chance.below(4) {
            chance.mutate(&mut said.bytes);
        }
        said.then = [Then::GoOn, Then::Close, Then::Close, Then::Reset][chance.below(4)];
        Some(said)
    })?;
    let mut kith = Kith::start_one("box")?;
    let sent = run(&kith, origin.address(), PAIRS)?;

    let crossed = sent.crossed.lock().expect("no client panics");
    assert!(crossed.is_empty(), "{crossed:?}");
    assert_eq!(kith.has_ended(), None);
    for index in 0..50 {
        let text = Request::by_proxy(&kith, &origin.url(&format!("clean-{index}"))).send()?.text()?;
        assert_eq!(text, format!("GET /clean-{index}"));
    }
    Ok(())
}

/// Says what it was asked, so that each answer carries the token of its request. One in eight may be stored.
fn answer(asked: &Asked, moment: Moment) -> Option<Said> {
    if moment == Moment::Head {
        return None;
    }
    let content = format!("{} {}", asked.method(), asked.path());
    let kept =
        if asked.path().ends_with('7') || asked.path().ends_with('f') { "max-age=60" } else { "no-store" };
    let length = content.len();
    let head = format!("HTTP/1.1 200 OK\r\nCache-Control: {kept}\r\nETag: \"{length}\"\r\n");
    // Every other one in chunks.
    let framed = if length % 2 == 0 {
        format!("Content-Length: {length}\r\n\r\n{content}")
    } else {
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{content}\r\n0\r\n\r\n")
    };
    let bare = asked.method() == "HEAD";
    Some(Said::and_go_on(if bare {
        format!("{head}Content-Length: {length}\r\n\r\n")
    } else {
        head + &framed
    }))
}

fn run(kith: &Kith, origin: SocketAddr, requests: usize) -> Result<Arc<Sent>> {
    let (sent, seed, address) = (Arc::<Sent>::default(), seed(), kith.clients());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let sent = Arc::clone(&sent);
            let mut chance = Chance::new(seed.wrapping_mul(31).wrapping_add(client as u64));
            std::thread::spawn(move || -> Result<()> {
                while sent.requests.load(Ordering::SeqCst) < requests {
                    converse(address, origin, &mut chance, &sent)?;
                }
                Ok(())
            })
        })
        .collect();
    for client in clients {
        client.join().expect("no client panics")?;
    }
    Ok(sent)
}

/// One connection: a few requests with something wrong in some of them, then one that ends it.
fn converse(address: SocketAddr, origin: SocketAddr, chance: &mut Chance, sent: &Sent) -> Result<()> {
    let number = sent.connections.fetch_add(1, Ordering::SeqCst);
    let mut bytes = Vec::new();
    for _ in 0..=chance.below(4) {
        let token = chance.token();
        sent.tokens.lock().expect("no client panics").insert(token.clone(), number);
        let mut request = chance.request(address, origin, &token);
        for _ in 0..chance.below(3) {
            chance.mutate(&mut request);
        }
        bytes.extend_from_slice(&request);
        sent.requests.fetch_add(1, Ordering::SeqCst);
    }
    bytes.extend_from_slice(
        format!("GET /.well-known/kith HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    {
        let mut meant = sent.meant.lock().expect("no client panics");
        for request in reading::requests(&bytes, origin) {
            *meant.entry(request).or_default() += 1;
        }
    }
    let said = say(address, &bytes)?;
    let tokens = sent.tokens.lock().expect("no client panics");
    let foreign = chance::tokens(&said).filter(|token| tokens.get(*token).is_some_and(|of| *of != number));
    let foreign: HashSet<_> = foreign.map(ToOwned::to_owned).collect();
    sent.crossed.lock().expect("no client panics").extend(foreign);
    Ok(())
}

fn say(address: SocketAddr, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SILENCE))?;
    // It may close before all is said.
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    Ok(String::from_utf8_lossy(&said).into_owned())
}
