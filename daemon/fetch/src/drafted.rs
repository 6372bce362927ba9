//! What is stored of an origin's answer, and for whom.
//!
//! Pure: an answer and the wish it came to in, a draft or a reason out. The rules of RFC 9111 are
//! [`kith_model::freshness`]'s; what is said here is which bodies can be kept: those whose end can be told, that begin
//! and end at the edge of a group, and no large errors.

use http::StatusCode;
use kith_model::freshness::{self, Reach};
use kith_model::key::CacheKey;
use kith_model::limits::ERROR_BYTES_MAX;
use kith_model::range::GROUP_BYTES;
use kith_model::representation::{Head, StrongValidator};
use kith_store::Draft;

use crate::ask::Answer;
use crate::fetcher::as_whole;
use crate::wish::{Company, Wish};

/// What becomes of an answer that is stored.
pub(crate) struct Drafted {
    pub(crate) draft: Draft,
    /// The head as its asker gets it.
    pub(crate) head: Head,
    /// Who may be given it later.
    pub(crate) reach: Reach,
}

impl Drafted {
    /// The draft, or why the answer must not be stored or cannot be put together from parts.
    pub(crate) fn of(answer: &Answer, wish: &Wish) -> Result<Self, String> {
        let status = answer.head.status;
        // RFC 9110 section 15.3.5: nothing is all of it.
        let length = if status == StatusCode::NO_CONTENT { Some(0) } else { answer.length };
        let mut head = as_whole(&answer.head, length);
        let hops = freshness::behind(&mut head, answer.hops.iter().map(|hop| (hop.status, &hop.headers)));
        let reach = freshness::storable(&wish.headers, &head).map_err(|reason| reason.to_string())?;
        whole_enough(answer, length)?;
        if !status.is_success() && length.is_some_and(|length| length > ERROR_BYTES_MAX) {
            return Err("it is large for something that is no success".to_owned());
        }
        let kept = freshness::kept(head.clone());
        let (selecting, variant) = freshness::selecting(&kept.headers, &wish.headers)
            .ok_or_else(|| "it varies by what cannot be compared".to_owned())?;
        let draft = Draft {
            key: CacheKey { target: wish.target.clone(), variant },
            selecting,
            head: kept,
            validator: StrongValidator::of(&answer.head.headers),
            length,
            ladder: answer.ladder.clone(),
        };
        let company = match wish.company {
            Company::Shared => Reach::Anyone,
            Company::Alone => Reach::Household,
        };
        Ok(Self { draft, head, reach: reach.min(hops).min(company) })
    }
}

/// Whether the body can be told from a broken one and be put together with other parts.
fn whole_enough(answer: &Answer, length: Option<u64>) -> Result<(), String> {
    let refuse = |why: &str| Err(why.to_owned());
    if !answer.delimited {
        return refuse("its end cannot be told from a broken connection");
    }
    let validator = StrongValidator::of(&answer.head.headers);
    let partial = answer.head.status == StatusCode::PARTIAL_CONTENT;
    if partial && (validator.is_none() || length.is_none()) {
        return refuse("it is a part, and has no strong validator to put parts together by");
    }
    let at_edge = |end: u64| end.is_multiple_of(GROUP_BYTES) || Some(end) == length;
    if !answer.start.is_multiple_of(GROUP_BYTES) || !answer.end.is_none_or(at_edge) {
        return refuse("it is another part than was asked for");
    }
    Ok(())
}
