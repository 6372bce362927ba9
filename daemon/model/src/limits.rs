//! Every bound in one place, each with its unit, its reason and, where there is one, its source.
//!
//! Constants are the same on every box. What depends on the size of the box is in [`Limits`], made from a
//! [`Profile`]. Rooms take the numbers they need in their own `Config`; nobody but the roof picks a profile.

mod neighbours;
mod profile;

use std::time::Duration;

pub use self::neighbours::*;
pub use self::profile::{Limits, NEIGHBOUR_IDLE_TIMEOUT, Profile, STRIKE_WINDOW, STRIKES_MAX, TXT_BYTES_MAX};

// Requests and responses

/// Longest URL in bytes. Longer ones are 414.
pub const URL_BYTES_MAX: usize = 4 * 1024;

/// All fields of a response, in bytes with their separators. Checked before storing: another cache fell over stored
/// heads that were larger than it could read back (CVE-2023-5824).
pub const RESPONSE_HEADERS_BYTES_MAX: usize = 32 * 1024;

/// Field lines of a response. The same reason.
pub const RESPONSE_HEADERS_COUNT_MAX: usize = 128;

/// Request line in bytes. Longer ones are 414.
pub const REQUEST_LINE_BYTES_MAX: usize = 8 * 1024;

/// All fields of a request in bytes. The default of hyper allows 400 KB a connection. More is 431.
pub const REQUEST_HEADERS_BYTES_MAX: usize = 16 * 1024;

/// Field lines of a request. More is 431.
pub const REQUEST_HEADERS_COUNT_MAX: usize = 100;

/// A request head has to be complete after this. Does nothing in hyper unless a `Timer` is installed.
pub const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// An unused client connection is closed after this.
pub const CLIENT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What a refused client still sends is read and thrown away for this long, so that the refusal reaches it.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// And at most so many bytes of it.
pub const LINGER_BYTES_MAX: usize = 64 * 1024;

/// Refused connections that linger at once. Further ones are closed without.
pub const REFUSALS_MAX: usize = 16;

/// Bytes that wait unsent in the kernel for one client: enough to keep a LAN busy, small enough that a stalled
/// write means a stalled client. Linux wakes a writer at half of it, so a client is cut that takes less than 64 KiB
/// in [`SLOWEST_WINDOW`].
pub const CLIENT_UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// The same for a client that has just taken [`CLIENT_QUICK_BYTES`] within [`CLIENT_QUICK_TIME`]: each wake then fills
/// the link for longer, and pieces of files hold no memory of ours. Such a client is cut when it suddenly takes less
/// than 2 MiB in [`SLOWEST_WINDOW`]; what it had before is proof that it could.
pub const CLIENT_QUICK_UNSENT_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// What a client has to take quickly, again and again: more than all buffers on the way to it hold.
pub const CLIENT_QUICK_BYTES: u64 = 16 * 1024 * 1024;

/// And how quickly: 8 MiB/s.
pub const CLIENT_QUICK_TIME: Duration = Duration::from_secs(2);

/// Request bodies hyper buffers, and answers below this are written at once with their head.
pub const CLIENT_BUFFER_BYTES: usize = 64 * 1024;

/// Large pieces (256 KiB) on their way to clients at once, all together 8 MiB; who finds none left is given
/// [`CLIENT_SMALL_PIECE_BYTES`] at a time. 200 clients of 1 KiB/s would hold 50 MiB otherwise.
pub const CLIENT_LARGE_PIECES_MAX: usize = 32;

/// Piece for a client that is slow, or one too many.
pub const CLIENT_SMALL_PIECE_BYTES: u64 = 16 * 1024;

/// A client that takes less of a piece in a millisecond is slow: 256 KiB/s.
pub const CLIENT_SLOW_BYTES_A_MILLISECOND: u64 = 256;

/// What a client that was slow has to take quickly before it is given large pieces again: four times what the kernel
/// takes for any client ([`CLIENT_UNSENT_BYTES_MAX`]).
pub const CLIENT_PROOF_BYTES: u64 = 512 * 1024;

/// A hit of this many bytes or more is a download, which its origin is told of (`origins.touch`).
pub const TOUCH_BYTES_MIN: u64 = 1024 * 1024;

/// Own addresses are looked up again after this: interfaces come and go.
pub const OWN_ADDRESSES_AGE: Duration = Duration::from_secs(10);

/// Pause after the kernel could not give us another connection (out of file descriptors or memory).
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

// What passes by the store

/// Longest line that frames a chunk, in bytes: a size and its extensions (RFC 9112 section 7.1.1 asks for a bound).
pub const CHUNK_LINE_BYTES_MAX: usize = 256;

