//! What depends on the size of the box. The numbers are those of `LIMITS.md`; a measured better one is welcome.

use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const GB: u64 = 1_000_000_000;

/// How large the box is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// A home router: 256 MB of memory or less to spare, slow flash.
    Router,
    /// A single-board computer: 1 GB or so, an SD card or a disk.
    Board,
    /// A machine that does this for a school or a street: 8 GB and more.
    Server,
}

impl Profile {
    /// By the memory of the machine in bytes. A box between two sizes is taken for the smaller one: too small is
    /// slower, too large is killed.
    pub fn auto(memory_bytes: u64) -> Self {
        // A board that is sold with 1 GB reports less: firmware and kernel keep their part.
        if memory_bytes < 900 * MIB {
            Profile::Router
        } else if memory_bytes < 7 * GIB {
            Profile::Board
        } else {
            Profile::Server
        }
    }

    /// As it stands in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::Router => "router",
            Profile::Board => "board",
            Profile::Server => "server",
        }
    }

    /// Its bounds.
    pub fn limits(self) -> Limits {
        match self {
            Profile::Router => ROUTER,
            Profile::Board => BOARD,
            Profile::Server => SERVER,
        }
    }
}

/// The bounds that depend on the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    // clients
    /// Client connections at once: a task, two buffers and a file descriptor each.
    pub client_connections_max: usize,
    /// Client connections of one address: one device must not lock the others out. A browser opens six a host.
    pub client_connections_per_address_max: usize,
    /// Ranges in one request; a request with more is answered whole (RFC 9110 section 14.2).
    pub ranges_max: usize,
    /// Bytes around a small range that are fetched with it: one-byte ranges must not pull 40,000 times their size,
    /// and seeks in a film ask for the neighbourhood next.
    pub range_window_bytes: u64,

    // store
    /// Cache of the index in bytes. The default of redb is 1 GiB.
    pub index_cache_bytes: usize,
    /// Largest object in percent of the shelf: one film must not push out all else.
    pub object_percent_max: u64,
    /// Shelf size "auto" in percent of the partition.
    pub shelf_percent: u64,
    /// Free space that is left to others, in percent of the partition ...
    pub reserve_percent: u64,
    /// ... and in bytes, whichever is larger.
    pub reserve_bytes_min: u64,
    /// Free space in bytes below which nothing is written at all.
    pub free_hard_stop_bytes: u64,
    /// Bytes written a day: flash of routers and SD cards wears out after some thousand fillings.
    pub written_per_day_bytes_max: u64,
    /// Bytes a second that the scrub reads, so that nobody notices it.
    pub scrub_bytes_per_second: u64,

    // neighbours
    /// QUIC connections to neighbours, all together.
    pub neighbours_max: usize,
    /// QUIC connections of one neighbour: one each way when both dial at once.
    pub connections_per_neighbour_max: usize,
    /// Bidirectional streams of one connection; unidirectional ones are none. One stream is one request.
    pub streams_max: u32,
    /// Window of a stream in bytes. The defaults of quinn allow 250 MB a peer.
    pub stream_window_bytes: u32,
    /// Window of a connection in bytes, each way.
    pub connection_window_bytes: u32,
    /// Handshakes that wait; quinn's default is 65,536.
    pub incoming_max: usize,
    /// Bytes kept of one waiting handshake; quinn's default is 10 MiB.
    pub incoming_bytes_max: u64,
    /// Bytes kept of all waiting handshakes; quinn's default is 100 MiB.
    pub incoming_bytes_total_max: u64,
    /// Half-open handshakes from which on an address has to prove itself (QUIC retry, RFC 9000 section 8.1.2).
    pub retry_above: usize,
    /// Lookups a second that a paired box is answered ...
    pub lookups_per_second: u32,
    /// ... and how many at once after a pause: an apt upgrade asks for dozens.
    pub lookups_burst: u32,
    /// Bytes a second that neighbours are sent, all together: 40 and 200 Mbit/s leave the Wi-Fi to its owners.
    pub upload_bytes_per_second: u64,
    /// Boxes that discovery keeps: a flood of 40,000 names took a cache without a cap to 78 MB.
    pub roster_max: usize,
    /// Boxes that discovery keeps of one source address.
    pub roster_per_address_max: usize,

    // the process
    /// Resident memory in bytes that is never exceeded.
    pub memory_bytes_max: u64,
    /// Log lines kept for the owner, in bytes.
    pub log_ring_bytes: usize,
}

