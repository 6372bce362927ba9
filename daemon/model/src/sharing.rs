//! May this leave the house? One pure function, with a reason for each no.
//!
//! Each audience sees what the one before it sees, and less: the household, then the owner's own boxes, then the
//! neighbours, then the world. What cannot be told from the fields is a no: a lost hit costs a little time, a
//! shared secret cannot be taken back. Knows nothing of pairing and of who asks; that is the neighbour room's.

mod secret;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{CONTENT_TYPE, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::freshness::{CacheControl, Directive, is_outdated, is_partly_private};
use crate::key::{Scheme, Target};
use crate::ladder::{Ladder, Strength};
use crate::limits::{NEIGHBOUR_OBJECT_BYTES_MIN, WORLD_OBJECT_BYTES_MIN};
use crate::representation::{ObjectInfo, Representation, Standing};

/// Who would get it, from the nearest to the farthest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audience {
    /// Clients of this box.
    Household,
    /// Paired boxes of the same owner.
    Mine,
    /// Paired boxes of somebody else.
    Neighbour,
    /// Anybody.
    World,
}

/// What the request that brought it carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing that tells one person from another.
    None,
    /// `Cookie` or `Authorization`.
    Some,
}

/// What the publisher says about others handing it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publisher {
    /// Nothing.
    Silent,
    /// It offers a torrent, magnet or metalink of it, or its host is on the owner's list.
    Offers,
    /// It answers 403, 404, 410 or 451 now.
    Withdrew,
}

/// What is known of the thing to share.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Where it came from.
    pub target: &'a Target,
    /// What the request carried.
    pub credentials: Credentials,
    /// The fields of the response.
    pub response: &'a HeaderMap,
    /// Bytes.
    pub length: u64,
    /// Its digests and who told them.
    pub ladder: &'a Ladder,
    /// What the publisher says.
    pub publisher: Publisher,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The response forbids a shared cache (RFC 9111 sections 5.2.2.5 and 5.2.2.7).
    #[error("the response is private or not to be stored")]
    Forbidden,
    /// It was made for one person.
    #[error("the response sets a cookie")]
    SetCookie,
    /// The origin no longer gives it.
    #[error("the origin has withdrawn it")]
    Withdrawn,
    /// The request had a cookie or authorization.
    #[error("it came with a cookie or authorization")]
    Credentials,
    /// It came with a cookie or authorization, or part of it was meant for one person.
    #[error("it is for this household only")]
    Household,
    /// It is no success: what an origin says in trouble is nobody's file.
    #[error("it is not the answer to a successful request")]
    Status,
    /// We know it by a neighbour's claim only.
    #[error("this box cannot vouch for it")]
    NotFirstHand,
    /// Something speaks against it since its origin was asked last: another length or date, or another box's word that
    /// it was withdrawn.
    #[error("its origin has to be asked again first")]
    Doubtful,
    /// The name or address belongs to a private network.
    #[error("its host is not on the public internet")]
    PrivateHost,
    /// A query parameter that carries a permission.
    #[error("its query carries a token")]
    QueryToken,
    /// A path segment or value that nobody could guess.
    #[error("its path carries a secret")]
    SecretPath,
    /// A public name tells that it is meant for the public; an address does not.
    #[error("its host is an address")]
    AddressHost,
    /// Another port than the scheme's own is seldom a public website.
    #[error("its port is not the usual one")]
    Port,
    /// Plain http, and no digest to tie the bytes to.
    #[error("it came without encryption and has no digest from its publisher")]
    Unanchored,
    /// It is a page or data, which may have been made for one person.
    #[error("it is text and has no digest from its publisher")]
    Text,
    /// It depends on more of the request than its coding and origin.
    #[error("it varies by more than its encoding")]
    Varies,
    /// Not worth the question.
    #[error("it is smaller than {0} bytes")]
    TooSmall(u64),
    /// Any query at all.
    #[error("it has a query")]
    Query,
    /// Nobody consented.
    #[error("its publisher does not offer it to the world")]
    NotOffered,
}

/// Whether `subject` may be given to `audience`, and whether that audience may be asked for it: what is private is not
/// looked up either (DESIGN section 7).
pub fn may_share(subject: &Subject<'_>, audience: Audience) -> Result<(), Reason> {
    household(subject)?;
    if audience >= Audience::Mine {
        mine(subject)?;
    }
    if audience >= Audience::Neighbour {
        neighbour(subject)?;
    }
    if audience >= Audience::World {
        world(subject)?;
    }
    Ok(())
}

/// The same for what is stored: a withdrawn representation no longer is, and one that came with credentials stands as
/// the household's ([`crate::freshness::Reach`]).
pub fn may_leave(
    representation: &Representation,
    object: &ObjectInfo,
    audience: Audience,
) -> Result<(), Reason> {
    let subject = Subject {
        target: &representation.key.target,
        credentials: Credentials::None,
        response: &representation.head.headers,
        length: representation.length,
        ladder: &object.ladder,
        publisher: Publisher::Silent,
    };
    if audience >= Audience::Mine {
        match representation.standing {
            Standing::FirstHand => {}
            Standing::Claimed => return Err(Reason::NotFirstHand),
            Standing::Household => return Err(Reason::Household),
        }
        if representation.head.status != StatusCode::OK {
            return Err(Reason::Status);
        }
        if is_outdated(&representation.head) {
            return Err(Reason::Doubtful);
        }
    }
    may_share(&subject, audience)
}

