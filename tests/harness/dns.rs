//! A name server for tests: answers from a table, knows nothing else.

use std::collections::HashMap;
use std::io::Result;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::place::Place;

/// Names and what they resolve to.
pub type Table = HashMap<String, Vec<IpAddr>>;

/// A running name server. Stops when dropped.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    /// Another handle to the socket that is read.
    socket: UdpSocket,
    asked: Arc<Mutex<Vec<String>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    /// Answers on loopback.
    pub fn start(table: Table) -> Result<Self> {
        Self::start_at(&Place::Here, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), table)
    }

    /// Answers at an address of a place.
    pub fn start_at(place: &Place, address: SocketAddr, table: Table) -> Result<Self> {
        let socket = place.enter(|| UdpSocket::bind(address))?;
        let (address, ours) = (socket.local_addr()?, socket.try_clone()?);
        let (asked, stopping): (Arc<Mutex<Vec<String>>>, Arc<AtomicBool>) = Default::default();
        let (seen, stop) = (Arc::clone(&asked), Arc::clone(&stopping));
        let thread = std::thread::spawn(move || serve(&socket, &table, &seen, &stop));
        Ok(Self { address, socket: ours, asked, stopping, thread: Some(thread) })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Names that were asked for.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("the server does not panic").clone()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes it up.
        let _ = self.socket.send_to(&[], self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, table: &Table, asked: &Mutex<Vec<String>>, stopping: &AtomicBool) {
    let mut buffer = [0; 1500];
    while let Ok((count, from)) = socket.recv_from(&mut buffer) {
        if stopping.load(Ordering::SeqCst) {
            break;
        }
        if let Some((name, answer)) = answer(&buffer[..count], table) {
            asked.lock().expect("nobody panics with the list").push(name);
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// RFC 1035 section 4: the question is repeated, followed by the answers of its type.
fn answer(query: &[u8], table: &Table) -> Option<(String, Vec<u8>)> {
    let (name, end) = name(query, 12)?;
    let kind = query.get(end + 1).copied()?;
    let known = table.get(&name);
    let addresses: Vec<_> = known
        .into_iter()
        .flatten()
        .filter(|address| matches!((kind, address), (1, IpAddr::V4(_)) | (28, IpAddr::V6(_))))
        .collect();
    let mut reply = query.get(..end + 4)?.to_vec();
    let code = if known.is_some() { 0 } else { 3 };
    reply[2..12].copy_from_slice(&[
        0x81,
        0x80 | code,
        0,
        1,
        0,
        u8::try_from(addresses.len()).ok()?,
        0,
        0,
        0,
        0,
    ]);
    for address in addresses {
        // A pointer to the question's name, class IN, no time to live.
        reply.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0]);
        match address {
            IpAddr::V4(address) => reply.extend([0, 4].iter().chain(&address.octets())),
            IpAddr::V6(address) => reply.extend([0, 16].iter().chain(&address.octets())),
        }
    }
    Some((name, reply))
}

fn name(query: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
}