/// An unused QUIC connection is closed after this.
pub const NEIGHBOUR_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a TXT record that are looked at; ours has two short keys.
pub const TXT_BYTES_MAX: usize = 512;

/// Bad groups within [`STRIKE_WINDOW`] that ban a neighbour.
pub const STRIKES_MAX: usize = 3;

/// How long a strike counts, and how long a ban lasts.
pub const STRIKE_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

const ROUTER: Limits = Limits {
    client_connections_max: 256,
    client_connections_per_address_max: 32,
    ranges_max: 4,
    range_window_bytes: MIB,
    index_cache_bytes: 4 << 20,
    object_percent_max: 25,
    shelf_percent: 70,
    reserve_percent: 5,
    reserve_bytes_min: 256 * MIB,
    free_hard_stop_bytes: 128 * MIB,
    written_per_day_bytes_max: 10 * GB,
    scrub_bytes_per_second: 2_000_000,
    neighbours_max: 16,
    connections_per_neighbour_max: 2,
    streams_max: 16,
    stream_window_bytes: 256 << 10,
    connection_window_bytes: 1 << 20,
    incoming_max: 32,
    incoming_bytes_max: 32 * KIB,
    incoming_bytes_total_max: MIB,
    retry_above: 8,
    lookups_per_second: 10,
    lookups_burst: 30,
    upload_bytes_per_second: 40_000_000 / 8,
    roster_max: 32,
    roster_per_address_max: 4,
    memory_bytes_max: 64 * MIB,
    log_ring_bytes: 1 << 20,
};

const BOARD: Limits = Limits {
    client_connections_max: 1024,
    client_connections_per_address_max: 64,
    ranges_max: 8,
    range_window_bytes: 4 * MIB,
    index_cache_bytes: 32 << 20,
    object_percent_max: 50,
    shelf_percent: 80,
    reserve_percent: 5,
    reserve_bytes_min: GIB,
    free_hard_stop_bytes: 256 * MIB,
    written_per_day_bytes_max: 30 * GB,
    scrub_bytes_per_second: 10_000_000,
    neighbours_max: 64,
    connections_per_neighbour_max: 2,
    streams_max: 32,
    stream_window_bytes: 1 << 20,
    connection_window_bytes: 4 << 20,
    incoming_max: 64,
    incoming_bytes_max: 64 * KIB,
    incoming_bytes_total_max: 4 * MIB,
    retry_above: 16,
    lookups_per_second: 20,
    lookups_burst: 50,
    upload_bytes_per_second: 200_000_000 / 8,
    roster_max: 64,
    roster_per_address_max: 8,
    memory_bytes_max: 256 * MIB,
    log_ring_bytes: 4 << 20,
};

/// A board with more clients, more memory for the index and a real disk.
const SERVER: Limits = Limits {
    client_connections_max: 4096,
    client_connections_per_address_max: 128,
    index_cache_bytes: 128 << 20,
    written_per_day_bytes_max: 300 * GB,
    scrub_bytes_per_second: 50_000_000,
    upload_bytes_per_second: 1_000_000_000 / 8,
    memory_bytes_max: GIB,
    ..BOARD
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_taken_for_what_it_has() {
        for (mib, expected) in [
            (0, Profile::Router),
            (128, Profile::Router),
            (512, Profile::Router),
            (920, Profile::Board),
            (4096, Profile::Board),
            (7900, Profile::Server),
            (1 << 40, Profile::Server),
        ] {
            assert_eq!(Profile::auto(mib * MIB), expected, "{mib} MiB");
        }
    }

    #[test]
    fn what_may_wait_at_the_door_fits_the_memory_of_its_box() {
        for profile in [Profile::Router, Profile::Board, Profile::Server] {
            let limits = profile.limits();
            let windows = u64::from(limits.connection_window_bytes) * 2 * limits.neighbours_max as u64;
            let fixed = limits.index_cache_bytes as u64
                + limits.incoming_bytes_total_max
                + limits.log_ring_bytes as u64;
            // Not all neighbours fill their windows at once; one in four may.
            assert!(windows / 4 + fixed < limits.memory_bytes_max * 3 / 4, "{profile:?}");
            assert!(limits.stream_window_bytes <= limits.connection_window_bytes);
            assert!(limits.client_connections_per_address_max < limits.client_connections_max);
            assert!(limits.free_hard_stop_bytes < limits.reserve_bytes_min);
        }
    }
}
