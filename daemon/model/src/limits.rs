//! Every bound in one place, each with its unit, its reason and, where there is one, its source.
//!
//! Constants are the same on every box. What depends on the size of the box is in [`Limits`], made from a
//! [`Profile`]. Rooms take the numbers they need in their own `Config`; nobody but the roof picks a profile.

mod profile;

use std::time::Duration;

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

/// Size of a recycled read buffer in bytes.
pub const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Read buffers kept for the next read: 4 MiB.
pub const READ_BUFFERS_KEPT_MAX: usize = 16;

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

// Neighbours

/// Longest frame in bytes. The largest real one, a `get` with all its spans, takes 700.
pub const FRAME_BYTES_MAX: usize = 16 * 1024;

/// Names of one wanted object in a `find`: by digest and by URL, with room for two more digests.
pub const FIND_IDS_MAX: usize = 4;

/// Spans in one `get`.
pub const GET_SPANS_MAX: usize = 32;

/// Groups in the slices that we send: 256 KiB hash in less than a millisecond and carry 0.4 % of proof. What we take
/// goes up to [`ENCODE_GROUPS_MAX`].
pub const SLICE_GROUPS: u64 = 16;

/// Names in the answerable part of the shelf, for one session: 1.3 MiB at most, made only for boxes that ask.
pub const LOOKUPS_KEPT_MAX: usize = 16 * 1024;

/// Objects of the shelf that neighbours can be answered about.
pub const SHAREABLE_MAX: usize = 8 * 1024;

/// Names in one filter, told or heard: as many as can be answered. Heard ones take 4 bytes each, so 64 KiB a neighbour;
/// on the wire 9.3 bits.
pub const FILTER_NAMES_MAX: usize = LOOKUPS_KEPT_MAX;

/// Shortest time between two filters to one neighbour: a file that is done is told at once, of an upgrade with dozens all
/// but the first wait, and are told together.
pub const FILTER_INTERVAL: Duration = Duration::from_secs(10);

/// Neighbours that are told of a change at once. It takes two messages to each, so in larger neighbourhoods changes are
/// gathered first, for [`FILTER_GATHER_STEP`] more for each further one.
pub const FILTER_PROMPT_MAX: usize = 7;

/// The step: with 29 neighbours three hours, in which a box stores some files.
pub const FILTER_GATHER_STEP: Duration = Duration::from_secs(8 * 60);

/// And at most for so long.
pub const FILTER_GATHER_MAX: Duration = Duration::from_secs(8 * 60 * 60);

/// How long nothing is told to a neighbour that did not take a filter in: it asks directly then.
pub const FILTER_REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// Filters of one neighbour that are taken in at once after a pause, then one a second; an honest one sends two within
/// ten seconds.
pub const FILTERS_BURST: u32 = 8;

/// Pause between two looks at what has changed on the shelf: a web page brings dozens of small objects a second, none
/// of which is ever told.
pub const SHELF_LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Boxes of a small neighbourhood, this one included. There a box whose filter has changed within [`FILTER_INTERVAL`],
/// and so may know more than it could tell, is asked directly.
pub const SMALL_NEIGHBOURHOOD_MAX: usize = 4;

/// Withdrawals that are remembered for boxes that are off, and how long: what a house sees withdrawn in a year fits, and
/// who was off for longer asks the origin anyway before it serves anything that old.
pub const WITHDRAWALS_MAX: usize = 256;
/// See [`WITHDRAWALS_MAX`].
pub const WITHDRAWAL_AGE: Duration = Duration::from_hours(30 * 24);

/// Between two changes of a neighbour's key: each is a write to flash, and an owner makes one in years.
pub const KEY_CHANGE_PAUSE: Duration = Duration::from_hours(1);

/// Between two tries to pair with a stranger as of one group: most strangers are of none, and each try is a handshake.
pub const GROUP_RETRY: Duration = Duration::from_mins(10);

/// Of two members the one with the higher node id waits so long for the other to ask.
pub const GROUP_COURTESY: Duration = Duration::from_secs(3);

/// Withdrawals in one message: 7 KiB.
pub const WITHDRAWALS_AT_ONCE_MAX: usize = 64;

/// Withdrawals of one neighbour that are heard within an hour: each may cost a question to an origin and a write to the
/// disk. As many as another box can remember.
pub const WITHDRAWALS_PER_HOUR_MAX: usize = WITHDRAWALS_MAX;

/// Transfers to neighbours at once, all together; the next one hears "busy". Each holds two slices. One box has no more
/// of them than are left free.
pub const UPLOADS_MAX: usize = 16;

/// Strikes of one box that are kept with their reasons, to be shown: two bans and what led to a third.
pub const STRIKES_KEPT_MAX: usize = 8;

/// Boxes that may be paired.
pub const PAIRED_MAX: usize = 64;

/// Bytes of a box's name. A DNS label has 63.
pub const NAME_BYTES_MAX: usize = 63;

/// Objects of which is remembered which other boxes hold them, 30 KB of them: an evening's downloads. The oldest makes
/// room.
pub const HOLDERS_OBJECTS_MAX: usize = 256;

/// Boxes that a download tool is pointed to besides this one: more connections than that fill no LAN better.
pub const HOLDERS_MAX: usize = 4;

/// How long a box is taken to hold what it said that it holds. One that does not any more says 404, and the tool goes on
/// without it.
pub const HOLDERS_AGE: Duration = Duration::from_secs(10 * 60);

/// How soon it is asked again when nobody held it: a box may have come, or have fetched it. Filters answer most of these
/// questions without a word.
pub const HOLDERS_NONE_AGE: Duration = Duration::from_secs(30);