/// What RFC 9111 lets a shared cache keep; the store asked [`crate::freshness::storable`] before.
fn household(subject: &Subject<'_>) -> Result<(), Reason> {
    let control = CacheControl::of_response(subject.response);
    let no_store = control.has(Directive::NoStore) && !control.has(Directive::MustUnderstand);
    if no_store || control.has(Directive::Private) {
        return Err(Reason::Forbidden);
    }
    if subject.response.contains_key(SET_COOKIE) {
        return Err(Reason::SetCookie);
    }
    Ok(())
}

fn mine(subject: &Subject<'_>) -> Result<(), Reason> {
    if subject.publisher == Publisher::Withdrew {
        return Err(Reason::Withdrawn);
    }
    // What a targeted field (RFC 9213) allows it allows to us, not to those we would hand it on to.
    let control = CacheControl::plain(subject.response);
    let no_store = control.has(Directive::NoStore) && !control.has(Directive::MustUnderstand);
    if no_store || control.has(Directive::Private) || is_partly_private(subject.response) {
        return Err(Reason::Forbidden);
    }
    if subject.credentials == Credentials::Some {
        return Err(Reason::Credentials);
    }
    if is_private_host(subject.target.host()) {
        return Err(Reason::PrivateHost);
    }
    if secret::in_query(subject.target.query().unwrap_or_default()) {
        return Err(Reason::QueryToken);
    }
    if secret::in_path(subject.target.path(), subject.ladder) {
        return Err(Reason::SecretPath);
    }
    Ok(())
}

fn neighbour(subject: &Subject<'_>) -> Result<(), Reason> {
    let anchored = subject.ladder.anchor() >= Strength::Joint;
    if subject.target.host().parse::<IpAddr>().is_ok() {
        return Err(Reason::AddressHost);
    }
    if subject.target.port() != subject.target.scheme().default_port() {
        return Err(Reason::Port);
    }
    if subject.target.scheme() == Scheme::Http && !anchored {
        return Err(Reason::Unanchored);
    }
    if !anchored && is_text(subject.response.get(CONTENT_TYPE)) {
        return Err(Reason::Text);
    }
    if !varies_harmlessly(subject.response) {
        return Err(Reason::Varies);
    }
    at_least(subject, NEIGHBOUR_OBJECT_BYTES_MIN)
}

fn world(subject: &Subject<'_>) -> Result<(), Reason> {
    if subject.target.query().is_some() {
        return Err(Reason::Query);
    }
    if subject.publisher != Publisher::Offers {
        return Err(Reason::NotOffered);
    }
    at_least(subject, WORLD_OBJECT_BYTES_MIN)
}

fn at_least(subject: &Subject<'_>, bytes_min: u64) -> Result<(), Reason> {
    if subject.length < bytes_min { Err(Reason::TooSmall(bytes_min)) } else { Ok(()) }
}

fn varies_harmlessly(response: &HeaderMap) -> bool {
    response.get_all(VARY).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).all(|name| {
        let name = name.trim_ascii();
        name.is_empty()
            || name.eq_ignore_ascii_case(b"accept-encoding")
            || name.eq_ignore_ascii_case(b"origin")
    })
}

/// Pages and data are what servers make for one person; a response that does not say what it is may be one.
fn is_text(content_type: Option<&HeaderValue>) -> bool {
    let Some(value) = content_type.and_then(|value| value.to_str().ok()) else { return true };
    let value = value.to_ascii_lowercase();
    value.starts_with("text/") || ["html", "json", "xml"].iter().any(|kind| value.contains(kind))
}

/// Names that only a private network resolves (RFC 6761, RFC 6762, RFC 8375, RFC 9476 and common habit) and addresses
/// that only a private network routes. Documentation addresses are nobody's network and are no secret.
fn is_private_host(host: &str) -> bool {
    const SUFFIXES: [&str; 15] = [
        "local",
        "localhost",
        "lan",
        "home",
        "internal",
        "intranet",
        "private",
        "corp",
        "localdomain",
        "home.arpa",
        "in-addr.arpa",
        "ip6.arpa",
        "onion",
        "i2p",
        "alt",
    ];
    if let Ok(address) = host.parse::<IpAddr>() {
        return is_private_address(address);
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let ends_with =
        |suffix: &&str| host.strip_suffix(*suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    !host.contains('.') || SUFFIXES.iter().any(ends_with)
}

fn is_private_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => inner_v4(address).map_or_else(|| is_private_v6(address), is_private_v4),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let shared = a == 100 && (64..128).contains(&b); // 100.64/10, RFC 6598
    a == 0 || shared || address.is_private() || address.is_loopback() || address.is_link_local()
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    let site_local = first & 0xffc0 == 0xfec0; // fec0::/10, RFC 3879
    site_local
        || address.is_unspecified()
        || address.is_loopback()
        || address.is_unique_local()
        || address.is_unicast_link_local()
}

/// The IPv4 address inside `::ffff:0:0/96`, `::/96`, `64:ff9b::/96` and `2002::/16`.
fn inner_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let joined =
        |at: usize| Some(Ipv4Addr::from(u32::from(segments[at]) << 16 | u32::from(segments[at + 1])));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => joined(6),
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => joined(6),
        [0x2002, ..] => joined(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
