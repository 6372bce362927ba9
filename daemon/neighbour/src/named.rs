//! Boxes that the configuration names, for networks that mDNS does not cross: where they are now. They are dialled like
//! any other; the address opens no door, only a paired key does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kith_model::limits::NEIGHBOUR_ADDRESSES_MAX;
use tokio::time::{sleep, timeout};

use crate::room::Room;
use crate::session::canonical;

/// How often names are looked up: a home's addresses change once a day at most.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// The system's resolver tries a second server after five seconds.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(12);

/// Looks names up until the room stops. What was known stays known while nobody answers.
pub(crate) async fn run(room: Arc<Room>) {
    if room.config.static_peers.is_empty() {
        return;
    }
    loop {
        let found = look_up(&room.config.static_peers).await;
        if !found.is_empty() {
            *room.named() = found;
            room.wake.notify_one();
        }
        tokio::select! {
            () = room.stopping.cancelled() => return,
            () = sleep(LOOK_UP_INTERVAL) => {}
        }
    }
}

async fn look_up(names: &[String]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for name in names {
        match timeout(LOOK_UP_TIMEOUT, tokio::net::lookup_host(name)).await {
            Ok(Ok(addresses)) => found.extend(addresses.map(canonical).take(NEIGHBOUR_ADDRESSES_MAX)),
            Ok(Err(error)) => tracing::debug!(name, %error, "a box of the configuration is not found"),
            Err(_) => tracing::debug!(name, "no answer where a box of the configuration is"),
        }
    }
    found
}