/// Trailer section of a request in bytes. It is read and dropped.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Bytes that a client may send behind a request to switch protocols before the answer is there. A TLS hello takes 2
/// KiB.
pub const EARLY_BYTES_MAX: usize = 16 * 1024;

/// Bytes of an upload that are read at once.
pub const UPLOAD_PIECE_BYTES: usize = 16 * 1024;

/// A client that waits for a 100 gets one after this when the origin says nothing: the origin knows no `Expect`.
/// Clients wait about as long themselves (curl: 1 s; RFC 9110 section 10.1.1 tells them not to wait forever).
pub const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// Interim answers (1xx) to one request. Real servers send a handful; without a bound an origin could keep a request
/// and our processor busy for as long as its answer may take.
pub const INTERIM_ANSWERS_MAX: usize = 16;

/// Tunnels and switched connections at once, all clients together: each holds two sockets and two buffers.
pub const TUNNELS_MAX: usize = 64;

/// Bytes buffered in each direction of a tunnel.
pub const TUNNEL_BUFFER_BYTES: usize = 16 * 1024;

/// A tunnel in which nothing moved for this long is closed. Web sockets ping every 20 to 60 s; NAT tables forget a
/// silent connection after 5 min and more (RFC 5382 REQ-5 asks for two hours, few keep to it).
pub const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The same while the box stops: what still moves may finish within the grace period.
pub const TUNNEL_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

// Freshness

/// Bytes of `Cache-Control` that are read; a longer one forbids everything. Real ones stay below 200.
pub const CACHE_CONTROL_BYTES_MAX: usize = 4 * 1024;

/// Directives that are read; more forbid everything.
pub const CACHE_CONTROL_DIRECTIVES_MAX: usize = 64;

/// Longest lifetime that we guess from `Last-Modified` (RFC 9111 section 4.2.2 suggests a tenth of the age and
/// leaves the cap to us): a day keeps a guess from hiding a change for long.
pub const HEURISTIC_LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest that an error of an origin is repeated from the store, whatever the origin says: an outage that is over
/// must not go on in the house for minutes (and a mistaken answer with a long lifetime not for a day).
pub const ERROR_LIFETIME_MAX: Duration = Duration::from_secs(30);

/// Largest body in bytes of an answer that is no success and is stored: error pages are small, and what is larger is
/// not worth the shelf. (An answer that does not tell its length is bounded as all objects are.)
pub const ERROR_BYTES_MAX: u64 = 64 * 1024;

/// Request fields that may select a representation. Responses that vary by more are as good as never reused.
pub const SELECTING_FIELDS_MAX: usize = 8;

/// Bytes of one selecting value that are kept in the index.
pub const SELECTING_VALUE_BYTES_MAX: usize = 1024;

// Sharing

/// Smallest object in bytes that another household is offered or asked for: below it the question costs more than the
/// bytes, and small objects tell the most about people (DESIGN section 7).
pub const NEIGHBOUR_OBJECT_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Smallest object in bytes that is offered to the world (DESIGN section 7).
pub const WORLD_OBJECT_BYTES_MIN: u64 = 16 * 1024 * 1024;

// --- the store's disk ---

/// Longest sidecar, index row or part record in bytes: 64 stored heads of 32 KiB each, a body below one group, and
/// room for their frame. What is longer was not written by us.
pub const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Representations kept of one object. An empty file may stand behind any number of URLs; the oldest go first.
pub const RECORD_REPRESENTATIONS_MAX: usize = 64;

/// Fields of one stored head, and selecting fields of one key: twice what is taken from an origin.
pub const RECORD_FIELDS_MAX: usize = 256;

/// Bytes of one stored head with its selecting fields: half as much again as is taken from an origin, and 64 of them
/// fit a record.
pub const RECORD_HEAD_BYTES_MAX: usize = 48 * 1024;

/// Digests of one object: four algorithms exist.
pub const RECORD_RUNGS_MAX: usize = 8;

/// Bodies below this many bytes live in the index and the sidecar: one chunk group.
pub const INLINE_BYTES_LIMIT: u64 = 16 * 1024;

/// Index changes that may wait for the writer thread. Who comes later waits for a place.
pub const INDEX_QUEUE_MAX: usize = 256;

/// Index changes that share one commit. A commit costs 4 ms and 41 KiB alone, 6 KiB each when shared (redb 4.6).
pub const INDEX_BATCH_MAX: usize = 64;

/// Rows of the index and answers of targets kept in memory, decoded: what a house asks for again within minutes.
pub const RECENT_ROWS_MAX: usize = 512;

