//! From what an answer told to what a download can use: descriptions are fetched, mirrors become sources.
//!
//! Nothing is asked before somebody follows the leads, and the client waits for none of it. What a description says of
//! the bytes counts as the origin's word only when it came from the origin that pointed to it, and with the weaker
//! channel of both; from anywhere else it can only name places, which are held to what the origin itself told.

use std::sync::Arc;

use bytes::BytesMut;
use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{HeaderMap, StatusCode};
use kith_fetch::ask::{Redirects, Verb};
use kith_fetch::pieces::Pieces;
use kith_fetch::source::{Lead, Proof};
use kith_model::key::{Scheme, Target};
use kith_model::ladder::{Digest, Ladder, Rung, Teller};
use kith_model::limits::{DESCRIPTION_BYTES_MAX, DESCRIPTION_TIMEOUT};
use kith_model::time::UnixMillis;
use tokio::time::timeout;
use tracing::debug;

use crate::archive;
use crate::client::Way;
use crate::ladder::{Description, DescriptionKind, Mirror, Told, best};
use crate::metalink::{self, File};
use crate::mirror::MirrorSource;
use crate::request;
use crate::web::{Arrival, Journey, Shared};

/// What was asked for, what it turned out to be, and what was told of it.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) asked: Target,
    pub(crate) answered: Target,
    pub(crate) length: u64,
    pub(crate) told: Told,
    pub(crate) said_at: UnixMillis,
}

/// A file's description, and on which channel the origin said it; nothing when it is not the origin's word.
struct Described {
    file: File,
    channel: Option<Scheme>,
}

/// What a download can follow.
pub(crate) fn stream(shared: Arc<Shared>, subject: Subject) -> BoxStream<'static, Lead> {
    let all = async move { stream::iter(gather(&shared, subject).await) };
    stream::once(all).flatten().boxed()
}

async fn gather(shared: &Arc<Shared>, subject: Subject) -> Vec<Lead> {
    let descriptions = subject.told.descriptions.iter().cloned().chain(archive::description(&subject.asked));
    let described = join_all(descriptions.map(|description| describe(shared, description, &subject))).await;
    let mut leads = Leads { pieces: None, mirrors: subject.told.mirrors.clone(), found: Vec::new() };
    for described in described.into_iter().flatten() {
        leads.add(described, &subject);
    }
    leads.found.extend(torrents(&subject.told.descriptions).map(Lead::Torrent));
    leads.finish(shared, &subject)
}

/// What is gathered.
struct Leads {
    pieces: Option<Arc<Pieces>>,
    mirrors: Vec<Mirror>,
    found: Vec<Lead>,
}

impl Leads {
    fn add(&mut self, described: Described, subject: &Subject) {
        let Described { file, channel } = described;
        if file.size.is_some_and(|size| size != subject.length) || contradicts(&file, &subject.told.ladder) {
            debug!(host = subject.asked.host(), "a description is of another version");
            return;
        }
        if let Some(channel) = channel {
            let ladder = ladder(&file.digests, channel, subject.said_at);
            if !ladder.rungs().is_empty() {
                self.found.push(Lead::Digests(ladder));
            }
            let pieces = file.pieces.filter(|pieces| pieces.suits(subject.length));
            let is_first = self.pieces.is_none();
            self.pieces = self.pieces.take().or_else(|| pieces.map(Arc::new));
            if let Some(pieces) = self.pieces.as_ref().filter(|_| is_first && channel == Scheme::Https) {
                self.found.push(Lead::Pieces(Arc::clone(pieces)));
            }
        }
        self.mirrors.extend(file.mirrors);
        self.found.extend(file.torrents.into_iter().map(Lead::Torrent));
    }

    fn finish(mut self, shared: &Arc<Shared>, subject: &Subject) -> Vec<Lead> {
        let own = [subject.asked.authority(), subject.answered.authority()];
        let proof = if self.pieces.is_some() { Proof::Pieces } else { Proof::Whole };
        // Places of the origin's own are reached by it already, and hosts that lied are left alone.
        let usable = best(std::mem::take(&mut self.mirrors)).into_iter().filter(|mirror| {
            !own.contains(&mirror.target.authority()) && !shared.strikes().is_struck(&mirror.target)
        });
        let sources = usable.map(|mirror| {
            let source = MirrorSource::new(shared, mirror.target, subject.length, self.pieces.clone());
            Lead::Mirror { source: Arc::new(source), proof }
        });
        self.found.extend(sources);
        self.found
    }
}

fn torrents(descriptions: &[Description]) -> impl Iterator<Item = Target> {
    let torrents = descriptions.iter().filter(|about| about.kind == DescriptionKind::Torrent);
    torrents.map(|about| about.target.clone())
}

/// Whether a description names another digest than what is known.
fn contradicts(file: &File, ladder: &Ladder) -> bool {
    file.digests.iter().any(|digest| ladder.digest(digest.algorithm()).is_some_and(|known| known != digest))
}