/// Addresses kept of one box: two families on two links.
pub const NEIGHBOUR_ADDRESSES_MAX: usize = 4;

/// Neighbours asked at once; further ones only when these have nothing: a question tells something about the house.
pub const FIND_AT_ONCE_MAX: usize = 3;

/// Time for an answer to `find`. A LAN answers within 5 ms; behind this the origin alone is better.
pub const FIND_TIMEOUT: Duration = Duration::from_millis(500);

/// Time for a handshake with a neighbour and its hello.
pub const NEIGHBOUR_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for a request frame once its stream is open.
pub const NEIGHBOUR_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How often an unused session to a neighbour says that it is there: twice within [`NEIGHBOUR_IDLE_TIMEOUT`], so that
/// one lost packet ends nothing, and a box that was switched off is noticed before the next download.
pub const NEIGHBOUR_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Shortest and longest pause between two tries to reach a neighbour.
pub const REDIAL_MIN: Duration = Duration::from_millis(250);
/// See [`REDIAL_MIN`].
pub const REDIAL_MAX: Duration = Duration::from_secs(60);

/// Shortest pause between two tries that discovery asked for: a packet costs a LAN host nothing, a try seven of ours.
pub const REDIAL_HURRIED: Duration = Duration::from_secs(2);

/// Neighbours dialled at once: after a power cut a whole street starts in the same second.
pub const DIALS_MAX: usize = 8;

/// How long a session that is doubted may say nothing at all before it is given up: a LAN answers within 5 ms, and QUIC
/// asks three times in between.
pub const DOUBT_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long a pairing code is shown.
pub const PAIRING_WINDOW: Duration = Duration::from_secs(120);

/// Wrong codes within [`PAIRING_FAILURE_WINDOW`] that lock pairing: at five an hour, guessing eight digits takes
/// a thousand years on average.
pub const PAIRING_FAILURES_MAX: usize = 5;

/// How long a wrong code counts.
pub const PAIRING_FAILURE_WINDOW: Duration = Duration::from_secs(60 * 60);

/// Pause after a wrong code before the next one is looked at.
pub const PAIRING_DELAY: Duration = Duration::from_secs(10);

/// Time for the whole exchange of a pairing, with room for [`PAIRING_DELAY`].
pub const PAIRING_TIMEOUT: Duration = Duration::from_secs(25);

/// Pairing connections at once.
pub const PAIRING_CONNECTIONS_MAX: usize = 2;

/// Records that the mDNS cache may hold before it is thrown away and begun anew: 64 boxes need 300.
pub const DISCOVERY_RECORDS_MAX: i64 = 2048;

/// How often the mDNS cache is looked at: in between a flood of 30,000 records a second brings 5 MB ...
pub const DISCOVERY_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// ... and after how many events besides: a flood brings ten thousand a second.
pub const DISCOVERY_CHECK_EVENTS: u32 = 128;

/// Events after which the mDNS cache is begun anew: beside its records it remembers every name that ever came, 100
/// bytes each. A street of 64 boxes has some hundred events an hour.
pub const DISCOVERY_EVENTS_MAX: u32 = 16_384;

/// How often this box's own addresses are looked at: what changes there ends sessions without a word.
pub const DISCOVERY_LINKS_INTERVAL: Duration = Duration::from_secs(2);

/// A longer gap between two looks means that the machine has slept, or the process was stopped.
pub const DISCOVERY_SLEPT: Duration = Duration::from_secs(10);

/// How long a box has to answer when everybody was asked anew, before it counts as gone: questions are repeated after
/// one, three and seven seconds.
pub const DISCOVERY_SWEEP: Duration = Duration::from_secs(9);

/// Shortest time between two such questions of one reason: 64 boxes answer with 700 bytes each.
pub const DISCOVERY_ASK_ANEW: Duration = Duration::from_secs(5 * 60);

/// Socket buffers in bytes: with the kernel's 208 KiB a gigabit stream lost 4 to 11 thousand packets in 2 GiB, with
/// 4 MiB none. The kernel caps it by `net.core.rmem_max`.
pub const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Upper bound of path MTU discovery: an Ethernet without jumbo frames. Above 6500 segmentation offload hangs.
pub const UDP_MTU_MAX: u16 = 1452;

// Boxes that fetch the same at the same time

/// Objects below this many bytes are fetched by each box alone: two blocks.
pub const CROWD_OBJECT_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// Objects above this many bytes too: who gave which unit is remembered, 2 MiB of it at most.
pub const CROWD_OBJECT_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// Fetches that others may have a part of at once, those included that are through.
pub const CROWD_FETCHES_MAX: usize = 8;

/// How long what came of a fetch is still given to boxes that began later.
pub const CROWD_LINGER: Duration = Duration::from_secs(10 * 60);

/// Shortest pause between two reports to another box, so that ten a second do for any speed.
pub const CROWD_REPORT_PAUSE: Duration = Duration::from_millis(50);

/// Spans of units in one report; the rest follows in the next.
pub const CROWD_REPORT_SPANS_MAX: usize = 64;

/// Blocks in one report that a box is working on.
pub const CROWD_REPORT_BLOCKS_MAX: usize = 8;

/// Time for the next 64 KiB of a unit from another box: a bad radio needs a tenth of it, and nobody shall lose more by
/// a box that is gone.
pub const CROWD_STEP_TIMEOUT: Duration = Duration::from_secs(2);

/// Other boxes that one fetch is shared with: a household has fewer, and what each has to hear grows with them.
pub const CROWD_MEMBERS_MAX: usize = 15;

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
