//! Bounds of what boxes say to each other, and of how they find each other.

use std::time::Duration;

/// Longest frame in bytes. The largest real one, a `get` with all its spans, takes 700.
pub const FRAME_BYTES_MAX: usize = 16 * 1024;

/// Names of one wanted object in a `find`: by digest and by URL, with room for two more digests.
pub const FIND_IDS_MAX: usize = 4;

/// Spans in one `get`.
pub const GET_SPANS_MAX: usize = 32;

/// Groups in the slices that we send: 256 KiB hash in less than a millisecond and carry 0.4 % of proof. What we take
/// goes up to [`super::ENCODE_GROUPS_MAX`].
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

/// Neighbours that are told of a change at once. To tell costs a message to each, so in larger neighbourhoods changes are
/// gathered first, for [`FILTER_GATHER_STEP`] more for each further one.
pub const FILTER_PROMPT_MAX: usize = 7;

/// The step: with 29 neighbours 27 minutes, in which a session's downloads come together (`tests/simulation/README.md`).
pub const FILTER_GATHER_STEP: Duration = Duration::from_secs(75);

/// And at most for so long.
pub const FILTER_GATHER_MAX: Duration = Duration::from_hours(1);

/// A file of so many bytes is told at once in any neighbourhood: fetched a second time, it costs an uplink more than any
/// count of messages. One of forty files is as large.
pub const FILTER_PROMPT_BYTES: u64 = 256 * 1024 * 1024;

/// What went, and what a neighbour has told of as well, waits so many times as long: who looks for it finds it there, or
/// asks in vain once.
pub const FILTER_MINOR_TIMES: u32 = 8;

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

/// Neighbours asked at once, and sources looked for among them: more fill no LAN better.
pub const FIND_AT_ONCE_MAX: usize = 3;

/// Who has not answered within this time is not waited for alone: a LAN answers within 5 ms.
pub const FIND_HURRY: Duration = Duration::from_millis(30);

/// How long a download goes on before more sources are looked for than it needs: at 60 MB/s four of five files are done by
/// then, and each question is two messages and tells something about the house.
pub const FIND_MORE_AFTER: Duration = Duration::from_secs(1);

/// Time for an answer to `find`. A LAN answers within 5 ms; behind this the origin alone is better.
pub const FIND_TIMEOUT: Duration = Duration::from_millis(500);

/// Time for a handshake with a neighbour and its hello.
pub const NEIGHBOUR_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for a request frame once its stream is open.
pub const NEIGHBOUR_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How often an unused session to a neighbour says that it is there: twice within [`super::NEIGHBOUR_IDLE_TIMEOUT`], so that
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
