//! Resident memory: idle, after hits and misses, and at its peak; with the limits of a router and with those of this
//! machine.

use std::time::Duration;

use anyhow::{Result, ensure};
use kith_tests::MIB;
use kith_tests::client::Request;
use kith_tests::kith::{Kith, Setup};
use kith_tests::patience::until_true;
use kith_tests::usage::memory;

use crate::figures::{Table, figure};
use crate::load::{Load, draw};
use crate::nginx::Nginx;

/// Misses at once, and one after the other.
const CLIENTS: usize = 16;
const FILES_A_CLIENT: usize = 2;
const LENGTH: u64 = 32 * MIB;

/// What a program that does nothing is given to come to rest.
const REST_LIMIT: Duration = Duration::from_secs(10);

/// Prints a row for each profile.
pub(crate) fn measure() -> Result<()> {
    let names: Vec<String> =
        (0..CLIENTS).flat_map(|client| (0..FILES_A_CLIENT).map(move |file| name(client, file))).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), LENGTH)).collect();
    let origin = Nginx::serving(&files)?;
    let table = Table::titled("memory (VmRSS in MiB)", &["profile", "idle", "after load", "peak", "objects"]);
    for profile in ["router", "auto"] {
        let neighbourly = |setup: Setup| {
            setup
                .set("profile", &format!("\"{profile}\""))
                .set("neighbours.enabled", "true")
                .set("neighbours.listen", "\"127.0.0.1:0\"")
        };
        let kith = neighbourly(Kith::named("memory")).start()?;
        let idle = at_rest(&kith)?;
        let objects = load(&kith, &origin)?;
        let after = at_rest(&kith)?;
        let mib = |bytes: u64| format!("{:.1}", figure(bytes) / figure(MIB));
        let peak = memory(kith.pid())?.peak;
        table.row(&[profile.to_owned(), mib(idle), mib(after), mib(peak), objects.to_string()]);
    }
    Ok(())
}

fn name(client: usize, file: usize) -> String {
    format!("file-{client}-{file}")
}

/// Misses over many connections, then hits over more.
fn load(kith: &Kith, origin: &Nginx) -> Result<u64> {
    std::thread::scope(|scope| {
        let client = |client: usize| {
            (0..FILES_A_CLIENT).try_for_each(|file| {
                let url = origin.url(&name(client, file));
                let received = Request::by_prefix(kith, &url).fetch()?;
                ensure!(received.whole && received.bytes == LENGTH, "{url}: {:?}", received.head);
                Ok(())
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
    })?;
    draw(&Load {
        address: kith.clients(),
        target: format!("/{}", origin.url(&name(0, 0))),
        connections: 128,
        duration: Duration::from_secs(3),
    })?;
    Ok(kith.metrics()?.count("kith_store_objects"))
}

/// Resident bytes once they have stayed the same for two seconds, or what they are after [`REST_LIMIT`].
fn at_rest(kith: &Kith) -> Result<u64> {
    const STEADY_LOOKS: u32 = 100;
    let (mut last, mut steady) = (0, 0);
    let _ = until_true("memory comes to rest", REST_LIMIT, || {
        let now = memory(kith.pid()).map(|memory| memory.now).unwrap_or_default();
        steady = if now == last { steady + 1 } else { 0 };
        last = now;
        steady >= STEADY_LOOKS
    });
    Ok(memory(kith.pid())?.now)
}
