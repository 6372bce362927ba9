//! Permissions that travel in URLs: signed links, tokens, and paths that nobody could guess.
//!
//! A heuristic on purpose: it takes some public URLs for secret ones (a commit id, a package path made of a hash),
//! which costs a hit, and seldom the other way round.

use std::borrow::Cow;

use data_encoding::HEXLOWER_PERMISSIVE;
use url::form_urlencoded;

use crate::ladder::Ladder;

/// Parameter names, in lower case, that carry a permission (`LIMITS.md`, and what the large clouds call theirs).
const NAMES: [&str; 24] = [
    "sig",
    "se",
    "sp",
    "sv",
    "st",
    "e",
    "key",
    "auth",
    "hdnts",
    "hdnea",
    "policy",
    "md5",
    "pass",
    "pwd",
    "sid",
    "ticket",
    "nonce",
    "code",
    "awsaccesskeyid",
    "googleaccessid",
    "exp",
    "hmac",
    "acl",
    "access",
];

/// Parts of parameter names that carry a permission, whatever stands around them.
const PARTS: [&str; 10] =
    ["token", "signature", "secret", "session", "passw", "credential", "apikey", "accesskey", "jwt", "auth"];

/// Prefixes of parameter names of signed links: Amazon, Google, Alibaba, Huawei, Tencent, Microsoft.
const PREFIXES: [&str; 7] = ["x-amz-", "x-goog-", "x-oss-", "x-obs-", "x-cos-", "q-sign-", "x-ms-"];

/// Letters and digits of the shortest piece that is looked at: `v2` and `x6` say nothing.
const PIECE_LEN_MIN: usize = 3;
/// Letters and digits that look random from which on a segment counts as secret: 22 of base64 hold 128 bits.
const RANDOM_LEN_MIN: usize = 20;
/// Longest run of one word. Longer ones are no word.
const WORD_LEN_MAX: usize = 40;
/// 128 bits as hexadecimal digits; a UUID has as many.
const HEX_LEN_MIN: usize = 32;

/// Whether a query string carries a permission.
pub(super) fn in_query(query: &str) -> bool {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let has = |wanted: &str| pairs.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let timed = has("expires") && (has("key-pair-id") || pairs.len() > 1);
    timed
        || pairs
            .iter()
            .any(|(name, value)| is_token_name(name) || is_token_value(value) || is_token_value(name))
}

fn is_token_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let joined = name.replace(['-', '_'], "");
    NAMES.contains(&name.as_str())
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || PARTS.iter().any(|part| joined.contains(part))
}

fn is_token_value(value: &str) -> bool {
    value.contains("eyJ") || is_random(value)
}

/// Whether a path carries a permission. A segment that spells a digest of the object itself names it and guards
/// nothing (`/by-hash/SHA256/...`, `/blobs/sha256:...`).
pub(super) fn in_path(path: &str, ladder: &Ladder) -> bool {
    path.split('/').any(|segment| {
        let segment = percent_decoded(segment);
        !names_object(&segment, ladder) && is_token_value(&segment)
    })
}

fn percent_decoded(segment: &str) -> Cow<'_, str> {
    // `+` is no space in a path, and neither sign matters here.
    let escaped = segment.replace(['+', '&', '='], "-");
    let decoded = form_urlencoded::parse(escaped.as_bytes()).next().map(|(name, _)| name.into_owned());
    decoded.map_or(Cow::Borrowed(segment), Cow::Owned)
}

fn names_object(segment: &str, ladder: &Ladder) -> bool {
    let hex = segment.rsplit(':').next().unwrap_or_default();
    let Ok(bytes) = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()) else { return false };
    ladder.rungs().iter().any(|rung| rung.digest.bytes() == bytes)
}

/// Whether a text holds about 128 random bits.
fn is_random(text: &str) -> bool {
    let parts = || text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    if parts().any(is_long_hex) {
        return true;
    }
    let pieces = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    let random =
        pieces.filter(|piece| piece.len() >= PIECE_LEN_MIN && !is_word(piece)).map(str::len).sum::<usize>();
    random >= RANDOM_LEN_MIN
}

fn is_long_hex(part: &str) -> bool {
    let digits = part.bytes().filter(|byte| *byte != b'-');
    digits.clone().all(|byte| byte.is_ascii_hexdigit())
        && digits.clone().any(|byte| byte.is_ascii_digit())
        && digits.count() >= HEX_LEN_MIN
}

/// Words, numbers and a few of them put together change seldom between small letters, capitals and digits; random
/// letters do at nearly every second place. A capital before small letters is no change.
fn is_word(piece: &str) -> bool {
    let changes = piece.as_bytes().windows(2).filter(|pair| changes(pair[0], pair[1])).count();
    piece.len() <= WORD_LEN_MAX && changes * 5 <= piece.len()
}

fn changes(left: u8, right: u8) -> bool {
    let kind = |byte: u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase());
    let capitalised = left.is_ascii_uppercase() && right.is_ascii_lowercase();
    kind(left) != kind(right) && !capitalised
}