/// Bytes of all of them, as they lie in the index: a twentieth of what a router may have resident when idle.
pub const RECENT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one that is kept: a small object and a few heads. Larger ones are read anew, which costs little beside them.
pub const RECENT_ROW_BYTES_MAX: usize = 32 * 1024;

/// Objects kept open for reading, with their record of checked groups: two file descriptors each.
pub const OPEN_OBJECTS_MAX: usize = 64;

/// Longest read of a body in bytes.
pub const READ_BYTES_MAX: u64 = 1024 * 1024;

/// Size of a recycled buffer in bytes.
pub const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Recycled buffers that wait for their next use at most: 4 MiB.
pub const READ_BUFFERS_KEPT_MAX: usize = 16;

/// Those that wait besides as many as are in use: what one download takes up and puts down in between.
pub const READ_BUFFERS_SPARE: usize = 2;

/// Runs of one arriving object that wait for the disk. Each lane has one at most and waits for it.
pub const WRITES_WAITING_MAX: usize = 16;

/// Just written bytes of one arriving object that are kept for who reads right behind: two runs.
pub const EDGE_OBJECT_BYTES_MAX: usize = 512 * 1024;

/// Just written bytes that all arriving objects together keep. Beyond it readers ask the disk.
pub const EDGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Smallest run of which is kept, in bytes: a smaller one may hang on a read buffer of
/// [`ORIGIN_READ_BUFFER_BYTES`], and slow arrivals cost little anyway.
pub const EDGE_RUN_BYTES_MIN: usize = 64 * 1024;

/// Most groups that are encoded with their proof at once: 1 MiB.
pub const ENCODE_GROUPS_MAX: u64 = 64;

/// Bytes read back and hashed behind one write, so that digests keep up without holding up the writer.
pub const DIGEST_CATCH_UP_BYTES: u64 = 4 * 1024 * 1024;

/// How long an unfinished part waits for somebody to want it again, in hours.
pub const PART_AGE_HOURS: u64 = 24;

/// Share of the shelf that waiting parts may take, in percent.
pub const PARTS_PERCENT: u64 = 20;

/// Eviction begins when the shelf is this full, in percent.
pub const EVICT_ABOVE_PERCENT: u64 = 90;

/// Eviction ends when the shelf is no fuller than this, in percent.
pub const EVICT_TO_PERCENT: u64 = 80;

/// Objects at the lower end of the order of eviction that are looked at together: 64 bytes each, and a look into the
/// filters of all neighbours.
pub const EVICTIONS_AT_ONCE_MAX: usize = 64;

/// Objects that went and are remembered for the case that they come back: 24 bytes each, 96 KiB together. As many as
/// lie on a shelf of 200 GB; what comes back later than after a whole turn of the shelf comes as new.
pub const GHOSTS_MAX: usize = 4096;

/// Accesses noted in memory before they are written to the index: spares the flash a commit a hit.
pub const ACCESSES_NOTED_MAX: usize = 1024;

/// Latest changes that are remembered by the ids of their objects, for those who keep a list of what is on the shelf:
/// 32 KiB. Who missed more looks through all of it, which takes a second for 100,000 objects.
pub const CHANGES_KEPT_MAX: usize = 1024;

/// Bytes written between two looks at the free space of the disk.
pub const SPACE_CHECK_BYTES: u64 = 8 * 1024 * 1024;

// Origins

/// Time to resolve, connect and shake hands with an origin.
pub const ORIGIN_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time from the request to the head of an origin's answer.
pub const ORIGIN_FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(30);

/// Redirects that are followed for one question; a sixth is an error. Browsers follow 20, but behind a redirect
/// stands a download, not a login.
pub const REDIRECTS_MAX: usize = 5;

/// Time over which the slowest origin is measured. Only the time counts in which we waited for it.
pub const SLOWEST_WINDOW: Duration = Duration::from_secs(60);

/// Bytes that must come within [`SLOWEST_WINDOW`]: 1 KiB/s.
pub const SLOWEST_WINDOW_BYTES: u64 = 60 * 1024;

/// A dropped answer with no more than this many bytes to come is read to its end, as that is cheaper than a new
/// connection.
pub const DRAIN_BYTES_MAX: u64 = 64 * 1024;

/// Time for such a remainder.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle connections to origins are closed after this.
pub const ORIGIN_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Read buffer of a connection to an origin, in bytes: what a cut can waste besides the kernel's own buffer. Holds
/// the largest head.
pub const ORIGIN_READ_BUFFER_BYTES: usize = 128 * 1024;

/// Window of one HTTP/2 stream from an origin in bytes: the most that a cut can waste.
pub const ORIGIN_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// Window of one HTTP/2 connection to an origin in bytes.
pub const ORIGIN_CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Addresses that are tried for one name. Names of large networks have eight of each family.
pub const ADDRESSES_MAX: usize = 16;

