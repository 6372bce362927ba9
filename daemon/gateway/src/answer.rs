//! From a request to its response: pages of our own, objects by hash, and URLs, which are an [`Errand`] each.
//!
//! Everything that is told to the client's side of the story is decided here; how bytes come is the fetcher's. Knows
//! no socket.

use std::net::SocketAddr;

use bytes::BytesMut;
use http::header::{CONTENT_ENCODING, HOST};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use kith_fetch::ask::Verb;
use kith_fetch::fetcher::Fetcher;
use kith_fetch::reader::Reader;
use kith_fetch::wish::FetchError;
use kith_model::key::Target;
use kith_model::limits::CLIENT_BUFFER_BYTES;
use kith_model::object::ObjectId;
use kith_model::range::ByteRange;
use tracing::{debug, info};

use crate::body::{Body, LargePieces};
use crate::conditions::Verdict;
use crate::connection::REFUSED;
use crate::counters::{Counters, Outcome};
use crate::errand::{Errand, now};
use crate::house::House;
use crate::metalink::{self, Places};
use crate::pages::{self, About, Reached};
use crate::refusal::{Refusal, Tongue};
use crate::relocate::relocate;
use crate::request::{self, Demand, Door, FileName, What};
use crate::respond;
use crate::strict::HeadError;

/// When a hit still lets the origin count a download.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Touch {
    /// Each hit of a download's size.
    #[default]
    Downloads,
    /// The first such hit of a day.
    Daily,
    /// Never: only what RFC 9111 asks for.
    Rfc9111,
}

/// Answers requests.
pub(crate) struct Answerer {
    pub(crate) house: House,
    pub(crate) about: About,
    pub(crate) touch: Touch,
    pub(crate) fetcher: Fetcher,
    pub(crate) shares: LargePieces,
    pub(crate) counters: std::sync::Arc<Counters>,
}

/// What is to be said and what became of the request.
pub(crate) type Answered = Result<(Response<Body>, Outcome), Refusal>;

impl Answerer {
    /// Answers a request that came to `local`.
    ///
    /// # Cancel safety
    /// Dropping the future takes the wish back; fetches that others joined go on.
    pub(crate) async fn answer(&self, parts: Parts, local: SocketAddr) -> Response<Body> {
        let tongue = request::tongue(&parts.headers);
        let head = parts.method == Method::HEAD;
        let answered = self.walk(parts, local).await;
        let mut response = self.told(answered, tongue);
        if head {
            *response.body_mut() = Body::empty();
        }
        response
    }

    /// The response, counted; a refusal becomes one in the asker's language.
    pub(crate) fn told(&self, answered: Answered, tongue: Tongue) -> Response<Body> {
        let (response, outcome) = answered.unwrap_or_else(|refusal| {
            let response = refusal.response(tongue);
            debug!(status = response.status().as_u16(), %refusal, "refused");
            let outcome =
                if response.status().is_server_error() { Outcome::Failed } else { Outcome::Refused };
            (response, outcome)
        });
        self.counters.count(outcome);
        response
    }

    async fn walk(&self, parts: Parts, local: SocketAddr) -> Answered {
        if parts.method.as_str() == REFUSED {
            let number = parts.uri.path().trim_start_matches('/').parse().unwrap_or_default();
            return Err(HeadError::from_number(number).unwrap_or(HeadError::RequestLine).into());
        }
        let host = parts.headers.get(HOST).cloned();
        let here = |house: &House| {
            let authority = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
            house.for_others(authority, local)
        };
        let demand = request::parse(&parts.method, &parts.uri, parts.headers, &self.house, local)?;
        match &demand.what {
            What::Page(page) => {
                let authority = here(&self.house);
                let reached = Reached { authority: &authority, port: local.port(), now: now() };
                Ok((pages::page(&self.about, page, reached, demand.verb), Outcome::Page))
            }
            What::Metalink(target) => {
                let response = self.metalink(target, &here(&self.house), demand.verb)?;
                Ok((response, Outcome::Hit))
            }
            What::Object(id, name) => self.object(*id, name.as_ref(), &demand).await,
            What::Digest(digest, name) => {
                let object = self.fetcher.object_by_digest(digest).map_err(refusal)?;
                self.object(object.ok_or(Refusal::NotHeld)?.id, name.as_ref(), &demand).await
            }
            What::Url(target, door) => {
                let (target, door) = (target.clone(), *door);
                let base = target.clone();
                let mut answered = Errand::new(self, demand, target, door).run().await;
                if let Ok((response, outcome)) = &mut answered {
                    if door == Door::Prefix {
                        relocate(response.headers_mut(), &base);
                    }
                    if matches!(outcome, Outcome::Hit | Outcome::Confirmed) {
                        // By the proxy's form a client says the site's name, not ours.
                        let authority = match door {
                            Door::Prefix => here(&self.house),
                            Door::Proxy => self.house.for_others(&local.to_string(), local),
                        };
                        self.point(response.headers_mut(), &authority, &base, door);
                    }
                    debug!(
                        host = base.host(),
                        status = response.status().as_u16(),
                        result = outcome.as_str(),
                        "answered"
                    );
                }
                answered
            }
        }
    }