fn ladder(digests: &[Digest], channel: Scheme, said_at: UnixMillis) -> Ladder {
    let mut ladder = Ladder::default();
    for digest in digests {
        // Of two that contradict each other the first one is as good as none: it will be checked.
        let _ = ladder.add(Rung { digest: digest.clone(), teller: Teller::Origin(channel), said_at });
    }
    ladder
}

async fn describe(shared: &Arc<Shared>, about: Description, subject: &Subject) -> Option<Described> {
    if about.kind == DescriptionKind::Torrent {
        return None;
    }
    let fetched = timeout(DESCRIPTION_TIMEOUT, fetch(shared, &about)).await;
    let (text, channel) = fetched.ok().flatten()?;
    let file = match about.kind {
        DescriptionKind::Archive => archive::read(&text, &subject.asked)?,
        DescriptionKind::Metalink => {
            let files = metalink::parse(&text).inspect_err(|fault| {
                debug!(host = about.target.host(), %fault, "a metalink cannot be read");
            });
            file_of(files.ok()?, &subject.asked)?
        }
        DescriptionKind::Torrent => return None,
    };
    Some(Described { file, channel })
}

/// The only file, or the one of the same name.
fn file_of(mut files: Vec<File>, asked: &Target) -> Option<File> {
    if files.len() == 1 {
        return files.pop();
    }
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let name = last(asked.path());
    files.into_iter().find(|file| last(&file.name) == name)
}

/// A description's text, and the channel on which the origin said it.
async fn fetch(shared: &Arc<Shared>, about: &Description) -> Option<(Vec<u8>, Option<Scheme>)> {
    let journey = Journey {
        target: &about.target,
        verb: Verb::Get,
        headers: request::outgoing(&HeaderMap::new(), shared.signature()),
        part: None,
        redirects: Redirects::Follow,
        way: Way::Shared,
    };
    let place = shared.client().place(&about.target);
    let arrival = shared.travel(journey, place).await;
    let arrival = arrival.inspect_err(|error| {
        debug!(host = about.target.host(), %error, "a description cannot be had");
    });
    let Arrival { hops, target, mut exchange } = arrival.ok()?;
    let most = DESCRIPTION_BYTES_MAX as u64;
    if exchange.status != StatusCode::OK || exchange.framing.length.is_some_and(|length| length > most) {
        return None;
    }
    let mut text = BytesMut::new();
    while let Some(bytes) = exchange.content.next().await {
        text.extend_from_slice(&bytes.ok()?);
        if text.len() > DESCRIPTION_BYTES_MAX {
            return None;
        }
    }
    let way = hops.iter().map(|hop| &hop.target).chain([&target]);
    Some((text.to_vec(), channel(&about.said_by, way)))
}

/// On which channel an origin said what it pointed to: the weakest on the way; nothing when others had a hand in it.
fn channel<'a>(said_by: &Target, mut way: impl Iterator<Item = &'a Target>) -> Option<Scheme> {
    way.try_fold(said_by.scheme(), |channel, target| {
        (target.authority() == said_by.authority()).then(|| channel.min(target.scheme()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).expect(url)
    }

    #[test]
    fn only_the_origins_own_description_is_its_word() {
        let check = |said_by: &str, way: &[&str]| {
            let way: Vec<Target> = way.iter().map(|url| target(url)).collect();
            channel(&target(said_by), way.iter())
        };
        let (https, http) = (Some(Scheme::Https), Some(Scheme::Http));
        assert_eq!(check("https://a.example/f", &["https://a.example/f.meta4"]), https);
        assert_eq!(check("https://a.example/f", &["http://a.example/f.meta4"]), http);
        assert_eq!(check("http://a.example/f", &["https://a.example/f.meta4"]), http);
        assert_eq!(check("https://a.example/f", &["https://a.example/1", "http://a.example/2"]), http);
        assert_eq!(check("https://a.example/f", &["https://a.example:8443/f.meta4"]), None);
        assert_eq!(check("https://a.example/f", &["https://b.example/f.meta4"]), None);
        assert_eq!(check("https://a.example/f", &["https://a.example/1", "https://b.example/2"]), None);
    }

    #[test]
    fn of_several_files_the_one_of_that_name_is_meant() {
        let file = |name: &str| File { name: name.to_owned(), ..File::default() };
        let asked = target("https://a.example/d/b.iso?x");
        let found = |names: &[&str]| {
            file_of(names.iter().map(|name| file(name)).collect(), &asked).map(|file| file.name)
        };
        assert_eq!(found(&["other"]).as_deref(), Some("other"));
        assert_eq!(found(&["a.iso", "x/b.iso"]).as_deref(), Some("x/b.iso"));
        assert_eq!(found(&["a.iso", "c.iso"]), None);
        assert_eq!(found(&[]), None);
    }
}