/// Bytes of a DNS message that are read; what is longer by UDP is asked again by TCP (RFC 6891 section 6.2.5 names
/// 4096 as a good size, 1232 fits every path without fragments).
pub const DNS_UDP_BYTES_MAX: usize = 1232;

/// Bytes of a DNS message by TCP. 16 addresses need 500.
pub const DNS_TCP_BYTES_MAX: usize = 16 * 1024;

/// Records of a DNS answer that are read.
pub const DNS_RECORDS_MAX: usize = 64;

/// Time until a DNS question is asked again, and how often it is asked.
pub const DNS_TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// See [`DNS_TRY_TIMEOUT`].
pub const DNS_TRIES: usize = 3;

// Integrity metadata

/// Links of one field line that are read. Metalink servers name up to 20 mirrors.
pub const LINKS_MAX: usize = 64;

/// Parameters of one link that are kept; `rel`, `type`, `pri`, `geo` and `depth` are five.
pub const LINK_PARAMETERS_MAX: usize = 8;

/// Members of one digest field that are read; the registry has eight names.
pub const DIGEST_MEMBERS_MAX: usize = 16;

/// Mirrors that are remembered of one answer: the best ones, by priority.
pub const MIRRORS_MAX: usize = 16;

/// Mirrors of one download that are dialled at once: what the uplink needs to be full, and no more sites bothered.
pub const MIRRORS_AT_ONCE_MAX: usize = 3;

/// Sources whose speed in earlier downloads is remembered; the oldest are forgotten. One takes 100 bytes.
pub const SPEEDS_MAX: usize = 256;

/// How long a speed is remembered: uplinks are shared, and what was so an hour ago says little.
pub const SPEEDS_KEPT: Duration = Duration::from_hours(1);

/// Smallest object in bytes that mirrors are asked for: a handshake costs as long as 1 MiB takes on a usual line.
pub const MIRROR_OBJECT_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Descriptions (metalinks, torrents, an archive's metadata) that are followed of one answer.
pub const DESCRIPTIONS_MAX: usize = 4;

/// Bytes of a description that are read: the piece hashes of a 4 GB image at 256 KiB a piece take 1.3 MB as text.
pub const DESCRIPTION_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Time for a description to come: mirrors wait for it, since it may tell how their pieces are checked.
pub const DESCRIPTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Depth of elements in a metalink; RFC 5854 needs four.
pub const METALINK_DEPTH_MAX: usize = 16;

/// Files of one metalink that are looked at.
pub const METALINK_FILES_MAX: usize = 1024;

/// URLs of one file in a metalink; the best [`MIRRORS_MAX`] are used.
pub const METALINK_URLS_MAX: usize = 256;

/// Piece hashes of one file: 2 MiB of memory.
pub const METALINK_PIECES_MAX: usize = 64 * 1024;

/// Bytes of one text in a metalink: the longest URL.
pub const METALINK_TEXT_BYTES_MAX: usize = URL_BYTES_MAX;

/// Longest piece of a piece list in bytes: it is held in memory until it is checked.
pub const PIECE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// How long a mirror that lied is not used.
pub const MIRROR_STRIKE: Duration = Duration::from_hours(6);

/// Mirrors that lied and are remembered; the oldest are forgotten.
pub const MIRROR_STRIKES_MAX: usize = 256;

/// Bytes that are hashed anew when a digest of another kind is told while an object arrives: a second of a small
/// processor's time.
pub const LATE_DIGEST_BYTES_MAX: u64 = 64 * 1024 * 1024;

// People

/// Ended jobs that are kept to be shown: one screen of them, 10 KB with their URLs.
pub const ENDED_JOBS_MAX: usize = 32;

/// How long it is told again, without asking, that nobody answers at an origin: seconds, so that who comes back is found
/// back at once, and a page of many parts does not wait for each of them.
pub const ABSENT_QUIET: Duration = Duration::from_secs(3);

/// How long an origin where nobody answered is suspected to be away still. Then a client that may have what is stored
/// waits [`ABSENT_PATIENCE`] for it and not for the whole of a connect.
pub const ABSENT_SUSPECTED: Duration = Duration::from_secs(60);

/// What an origin that is suspected to be away is given to answer before a stored response is served, marked stale.
pub const ABSENT_PATIENCE: Duration = Duration::from_secs(1);

/// Origins that are remembered to be away, 10 KB of them. The oldest makes room.
pub const ABSENT_ORIGINS_MAX: usize = 64;

/// Ends of questions to origins that are kept for `kith explain`: an evening's downloads, 50 KB with their URLs.
pub const JOURNAL_ENTRIES_MAX: usize = 256;