    /// Tells download tools where else the file is that they get.
    fn point(&self, headers: &mut HeaderMap, here: &str, target: &Target, door: Door) {
        let Some(digest) = metalink::named(headers) else { return };
        let object = self.fetcher.object_by_digest(&digest).ok().flatten();
        let others = object.map(|object| self.fetcher.doors(&object.id)).unwrap_or_default();
        metalink::point(headers, &digest, &Places { target, here, others: &others }, door);
    }

    /// The metalink of what is held of `target`, uncoded.
    fn metalink(&self, target: &Target, authority: &str, verb: Verb) -> Result<Response<Body>, Refusal> {
        let stored = self.fetcher.representations(target).map_err(refusal)?;
        let plain = stored.iter().find(|stored| !stored.head.headers.contains_key(CONTENT_ENCODING));
        let plain = plain.ok_or(Refusal::NotHeld)?;
        let info = self.fetcher.object(&plain.object).map_err(refusal)?.ok_or(Refusal::NotHeld)?;
        self.fetcher.look_around(plain);
        let others = self.fetcher.doors(&plain.object);
        Ok(metalink::respond(&info, &Places { target, here: authority, others: &others }, verb))
    }

    async fn object(&self, id: ObjectId, name: Option<&FileName>, demand: &Demand) -> Answered {
        let info = self.fetcher.object(&id).map_err(refusal)?.ok_or(Refusal::NotHeld)?;
        let mut headers = respond::object_fields(&id, name);
        respond::tell_digest(&mut headers, &info.ladder);
        if let Some(response) = judged(demand, &headers)? {
            return Ok((response, Outcome::Hit));
        }
        let part = resolved(demand, &headers, info.length)?;
        let response = self
            .stored_content(headers, StatusCode::OK, &id, part, info.length, demand.verb)
            .await?
            .ok_or(Refusal::NotHeld)?;
        Ok((response, Outcome::Hit))
    }

    /// The content of a stored object; nothing when it is gone.
    pub(crate) async fn stored_content(
        &self,
        headers: HeaderMap,
        status: StatusCode,
        id: &ObjectId,
        part: Option<ByteRange>,
        length: u64,
        verb: Verb,
    ) -> Result<Option<Response<Body>>, Refusal> {
        let range = part.unwrap_or(ByteRange::whole(length));
        let body = match verb {
            Verb::Head => Body::empty(),
            Verb::Get => {
                let Some(reader) = self.fetcher.open(id, range).await.map_err(refusal)? else {
                    return Ok(None);
                };
                self.body_of(reader, range.len()).await?
            }
        };
        Ok(Some(respond::content(headers, status, part, Some(length), verb, body)))
    }

    /// Small content is read at once: it goes out together with its head, and what cannot be read is told in the status.
    async fn body_of(&self, mut reader: Reader, length: u64) -> Result<Body, Refusal> {
        if length > CLIENT_BUFFER_BYTES as u64 {
            return Ok(Body::reading(reader, &self.shares));
        }
        let mut all = BytesMut::new();
        while let Some(piece) = reader.next().await.map_err(|_| Refusal::Shelf)? {
            if piece.len() as u64 == length {
                return Ok(Body::whole(piece));
            }
            all.extend_from_slice(&piece);
        }
        Ok(Body::whole(all.freeze()))
    }
}

fn judged(demand: &Demand, fields: &HeaderMap) -> Result<Option<Response<Body>>, Refusal> {
    match demand.conditions.judge(fields) {
        Verdict::Proceed => Ok(None),
        Verdict::Failed => Err(Refusal::Precondition),
        Verdict::NotModified => Ok(Some(respond::not_modified(fields.clone()))),
    }
}

/// The range to answer with; nothing for the whole.
pub(crate) fn resolved(
    demand: &Demand,
    fields: &HeaderMap,
    length: u64,
) -> Result<Option<ByteRange>, Refusal> {
    let range = demand.range.filter(|_| demand.conditions.range_applies(fields));
    range.map(|range| range.resolve(length).ok_or(Refusal::Range { length })).transpose()
}

pub(crate) fn refusal(error: FetchError) -> Refusal {
    match error {
        FetchError::Ask(error) => Refusal::Origin(error),
        FetchError::Unsatisfiable { length } => Refusal::Range { length },
        FetchError::Shelf(error) => {
            info!(%error, "the shelf failed");
            Refusal::Shelf
        }
        FetchError::Stopping => Refusal::Stopping,
    }
}
